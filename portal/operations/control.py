"""Cancel a running operation, or go on with one that failed. Both act between steps."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from portal import audit
from portal.models import Operation, User
from portal.operations.plans import plan_of
from portal.operations.start import busy, ring
from portal.problems import Conflict
from portal.types import ACTIVE_STATES, OperationState

CANCELLING = "It stops before its next step; what Azure does for it is stopped first, where that is possible."
RETRYABLE = (OperationState.FAILED, OperationState.TIMED_OUT, OperationState.CANCELLED, OperationState.ROLLED_BACK)


@transaction.atomic
def cancel(*, op: Operation, actor: User) -> Operation:
    """Ask a running operation to stop, as CANCELLING says. Raises Conflict (409) when it has ended."""
    changed = Operation.objects.filter(pk=op.pk, state__in=ACTIVE_STATES).update(
        is_cancel_requested=True, due_at=timezone.now()
    )
    if not changed:
        raise Conflict(f"This operation has ended ({op.state}): there is nothing to cancel.")
    audit.record(action="operation.cancel_requested", on=op, actor=actor, operation=op)
    transaction.on_commit(lambda: ring(op))
    op.refresh_from_db()
    return op


AS_NEW: dict[str, Any] = {
    "is_undoing": False, "attempts": 0, "error": None, "ended_at": None, "deadline_at": None,
    "is_cancel_requested": False, "lease": None, "leased_until": None, "note": "",
}  # fmt: skip


@transaction.atomic
def retry(*, op: Operation, actor: User, take_over: bool = False) -> Operation:
    """Run a failed operation again from the step that failed (from the first after a roll-back).

    With `take_over` it sets in the cluster also what somebody else has set there, which made it fail.
    Raises Conflict (409) when it has not failed or a later one ran on the target, Busy (409) when another operation
    holds the target, and what the kind's own check raises.
    """
    step = 0 if op.is_undoing else op.step
    memo = {name: value for name, value in op.memo.items() if not name.startswith("_") and not op.is_undoing}
    claims = (op.error or {}).get("claims") or []
    if take_over and not claims:
        raise Conflict("There is nothing to take over: nobody else's fields made this operation fail.")
    try:
        with transaction.atomic():
            changed = Operation.objects.filter(pk=op.pk, state__in=RETRYABLE).update(
                state=OperationState.RUNNING, step=step, memo={**memo, "take_over": True} if take_over else memo,
                due_at=timezone.now(), **AS_NEW,
            )  # fmt: skip
    except IntegrityError:
        raise busy(op.target_ref, op.target_name) from None
    if not changed:
        raise Conflict(f"Only an operation that failed can be run again; this one is {op.state}.")
    _check(op)
    audit.record(
        action="operation.retried", on=op, actor=actor, operation=op, before={"state": op.state},
        after={"take_over": claims} if take_over else None,
    )  # fmt: skip
    op.refresh_from_db()
    transaction.on_commit(lambda: ring(op))
    return op


def later_than(op: Operation) -> Operation | None:
    """The newest of the operations that were asked for on the same target since; None when there is none."""
    rows = Operation.objects.filter(target_ref=op.target_ref, created_at__gt=op.created_at).exclude(pk=op.pk)
    return rows.order_by("-created_at").first()


def _check(op: Operation) -> None:
    """Whether what was asked for then may still be done; the target is held meanwhile."""
    later = later_than(op)
    if later is not None:
        raise Conflict(
            f"{op.target_name} was changed since ({later.get_kind_display()} {later.pk}): only the newest operation on "
            "it can be run again. Ask anew.",
            operation=str(later.pk),
        )
    check = plan_of(op.kind).check
    if check is not None:
        check(op)
        Operation.objects.filter(pk=op.pk).update(input=op.input)
