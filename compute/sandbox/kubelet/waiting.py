"""Waiting: times that double, and for the first of several things."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

_LONGEST_BACK_OFF = 30.0
_STABLE_SECONDS = 600.0


class BackOff:
    """Waiting times that double, forgotten after the container ran well for ten minutes."""

    def __init__(self, first: float) -> None:
        self._first, self._next = first, 0.0

    def take(self, ran_seconds: float) -> float:
        """How long to wait now: nothing the first time."""
        if ran_seconds >= _STABLE_SECONDS:
            self._next = 0.0
        now = self._next
        self._next = min(now * 2 or self._first, _LONGEST_BACK_OFF)
        return now


async def first(*events: asyncio.Event) -> None:
    """Wait for one of the events."""
    waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel(waits)


async def cancel(tasks: list[Any]) -> None:
    """Cancel tasks and wait until they are over."""
    for task in tasks:
        task.cancel()
    done: Awaitable[Any] = asyncio.gather(*tasks, return_exceptions=True)
    await done
