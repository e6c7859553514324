"""What the steps of compute share: patience with Azure, following a long job by its URL, ownership."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from compute import platforms, queries
from compute.arm import GONE, Arm, ArmBusy, ArmRefused
from compute.arm.errors import ArmChanged, ArmUnregistered
from compute.models import ComputeTarget
from compute.types import Accepted, ClusterView, ComputeState
from portal import operations
from portal.models import Operation
from portal.problems import Held, Problem, Retryable
from portal.types import OperationKind, OperationState, Wait

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 30.0
BUSY_PAUSE = 10.0
CANCELLED = "Cancelled: Azure stopped it half-way. What was wanted before is wanted again: run it again, or ask anew."
GONE_STATE = "gone"  # how Azure left a cluster that is not there any more
CANCELLED_LATE = "Cancelled after Azure had done what was asked for."
StepFunction = Callable[[Operation], Wait | None]


class AzureFailed(Problem):
    status, code, title = 502, "azure_failed", "Azure could not do it"


class AttachRefused(Problem):
    status, code, title = 422, "attach_refused", "The cluster cannot be attached"


def patient(step: StepFunction) -> StepFunction:
    """Let a step wait out trouble of the network or Azure until its deadline, instead of failing after five tries."""

    @wraps(step)
    def run(op: Operation) -> Wait | None:
        try:
            answer = step(op)
        except Held:
            raise
        except Retryable as trouble:
            return _later(op, trouble)
        except ArmBusy as busy:
            return Wait(BUSY_PAUSE, f"Azure is busy with the cluster: {busy.detail}")
        except ArmChanged:
            return Wait(FIRST_PAUSE, "It changed in Azure meanwhile: reading it anew")
        except ArmUnregistered as missing:
            return _register(op, str(missing.extras["namespace"]))
        op.memo.pop("troubles", None)
        return answer

    return run


def _later(op: Operation, trouble: Retryable) -> Wait:
    """Wait as long as was asked, and longer with each trouble in a row, up to 30 s."""
    tries = op.memo["troubles"] = op.memo.get("troubles", 0) + 1
    return Wait(max(trouble.after or 0, min(LONGEST_PAUSE, 2.0 ** min(tries - 1, 9))), trouble.detail)


def _register(op: Operation, namespace: str) -> Wait:
    """Ask once for the registration that the subscription misses, then wait for it without holding a worker."""
    if op.memo.get("registered") != namespace:
        try:
            arm_for(target_of(op)).register(namespace)
        except Retryable as trouble:
            return _later(op, trouble)
        except ArmRefused as refusal:
            raise AzureFailed(
                f"The subscription has not registered {namespace}, and the workspace's credential may not do it "
                f"({refusal.detail}). An owner or contributor of the subscription runs "
                f"`az provider register --namespace {namespace}`; then run this again."
            ) from None
        operations.remember(op, registered=namespace)
    return Wait(BUSY_PAUSE, f"Registering {namespace} in the subscription")


def target_of(op: Operation) -> ComputeTarget:
    """The compute target that the operation is about."""
    return ComputeTarget.objects.select_related("workspace").get(pk=op.input["target_id"])


def arm_for(target: ComputeTarget) -> Arm:
    """Azure in the target's subscription. Raises NotInAzure (409) for a cluster that Azure does not know."""
    platforms.refuse_without_azure(target, "nothing about it can be asked or changed there")
    return queries.arm_of(target.workspace, target.subscription_id)


def view_of(target: ComputeTarget, arm: Arm) -> ClusterView | None:
    """The cluster as Azure has it now, or None; seen from the pool that the target was made with, while it is there."""
    view = arm.get_cluster(target.resource_group, target.cluster_name)
    return view.centred(str(target.observed.get("pool") or "")) if view else None


def present_view(target: ComputeTarget, arm: Arm) -> ClusterView:
    """The cluster as Azure has it now. Raises ClusterMissing."""
    view = view_of(target, arm)
    if view is None:
        raise queries.ClusterMissing(f"Azure has no cluster {target.cluster_name}: {target.name} is missing.")
    return view


def mark(target: ComputeTarget, state: ComputeState) -> None:
    """Set the row's state where it differs, e.g. when a failed operation is run again."""
    if target.state != state:
        ComputeTarget.objects.filter(pk=target.pk).update(state=state, reason="")


def submit(op: Operation, ask: Callable[[], Accepted]) -> None:
    """Ask Azure for a job and store at once that it took it. What was read before may have outlived the lease: without
    one nothing is asked. Raises LostLease.

    `asked` is stored before: without it nothing that Azure does can be ours, also when no answer came.
    """
    operations.renew(op, asked=True)
    try:
        accepted = ask()
    except ArmRefused:
        op.memo.pop("asked")
        raise
    accept(op, accepted)


def accept(op: Operation, accepted: Accepted | None) -> None:
    """Store at once that Azure took the job; None: it is under way without a URL that we know."""
    url = accepted.operation_url if accepted else ""
    pause = accepted.retry_after if accepted else None
    if accepted and accepted.ids:
        op.memo["cloud_ids"] = accepted.ids
    operations.remember(op, accepted=True, operation_url=url, polls=0, first_pause=pause, azure_ended="")


def follow(op: Operation, target: ComputeTarget, arm: Arm) -> Wait | None:
    """One look at the accepted job. A Wait while it runs, else None with the reason of a failure in `azure_error`.

    When the URL is unknown to Azure by now, the cluster itself tells.
    """
    url = op.memo.get("operation_url")
    if url:
        poll = arm.poll(url)
        op.memo["cloud_ids"] = poll.ids or op.memo.get("cloud_ids", {})
        if poll.is_over:
            failed = poll.status.lower() != "succeeded"
            op.memo["azure_error"] = (poll.error or f"Azure ended it as {poll.status}.") if failed else ""
            return None
        if poll.status != GONE:
            return pause(op, poll.retry_after, f"Azure: {poll.status}")
        op.memo["operation_url"] = ""
    view = view_of(target, arm)
    if view is not None and not view.is_settled:
        return pause(op, None, f"Azure: {view.provisioning_state}")
    op.memo.setdefault("azure_error", "")
    return None


def watched(op: Operation, target: ComputeTarget, arm: Arm, submit: StepFunction) -> Wait | None:
    """None once Azure's job has ended; one that a failure made us forget is submitted again first."""
    if op.memo.get("accepted"):
        return follow(op, target, arm)
    return submit(op) or Wait(op.memo.get("first_pause") or 0, "Submitted again")


def pause(op: Operation, asked: float | None, note: str) -> Wait:
    """Wait as long as Azure asked, else 5 s growing to 30 s."""
    polls = op.memo["polls"] = op.memo.get("polls", 0) + 1
    seconds = asked if asked is not None else min(LONGEST_PAUSE, FIRST_PAUSE * 1.5 ** min(polls - 1, 9))
    return Wait(seconds, note)


def settled_view(op: Operation, target: ComputeTarget, arm: Arm) -> ClusterView | None:
    """The cluster after its job ended well. Raises AzureFailed otherwise; a retry then submits again."""
    view = view_of(target, arm)
    state = view.provisioning_state if view else GONE_STATE
    error = op.memo.pop("azure_error", "")
    if view is None or error or state.lower() in ("failed", "canceled"):
        forget_job(op, state)
        raise AzureFailed(error or f"Azure has the cluster {target.cluster_name} as {state}, without a reason.")
    return view


def forget_job(op: Operation, state: str) -> None:
    """So that a retry looks and submits again; `state` is how Azure left the cluster."""
    for name in ("accepted", "operation_url", "polls", "first_pause", "azure_error", "asked", "abort_waited"):
        op.memo.pop(name, None)
    op.memo["azure_ended"] = state


def has_begun(op: Operation) -> bool:
    """Whether Azure took the operation's job, as far as we know."""
    return bool(op.memo.get("accepted") or op.memo.get("azure_ended"))


def has_happened(op: Operation) -> bool:
    """Whether Azure took the job and did not end it badly, as far as we know: what was wanted is there, or will be."""
    return bool(op.memo.get("accepted") and not op.memo.get("azure_ended"))


def settle_change(op: Operation, words: str) -> None:
    """The end of a change of a target that was well: refused, it is as before, with `words` and why as its reason."""
    rows = ComputeTarget.objects.filter(pk=op.input["target_id"])
    reason = str((op.error or {}).get("detail", "")) or f"It ended as {op.state}."
    if op.state == OperationState.SUCCEEDED:
        rows.update(state=ComputeState.SUCCEEDED, reason="")
    elif has_happened(op) and op.state == OperationState.CANCELLED:
        rows.update(state=ComputeState.SUCCEEDED, reason=CANCELLED_LATE)
    elif has_begun(op) and op.state == OperationState.CANCELLED:
        rows.update(state=ComputeState.CANCELED, reason=CANCELLED)
    elif has_begun(op):
        rows.update(state=ComputeState.FAILED, reason=reason)
    else:
        rows.update(state=op.input["state_before"], reason=f"{words}: {reason}")


def ending(op: Operation) -> tuple[ComputeState, str]:
    """The row's state and reason for how an operation ended."""
    reason = str((op.error or {}).get("detail", ""))
    if op.state == OperationState.SUCCEEDED:
        return ComputeState.SUCCEEDED, ""
    if op.state == OperationState.CANCELLED:
        return ComputeState.CANCELED, _cancelled(op)
    return ComputeState.FAILED, reason


def _cancelled(op: Operation) -> str:
    """What a cancelled create or attach left, and what can be done."""
    if op.kind != OperationKind.COMPUTE_CREATE:
        return "Cancelled. Detach it, or run it again."
    if op.memo.get("azure_ended") == GONE_STATE:
        return "Cancelled: Azure has no such cluster any more. Delete it, or run it again."
    if op.memo.get("azure_ended"):
        return "Cancelled: Azure stopped making the cluster, and keeps what there is of it. Delete it, or run it again."
    if op.memo.get("accepted"):
        return "Cancelled after Azure had made the cluster, which costs. Delete it, or run it again."
    return "Cancelled before Azure was asked for anything. Delete it, or run it again."


def owner_mark(target: ComputeTarget) -> str:
    """The value of our tag on a cluster that we created for this row."""
    return f"{target.workspace.slug}.{target.pk}"
