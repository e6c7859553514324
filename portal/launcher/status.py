"""What runs in a home, read from the supervisor's file and from the system; works while everything else is dead."""

from __future__ import annotations

import os
from typing import Any

from portal.launcher import home as homes
from portal.launcher.home import Home

OURS = (b"supervise", b"gunicorn", b"celery", b"compute.sandbox", b"valkey")
NAMES = ("broker", "sandbox", "web", "web-tls", "worker", "beat")


def is_alive(pid: int | None) -> bool:
    """Whether a process exists and is more than a corpse."""
    if not pid:
        return False
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def processes(home: Home | None) -> list[dict[str, Any]]:
    """One row per process: name, pid, state (running, starting, waiting, stopping, stopped)."""
    if home is None or not homes.is_running(home):
        return [{"name": name, "pid": None, "state": "stopped"} for name in NAMES]
    rows = (home.read("run/state.json") or {}).get("processes", [])
    for row in rows:
        if not is_alive(row["pid"]):
            row.update(pid=None, state="waiting")
    return [{name: row[name] for name in ("name", "pid", "state")} for row in rows]


def supervisor_pid(home: Home) -> int | None:
    """The pid in the lock file of a running home."""
    text = home.file("run", "lock").read_text().strip()
    return int(text) if text.isdigit() else None


def leftovers(home: Home) -> list[int]:
    """Processes of this user that a killed supervisor of this home left: their environment names the home."""
    mark = {f"SLIPWAY_HOME={home.path}".encode(), f"SANDBOX_STATE={home.file('sandbox')}".encode()}
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in (os.getpid(), os.getppid()):
            continue
        try:
            if os.stat(f"/proc/{entry}").st_uid != os.getuid():
                continue
            with open(f"/proc/{entry}/environ", "rb") as environ, open(f"/proc/{entry}/cmdline", "rb") as line:
                is_ours = not mark.isdisjoint(environ.read().split(b"\0"))
                words = line.read()
        except OSError:
            continue
        if is_ours and any(word in words for word in OURS):
            found.append(int(entry))
    return found
