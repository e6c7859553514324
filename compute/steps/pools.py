"""Further node pools: add, scale and take away in Azure."""

from __future__ import annotations

import structlog

from compute import queries
from compute.arm import OWNER_TAG
from compute.models import ComputeTarget, NodePool
from compute.steps.inside import observed_nodes, store_observed
from compute.steps.pool_checks import PoolGone, pool_of
from compute.steps.pool_watch import is_ours, mark_of, seen
from compute.steps.waiting import (
    BUSY_PAUSE,
    CANCELLED,
    CANCELLED_LATE,
    AzureFailed,
    accept,
    arm_for,
    forget_job,
    has_begun,
    has_happened,
    patient,
    pause,
    present_view,
    submit,
    target_of,
    view_of,
    watched,
)
from compute.types import ComputeState, PoolSpec, PoolView
from portal import operations
from portal.models import Operation
from portal.problems import Problem, Retryable
from portal.types import OperationKind, OperationState, Wait

log = structlog.get_logger(__name__)


class PoolNameTaken(AzureFailed):
    status, code, title = 409, "azure_pool_taken", "Azure has a node pool of that name"


class PoolRemade(AzureFailed):
    status, code, title = 409, "azure_pool_remade", "The node pool is another one now"


@patient
def submit_pool(op: Operation) -> Wait | None:
    """PUT the pool unless Azure has it, or makes it, already for us: a lost answer never leads to a second PUT."""
    if op.memo.get("accepted"):
        return None
    target, pool = target_of(op), pool_of(op)
    arm = arm_for(target)
    view = present_view(target, arm)
    there = view.node_pool(pool.name)
    if there is not None:
        _check_ours(target, pool, there)
    if there is not None and not there.is_broken:
        _mark(pool, ComputeState.CREATING)
        accept(op, None)
    elif view.busy_with:
        return Wait(BUSY_PAUSE, f"Azure is busy with the cluster: {view.busy_with}")
    else:
        _mark(pool, ComputeState.CREATING)
        submit(op, lambda: arm.pools.put(target.resource_group, target.cluster_name, spec_of(pool, view.own_pool)))
    return None


def _check_ours(target: ComputeTarget, pool: NodePool, there: PoolView) -> None:
    if not is_ours(pool, there) or there.vm_size.lower() != pool.vm_size.lower():
        raise PoolNameTaken(
            f"{target.cluster_name} has a node pool {pool.name} of {there.vm_size} that was not made by this wish. "
            "Take another name; that one is shown as soon as it is seen."
        )


@patient
def submit_pool_scale(op: Operation) -> Wait | None:
    """PUT the pool with the wanted count and bounds unless Azure has, or is getting to, those already."""
    if op.memo.get("accepted"):
        return None
    target, pool = target_of(op), pool_of(op)
    arm = arm_for(target)
    view = present_view(target, arm)
    there = view.node_pool(pool.name)
    if there is None:
        raise PoolGone(f"Azure has no node pool {pool.name} on {target.cluster_name}: it was removed outside.")
    if _is_as_wanted(there, pool) and not there.is_broken:
        _want(op, pool)
        accept(op, None)
    elif view.busy_with:
        return Wait(BUSY_PAUSE, f"Azure is busy with the cluster: {view.busy_with}")
    else:
        _want(op, pool)
        where = (target.resource_group, target.cluster_name, pool.name)
        submit(op, lambda: arm.pools.resize(*where, pool.count, _bounds(pool)))
    return None


@patient
def await_pool(op: Operation) -> Wait | None:
    """Follow Azure until the pool is as it was asked for."""
    target, pool = target_of(op), pool_of(op)
    arm = arm_for(target)
    submit = submit_pool if op.kind == OperationKind.POOL_ADD else submit_pool_scale
    wait = watched(op, target, arm, submit)
    if wait is not None:
        return wait
    view = present_view(target, arm)
    there, error = view.node_pool(pool.name), op.memo.get("azure_error", "")
    if error or there is None or there.is_broken:
        state = there.provisioning_state if there else "gone"
        if there is not None:
            NodePool.objects.filter(pk=pool.pk).update(observed=seen(there))
        forget_job(op, state)
        raise AzureFailed(error or f"Azure has the node pool {pool.name} as {state}, without a reason.")
    if view.busy_with:
        return pause(op, None, f"Azure: {view.busy_with}")
    store_observed(target, view, None)
    NodePool.objects.filter(pk=pool.pk).update(observed=seen(there))
    return None


@patient
def await_pool_nodes(op: Operation) -> Wait | None:
    """Wait until the wanted nodes of the pool are there and ready; an autoscaler's count is Azure's matter."""
    target, pool = target_of(op), pool_of(op)
    nodes = observed_nodes(queries.open_cluster(target))
    store_observed(target, None, nodes)
    ours = [node for node in nodes if node["pool"] == pool.name]
    ready = sum(1 for node in ours if node["ready"])
    least = pool.min_count or 0 if pool.is_autoscaled else pool.count
    if ready < least:
        return Wait(1, f"{ready} of {least} nodes of {pool.name} are ready")
    if ready > pool.count and not pool.is_autoscaled:  # deallocated machines may stay as nodes that are not ready
        return Wait(1, f"{ready - pool.count} nodes of {pool.name} leave")
    return None


@patient
def submit_pool_removal(op: Operation) -> Wait | None:
    """DELETE the pool unless it is gone or going. One that only bears the name of what was never made stays."""
    if op.memo.get("accepted"):
        return None
    target, pool = target_of(op), pool_of(op)
    arm = arm_for(target)
    view = view_of(target, arm)
    there = view.node_pool(pool.name) if view else None
    if there is not None and not pool.observed and not is_ours(pool, there):
        operations.remember(op, accepted=True, stays=True)
    elif there is not None and pool.observed and there.vm_size.lower() != pool.vm_size.lower():
        raise PoolRemade(
            f"{target.cluster_name} has a node pool {pool.name} of {there.vm_size}, not of {pool.vm_size}: somebody "
            "made it anew in Azure. Nothing was removed. Once it is shown so here, it can be removed by force."
        )
    elif view is None or there is None or there.provisioning_state.lower() == "deleting":
        _mark(pool, ComputeState.DELETING)
        accept(op, None)
    elif view.busy_with:
        return Wait(BUSY_PAUSE, f"Azure is busy with the cluster: {view.busy_with}")
    else:
        _mark(pool, ComputeState.DELETING)
        where = (target.resource_group, target.cluster_name, pool.name)
        submit(op, lambda: arm.pools.delete(*where, ignore_budgets=bool(op.input.get("force"))))
    return None


@patient
def await_pool_gone(op: Operation) -> Wait | None:
    """Follow Azure until the pool is gone."""
    if op.memo.get("stays"):
        return None
    target, pool = target_of(op), pool_of(op)
    arm = arm_for(target)
    wait = watched(op, target, arm, submit_pool_removal)
    if wait is not None:
        return wait
    view, error = view_of(target, arm), op.memo.get("azure_error", "")
    there = view.node_pool(pool.name) if view else None
    if view is None or there is None:
        if view is not None:
            store_observed(target, view, None)
            _note_nodes(target)
        return None
    if not error and view.busy_with:
        return pause(op, None, f"Azure: {view.busy_with}")
    forget_job(op, there.provisioning_state)
    raise AzureFailed(error or f"Azure still has the node pool {pool.name} as {there.provisioning_state}.")


def _note_nodes(target: ComputeTarget) -> None:
    """The nodes that are left, if the cluster tells: the pool is gone in Azure whether it does or not."""
    try:
        store_observed(target, None, observed_nodes(queries.open_cluster(target)))
    except (Problem, Retryable) as trouble:
        log.info("nodes_unseen", target=target.ref, reason=trouble.detail)


def settle_pool(op: Operation) -> None:
    """The endings of `settle_change`, for a pool; an aborted scale has the counts before, and what Azure never began
    is as before.
    """
    rows = NodePool.objects.filter(pk=op.input["pool_id"])
    reason, is_cancelled = _reason(op), op.state == OperationState.CANCELLED
    if op.state == OperationState.SUCCEEDED:
        rows.update(state=ComputeState.SUCCEEDED, reason="")
    elif is_cancelled and has_happened(op):
        rows.update(state=ComputeState.SUCCEEDED, reason=CANCELLED_LATE)
    elif is_cancelled and has_begun(op):
        rows.update(**{**op.input["before"], "state": ComputeState.CANCELED, "reason": _aborted(op)})
    elif has_begun(op):
        rows.update(state=ComputeState.FAILED, reason=reason)
    elif op.kind == OperationKind.POOL_ADD:
        rows.filter(is_adopted=False).update(state=ComputeState.FAILED, reason=f"Not added: {reason}")
    else:
        rows.update(**op.input["before"], reason=f"Not scaled: {reason}")


def settle_pool_removal(op: Operation) -> None:
    """The row goes with its pool; else it stays, with the reason."""
    rows = NodePool.objects.filter(pk=op.input["pool_id"])
    if op.state == OperationState.SUCCEEDED:
        rows.delete()
    elif has_begun(op):
        rows.update(state=ComputeState.FAILED, reason=f"Not removed: {_reason(op)}")
    else:
        rows.update(**op.input["before"], reason=f"Not removed: {_reason(op)}")


def _aborted(op: Operation) -> str:
    if op.kind == OperationKind.POOL_ADD:
        return "Cancelled: Azure stopped making the pool, and keeps what there is of it. Remove it, or run it again."
    return CANCELLED


def _reason(op: Operation) -> str:
    if op.state == OperationState.CANCELLED:
        return "Cancelled."
    return str((op.error or {}).get("detail", "")) or f"Ended as {op.state}."


def spec_of(pool: NodePool, first: PoolView | None) -> PoolSpec:
    """The pool that the row wants, in the subnets of the cluster's first pool."""
    pods = first.pod_subnet_id if first else ""
    return PoolSpec(
        name=pool.name, vm_size=pool.vm_size, count=pool.count, mode=pool.mode, min_count=pool.min_count,
        max_count=pool.max_count, zones=tuple(pool.zones), labels=pool.labels, taints=tuple(pool.taints),
        os_disk_gb=pool.os_disk_gb, subnet_id=first.subnet_id if first else "",
        pod_subnet_id=pods, max_pods=first.max_pods if first and pods else 0, tags={OWNER_TAG: mark_of(pool)},
    )  # fmt: skip


def _bounds(pool: NodePool) -> tuple[int, int] | None:
    return None if pool.max_count is None else (pool.min_count or 0, pool.max_count)


def _is_as_wanted(there: PoolView, pool: NodePool) -> bool:
    same = (there.min_count, there.max_count) == (pool.min_count, pool.max_count)
    return same and (pool.is_autoscaled or there.count == pool.count)


def _want(op: Operation, pool: NodePool) -> None:
    """Write the wish into the row, also when a failed operation is run again."""
    rows = NodePool.objects.filter(pk=pool.pk)
    rows.update(**op.input["wish"], state=ComputeState.SCALING, reason="")


def _mark(pool: NodePool, state: ComputeState) -> None:
    NodePool.objects.filter(pk=pool.pk).exclude(state=state).update(state=state, reason="")
