"""Addresses of services and endpoints."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpResponse
from django.urls import URLPattern, path

from endpoints import api, views
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
    "export/": api.Export,
    "put-back/": api.PutBack,
}


def _doors(root: str, kind: EndpointKind) -> list[URLPattern]:
    word = kind.label.lower()
    found = [path(f"{HOME}/{root}/", api.EndpointList.as_view(kind=kind), name=f"api-{word}-list")]
    for end, view in DOORS.items():
        name = "-".join([f"api-{word}", *end.strip("/").split("/")]).rstrip("-")
        found.append(path(f"{HOME}/{root}/<str:name>/{end}", view.as_view(kind=kind), name=name))
    return found


ONE = f"{HOME}/endpoints/<str:name>"
GATEWAY = f"{HOME}/compute-targets/<str:name>/gateway"
api_urls = [
    path(f"{GATEWAY}/", api.GatewayDetail.as_view(), name="api-gateway"),
    path(f"{GATEWAY}/entrance/", api.Entrance.as_view(), name="api-gateway-entrance"),
    path(f"{GATEWAY}/certificate/", api.Certificate.as_view(), name="api-gateway-certificate"),
    path(f"{GATEWAY}/export/", api.GatewayExport.as_view(), name="api-gateway-export"),
    path(f"{GATEWAY}/drift/", api.WorkloadDrift.as_view(), name="api-workload-drift"),
    path(f"{GATEWAY}/put-back/", api.GatewayPutBack.as_view(), name="api-gateway-put-back"),
    *_doors("services", EndpointKind.SERVICE),
    *_doors("endpoints", EndpointKind.VERSIONED),
    path(f"{ONE}/traffic/", api.EndpointTraffic.as_view(), name="api-endpoint-traffic"),
    path(f"{ONE}/versions/", api.VersionList.as_view(), name="api-endpoint-versions"),
    path(f"{ONE}/versions/<str:version>/", api.VersionDetail.as_view(), name="api-endpoint-version"),
    path(f"{ONE}/versions/<str:version>/logs/", api.Logs.as_view(), name="api-endpoint-version-logs"),
    path(f"{ONE}/versions/<str:version>/revisions/", api.Revisions.as_view(), name="api-endpoint-version-revisions"),
    path(f"{ONE}/versions/<str:version>/rollback/", api.Rollback.as_view(), name="api-endpoint-version-rollback"),
]
PAGES = "w/<slug:workspace>"
PAGE_DOORS: dict[str, tuple[str, Callable[..., HttpResponse]]] = {
    "": ("", views.detail),
    "live/": ("-live", views.live),
    "inside/": ("-inside", views.inside),
    "keys/": ("-keys", views.keys),
    "keys/regenerate/": ("-regenerate", views.regenerate),
    "token/": ("-token", views.token),
    "try/": ("-try", views.score),
    "delete/": ("-delete", views.delete),
    "export/": ("-export", views.exported),
    "put-back/": ("-put-back", views.put_back),
    "versions/<str:version>/update/": ("-update", views.update),
    "versions/<str:version>/rollback/": ("-rollback", views.rollback),
}


def _pages(root: str, kind: EndpointKind) -> list[URLPattern]:
    word, given = kind.label.lower(), {"kind": kind}
    lists = [
        path(f"{PAGES}/{root}/", views.listing, given, name=f"{word}-list"),
        path(f"{PAGES}/new/{word}/", views.create, given, name=f"{word}-create"),
    ]
    return lists + [
        path(f"{PAGES}/{root}/<str:name>/{end}", view, given, name=word + name)
        for end, (name, view) in PAGE_DOORS.items()
    ]


PAGE = f"{PAGES}/endpoints/<str:name>"
VERSIONED = {"kind": EndpointKind.VERSIONED}
page_urls = [
    path(f"{PAGES}/compute/<str:name>/gateway/", views.gateway, name="gateway"),
    path(f"{PAGES}/compute/<str:name>/gateway/entrance/", views.entrance, name="gateway-entrance"),
    path(f"{PAGES}/compute/<str:name>/gateway/certificate/", views.certificate, name="gateway-certificate"),
    path(f"{PAGES}/compute/<str:name>/gateway/export/", views.gateway_exported, name="gateway-export"),
    path(f"{PAGES}/compute/<str:name>/gateway/put-back/", views.gateway_put_back, name="gateway-put-back"),
    *_pages("services", EndpointKind.SERVICE),
    *_pages("endpoints", EndpointKind.VERSIONED),
    path(f"{PAGE}/traffic/", views.split, VERSIONED, name="endpoint-traffic"),
    path(f"{PAGE}/add/", views.version_create, VERSIONED, name="endpoint-add"),
    path(f"{PAGE}/versions/<str:version>/", views.version, VERSIONED, name="endpoint-version"),
    path(f"{PAGE}/versions/<str:version>/delete/", views.version_delete, VERSIONED, name="endpoint-version-delete"),
]
