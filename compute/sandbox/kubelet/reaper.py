"""Kills what pods left behind when the sandbox dies: `python -I -S reaper.py`, told on its standard input what runs.

The kernel ends a pod's first process with the sandbox, but not the processes that it made. This small process reads one
line per container ("+SESSION HOME" or "-SESSION") and, when its input ends because the sandbox died, kills all of
them. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Entry(NamedTuple):
    """One live process: its pid, its session and its resident memory in bytes."""

    pid: int
    session: int
    resident: int


def processes() -> Iterator[Entry]:
    """Every process of the machine that is not a zombie."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rsplit(b") ", 1)[1].split()
        except OSError:
            continue  # It ended while we looked.
        if fields[0] not in (b"Z", b"X"):
            yield Entry(int(name), int(fields[3]), int(fields[21]) * _PAGE)


def belongs(pid: int, homes: set[str]) -> bool:
    """Whether the process was started with one of these folders as HOME (it may have left its session)."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = file.read().split(b"\0")
    except OSError:
        return False
    return any(item[5:].decode(errors="replace") in homes for item in environment if item.startswith(b"HOME="))


def members(sessions: set[int], homes: set[str]) -> list[int]:
    """The pids of live processes in these sessions or with these homes."""
    me = os.getpid()
    return [
        entry.pid
        for entry in processes()
        if entry.pid != me and (entry.session in sessions or (homes and belongs(entry.pid, homes)))
    ]


def kill(sessions: set[int], homes: set[str], *, rounds: int = 20) -> None:
    """Kill until none is left, because a program may make new processes while it is being killed."""
    for _ in range(rounds):
        found = members(sessions, homes)
        if not found:
            return
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def follow(lines: Iterable[str]) -> None:
    """Remember what runs until the input ends, then kill it."""
    running: dict[int, str] = {}
    for line in lines:
        session, _, home = line[1:].strip().partition(" ")
        if line.startswith("+"):
            running[int(session)] = home
        else:
            running.pop(int(session), None)
    if running:
        kill(set(running), set(running.values()))


if __name__ == "__main__":
    # A Ctrl-C at the terminal goes to the whole group: the end of the input is what counts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    follow(sys.stdin)
