"""Detach and delete. Their plans are in endpoints/steps: what runs on the target goes first."""

from __future__ import annotations

from django.db.models import ProtectedError

from compute import queries
from compute.arm import ArmBusy, ArmRefused
from compute.models import ComputeTarget
from compute.steps.inside import unclaim
from compute.steps.reaching import reached
from compute.steps.waiting import AzureFailed, accept, arm_for, patient, pause, submit, target_of, view_of, watched
from compute.types import ComputeState
from portal.models import Operation
from portal.types import OperationKind, OperationState, Wait

GROUP_LOOKS, GROUP_PAUSE = 30, 10.0


@patient
def forget_target(op: Operation) -> Wait | None:
    """Take our note out of the cluster."""
    target = target_of(op)
    reached(op, target, lambda cluster: unclaim(cluster, target))
    return None


@patient
def submit_delete(op: Operation) -> Wait | None:
    """DELETE the cluster unless it is gone or going; what Azure does with it at present is aborted first."""
    if op.memo.get("accepted"):
        return None
    target = target_of(op)
    arm = arm_for(target)
    view = view_of(target, arm)
    if view is not None:
        op.memo["node_group"] = view.node_resource_group
    if view is None or view.provisioning_state.lower() == "deleting":
        accept(op, None)
        return None
    if not view.is_settled:
        if not op.memo.get("aborted"):
            op.memo["aborted"] = True
            arm.abort(target.resource_group, target.cluster_name)
        return Wait(2, f"Azure stops what it does with the cluster ({view.provisioning_state})")
    try:
        submit(op, lambda: arm.delete(target.resource_group, target.cluster_name))
    except ArmBusy as busy:
        return Wait(5, busy.detail)
    return None


@patient
def await_deleted(op: Operation) -> Wait | None:
    """Follow Azure until the cluster is gone."""
    target = target_of(op)
    arm = arm_for(target)
    wait = watched(op, target, arm, submit_delete)
    if wait is not None:
        return wait
    view, error = view_of(target, arm), op.memo.pop("azure_error", "")
    if view is None:
        return None
    if not view.is_settled:
        return pause(op, None, f"Azure: {view.provisioning_state}")
    op.memo.pop("accepted", None)
    op.memo.pop("operation_url", None)
    raise AzureFailed(error or f"Azure still has the cluster {target.cluster_name} as {view.provisioning_state}.")


@patient
def verify_deleted(op: Operation) -> Wait | None:
    """See that the nodes' resource group went with the cluster; one that stays is named in a warning."""
    group = op.memo.get("node_group")
    if not group:
        return None
    try:
        is_there = arm_for(target_of(op)).resource_group(group)
    except ArmRefused as refusal:
        _warn(op, f"Whether Azure removed the resource group {group} could not be seen: {refusal.detail}")
        return None
    if not is_there:
        return None
    looks = op.memo["group_looks"] = op.memo.get("group_looks", 0) + 1
    if looks < GROUP_LOOKS:
        return Wait(GROUP_PAUSE, f"Waiting for Azure to remove the resource group {group}")
    _warn(op, f"Azure still has the resource group {group}, and bills it: az group delete --name {group}")
    return None


def _warn(op: Operation, words: str) -> None:
    op.memo["warnings"] = [*op.memo.get("warnings", []), words]


def settle_removal(op: Operation) -> None:
    """The row goes with a detach or delete that ended well; else it stays, with the reason."""
    target = ComputeTarget.objects.filter(pk=op.input["target_id"]).first()
    if target is None:
        return
    reason = str((op.error or {}).get("detail", "")) or f"Ended as {op.state}."
    if op.state == OperationState.SUCCEEDED:
        queries.forget_cluster(target)
        try:
            target.delete()
            return
        except ProtectedError:  # somebody deployed to it meanwhile: those rows say what was lost
            reason = "The cluster is gone from the portal, but something is still registered on it. Delete that first."
    begun = op.kind == OperationKind.COMPUTE_DELETE and "accepted" in op.memo
    state = ComputeState.FAILED if begun else op.input.get("state_before", ComputeState.FAILED)
    ComputeTarget.objects.filter(pk=target.pk).update(state=state, reason=reason)
