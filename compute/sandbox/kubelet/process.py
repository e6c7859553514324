"""Processes of containers: started confined, awaited through a pidfd, ended with everything they made."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from compute.sandbox.kubelet import confine, reaper

Sink = Callable[[bytes], None]
_CHUNK = 65536


class Reaper:
    """The small process that ends what pods left when this one is killed; started again when it dies."""

    def __init__(self) -> None:
        self._running: dict[int, str] = {}
        self._process: subprocess.Popen[str] | None = None

    def add(self, session: int, home: str) -> None:
        """A container's session began."""
        self._running[session] = home
        self._tell(f"+{session} {home}\n")

    def discard(self, session: int) -> None:
        """The session is empty."""
        if self._running.pop(session, None) is not None:
            self._tell(f"-{session}\n")

    def close(self) -> None:
        """End it; it kills whatever was not discarded."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _tell(self, line: str) -> None:
        try:
            if self._process is None or self._process.poll() is not None:
                self._start()
                return
            self._write(line)
        except OSError:
            self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", reaper.__file__],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
            start_new_session=True, cwd="/", env={},
        )  # fmt: skip
        for session, home in self._running.items():
            self._write(f"+{session} {home}\n")

    def _write(self, line: str) -> None:
        assert self._process is not None  # noqa: S101 - callers started it
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(line)
        self._process.stdin.flush()


class Process:
    """A confined program and all that it starts. Call `start` on the main thread: the program dies with it."""

    def __init__(self, child: subprocess.Popen[bytes], home: str, sink: Sink, owner: Reaper | None) -> None:
        self._child, self._home, self._sink, self._reaper = child, home, sink, owner
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self.pid = child.pid
        assert child.stdout is not None  # noqa: S101 - asked for in `start`
        self._out: int | None = child.stdout.fileno()
        os.set_blocking(self._out, False)
        self._loop.add_reader(self._out, self._read)
        self._pidfd = os.pidfd_open(child.pid)
        self._loop.add_reader(self._pidfd, self._reap)

    @classmethod
    def start(cls, spec: confine.Spec, sink: Sink, owner: Reaper | None, home: str = "") -> Process:
        """Start the program; its output goes to `sink`. What has `home` as HOME ends with it, in any session."""
        wanted: confine.Spec = {**spec, "parent": os.getpid(), "confined": confine.is_wanted()}
        with _sealed(confine.encode(wanted)) as fd:
            child = subprocess.Popen(
                confine.command(fd), pass_fds=(fd,), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, start_new_session=True, cwd="/", env={},
            )  # fmt: skip
        if owner is not None:
            owner.add(child.pid, home)
        return cls(child, home, sink, owner)

    async def wait(self) -> int:
        """The exit code, 128 + number when a signal ended it; by then nothing of it runs."""
        return await asyncio.shield(self._ended)

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self._ended.done()

    def terminate(self) -> None:
        """SIGTERM to the first process, as a container runtime does."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to everything."""
        if not self.ended:
            self._signal(signal.SIGKILL)
            self._sweep()

    def _signal(self, number: signal.Signals) -> None:
        if not self.ended:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _sweep(self) -> None:
        reaper.kill({self.pid}, {self._home} if self._home else set(), rounds=5)

    def _reap(self) -> None:
        code = self._child.poll()
        if code is None:
            return
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._sweep()
        self._read()
        self._close_output()
        if self._reaper is not None:
            self._reaper.discard(self.pid)
        if not self._ended.done():
            self._ended.set_result(code if code >= 0 else 128 - code)

    def _read(self) -> None:
        while self._out is not None:
            try:
                data = os.read(self._out, _CHUNK)
            except BlockingIOError:
                return
            if not data:
                self._close_output()
                return
            self._sink(data)
            if len(data) < _CHUNK:
                return

    def _close_output(self) -> None:
        if self._out is not None and self._child.stdout is not None:
            self._loop.remove_reader(self._out)
            self._child.stdout.close()
            self._out = None


@contextlib.contextmanager
def _sealed(data: bytes) -> Iterator[int]:
    fd = os.memfd_create("container")
    try:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


def find_program(name: str, search: str, cwd: Path) -> str | None:
    """Where the program is on the container's PATH, or None."""
    if "/" in name:
        path = cwd / name
        return str(path) if os.access(path, os.X_OK) else None
    for folder in search.split(":"):
        candidate = Path(folder) / name
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    return None
