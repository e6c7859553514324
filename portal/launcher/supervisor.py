"""Keeps the processes of a home alive and ends them all, with everything that they left behind.

Single-threaded on purpose: PR_SET_PDEATHSIG fires when the *thread* that forked ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portal.launcher import warm
from portal.launcher.home import Home, write_private
from portal.launcher.processes import ROOT, Process

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36
FIRST_BACKOFF, MOST_BACKOFF, CALM_SECONDS = 0.3, 10.0, 30.0
STOP_SECONDS = 20.0
LOG_BYTES = 16 * 1024 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Child:
    """A process that is kept alive."""

    process: Process
    popen: subprocess.Popen[bytes] | warm.Forked | None = None
    started: float = 0.0
    backoff: float = FIRST_BACKOFF
    due: float = 0.0
    ready: bool = False
    restarts: int = 0

    @property
    def state(self) -> str:
        """running, starting or waiting (to be started again)."""
        if self.popen is None:
            return "waiting"
        return "running" if self.ready else "starting"


class Supervisor:
    """Starts in order, restarts with a back-off that doubles from 0.3 s to 10 s, stops in reverse."""

    def __init__(self, home: Home, processes: list[Process], on_ready: Callable[[], None] | None = None) -> None:
        self.home = home
        self.on_ready = on_ready
        self.children = [Child(process) for process in processes]
        self.is_stopping = False
        self._written = ""
        self._is_warm: bool | None = None
        self._rotated = time.monotonic()

    def run(self) -> None:
        """Until SIGTERM, SIGINT or SIGHUP."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop_soon)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
        try:
            while not self.is_stopping:
                self._turn()
                time.sleep(0.1 if any(not child.ready for child in self.children) else 0.5)
        finally:
            self.stop()

    def _stop_soon(self, *_: Any) -> None:
        self.is_stopping = True

    def _turn(self) -> None:
        for child in self.children:
            self._look_after(child)
            if child is self.children[0] and not child.ready:
                break  # the broker first: all others need it
        self._reap_strays()
        self._rotate_logs()
        self._write_state()
        if self.on_ready and all(child.ready for child in self.children):
            self.on_ready()
            self.on_ready = None

    def _look_after(self, child: Child) -> None:
        now = time.monotonic()
        if child.popen is not None and child.popen.poll() is not None:
            self._note_death(child, now)
        if child.popen is None and now >= child.due:
            self._start(child, now)
        if child.popen is not None and not child.ready:
            child.ready = child.process.is_ready()
        if child.ready and now - child.started > CALM_SECONDS:
            child.backoff = FIRST_BACKOFF

    def _note_death(self, child: Child, now: float) -> None:
        if child.popen is None or child.popen.returncode is None:
            return
        kill_group(child.popen.pid)
        self._say(f"{child.process.name} ended ({describe(child.popen.returncode)}); again in {child.backoff:.1f} s")
        child.popen, child.ready, child.restarts = None, False, child.restarts + 1
        child.due, child.backoff = now + child.backoff, min(MOST_BACKOFF, child.backoff * 2)

    def _start(self, child: Child, now: float) -> None:
        log = self.home.file("logs", f"{child.process.name}.log")
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            start = warm.Forked if self._can_fork(child.process) else _execute
            child.popen = start(child.process, file.fileno(), _die_with(os.getpid(), child.process.name))
        child.started = now

    def _can_fork(self, process: Process) -> bool:
        """The first that may be forked has the product loaded, while broker and sandbox start."""
        if process.entry and self._is_warm is None:
            self._is_warm = warm.load(process.env)
        return bool(process.entry and self._is_warm)

    def stop(self) -> None:
        """End everything in reverse order; what does not end in time is killed, and so is what it left behind."""
        self._write_state(stopping=True)
        for child in reversed(self.children):
            if child.popen is not None:
                child.popen.terminate()
                if child.process.name not in ("web", "beat"):  # those two may end beside the next one
                    finish(child.popen)
        for child in self.children:
            if child.popen is not None:
                finish(child.popen)
                kill_group(child.popen.pid)
        self._kill_strays()
        self.home.file("run", "state.json").unlink(missing_ok=True)
        for name in ("broker",):
            (self.home.sockets / name).unlink(missing_ok=True)

    def _own(self) -> set[int]:
        return {child.popen.pid for child in self.children if child.popen is not None}

    def _reap_strays(self) -> None:
        """Collect adopted grandchildren that ended; our own are collected through their Popen."""
        for pid in descendants(os.getpid(), deep=False) - self._own():
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue

    def _kill_strays(self) -> None:
        until = time.monotonic() + 5
        while (left := descendants(os.getpid(), deep=True)) and time.monotonic() < until:
            for pid in left:
                _signal(pid, signal.SIGKILL)
            self._reap_strays()
            time.sleep(0.05)

    def _rotate_logs(self) -> None:
        if time.monotonic() - self._rotated < 60:
            return
        self._rotated = time.monotonic()
        for log in self.home.file("logs").glob("*.log"):
            if log.stat().st_size > LOG_BYTES:
                log.with_suffix(".log.1").write_bytes(log.read_bytes())
                os.truncate(log, 0)

    def _write_state(self, *, stopping: bool = False) -> None:
        rows = [
            {
                "name": child.process.name,
                "pid": child.popen.pid if child.popen else None,
                "state": "stopping" if stopping else child.state,
                "restarts": child.restarts,
            }
            for child in self.children
        ]
        text = json.dumps({"supervisor": os.getpid(), "processes": rows})
        if text != self._written:
            write_private(self.home.file("run", "state.json"), text)
            self._written = text

    def _say(self, text: str) -> None:
        print(time.strftime("%H:%M:%S"), text, flush=True)


def _execute(process: Process, output: int, hook: Callable[[], None]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: PLW1509  (single-threaded: the hook is safe, and prctl has no other place)
        process.argv,
        cwd=ROOT,
        env=dict(process.env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=hook,
    )


def _die_with(parent: int, name: str) -> Callable[[], None]:
    """Before its program: it ends when its parent does, and `top` shows which of several forks it is."""

    def hook() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        _libc.prctl(PR_SET_NAME, f"slipway-{name}".encode())
        if os.getppid() != parent:
            os._exit(1)

    return hook


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def kill_group(pid: int) -> None:
    """End what is left of a process's group: pool children of a killed worker, workers of a killed web server."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def finish(popen: subprocess.Popen[bytes] | warm.Forked) -> None:
    """Wait for the end of a process that was asked to end; kill it after 20 s."""
    try:
        popen.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()


def describe(code: int) -> str:
    """An exit code in words."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def descendants(pid: int, *, deep: bool) -> set[int]:
    """The children of a process, or everything below it, from /proc."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            children = [int(word) for word in (task / "children").read_text().split()]
        except OSError:
            continue
        found.update(children)
        if deep:
            found.update(*(descendants(child, deep=True) for child in children))
    return found
