"""REST doors of services and endpoints: shape, query, one action, answer."""

from endpoints.api.access import KeyRegenerate, Keys, Token
from endpoints.api.endpoints import EndpointDetail, EndpointList, EndpointTraffic, VersionDetail, VersionList
from endpoints.api.gateway import Certificate, Entrance, GatewayDetail
from endpoints.api.reading import Events, Logs, Metrics, Revisions, Rollback, Score

__all__ = [
    "Certificate",
    "EndpointDetail",
    "EndpointList",
    "EndpointTraffic",
    "Entrance",
    "Events",
    "GatewayDetail",
    "KeyRegenerate",
    "Keys",
    "Logs",
    "Metrics",
    "Revisions",
    "Rollback",
    "Score",
    "Token",
    "VersionDetail",
    "VersionList",
]
