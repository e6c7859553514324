"""What is kept of scored requests: names and limits in the store, which lines count, and when something is amiss.

A part is what one replica sent at a time, whole lines of one day; it lies in the folder of its day under a name that
tells who sent it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import IO, Any, Protocol

from django.core.files.base import ContentFile, File
from django.core.files.storage import Storage, storages

from deployments.archives import CHUNK
from portal.problems import Problem

MIB = 1024 * 1024
LARGEST_PART = 8 * MIB
OLDEST = timedelta(days=7)  # of a line's day when it arrives; replicas are remembered a little longer
CALM = timedelta(minutes=5)  # without a loss: it is well again
SILENT = timedelta(minutes=5)  # a collector says a word each minute
SLOW_SECONDS, LATE_SECONDS = 5.0, 180
SPOOL_BYTES = 32 * MIB  # in each replica


class StoreFull(Problem):
    status, code, title = 507, "store_full", "The store does not take it"


class StoreBusy(Problem):
    status, code, title = 503, "store_busy", "The store is busy"


class State(Protocol):
    """What is known of a deployment's collection; a Collecting row is one."""

    is_on: bool
    told_at: Any
    since: Any
    troubled_at: Any
    lost: int
    reason: str


@dataclass(frozen=True)
class Report:
    """What a replica says with each call: its losses so far, what waits there, and which part comes along, if any.

    `is_full`: it drops since it was told that the day is full.
    """

    replica: str
    dropped: int
    waiting_bytes: int
    waiting_seconds: int
    is_full: bool = False
    sequence: int = 0
    day: date | None = None


def storage() -> Storage:
    """Where parts lie: a folder, or what the setting STORAGES["collected"] names."""
    return storages["collected"]


class Day(Protocol):
    """Names and number of a day; a CollectedDay row is one."""

    workspace: Any
    pk: Any
    service: str
    version: str
    day: date


def folder_of(row: Day) -> str:
    """Where the parts of a day lie. It has the row's number: what was deleted never comes back."""
    return f"{row.workspace.slug}/{row.service}/{row.version or '-'}/{row.day:%Y/%m/%d}-{row.pk}"


def part_name(place: str, report: Report) -> str:
    """The name of a part in the store."""
    return f"{place}/{report.replica}-{report.sequence:08d}.jsonl"


def good_lines(body: bytes) -> tuple[bytes, int, int]:
    """The lines that are JSON objects, as they came; how many these are, and how many were not: code of the replica
    could write there.
    """
    *lines, rest = body.split(b"\n")
    good = [line for line in lines if _is_object(line)]
    return b"".join(line + b"\n" for line in good), len(good), len(lines) - len(good) + bool(rest)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode()), dict)
    except (ValueError, RecursionError):
        return False


class Gate:
    """One part at a time in each process: a store that hangs holds one of its threads, not all of them."""

    def __init__(self) -> None:
        self._lock, self._since = threading.Lock(), 0.0

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Raises StoreBusy with what to do when another part is being stored."""
        if not self._lock.acquire(blocking=False):
            raise StoreBusy("Another part is being stored. Send it again in a second.", seconds=self.held())
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = 0.0
            self._lock.release()

    def held(self) -> float:
        """How many seconds the part in it has taken so far."""
        return time.monotonic() - self._since if self._since else 0.0


GATE = Gate()


def save(name: str, body: bytes) -> str:
    """Keep a part; answers where it lies: beside one of that name, if a call before was cut off after it stored it."""
    return storage().save(name, ContentFile(body))


def save_file(name: str, stream: IO[bytes]) -> None:
    """Keep a part that is too large for memory."""
    storage().save(name, File(stream))


def chunks(names: Iterable[str]) -> Iterator[bytes]:
    """The bytes of parts one after the other. Raises OSError when one is lost: never less in silence."""
    for name in names:
        with storage().open(name) as part:
            while data := part.read(CHUNK):
                yield data


def remove_all(place: str) -> None:
    """Remove whatever lies in a day's folder, also parts that nobody was told of."""
    store = storage()
    try:
        _, files = store.listdir(place)
    except FileNotFoundError:
        return
    for file in files:
        store.delete(f"{place}/{file}")
    store.delete(place)  # where folders are things, the empty one stays else


def is_calm(state: State, now: datetime) -> bool:
    """Whether nothing was lost or late for a while."""
    return state.troubled_at is None or now - state.troubled_at > CALM


def noted(state: State, now: datetime, lost: int, reason: str) -> dict[str, Any]:
    """The row after a loss or a delay: another one of what goes on, or the first."""
    begins = is_calm(state, now)
    return {
        "since": now if begins or state.since is None else state.since,
        "lost": lost if begins else state.lost + lost,
        "troubled_at": now,
        "reason": reason,
    }


def warning(state: State | None, now: datetime, *, ready: int) -> str:
    """What people should know of a deployment's collection: how much is lost since when; empty when all is well."""
    if state is None:
        return ""
    if not is_calm(state, now):
        lost = f"{state.lost:,} line{'' if state.lost == 1 else 's'} lost" if state.lost else "nothing is lost yet"
        return f"Data collection: {lost} since {state.since:%Y-%m-%d %H:%M} UTC. {state.reason}"
    if state.is_on and ready and state.told_at is not None and now - state.told_at > SILENT:
        return (
            f"Data collection: no replica has reported since {state.told_at:%Y-%m-%d %H:%M} UTC. They score, and keep "
            f"up to {SPOOL_BYTES // MIB} MiB each until they reach the portal."
        )
    return ""
