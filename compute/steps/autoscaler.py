"""Switch the autoscaler of a cluster's first pool on or off, or change its bounds."""

from __future__ import annotations

from typing import Any

from compute import power
from compute.models import ComputeTarget
from compute.steps.inside import store_observed
from compute.steps.preflight import Wish, conclude, further, pool_findings
from compute.steps.waiting import (
    BUSY_PAUSE,
    AzureFailed,
    accept,
    arm_for,
    forget_job,
    has_happened,
    mark,
    patient,
    pause,
    present_view,
    settle_change,
    submit,
    target_of,
    watched,
)
from compute.types import ClusterView, ComputeState, PoolView
from portal.models import Operation
from portal.types import Wait


@patient
def check_autoscaler(op: Operation) -> Wait | None:
    """Fail with all findings when Azure has no quota, zone or addresses for the most nodes that are asked for."""
    if op.memo.get("accepted"):
        return None
    target = target_of(op)
    arm = arm_for(target)
    view = present_view(target, arm)
    own, wish = _own(target, view), op.input["wish"]
    bounds = wish["autoscaler"]
    low, high = (bounds["min_count"], bounds["max_count"]) if bounds else (wish["node_count"], None)
    now, most = further(low, low, high, own.count)
    if most:
        conclude(op, *pool_findings(target.workspace, arm, _wish(target, own, view, now, most)))
    return None


def _wish(target: ComputeTarget, own: PoolView, view: ClusterView, now: int, most: int) -> Wish:
    options = {
        "zones": own.zones, "subnet_id": own.subnet_id, "network_mode": "flat" if view.is_flat else "overlay",
        "autoscaler": {"max_count": most}, "cluster_id": target.cluster_id,
    }  # fmt: skip
    return Wish(target.subscription_id, target.resource_group, target.region, own.vm_size, now, options=options)


@patient
def submit_autoscaler(op: Operation) -> Wait | None:
    """PUT the pool with the wanted bounds or count unless Azure has, or is getting to, those already."""
    if op.memo.get("accepted"):
        return None
    target = target_of(op)
    _want(op, target)
    arm = arm_for(target)
    view = present_view(target, arm)
    own = _own(target, view)
    if is_wanted(own, op) and not own.is_broken:
        accept(op, None)
    elif view.busy_with:
        return Wait(BUSY_PAUSE, f"Azure is busy with the cluster: {view.busy_with}")
    else:
        bounds = op.input["wish"]["autoscaler"]
        pair = (bounds["min_count"], bounds["max_count"]) if bounds else None
        where = (target.resource_group, target.cluster_name, own.name)
        submit(op, lambda: arm.pools.resize(*where, op.input["wish"]["node_count"], pair))
    return None


@patient
def await_autoscaler(op: Operation) -> Wait | None:
    """Follow Azure until the pool has the wanted bounds or count."""
    target = target_of(op)
    arm = arm_for(target)
    wait = watched(op, target, arm, submit_autoscaler)
    if wait is not None:
        return wait
    view, error = present_view(target, arm), op.memo.get("azure_error", "")
    if view.busy_with:
        return pause(op, None, f"Azure: {view.busy_with}")
    own = _own(target, view)
    if error or own.is_broken or not is_wanted(own, op):
        forget_job(op, own.provisioning_state)
        raise AzureFailed(error or f"Azure has the pool {own.name} as {own.provisioning_state}, not as asked for.")
    store_observed(target, view, None)
    return None


def is_wanted(own: PoolView, op: Operation) -> bool:
    """Whether the pool has the bounds that the operation wants, or without any, its count."""
    wish = op.input["wish"]
    there = None if own.max_count is None else {"min_count": own.min_count, "max_count": own.max_count}
    return bool(there == wish["autoscaler"] and (there is not None or own.count == wish["node_count"]))


def _own(target: ComputeTarget, view: ClusterView) -> PoolView:
    if view.own_pool is None:
        raise AzureFailed(f"Azure shows {target.cluster_name} without a node pool.")
    return view.own_pool


def _want(op: Operation, target: ComputeTarget) -> None:
    """Write the wish into the row, also when a failed operation is run again."""
    _write(target, op.input["wish"])
    mark(target, ComputeState.UPDATING)


def _write(target: ComputeTarget, wish: dict[str, Any]) -> None:
    config = power.config_of(target, wish["autoscaler"])
    ComputeTarget.objects.filter(pk=target.pk).update(config=config, node_count=wish["node_count"])


def settle_autoscaler(op: Operation) -> None:
    """Succeeded with the new bounds; else as before, and Failed with the reason when Azure had begun."""
    if not has_happened(op):
        _write(ComputeTarget.objects.get(pk=op.input["target_id"]), op.input["before"])
    settle_change(op, "The autoscaler is as before")
