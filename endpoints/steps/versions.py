"""Bring one version to the gateway and take it away, in an order in which no request meets a missing cluster.

In: its replicas are known (loaded), confirmed, and only then named by a route. Out: the other way round.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from django.db.models import QuerySet

from compute import queries as compute
from compute.types import ComputeState
from endpoints.gateway.routes import cluster_name
from endpoints.models import Endpoint, EndpointVersion
from endpoints.steps import numbers, picture, publish
from portal.models import Operation
from portal.types import Wait


def _concerned(op: Operation) -> QuerySet[EndpointVersion]:
    """The version that the operation is about, or all of its endpoint."""
    rows = EndpointVersion.objects.select_related("endpoint", "deployment").filter(endpoint_id=op.input["endpoint_id"])
    return rows.filter(pk=op.input["version_id"]) if "version_id" in op.input else rows


def load_version(op: Operation) -> Wait | None:
    """Make the version's replicas and keys known to the gateway; no request goes there yet.

    From here on callers sign in as an update wants it: before, the update could still fail.
    """
    if "auth" in op.input:
        Endpoint.objects.filter(pk=op.input["endpoint_id"]).update(auth=op.input["auth"])
    _concerned(op).update(is_loaded=True)
    return publish.publish_now(op)


def confirm_loaded(op: Operation) -> Wait | None:
    """Wait until every gateway pod knows a ready replica of the version."""
    waiting = publish.confirm_now(op)
    if waiting is not None:
        return waiting
    for row in _concerned(op):
        if not min(_gauges(op, row, "membership_healthy"), default=0):
            return Wait(publish.SOON, f"Waiting for the gateway to see a ready replica of {row.name}")
    return None


def route_version(op: Operation) -> Wait | None:
    """Let requests reach the version: by its share, and by name."""
    _concerned(op).update(is_routed=True)
    return publish.publish_now(op)


def confirm_routed(op: Operation) -> Wait | None:
    """Wait until every gateway pod routes to the version."""
    return publish.confirm_now(op)


def publish_routes(op: Operation) -> Wait | None:
    """Bring split, keys and limits to the gateway."""
    if not EndpointVersion.objects.filter(endpoint_id=op.input["endpoint_id"], is_loaded=True).exists():
        op.memo["published"] = {}
        return None  # it never reached the gateway; creating it again will bring all of it
    return publish.publish_now(op)


def confirm_routes(op: Operation) -> Wait | None:
    """Wait until every gateway pod serves the change."""
    return publish.confirm_now(op) if op.memo["published"] else None


def unroute_version(op: Operation) -> Wait | None:
    """Send no more requests to the version."""
    op.memo["gone"] = publish.target_of(op).state == ComputeState.MISSING
    if op.memo["gone"] or not _concerned(op).filter(is_loaded=True).exists():
        op.memo["published"] = {}
        return None
    _concerned(op).update(is_routed=False)
    return publish.publish_now(op)


def confirm_unrouted(op: Operation) -> Wait | None:
    """Wait until no gateway pod routes to the version any more."""
    return publish.confirm_now(op) if op.memo["published"] else None


def drain_version(op: Operation) -> Wait | None:
    """Let the requests that are under way end, at most for the scoring timeout, and read the last counters."""
    if op.memo["gone"]:
        return None
    loaded = list(_concerned(op).filter(is_loaded=True))
    longest = max((picture.config_of(row.deployment).scoring_timeout_ms for row in loaded), default=0) / 1000
    began = op.memo.setdefault("drain_began", time.time())
    active = sum(sum(_gauges(op, row, "upstream_rq_active")) for row in loaded)
    if active and time.time() - began < longest + 1:
        return Wait(0.5, f"Waiting for {active} requests to end")
    if loaded:
        numbers.read_counters(publish.gateway_of(publish.target_of(op)))
    return None


def unload_version(op: Operation) -> Wait | None:
    """Make the gateway forget the version's replicas."""
    if not op.memo["published"]:
        return None
    _concerned(op).update(is_loaded=False, hosts=None)
    return publish.publish_now(op)


def confirm_unloaded(op: Operation) -> Wait | None:
    """Wait until every gateway pod has forgotten the version."""
    return publish.confirm_now(op) if op.memo["published"] else None


def _gauges(op: Operation, row: EndpointVersion, gauge: str) -> list[int]:
    """A gauge of the version's cluster in each gateway pod."""
    target = publish.target_of(op)
    cluster, gateway = compute.open_cluster(target), publish.gateway_of(target)
    name = f"cluster.{cluster_name(row.endpoint.name, row.name)}.{gauge}"
    path = f"/stats?format=json&filter={quote('^' + name.replace('.', chr(92) + '.') + '$', safe='')}"
    pages: list[dict[str, Any]] = [
        publish.statistics(cluster, gateway, pod, path) for pod in publish.pods(cluster, gateway)
    ]
    return [int(page.get(name, 0)) for page in pages]
