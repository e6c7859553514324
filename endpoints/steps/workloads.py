"""Replicas of the versions that go."""

from __future__ import annotations

from compute import queries as compute
from deployments import steps as deployments
from endpoints.models import EndpointVersion
from endpoints.steps import publish
from portal.models import Operation
from portal.types import Wait


def remove_workloads(op: Operation) -> Wait | None:
    """Remove the replicas of the version, or of all versions of the endpoint, from the cluster."""
    if op.memo.get("gone"):
        return None
    rows = EndpointVersion.objects.select_related("deployment").filter(endpoint_id=op.input["endpoint_id"])
    rows = rows.filter(pk=op.input["version_id"]) if "version_id" in op.input else rows
    cluster = compute.open_cluster(publish.target_of(op))
    left = [row for row in rows if not deployments.remove_from(cluster, row.deployment)]
    return Wait(0.5, f"Waiting for {len(left)} deployments to end") if left else None
