"""Change the node count of a cluster's pool."""

from __future__ import annotations

from compute.models import ComputeTarget
from compute.steps.inside import store_observed
from compute.steps.waiting import (
    BUSY_PAUSE,
    accept,
    arm_for,
    has_begun,
    has_happened,
    mark,
    patient,
    pause,
    present_view,
    settle_change,
    settled_view,
    submit,
    target_of,
    watched,
)
from compute.types import ClusterView, ComputeState
from portal.models import Operation
from portal.types import OperationState, Wait


@patient
def submit_scale(op: Operation) -> Wait | None:
    """PUT the pool with the wanted count unless Azure has, or is getting to, that count already."""
    if op.memo.get("accepted"):
        return None
    target = target_of(op)
    ComputeTarget.objects.filter(pk=target.pk).update(node_count=op.input["node_count"])
    mark(target, ComputeState.SCALING)
    arm = arm_for(target)
    view = present_view(target, arm)
    if view.node_count == op.input["node_count"] and view.provisioning_state.lower() not in ("failed", "canceled"):
        accept(op, None)
    elif not view.is_settled:
        return Wait(BUSY_PAUSE, f"Azure is busy with the cluster: {view.provisioning_state}")
    else:
        where = (target.resource_group, target.cluster_name, view.pool)
        submit(op, lambda: arm.pools.scale(*where, op.input["node_count"]))
    return None


@patient
def await_scaled(op: Operation) -> Wait | None:
    """Follow Azure until the pool has the wanted count."""
    target = target_of(op)
    arm = arm_for(target)
    wait = watched(op, target, arm, submit_scale)
    if wait is not None:
        return wait
    view: ClusterView | None = settled_view(op, target, arm)
    if view is not None and not view.is_settled:
        return pause(op, None, f"Azure: {view.provisioning_state}")
    store_observed(target, view, None)
    return None


def settle_scaled(op: Operation) -> None:
    """Succeeded with the new count; refused or aborted: the one before; begun and failed: Failed, with the reason."""
    is_aborted = op.state == OperationState.CANCELLED and not has_happened(op)
    if is_aborted or not has_begun(op):
        rows = ComputeTarget.objects.filter(pk=op.input["target_id"])
        rows.update(node_count=op.input["node_count_before"])
    settle_change(op, "Not scaled")
