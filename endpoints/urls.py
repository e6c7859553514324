"""Addresses of services and endpoints."""

from __future__ import annotations

from django.urls import URLPattern, path

from endpoints import api
from endpoints.types import EndpointKind

HOME = "workspaces/<slug:workspace>"
DOORS = {
    "": api.EndpointDetail,
    "keys/": api.Keys,
    "keys/regenerate/": api.KeyRegenerate,
    "token/": api.Token,
    "logs/": api.Logs,
    "events/": api.Events,
    "metrics/": api.Metrics,
    "revisions/": api.Revisions,
    "rollback/": api.Rollback,
    "score/": api.Score,
}


def _doors(root: str, kind: EndpointKind) -> list[URLPattern]:
    word = kind.label.lower()
    found = [path(f"{HOME}/{root}/", api.EndpointList.as_view(kind=kind), name=f"api-{word}-list")]
    for end, view in DOORS.items():
        name = "-".join([f"api-{word}", *end.strip("/").split("/")]).rstrip("-")
        found.append(path(f"{HOME}/{root}/<str:name>/{end}", view.as_view(kind=kind), name=name))
    return found


ONE = f"{HOME}/endpoints/<str:name>"
api_urls = [
    *_doors("services", EndpointKind.SERVICE),
    *_doors("endpoints", EndpointKind.VERSIONED),
    path(f"{ONE}/traffic/", api.EndpointTraffic.as_view(), name="api-endpoint-traffic"),
    path(f"{ONE}/versions/", api.VersionList.as_view(), name="api-endpoint-versions"),
    path(f"{ONE}/versions/<str:version>/", api.VersionDetail.as_view(), name="api-endpoint-version"),
    path(f"{ONE}/versions/<str:version>/logs/", api.Logs.as_view(), name="api-endpoint-version-logs"),
    path(f"{ONE}/versions/<str:version>/revisions/", api.Revisions.as_view(), name="api-endpoint-version-revisions"),
    path(f"{ONE}/versions/<str:version>/rollback/", api.Rollback.as_view(), name="api-endpoint-version-rollback"),
]
page_urls: list[URLPattern] = []
