"""Log files of containers: one record a line, capped and rotated like a kubelet's."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

_MOST_BYTES = 10 * 1024 * 1024
_LONGEST_LINE = 16 * 1024
_WAITING_RECORDS = 20_000


class Wanted(NamedTuple):
    """What a reader asks for, as in the pod log API."""

    tail_lines: int | None = None
    follow: bool = False
    timestamps: bool = False
    since_seconds: int | None = None
    limit_bytes: int | None = None


class LogFile:
    """The log of one run of a container. Records are `TIME FLAG TEXT`; FLAG is P when the line goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._size = path.stat().st_size
        self._rest = b""
        self._followers: set[asyncio.Queue[bytes | None]] = set()
        self.closed = False

    def write(self, data: bytes) -> None:
        """Take bytes as they come from the program."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._record(b"F", line)
        while len(self._rest) >= _LONGEST_LINE:
            self._record(b"P", self._rest[:_LONGEST_LINE])
            self._rest = self._rest[_LONGEST_LINE:]
        self._file.flush()

    def close(self) -> None:
        """The container ended: followers get the rest and stop."""
        if self.closed:
            return
        if self._rest:
            self._record(b"F", self._rest)
        self._rest, self.closed = b"", True
        self._file.close()
        for queue in self._followers:
            queue.put_nowait(None)

    def _record(self, flag: bytes, line: bytes) -> None:
        nanoseconds = time.time_ns()
        moment = datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        record = f"{moment}.{nanoseconds % 10**9:09d}Z ".encode() + flag + b" " + line + b"\n"
        if self._size + len(record) > _MOST_BYTES:
            self._rotate()
        self._file.write(record)
        self._size += len(record)
        for queue in list(self._followers):
            if queue.qsize() < _WAITING_RECORDS:
                queue.put_nowait(record)

    def _rotate(self) -> None:
        self._file.close()
        self.path.replace(rotated(self.path))
        self._file = self.path.open("ab")
        self._size = 0

    @contextlib.contextmanager
    def followed(self) -> Iterator[asyncio.Queue[bytes | None]]:
        """A queue of the records written from now on; None is the end."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._file.flush()
        self._followers.add(queue)
        if self.closed:
            queue.put_nowait(None)
        try:
            yield queue
        finally:
            self._followers.discard(queue)


def rotated(path: Path) -> Path:
    """Where the older half of a log is."""
    return path.with_name(path.name + ".1")


def tail(path: Path, lines: int, most: int = 4096) -> str:
    """The end of a log as text, for a container's termination message."""
    records = _records(path)[-lines:]
    return b"".join(_shown(record, timestamps=False) for record in records)[-most:].decode(errors="replace")


def _records(path: Path) -> list[bytes]:
    found: list[bytes] = []
    for part in (rotated(path), path):
        with contextlib.suppress(FileNotFoundError):
            found += part.read_bytes().splitlines(keepends=True)
    return found


def _shown(record: bytes, *, timestamps: bool) -> bytes:
    moment, _, rest = record.partition(b" ")
    flag, _, text = rest.partition(b" ")
    if flag == b"P":
        text = text.removesuffix(b"\n")
    return moment + b" " + text if timestamps else text


def _since(records: list[bytes], seconds: int | None) -> list[bytes]:
    if seconds is None:
        return records
    start = datetime.fromtimestamp(time.time() - seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
    return [record for record in records if record >= start]


class _Budget:
    def __init__(self, limit: int | None) -> None:
        self.left = limit

    def cut(self, data: bytes) -> bytes:
        if self.left is None:
            return data
        data = data[: self.left]
        self.left -= len(data)
        return data

    @property
    def spent(self) -> bool:
        return self.left is not None and self.left <= 0


async def read(path: Path, live: LogFile | None, wanted: Wanted) -> AsyncIterator[bytes]:
    """The log as the API gives it; with `follow` until the container ends. FileNotFoundError when there is none."""
    if not path.exists():
        raise FileNotFoundError(path)
    with contextlib.ExitStack() as stack:
        queue = stack.enter_context(live.followed()) if live is not None and wanted.follow else None
        records = _since(_records(path), wanted.since_seconds)
        if wanted.tail_lines is not None:
            records = records[-wanted.tail_lines :] if wanted.tail_lines else []
        budget = _Budget(wanted.limit_bytes)
        yield budget.cut(b"".join(_shown(record, timestamps=wanted.timestamps) for record in records))
        while queue is not None and not budget.spent:
            record = await queue.get()
            if record is None:
                return
            yield budget.cut(_shown(record, timestamps=wanted.timestamps))
