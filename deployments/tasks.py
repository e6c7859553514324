"""Periodic work of deployments: look at what runs."""

from __future__ import annotations

from celery import shared_task

from portal.celery import app

EVERY, MINUTE, RENEW_EVERY = 10.0, 60.0, 600.0  # seconds
app.conf.beat_schedule["observe-deployments"] = {
    "task": "deployments.observe_all", "schedule": EVERY, "options": {"expires": EVERY},
}  # fmt: skip
app.conf.beat_schedule["tidy-collected"] = {
    "task": "deployments.tidy_collected", "schedule": MINUTE, "options": {"expires": MINUTE},
}  # fmt: skip
app.conf.beat_schedule["renew-files"] = {
    "task": "deployments.renew_all", "schedule": RENEW_EVERY, "options": {"expires": RENEW_EVERY},
}  # fmt: skip


@shared_task(name="deployments.observe_all")
def observe_all() -> None:
    """Look at every compute target that runs something, each in a task of its own."""
    from deployments.models import Deployment

    for target_id in Deployment.objects.order_by().values_list("compute_target_id", flat=True).distinct():
        observe_one.apply_async((target_id,), expires=EVERY)


@shared_task(name="deployments.observe_one")
def observe_one(target_id: int) -> None:
    """Look at the deployments of one compute target."""
    from deployments import steps

    steps.observe_target(target_id)


@shared_task(name="deployments.tidy_collected")
def tidy_collected() -> None:
    """Look after the store of collected requests."""
    from deployments.steps import collected

    collected.tidy()


@shared_task(name="deployments.renew_all")
def renew_all() -> None:
    """Renew the addresses of code and models that end soon, each deployment in a task of its own."""
    from deployments import steps

    for deployment_id in steps.due():
        renew_one.apply_async((deployment_id,), expires=RENEW_EVERY)


@shared_task(name="deployments.renew_one")
def renew_one(deployment_id: int) -> None:
    """Renew those of one deployment."""
    from deployments import steps

    steps.renew(deployment_id)
