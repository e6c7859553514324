"""Advance an operation by one step, under a lease, with compare-and-set writes only."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from portal import audit
from portal.models import Operation, OperationLog
from portal.operations.plans import ABORTING, Plan, Step, TooLate, plan_of
from portal.operations.start import ring
from portal.problems import Held, Problem, Retryable
from portal.types import ACTIVE_STATES, OperationState, Wait

log = structlog.get_logger(__name__)
TRIES = 5
MOST_HELD = 7200  # seconds by which waiting for turns may put off the deadlines of an operation, in all
LONGEST_COUNTDOWN = 60  # seconds; what waits longer is rung by beat


class LostLease(Exception):
    """Another worker has the operation now: write nothing."""


def database_now() -> datetime:
    """The database's clock, so that workers on several machines agree."""
    if connection.vendor == "sqlite":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def due() -> Iterable[Operation]:
    """Operations whose time has come and that nobody holds."""
    now = database_now()
    return Operation.objects.filter(_free(now), _ripe(now), state__in=ACTIVE_STATES).order_by("due_at")[:1000]


def advance(operation_id: str) -> None:
    """Run one step of an operation if it is due and free. Safe to call at any time, any number of times."""
    op = _claim(operation_id)
    if op is None:
        return
    with structlog.contextvars.bound_contextvars(operation=str(op.pk), kind=op.kind):
        try:
            _advance(op, plan_of(op.kind))
        except LostLease:
            log.warning("lease_lost", step=op.step)


def remember(op: Operation, **facts: Any) -> None:
    """Store facts in `op.memo` at once, e.g. the URL of work that was accepted outside. Raises LostLease."""
    op.memo = {**op.memo, **facts}
    _write(op, memo=op.memo)


def renew(op: Operation, **facts: Any) -> None:
    """Hold the operation for a whole lease from now on; call it just before what must not be asked for twice.

    `facts` are remembered in the same write. Raises LostLease when another worker has it.
    """
    op.memo = {**op.memo, **facts}
    until = database_now() + timedelta(seconds=settings.OPERATION_LEASE_SECONDS)
    _write(op, leased_until=until, **({"memo": op.memo} if facts else {}))


def _free(now: datetime) -> Q:
    return Q(leased_until__isnull=True) | Q(leased_until__lt=now)


def _ripe(now: datetime) -> Q:
    return Q(due_at__lte=now) | Q(is_cancel_requested=True, is_undoing=False)


def _claim(operation_id: str) -> Operation | None:
    now = database_now()
    lease = uuid.uuid4()
    taken = Operation.objects.filter(
        _free(now), _ripe(now + timedelta(milliseconds=50)), pk=operation_id, state__in=ACTIVE_STATES
    ).update(lease=lease, leased_until=now + timedelta(seconds=settings.OPERATION_LEASE_SECONDS))
    if not taken:
        return None
    return Operation.objects.select_related("workspace__team", "actor").get(pk=operation_id)


def _write(op: Operation, **fields: Any) -> None:
    """Write only while the lease is ours."""
    if not Operation.objects.filter(pk=op.pk, lease=op.lease).update(**fields):
        raise LostLease
    for name, value in fields.items():
        setattr(op, name, value)


def _advance(op: Operation, plan: Plan) -> None:
    now = database_now()
    if op.state == OperationState.NOT_STARTED:
        _write(op, state=OperationState.RUNNING, started_at=now)
    if op.is_cancel_requested and not op.is_undoing:
        return _give_up(op, plan, OperationState.CANCELLED, None)
    steps = plan.steps_of(op)
    if op.step >= len(steps):
        return _end(op, plan, op.memo.get("_ending", OperationState.SUCCEEDED), op.error)
    step = steps[op.step]
    if op.deadline_at is None:
        _write(op, deadline_at=now + timedelta(seconds=step.seconds))
        _line(op, step, "started", "")
    elif now > op.deadline_at and step is plan.abort:
        return _resume(op, step, TooLate(f"It was not stopped within {step.seconds} s."))
    elif now > op.deadline_at:
        return _give_up(op, plan, OperationState.TIMED_OUT, _too_long(step, op))
    return _run(op, plan, step)


def _run(op: Operation, plan: Plan, step: Step) -> None:
    try:
        answer = step.function(op)
    except Held as turn:
        _hold(op, step, turn)
    except TooLate as late:
        _resume(op, step, late)
    except Problem as problem:
        _line(op, step, "failed", problem.detail)
        _give_up(op, plan, OperationState.FAILED, {**problem.as_dict(), "step": step.name})
    except Retryable as trouble:
        _retry(op, plan, step, trouble)
    except LostLease:
        raise
    except Exception:
        log_id = uuid.uuid4().hex[:12]
        log.exception("step_crashed", step=step.name, log_id=log_id)
        bug = Problem(f"The portal has a bug in step {step.name}. The log has it under {log_id}.")
        _line(op, step, "failed", bug.detail)
        _give_up(op, plan, OperationState.FAILED, {**bug.as_dict(), "status": 500, "code": "bug", "step": step.name})
    else:
        _go_on(op, step, answer)


def _go_on(op: Operation, step: Step, answer: Wait | None) -> None:
    if answer is not None:
        if answer.note and answer.note != op.note:
            _line(op, step, "line", answer.note)
        return _release(op, answer.seconds, memo=op.memo, attempts=0, note=answer.note)
    _line(op, step, "done", "")
    return _release(op, 0, memo=op.memo, attempts=0, note="", step=op.step + 1, deadline_at=None)


def _hold(op: Operation, step: Step, turn: Held) -> None:
    """Wait for the turn: that is no try, and not the step's own time."""
    if turn.detail != op.note:
        _line(op, step, "line", turn.detail)
    wait, held = turn.after or 1.0, op.memo.get("_held", 0.0)
    more = min(wait, MOST_HELD - held)
    memo, deadline = {**op.memo, "_held": held + more}, op.deadline_at
    moved = deadline and deadline + timedelta(seconds=more)
    _release(op, wait, memo=memo, note=turn.detail, deadline_at=moved)


def _resume(op: Operation, step: Step, late: TooLate) -> None:
    """A cancel that came too late: the operation goes on where it was."""
    _line(op, step, "done", late.detail)
    memo = {name: value for name, value in op.memo.items() if name not in (ABORTING, "_ending", "_failed_step")}
    memo["warnings"] = [*memo.get("warnings", []), f"Cancelled too late: {late.detail}"]
    back = {"is_undoing": False, "is_cancel_requested": False, "step": op.memo["_failed_step"]}
    _release(op, 0, memo=memo, attempts=0, deadline_at=None, note="", **back)


def _retry(op: Operation, plan: Plan, step: Step, trouble: Retryable) -> None:
    if op.attempts + 1 >= TRIES:
        failure = Problem(f"{trouble.detail} (tried {TRIES} times)")
        _line(op, step, "failed", failure.detail)
        error = {**failure.as_dict(), "status": 502, "code": "outside_unavailable", "step": step.name}
        return _give_up(op, plan, OperationState.FAILED, error)
    _line(op, step, "retry", trouble.detail)
    pause = max(2.0**op.attempts, trouble.after or 0)
    return _release(op, pause, memo=op.memo, attempts=op.attempts + 1, note=trouble.detail)


def _release(op: Operation, seconds: float, **fields: Any) -> None:
    due_at = database_now() + timedelta(seconds=seconds)
    _write(op, due_at=due_at, leased_until=None, **fields)
    if seconds <= LONGEST_COUNTDOWN:
        ring(op, seconds)


def _give_up(op: Operation, plan: Plan, ending: OperationState, error: dict[str, Any] | None) -> None:
    """Go to the undo steps if there are any and we are not in them, else end here. A cancel aborts outside first."""
    aborts = ending == OperationState.CANCELLED and plan.aborts(op)
    if op.is_undoing or not (plan.undo or aborts):
        return _end(op, plan, ending if not op.is_undoing else OperationState.FAILED, error or op.error)
    ending = OperationState.CANCELLED if ending == OperationState.CANCELLED else OperationState.ROLLED_BACK
    memo = {**op.memo, "_ending": ending, "_failed_step": op.step, **({ABORTING: True} if aborts else {})}
    return _release(op, 0, memo=memo, is_undoing=True, step=0, attempts=0, deadline_at=None, error=error, note="")


def _end(op: Operation, plan: Plan, state: str, error: dict[str, Any] | None) -> None:
    with transaction.atomic():
        _write(op, state=state, error=error, ended_at=database_now(), leased_until=None, memo=op.memo, note="")
        if plan.settle:
            plan.settle(op)
        detail = {"state": str(state), **({"error": error.get("detail")} if error else {})}
        audit.record(action="operation.ended", on=op, actor=op.actor, operation=op, after=detail)


def _line(op: Operation, step: Step, event: str, text: str) -> None:
    OperationLog.objects.create(operation=op, at=database_now(), step=step.name, event=event, text=text)


def _too_long(step: Step, op: Operation) -> dict[str, Any]:
    waited_for = f" It was waiting: {op.note}" if op.note else ""
    problem = Problem(f"Step {step.name} took longer than the {step.seconds} s that it may take.{waited_for}")
    return {**problem.as_dict(), "status": 504, "code": "timed_out", "step": step.name}
