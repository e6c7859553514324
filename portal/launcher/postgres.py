"""A PostgreSQL server for one test run: on a Unix socket in a temporary folder, gone afterwards."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=", "max_connections=60")
READY_SECONDS = 30


def find(program: str) -> str | None:
    """A PostgreSQL program: the newest that the system's package brings, else from PATH."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{program}"), key=_version)
    return found[-1] if found else shutil.which(program)


def _version(path: str) -> int:
    name = path.split("/")[4]
    return int(name) if name.isdigit() else 0


@contextmanager
def server() -> Iterator[str | None]:
    """A running server's DATABASE_URL; None when PostgreSQL is not installed."""
    initdb, postgres = find("initdb"), find("postgres")
    if not initdb or not postgres:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="slipway-pg-", dir="/tmp") as folder:  # noqa: S108  (0700, and the path is short)
        who = _other_user(folder)
        data = Path(folder) / "data"
        initial = (initdb, "-D", str(data), "-U", "slipway", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        subprocess.run(initial, check=True, stdout=subprocess.DEVNULL, cwd=folder, **who)
        settings = [word for line in (*FAST, f"unix_socket_directories={folder}") for word in ("-c", line)]
        process = subprocess.Popen(
            (postgres, "-D", str(data), *settings),
            cwd=folder,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            **who,
        )
        try:
            _wait(data / "postmaster.pid", process)
            yield f"postgresql://slipway@/slipway?host={folder}"
        finally:
            process.terminate()
            process.wait(20)


def _other_user(folder: str) -> dict[str, Any]:
    """PostgreSQL refuses root: then it runs as its own user, or as nobody, who gets the folder."""
    if os.getuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _wait(note: Path, process: subprocess.Popen[bytes]) -> None:
    """The socket is there before the server answers; its own note says when it is ready."""
    until = time.monotonic() + READY_SECONDS
    while not (note.exists() and "ready" in note.read_text().split()):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError("PostgreSQL did not start")
        time.sleep(0.05)
