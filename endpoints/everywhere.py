"""Reads over all workspaces, for who runs the portal: no permission check, so never for a page of a workspace."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from cryptography import x509
from django.db.models import Count
from django.utils import timezone

from endpoints.models import Endpoint, EndpointVersion, Gateway


def state_counts() -> dict[str, int]:
    """State -> services and endpoints."""
    return dict(Endpoint.objects.values_list("state").annotate(Count("pk")).order_by("state"))


def replicas() -> Iterator[dict[str, Any]]:
    """Each version with how many replicas are wanted and ready."""
    names = ("endpoint__workspace__slug", "endpoint__name", "name")
    counts = ("deployment__wanted_replicas", "deployment__ready_replicas")
    words = ("workspace", "endpoint", "version", "wanted", "ready")
    for row in EndpointVersion.objects.order_by("pk").values_list(*names, *counts):
        yield dict(zip(words, row, strict=True))


def gateways() -> Iterator[dict[str, Any]]:
    """Each gateway with the age of its last reading, and the days that its certificate has left."""
    now = timezone.now()
    for row in Gateway.objects.select_related("compute_target__workspace").order_by("pk"):
        target = row.compute_target
        yield {
            "workspace": target.workspace.slug,
            "compute_target": target.name,
            "reading_age": (now - row.read_at).total_seconds() if row.read_at else None,
            "days_left": _days_left(target.tls_certificate or row.tls_certificate, now),
        }


def _days_left(pem: str, now: datetime) -> float | None:
    try:
        ends = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
    except ValueError:
        return None
    return round((ends - now).total_seconds() / 86400, 3)
