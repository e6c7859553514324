"""REST doors of services and endpoints: shape, query, one action, answer."""

from endpoints.api.access import KeyRegenerate, Keys, Token
from endpoints.api.endpoints import EndpointDetail, EndpointList, EndpointTraffic, VersionDetail, VersionList
from endpoints.api.export import Export, GatewayExport
from endpoints.api.gateway import Certificate, Entrance, GatewayDetail
from endpoints.api.reading import Events, Logs, Metrics, Revisions, Rollback, Score
from endpoints.api.upkeep import GatewayPutBack, PutBack, WorkloadDrift

__all__ = [
    "Certificate",
    "EndpointDetail",
    "EndpointList",
    "EndpointTraffic",
    "Entrance",
    "Events",
    "GatewayDetail",
    "Export",
    "GatewayExport",
    "GatewayPutBack",
    "KeyRegenerate",
    "Keys",
    "Logs",
    "Metrics",
    "PutBack",
    "Revisions",
    "Rollback",
    "Score",
    "Token",
    "VersionDetail",
    "VersionList",
    "WorkloadDrift",
]
