"""What the end of an operation writes into our rows. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from deployments import steps as deployments
from endpoints.models import Endpoint, EndpointVersion
from endpoints.types import EndpointState
from portal.models import Operation
from portal.types import OperationState


def settle_deployed(op: Operation) -> None:
    """After a create or update: the deployment's own end, and whether the endpoint can be reached."""
    deployments.settle_deployment(op)
    reached = EndpointVersion.objects.filter(endpoint_id=op.input["endpoint_id"], is_routed=True).exists()
    state = EndpointState.HEALTHY if reached else _unreached(op)
    reason = "" if reached else str((op.error or {}).get("detail", ""))
    Endpoint.objects.filter(pk=op.input["endpoint_id"]).exclude(state=EndpointState.DELETING).update(
        state=state, reason=reason
    )


def _unreached(op: Operation) -> EndpointState:
    """Never routed: Failed, or Unschedulable when the cluster has no room, as the deployment says."""
    lead = (
        EndpointVersion.objects.select_related("deployment")
        .filter(endpoint_id=op.input["endpoint_id"], is_default=True)
        .first()
    )
    unschedulable = lead is not None and lead.deployment.state == EndpointState.UNSCHEDULABLE.value
    return EndpointState.UNSCHEDULABLE if unschedulable else EndpointState.FAILED


def settle_version_removed(op: Operation) -> None:
    """After deleting a version: its rows go when all of it went well."""
    if op.state == OperationState.SUCCEEDED:
        drop_versions(EndpointVersion.objects.filter(pk=op.input["version_id"]).values_list("pk", flat=True))


def settle_endpoint_removed(op: Operation) -> None:
    """After deleting a service or endpoint: its rows go when all of it went well, else it says what is left."""
    pk = op.input["endpoint_id"]
    if op.state == OperationState.SUCCEEDED:
        drop_endpoints([pk])
        return
    detail = str((op.error or {}).get("detail", "")) or "It was stopped."
    Endpoint.objects.filter(pk=pk).update(
        state=EndpointState.FAILED, reason=f"Deleting it ended early: {detail} Delete it again."
    )


def drop_endpoints(pks: list[int]) -> None:
    """Delete the rows of endpoints, their versions and deployments."""
    drop_versions(EndpointVersion.objects.filter(endpoint_id__in=pks).values_list("pk", flat=True))
    Endpoint.objects.filter(pk__in=pks).delete()


def drop_versions(pks: Iterable[int]) -> None:
    """Delete the rows of versions and their deployments."""
    rows = list(EndpointVersion.objects.select_related("deployment").filter(pk__in=pks))
    for row in rows:
        deployment = row.deployment
        row.delete()
        deployment.delete()
