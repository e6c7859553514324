"""Watches what containers use of their memory limit; above it they end as `OOMKilled`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from compute.sandbox.kubelet import reaper

if TYPE_CHECKING:
    from compute.sandbox.kubelet.container import Container

_SECONDS = 0.5


async def watch(limited: Callable[[], list[tuple[Container, float]]]) -> None:
    """Look twice a second, for ever, at the containers that have a limit (in bytes)."""
    while True:
        wanted = limited()
        if wanted:
            check(wanted)
        await asyncio.sleep(_SECONDS)


def check(wanted: list[tuple[Container, float]]) -> None:
    """End the containers that are over their limit."""
    sessions: dict[int, list[reaper.Entry]] = {}
    for entry in reaper.processes():
        sessions.setdefault(entry.session, []).append(entry)
    for container, limit in wanted:
        mine = [entry for session in container.pids() for entry in sessions.get(session, [])]
        # Resident memory counts shared pages once per process; only when that is too much is the exact sum worth it.
        if sum(entry.resident for entry in mine) > limit and sum(_proportional(entry) for entry in mine) > limit:
            container.out_of_memory()


def _proportional(entry: reaper.Entry) -> int:
    try:
        with open(f"/proc/{entry.pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return entry.resident
