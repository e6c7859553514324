"""Begin an operation, and ring the doorbell."""

from __future__ import annotations

import structlog
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from portal.models import Operation, User
from portal.problems import Conflict
from portal.types import ACTIVE_STATES, OperationKind, Target

log = structlog.get_logger(__name__)


class Busy(Conflict):
    """Another operation holds the target; `operation` is its id."""

    code, title = "operation_running", "Another operation is running"


def active_on(ref: str) -> Operation | None:
    """The operation that holds the target, if any."""
    return Operation.objects.filter(target_ref=ref, state__in=ACTIVE_STATES).first()


def start(*, kind: OperationKind, on: Target, actor: User | None, **given: object) -> Operation:
    """Store a new operation on `on` in the caller's transaction and ring once that is committed.

    `given` becomes `op.input`: JSON, ids and plain values, never a secret. Raises Busy (409) with the running
    operation's id when the target has one already.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("operations.start belongs into the action's transaction")
    now = timezone.now()
    try:
        with transaction.atomic():
            op = Operation.objects.create(
                workspace=on.workspace,
                kind=kind,
                target_ref=on.ref,
                target_name=on.name,
                input=given,
                actor=actor,
                due_at=now,
                created_at=now,
            )
    except IntegrityError:
        raise busy(on.ref, on.name) from None
    transaction.on_commit(lambda: ring(op))
    return op


def busy(ref: str, name: str) -> Busy:
    """The 409 that names the operation in the way."""
    running = active_on(ref)
    if running is None:
        return Busy(f"{name} was busy a moment ago. Try again.")
    return Busy(
        f"{name} is busy: {running.get_kind_display()} {running.pk} is running. Wait until it ends, or cancel it.",
        operation=str(running.pk),
    )


def ring(op: Operation, delay: float = 0) -> None:
    """Tell a worker to look at `op` in `delay` seconds. A lost ring costs seconds, never the work: beat rings again."""
    from portal.celery import advance_operation  # the task imports the engine

    try:
        advance_operation.apply_async((str(op.pk),), countdown=delay)
    except Exception as error:  # any broker trouble: the row is the truth and beat will ring
        log.warning("doorbell_lost", operation=str(op.pk), error=type(error).__name__)
