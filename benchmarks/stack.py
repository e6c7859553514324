"""Start times and memory of the idle stack."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.base import Portal, Result
from portal.launcher.supervisor import descendants

SECOND_UP_SECONDS = 10


def run(portal: Portal) -> list[Result]:
    """First start of an empty home, second start of the same, memory after 15 s of rest."""
    portal.forget()
    first = portal.up()
    portal.down()
    second = portal.up()
    time.sleep(15)
    rows = {name: memory(pid) for name, pid in portal.pids().items()}
    supervisor = memory(int((portal.path / "run" / "lock").read_text()), deep=False)
    total = sum(rows.values()) + supervisor
    parts = ", ".join(f"{name} {value:.0f}" for name, value in rows.items())
    return [
        Result("first up", f"{first:.1f} s", "empty home, packages installed"),
        Result(
            "second up", f"{second:.1f} s, {second / first:.2f} of the first", "after down; limit 10 s",
            is_good=second <= SECOND_UP_SECONDS,
        ),
        Result("memory at rest", f"{total:.0f} MB: {parts}, supervisor {supervisor:.0f}", "sum of PSS, smaps_rollup"),
    ]  # fmt: skip


def memory(pid: int, *, deep: bool = True) -> float:
    """Proportional set size of a process, and of everything below it, in MB."""
    pids = {pid} | (descendants(pid, deep=True) if deep else set())
    return sum(_pss(one) for one in pids) / 1024


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
