"""Periodic work of compute: the drift check."""

from __future__ import annotations

from celery import shared_task

from portal.celery import app

EVERY = 30.0  # seconds
app.conf.beat_schedule["watch-compute-targets"] = {
    "task": "compute.watch_targets", "schedule": EVERY, "options": {"expires": EVERY},
}  # fmt: skip


@shared_task(name="compute.watch_targets")
def watch_targets() -> None:
    """Look at every compute target, each in a task of its own."""
    from compute import queries

    for target_id in queries.targets_to_watch():
        watch_target.apply_async((target_id,), expires=EVERY)


@shared_task(name="compute.watch_target")
def watch_target(target_id: int) -> None:
    """Look at one compute target."""
    from compute import steps

    steps.watch_target(target_id)
