"""The Celery application: doorbells and beat, nothing else."""

from __future__ import annotations

import os

from celery import Celery, shared_task

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
app = Celery("slipway")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule = {
    "recover-operations": {"task": "portal.recover_operations", "schedule": 5.0, "options": {"expires": 5}},
}


@shared_task(name="portal.advance_operation", acks_late=True)
def advance_operation(operation_id: str) -> None:
    """Run one step of one operation."""
    from portal import operations

    operations.advance(operation_id)


@shared_task(name="portal.recover_operations")
def recover_operations() -> None:
    """Ring for operations whose time has come and that nobody holds."""
    from portal import actions, operations

    actions.beat_seen(name="recover_operations")
    actions.idempotency_keys_forget()
    for op in operations.due():
        operations.ring(op)
