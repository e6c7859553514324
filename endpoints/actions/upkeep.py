"""What keeps a cluster as it was wanted: put back what others changed; and who saw an export's secrets."""

from __future__ import annotations

from django.db import transaction

from compute import queries as compute
from compute.models import ComputeTarget
from endpoints.models import Endpoint, Gateway
from portal import audit, operations
from portal.models import Operation, User
from portal.problems import Conflict
from portal.types import OperationKind


class NoGateway(Conflict):
    code, title = "no_gateway", "There is no gateway"


@transaction.atomic
def export_revealed(*, on: Endpoint | ComputeTarget, actor: User) -> None:
    """A line of history: somebody exported manifests with their secret values."""
    audit.record(action="export.revealed", on=on, actor=actor)


@transaction.atomic
def endpoint_put_back(*, endpoint: Endpoint, actor: User) -> Operation:
    """Apply again what the versions are wanted to run, over what others changed or deleted in the cluster. Raises Busy
    or ClusterStopped (409).
    """
    compute.refuse_if_stopped(endpoint.compute_target, f"{endpoint.name} can be put back when it runs")
    op = operations.start(kind=OperationKind.ENDPOINT_PUT_BACK, on=endpoint, actor=actor, endpoint_id=endpoint.pk)
    before = {row.name: row.deployment.drift for row in endpoint.versions.select_related("deployment")}
    audit.record(action="endpoint.put_back", on=endpoint, actor=actor, operation=op, before=before)
    return op


@transaction.atomic
def gateway_put_back(*, target: ComputeTarget, actor: User) -> Operation:
    """Apply a target's gateway again, over what others changed or deleted. Raises Busy, NoGateway, ClusterStopped
    (409).
    """
    compute.refuse_if_stopped(target, "its gateway can be put back when it runs")
    row = Gateway.objects.filter(compute_target=target).first()
    if row is None or not row.installed:
        raise NoGateway(f"{target.name} has no gateway: it comes with the first service or endpoint.")
    op = operations.start(kind=OperationKind.GATEWAY_PUT_BACK, on=target, actor=actor, target_id=target.pk)
    audit.record(action="gateway.put_back", on=target, actor=actor, operation=op, before=row.drift)
    return op
