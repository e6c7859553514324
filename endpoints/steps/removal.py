"""Empty a compute target before it is detached or deleted: endpoints, then the gateway."""

from __future__ import annotations

from compute import steps as compute_steps
from compute.models import ComputeTarget
from compute.steps.reaching import reached
from deployments import steps as deployments
from endpoints.models import EndpointVersion
from endpoints.steps import settle
from portal.models import Operation
from portal.types import OperationState, Wait


def remove_endpoints(op: Operation) -> Wait | None:
    """Remove the replicas of everything on the compute target; nothing is left to drain, its gateway goes too.

    A target that is missing has nothing left: its rows only are forgotten at the end.
    """
    target = ComputeTarget.objects.select_related("workspace").get(pk=op.input["target_id"])
    rows = EndpointVersion.objects.select_related("deployment").filter(endpoint__compute_target=target)
    op.memo["namespaces"] = sorted({row.deployment.namespace for row in rows})
    left = reached(
        op, target, lambda cluster: [row for row in rows if not deployments.remove_from(cluster, row.deployment)]
    )
    return Wait(0.5, f"Waiting for {len(left)} deployments to end") if left else None


def settle_target_removal(op: Operation) -> None:
    """Forget what was on the target together with it; if it stays, what was removed stays removed."""
    if op.state == OperationState.SUCCEEDED:
        target = ComputeTarget.objects.filter(pk=op.input["target_id"]).first()
        if target is not None:
            settle.drop_endpoints(list(target.endpoints.values_list("pk", flat=True)))
    compute_steps.settle_removal(op)
