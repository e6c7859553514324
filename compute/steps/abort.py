"""Stop what Azure does for an operation that is cancelled: once, only what is ours, and told as Azure ended it."""

from __future__ import annotations

from compute.arm import GONE, OWNER_TAG, Arm, ArmRefused
from compute.models import ComputeTarget, NodePool
from compute.steps.autoscaler import is_wanted
from compute.steps.pool_watch import mark_for, seen
from compute.steps.power import GOING, is_so
from compute.steps.waiting import (
    GONE_STATE,
    LONGEST_PAUSE,
    accept,
    arm_for,
    forget_job,
    owner_mark,
    patient,
    target_of,
    view_of,
)
from compute.types import ENDED, ClusterView, Poll, PoolView
from portal import operations
from portal.models import Operation
from portal.types import OperationKind, Wait

PAUSE = 2.0  # seconds; an abort is quick
STOPPING = "canceling"
CHANGING = ("scaling", "updating")
ON_POOL = {
    OperationKind.COMPUTE_SCALE: CHANGING, OperationKind.COMPUTE_AUTOSCALER: CHANGING,
    OperationKind.POOL_SCALE: CHANGING, OperationKind.POOL_ADD: ("creating", *CHANGING),
}  # fmt: skip
CAUSES = ON_POOL | {
    OperationKind.COMPUTE_CREATE: ("creating", "updating"), OperationKind.COMPUTE_START: ("starting",),
    OperationKind.COMPUTE_STOP: ("stopping",),
}  # fmt: skip


@patient
def abort_work(op: Operation) -> Wait | None:
    """POST abort unless it was sent or our work has ended, and wait for that end. Raises TooLate when it ended as
    something else than Canceled, or cannot be stopped.
    """
    target = target_of(op)
    arm = arm_for(target)
    poll = _poll(op, arm)
    view = view_of(target, arm)
    if poll is not None and poll.is_over:
        return _conclude(op, view, poll.status)
    if view is None:
        return _unseen(op, poll)
    if poll is None and not op.memo.get("accepted") and _is_ours(op, target, view):
        accept(op, None)  # its answer was lost, but Azure took it
    if poll is None and not view.busy_with:
        return _conclude(op, view) if op.memo.get("accepted") else _once_more(op)
    if poll is None and not op.memo.get("abort_sent") and not _is_ours(op, target, view):
        return _once_more(op)  # what Azure, or somebody else, does there is not ours to stop
    return _stop(op, target, arm, view)


def _poll(op: Operation, arm: Arm) -> Poll | None:
    """Our job by its own URL, the only thing that tells it from the work of others; None where there is none."""
    url = op.memo.get("operation_url")
    found = arm.poll(url) if url else None
    return None if found is None or found.status == GONE else found


def _unseen(op: Operation, poll: Poll | None) -> Wait | None:
    """No cluster is there: not yet, or not any more."""
    if poll is not None:
        return Wait(PAUSE, f"Azure: {poll.status}")
    if op.memo.get("accepted"):
        forget_job(op, GONE_STATE)
        return None
    return _once_more(op)


def _once_more(op: Operation) -> Wait | None:
    """A request whose answer was lost may still be on its way: look a second time."""
    if op.memo.get("accepted") or not op.memo.get("asked") or op.memo.get("abort_waited"):
        return None
    op.memo["abort_waited"] = True
    return Wait(LONGEST_PAUSE / 2, "Looking whether Azure took the last request")


def _stop(op: Operation, target: ComputeTarget, arm: Arm, view: ClusterView) -> Wait:
    busy = _busy(op, view)
    if not op.memo.get("abort_sent") and busy != STOPPING:
        if busy and busy not in CAUSES[OperationKind(op.kind)]:
            raise operations.TooLate(f"Azure does something else there ({view.busy_with}), which is not stopped.")
        _send(op, target, arm, view)
    return Wait(PAUSE, f"Azure stops what it does with the cluster ({view.busy_with or 'still under way'})")


def _send(op: Operation, target: ComputeTarget, arm: Arm, view: ClusterView) -> None:
    """Raises TooLate when Azure refuses: what runs goes on, and so does the operation."""
    operations.renew(op)
    try:
        if op.kind in ON_POOL:
            arm.pools.abort(target.resource_group, target.cluster_name, _pool_name(op, view))
        else:
            arm.abort(target.resource_group, target.cluster_name)
    except ArmRefused as refusal:
        raise operations.TooLate(f"Azure did not stop it ({refusal.detail}).") from None
    operations.remember(op, abort_sent=True)


def _conclude(op: Operation, view: ClusterView | None, ended: str = "") -> Wait | None:
    """Canceled is what was asked for; any other end, `ended` as the job itself tells, is told. Raises TooLate."""
    was_sent = op.memo.pop("abort_sent", False)
    shown = _state(op, view) if view else ""
    state = shown if not ended or (was_sent and shown.lower() == "canceled") else ended
    if state.lower() != "canceled":
        raise operations.TooLate(f"Azure had ended it as {state}.")
    forget_job(op, state)
    pool = _pool(op, view) if view and op.input.get("pool_id") else None
    if pool is not None:  # what Azure keeps of it is shown, and paid for
        NodePool.objects.filter(pk=op.input["pool_id"]).update(observed=seen(pool))
    return None


def _state(op: Operation, view: ClusterView) -> str:
    """How what the operation changed ended: its pool, or the cluster."""
    if op.kind not in ON_POOL:
        return view.provisioning_state
    pool = _pool(op, view)
    return pool.provisioning_state if pool else "Canceled"  # one that never came


def _busy(op: Operation, view: ClusterView) -> str:
    """What goes on with what the operation changes: its pool, else the cluster; in lower case, empty when nothing."""
    states = (_state(op, view).lower(), view.provisioning_state.lower())
    return next((state for state in states if state not in ENDED), "")


def _pool_name(op: Operation, view: ClusterView) -> str:
    """The pool that the operation changes: a further one, or the cluster's own."""
    return str(op.input.get("pool") or view.pool)


def _pool(op: Operation, view: ClusterView) -> PoolView | None:
    return view.node_pool(_pool_name(op, view))


def _is_ours(op: Operation, target: ComputeTarget, view: ClusterView) -> bool:
    """Whether what is there, or goes on, came by a request of this operation without a URL that tells."""
    if not op.memo.get("asked"):
        return False
    busy = _busy(op, view)
    if view.busy_with and busy not in (*CAUSES[OperationKind(op.kind)], STOPPING):
        return False
    if op.kind == OperationKind.COMPUTE_CREATE:
        return view.tags.get(OWNER_TAG) == owner_mark(target)
    if op.kind in (OperationKind.COMPUTE_START, OperationKind.COMPUTE_STOP):
        return busy == GOING[op.input["power"]] if busy else is_so(view, op)
    pool = _pool(op, view)
    if pool is None or (view.busy_with and pool.is_settled):
        return False
    return _is_our_pool(op, target, pool)


def _is_our_pool(op: Operation, target: ComputeTarget, pool: PoolView) -> bool:
    if op.kind == OperationKind.POOL_ADD:
        return pool.tags.get(OWNER_TAG) == mark_for(target, op.input["pool_id"])
    if op.kind == OperationKind.COMPUTE_AUTOSCALER:
        return is_wanted(pool, op)
    if op.kind == OperationKind.POOL_SCALE:
        wish = op.input["wish"]
        is_same = (pool.min_count, pool.max_count) == (wish["min_count"], wish["max_count"])
        return is_same and (pool.max_count is not None or bool(pool.count == wish["count"]))
    return bool(pool.count == op.input["node_count"])
