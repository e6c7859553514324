"""Periodic work: look at every gateway each second, and forget old numbers."""

from __future__ import annotations

from celery import shared_task

from portal.celery import app

EVERY, WATCH, HOUR = 1.0, 30.0, 3600.0  # seconds
STALE = 3 * EVERY  # beat and workers judge it each by their own clock: a second of difference must not stop all looks
app.conf.beat_schedule["look-at-gateways"] = {
    "task": "endpoints.look_at_gateways",
    "schedule": EVERY,
    "options": {"expires": STALE},
}
app.conf.beat_schedule["forget-old-numbers"] = {"task": "endpoints.forget_old_numbers", "schedule": HOUR}
app.conf.beat_schedule["watch-workloads"] = {
    "task": "endpoints.watch_workloads", "schedule": WATCH, "options": {"expires": WATCH},
}  # fmt: skip
app.conf.beat_schedule["renew-signing-keys"] = {"task": "endpoints.renew_signing_keys", "schedule": HOUR}
app.conf.beat_schedule["watch-certificates"] = {"task": "endpoints.watch_certificates", "schedule": HOUR}


@shared_task(name="endpoints.look_at_gateways")
def look_at_gateways() -> None:
    """One reading per gateway and tick, each in a task of its own."""
    from endpoints import queries

    for gateway_id in queries.gateways_to_look_at():
        look_at_gateway.apply_async((gateway_id,), expires=STALE)


@shared_task(name="endpoints.look_at_gateway")
def look_at_gateway(gateway_id: int) -> None:
    """Read counters, scale replicas, bring changed health to the routes."""
    from endpoints.steps import numbers

    numbers.look(gateway_id)


@shared_task(name="endpoints.watch_workloads")
def watch_workloads() -> None:
    """Compare what runs with what was applied, each target in a task of its own."""
    from compute import queries

    for target_id in queries.targets_to_watch():
        watch_target.apply_async((target_id,), expires=WATCH)


@shared_task(name="endpoints.watch_target")
def watch_target(target_id: int) -> None:
    """Compare what runs on one target with what was applied there."""
    from endpoints.steps import watch

    watch.watch_target(target_id)


@shared_task(name="endpoints.forget_old_numbers")
def forget_old_numbers() -> None:
    """Keep a day of samples."""
    from endpoints.steps import numbers

    numbers.forget_old()


@shared_task(name="endpoints.renew_signing_keys")
def renew_signing_keys() -> None:
    """A new key for scoring tokens each month."""
    from endpoints import actions

    actions.signing_key_renew()


@shared_task(name="endpoints.watch_certificates")
def watch_certificates() -> None:
    """Renew made certificates, tell before one ends."""
    from endpoints import actions

    actions.certificates_watch()
