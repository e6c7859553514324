"""Stop what Azure does for an operation that is cancelled: once, and told as Azure ended it."""

from __future__ import annotations

from compute import power
from compute.arm import OWNER_TAG, Arm, ArmRefused
from compute.models import ComputeTarget
from compute.steps.autoscaler import is_wanted
from compute.steps.power import GOING
from compute.steps.waiting import LONGEST_PAUSE, arm_for, forget_job, owner_mark, patient, target_of, view_of
from compute.types import ClusterView
from portal import operations
from portal.models import Operation
from portal.types import OperationKind, Wait

PAUSE = 2.0  # seconds; an abort is quick
STOPPING = "canceling"
FURTHER = (OperationKind.POOL_ADD, OperationKind.POOL_SCALE)
ON_POOL = (OperationKind.COMPUTE_SCALE, OperationKind.COMPUTE_AUTOSCALER, *FURTHER)


@patient
def abort_work(op: Operation) -> Wait | None:
    """POST abort unless it was sent or Azure's work has ended, and wait for that end. Raises TooLate when it ended as
    something else than Canceled.
    """
    troubled = op.memo.get("troubles") and not op.memo.get("abort_waited")
    target = target_of(op)
    arm = arm_for(target)
    view = view_of(target, arm)
    if view is not None and view.busy_with:
        return _stop(op, target, arm, view)
    if troubled and not op.memo.get("accepted"):
        op.memo["abort_waited"] = True  # the request whose answer was lost may still be on its way
        return Wait(LONGEST_PAUSE / 2, "Looking whether Azure took the last request")
    if view is not None and op.memo.get("accepted"):
        _conclude(op, view)
    return None


def _stop(op: Operation, target: ComputeTarget, arm: Arm, view: ClusterView) -> Wait | None:
    busy = view.busy_with
    if not op.memo.get("accepted") and not _is_ours(op, target, view):
        return None  # what Azure, or somebody else, does there is not ours to stop
    if not op.memo.get("abort_sent") and busy.lower() != STOPPING:
        _send(op, target, arm, view)
    return Wait(PAUSE, f"Azure stops what it does with the cluster ({busy})")


def _send(op: Operation, target: ComputeTarget, arm: Arm, view: ClusterView) -> None:
    refused = ""
    operations.renew(op)
    try:
        if op.kind in ON_POOL:
            arm.pools.abort(target.resource_group, target.cluster_name, _pool_name(op, view))
        else:
            arm.abort(target.resource_group, target.cluster_name)
    except ArmRefused as refusal:
        refused = refusal.detail
    operations.remember(op, accepted=True, abort_sent=True, abort_refused=refused)


def _conclude(op: Operation, view: ClusterView) -> None:
    """Canceled is what was asked for; any other end is told. Raises TooLate."""
    refused = op.memo.pop("abort_refused", "")
    op.memo.pop("abort_sent", None)
    state = _state(op, view)
    if state.lower() == "canceled":
        forget_job(op, state)
        return
    how = f"did not stop it ({refused}), and ended it" if refused else "had ended it"
    raise operations.TooLate(f"Azure {how} as {state}.")


def _state(op: Operation, view: ClusterView) -> str:
    """How what the operation changed ended: its pool, or the cluster."""
    if op.kind not in ON_POOL:
        return view.provisioning_state
    pool = view.node_pool(_pool_name(op, view))
    return pool.provisioning_state if pool else "Canceled"  # one that never came


def _pool_name(op: Operation, view: ClusterView) -> str:
    """The pool that the operation changes: a further one, or the cluster's own."""
    return str(op.input.get("pool") or view.pool)


def _is_ours(op: Operation, target: ComputeTarget, view: ClusterView) -> bool:
    """Whether what goes on is what a request of this operation began whose answer was never noted."""
    busy, own = view.busy_with.lower(), view.own_pool
    if op.kind == OperationKind.COMPUTE_CREATE:
        return view.tags.get(OWNER_TAG) == owner_mark(target)
    if op.kind in (OperationKind.COMPUTE_START, OperationKind.COMPUTE_STOP):
        return busy == GOING[op.input["power"]] and power.wanted(target) == op.input["power"]
    if op.kind in FURTHER:
        return False  # whose work on a further pool that is, its state does not tell
    if own is None or own.is_settled:
        return False
    if op.kind == OperationKind.COMPUTE_AUTOSCALER:
        return is_wanted(own, op)
    return bool(own.count == op.input["node_count"])
