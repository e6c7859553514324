"""The looks at gateways as messages: what a worker whose clock differs from beat's makes of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from endpoints import tasks
from portal.celery import app


def test_a_look_is_not_too_old_for_a_worker_whose_clock_is_two_seconds_ahead_of_beats() -> None:
    entry = app.conf.beat_schedule["look-at-gateways"]
    beats = datetime.now(UTC) - timedelta(seconds=2)
    message = app.amqp.as_task_v2("id", entry["task"], now=beats, **entry["options"])
    assert entry["task"] == tasks.look_at_gateways.name
    assert datetime.fromisoformat(message.headers["expires"]) > datetime.now(UTC)
