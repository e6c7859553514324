"""Start and stop a cluster: one request each, followed until Azure has the power state that is wanted."""

from __future__ import annotations

from compute import power, queries
from compute.arm import Arm, ArmRefused
from compute.models import ComputeTarget
from compute.steps.inside import store_observed
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
from compute.types import ClusterView, ComputeState, Power
from portal.models import Operation
from portal.types import Wait

GOING = {Power.RUNNING.value: "starting", Power.STOPPED.value: "stopping"}


@patient
def submit_power(op: Operation) -> Wait | None:
    """POST start or stop unless Azure has, or is getting to, that power state: a lost answer leads to no second."""
    if op.memo.get("accepted"):
        return None
    target = target_of(op)
    _want(op, target)
    arm = arm_for(target)
    view = present_view(target, arm)
    busy = view.busy_with
    if busy.lower() == GOING[op.input["power"]] or (not busy and is_so(view, op)):
        accept(op, None)
    elif busy:
        return Wait(BUSY_PAUSE, f"Azure is busy with the cluster: {busy}")
    else:
        _ask(op, target, arm)
    return None


def _ask(op: Operation, target: ComputeTarget, arm: Arm) -> None:
    """Azure refuses with 400 when it has that power state, e.g. by somebody's start since we looked: then that is it,
    and whether it ended well is seen next.
    """
    ask = arm.start if op.input["power"] == Power.RUNNING else arm.stop
    try:
        submit(op, lambda: ask(target.resource_group, target.cluster_name))
    except ArmRefused as refusal:
        if refusal.extras.get("azure_status") != 400 or not _has_power(present_view(target, arm), op):
            raise
        accept(op, None)


@patient
def await_power(op: Operation) -> Wait | None:
    """Follow Azure until the cluster runs, or is stopped."""
    target = target_of(op)
    arm = arm_for(target)
    wait = watched(op, target, arm, submit_power)
    if wait is not None:
        return wait
    view, error = present_view(target, arm), op.memo.get("azure_error", "")
    if view.busy_with:
        return pause(op, None, f"Azure: {view.busy_with}")
    if error or not is_so(view, op):
        forget_job(op, view.provisioning_state)
        state = f"{view.provisioning_state} and {view.power_state}"
        raise AzureFailed(error or f"Azure has the cluster {target.cluster_name} as {state}, without a reason.")
    store_observed(target, view, [] if view.is_stopped else None)
    queries.forget_cluster(target)
    return None


def is_so(view: ClusterView, op: Operation) -> bool:
    """Whether the cluster is well in the power state that the operation wants: after a start that failed Azure shows
    it as Running and Failed.
    """
    return _has_power(view, op) and view.provisioning_state.lower() == "succeeded"


def _has_power(view: ClusterView, op: Operation) -> bool:
    return view.power_state.lower() == str(op.input["power"]).lower()


def _want(op: Operation, target: ComputeTarget) -> None:
    """Write the wish into the row, also when a failed operation is run again."""
    wanted = power.config_with(target, op.input["power"])
    if target.config != wanted:
        ComputeTarget.objects.filter(pk=target.pk).update(config=wanted)
    mark(target, ComputeState.UPDATING)


def settle_power(op: Operation) -> None:
    """Succeeded with the new power state; refused: as before; begun and failed: Failed, with the reason."""
    target = ComputeTarget.objects.get(pk=op.input["target_id"])
    if not has_happened(op):
        config = power.config_with(target, op.input["power_before"])
        ComputeTarget.objects.filter(pk=target.pk).update(config=config)
    verb = "started" if op.input["power"] == Power.RUNNING else "stopped"
    settle_change(op, f"Not {verb}")
