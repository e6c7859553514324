"""Bring a changed certificate to a running gateway, and see that each of its pods shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from compute import certificates
from compute import queries as compute
from endpoints.models import Gateway
from endpoints.steps import entrance, install, publish
from endpoints.types import GatewayState
from portal.models import Operation
from portal.types import Wait

if TYPE_CHECKING:
    from compute.cluster import Cluster

DAYS = "/stats?format=json&filter=days_until_first_cert_expiring"


def apply_entrance(op: Operation) -> Wait | None:
    """Change the gateway's Service, where that is what was asked for."""
    row = _row(op) if "entrance" in op.input else None
    return install.apply(op, compute.open_cluster(row.compute_target), row) if row else None


def publish_certificate(op: Operation) -> Wait | None:
    """Write what changed. Without a gateway nothing is to do: the first service brings it with the certificate."""
    row = _row(op)
    if row is None:
        return None
    versions = publish.publish(compute.open_cluster(row.compute_target), row)
    if versions is None:
        return Wait(publish.SOON, "Another change is being brought to the gateway")
    op.memo["published"] = versions
    return None


def confirm_certificate(op: Operation) -> Wait | None:
    """Wait until every gateway pod's Envoy reports the certificate's version, then note where scoring is."""
    row = _row(op)
    if row is None or "published" not in op.memo:
        return None
    cluster = compute.open_cluster(row.compute_target)
    wait = publish.confirmed(op, cluster, row)
    if wait is None and "entrance" in op.input:
        return install.gateway_is_up(cluster, row)
    if wait is None:
        note_seen(cluster, row)
        if row.address:
            install.note_entrance(row, entrance.Entrance(row.address, row.http_port, row.https_port))
    return wait


def note_seen(cluster: Cluster, row: Gateway) -> None:
    """Write down which certificate all pods show, and until when they say that it lasts."""
    days = [
        publish.statistics(cluster, row, pod, DAYS).get("server.days_until_first_cert_expiring")
        for pod in publish.pods(cluster, row)
    ]
    told = certificates.facts(row.certificate)
    seen = {"fingerprint": told.fingerprint, "days_left": days, "at": timezone.now().isoformat(timespec="seconds")}
    Gateway.objects.filter(pk=row.pk).update(tls_seen=seen)


def _row(op: Operation) -> Gateway | None:
    rows = Gateway.objects.select_related("compute_target__workspace").exclude(state=GatewayState.ABSENT)
    return rows.filter(compute_target_id=op.input["target_id"]).first()
