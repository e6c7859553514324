"""Copies what is scored into files of JSON lines, beside the inference server and never in its way.

gunicorn runs `slipway_capture:app`, which is this file around the server's own application; plain Python 3.8 or later.
The thread that scores only keeps references to the bytes that pass and hands them on when its answer is out. A thread
of each worker writes them to the spool, a folder that the pod's collector empties. When that falls behind or the spool
is full, requests are dropped and counted; nothing here may raise into a score or make it wait.
"""

from __future__ import annotations

import atexit
import base64
import codecs
import contextlib
import fcntl
import json
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

PATH = "/score"
METHODS = ("POST", "GET")
TICK, CLOSE_SECONDS, LOOK_SECONDS = 1.0, 5.0, 0.25
FILE_BYTES = 512 * 1024
HELD_BYTES = 2 * 1024 * 1024  # of bodies that wait for the thread, in each worker
LONGEST_ID = 200
BINARY = re.compile("[\\x00-\\x07\\x0b\\x0e-\\x1f]")  # JSON writes six bytes for each; of any other at most two


class Body:
    """The first bytes of what passes, and how many there were."""

    def __init__(self, limit: int) -> None:
        self.total, self._limit, self._kept = 0, limit, 0
        self._parts: list[bytes] = []

    def add(self, data: bytes) -> None:
        """Bytes that passed."""
        self.total += len(data)
        if data and self._kept < self._limit:
            part = bytes(data[: self._limit - self._kept])
            self._kept += len(part)
            self._parts.append(part)

    @property
    def kept(self) -> int:
        """How many bytes are held."""
        return self._kept

    def told(self, kind: str) -> dict[str, Any]:
        """As it stands in a line: text where the bytes are UTF-8, else base64."""
        data = b"".join(self._parts)
        cut = self.total > len(data)
        found: dict[str, Any] = {"content_type": kind, "bytes": self.total, **_written(data, cut)}
        return {**found, "truncated": True} if cut else found


def _written(data: bytes, cut: bool) -> dict[str, str]:
    try:
        # What was cut may end within a character: that one is left out.
        text = codecs.getincrementaldecoder("utf-8")().decode(data, final=not cut)
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}
    if BINARY.search(text):
        return {"base64": base64.b64encode(data).decode("ascii")}
    return {"text": text}


class Note:
    """One request and its answer."""

    def __init__(self, environ: dict[str, Any], limit: int) -> None:
        self.at, self._began = time.time(), time.perf_counter()
        self.input, self.output = Body(limit), Body(limit)
        self.status, self.milliseconds = 0, 0.0
        self.kinds = [environ.get("CONTENT_TYPE") or "", ""]
        self.ids = [environ.get("HTTP_X_REQUEST_ID") or "", environ.get("HTTP_X_MS_CLIENT_REQUEST_ID") or ""]

    def answers(self, status: str, headers: list[tuple[str, str]]) -> None:
        """The head of the answer."""
        self.status = int(status[:3]) if status[:3].isdigit() else 0
        for name, value in headers:
            name = name.lower()
            if name == "content-type":
                self.kinds[1] = value
            elif name == "x-request-id":
                self.ids[0] = value

    def ends(self) -> None:
        """So far the last byte."""
        self.milliseconds = (time.perf_counter() - self._began) * 1000

    def told(self, about: dict[str, Any]) -> dict[str, Any]:
        """As a line of the file."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.at))
        return {
            "time": f"{moment}.{int(self.at % 1 * 1e6):06d}Z", **about, "request_id": self.ids[0][:LONGEST_ID],
            "client_request_id": self.ids[1][:LONGEST_ID], "status": self.status,
            "duration_ms": round(self.milliseconds, 3), "input": self.input.told(self.kinds[0]),
            "output": self.output.told(self.kinds[1]),
        }  # fmt: skip


class Tee:
    """A request's stream; what is read from it is noted, too."""

    def __init__(self, stream: Any, body: Body) -> None:
        self._stream, self._body = stream, body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def read(self, *size: Any) -> bytes:
        """The next bytes."""
        return self._noted(self._stream.read(*size))

    def readline(self, *size: Any) -> bytes:
        """The next line."""
        return self._noted(self._stream.readline(*size))

    def readinto(self, buffer: Any) -> int:
        """The next bytes, into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readlines(self, *hint: Any) -> list[bytes]:
        """The rest as lines."""
        return [self._noted(line) for line in self._stream.readlines(*hint)]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _noted(self, data: bytes) -> bytes:
        self._body.add(data)
        return data


class Answer:
    """The answer's parts as they come; at the end the note goes to the recorder."""

    def __init__(self, parts: Any, note: Note, recorder: Recorder) -> None:
        self._parts, self._note, self._recorder = parts, note, recorder

    def __iter__(self) -> Iterator[bytes]:
        for data in self._parts:
            self._note.output.add(data)
            self._note.ends()  # before its caller has it
            yield data

    def close(self) -> None:
        """The server calls this when the answer is out, or its caller is gone."""
        if not self._note.output.total:
            self._note.ends()
        try:
            if hasattr(self._parts, "close"):
                self._parts.close()
        finally:
            self._recorder.take(self._note)


class Spool:
    """The files of one worker in the folder that all workers and the collector share.

    An open file is locked by its writer, so that the collector sees whether that one lives. Files are closed by being
    renamed, after `seconds`, from a size on, and at midnight (UTC): each holds lines of one day.
    """

    def __init__(self, folder: str, seconds: float, most: int) -> None:
        self._folder, self._seconds, self._most = folder, seconds, most
        self._worker = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._number, self._file, self._path, self._day = 0, -1, "", ""
        self._size, self._opened = 0, 0.0
        self._used, self._looked = 0, 0.0
        self.dropped, self._told = 0, 0

    def write(self, day: str, line: bytes) -> None:
        """Add a line; it is dropped when the folder would be over its limit or cannot be written to."""
        try:
            if self._room() < len(line):
                self.dropped += 1
                return
            if self._file < 0 or day != self._day:
                self._open(day)
            written = os.write(self._file, line)
        except OSError:
            self.dropped += 1
            self._forget()
            return
        self._size, self._used = self._size + written, self._used + written
        if written < len(line):
            self._forget()  # the disk is full: the collector finds the broken line at the end, and counts it
        elif self._size >= FILE_BYTES:
            self.close()

    def _room(self) -> int:
        """Bytes that the folder may still take; it is looked at four times a second."""
        now = time.monotonic()
        if not self._looked or now - self._looked > LOOK_SECONDS:
            with os.scandir(self._folder) as found:
                self._used = sum(_size(entry) for entry in found)
            self._looked = now
        return self._most - self._used

    def tick(self) -> None:
        """Close what is old enough, and tell what was dropped."""
        if self._file >= 0 and time.monotonic() - self._opened >= self._seconds:
            self.close()
        if self.dropped != self._told:
            try:
                path = os.path.join(self._folder, f"dropped.{self._worker}")
                with open(path + ".new", "w", encoding="ascii") as file:
                    file.write(str(self.dropped))
                os.replace(path + ".new", path)
                self._told = self.dropped
            except OSError:
                pass  # told at the next tick: a full disk takes no number either

    def close(self) -> None:
        """Hand the open file to the collector."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.rename(self._path, self._path[: -len(".open")] + ".lines")
            self._forget()

    def _open(self, day: str) -> None:
        self.close()
        self._number += 1
        path = os.path.join(self._folder, f"{day}.{self._worker}.{self._number}")
        file = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._file, self._path, self._day = file, path + ".open", day
        fcntl.flock(file, fcntl.LOCK_EX)  # before it has the name that the collector looks at
        os.rename(path + ".new", self._path)
        self._size, self._opened = 0, time.monotonic()

    def _forget(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


def _size(entry: Any) -> int:
    try:
        return int(entry.stat().st_size)
    except OSError:
        return 0


class Recorder:
    """Takes notes at once and writes them later, in a thread of this process."""

    def __init__(self, about: dict[str, Any], spool: Callable[[], Spool], held: int) -> None:
        self._about, self._make, self._most = about, spool, held
        self._lock = threading.Lock()
        self._pid, self._held, self._lost = 0, 0, 0
        self._queue: queue.SimpleQueue[Note | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def take(self, note: Note) -> None:
        """Keep a note, or count it as dropped when too much waits. Never raises, never waits."""
        try:
            if self._pid != os.getpid():
                self._start()
            size = note.input.kept + note.output.kept
            with self._lock:
                if self._held and self._held + size > self._most:
                    self._lost += 1
                    return
                self._held += size
            self._queue.put(note)
        except Exception:  # noqa: BLE001  (whatever goes wrong here is no caller's trouble)
            self._lost += 1

    def _start(self) -> None:
        """Threads do not survive a fork: each worker starts its own with its first note."""
        self._pid, self._held, self._queue, self._lock = os.getpid(), 0, queue.SimpleQueue(), threading.Lock()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Write what waits; at most 5 seconds."""
        if self._pid == os.getpid():
            self._queue.put(None)
            self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        spool, notes = self._make(), self._queue
        while True:
            try:
                try:
                    note = notes.get(timeout=TICK)
                    if note is None:
                        break
                    self._write(spool, note)
                except queue.Empty:
                    pass
                self._tell(spool)
            except Exception:  # noqa: BLE001  (the thread must live)
                self._lost += 1
        spool.close()
        self._tell(spool)

    def _write(self, spool: Spool, note: Note) -> None:
        try:
            line = note.told(self._about)
            spool.write(line["time"][:10], json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        finally:
            with self._lock:
                self._held -= note.input.kept + note.output.kept

    def _tell(self, spool: Spool) -> None:
        with self._lock:
            lost, self._lost = self._lost, 0
        spool.dropped += lost
        spool.tick()


def wrapped(inner: Any, recorder: Recorder, percent: float, limit: int) -> Any:
    """The application, of whose scores `percent` in a hundred are noted with `limit` bytes of each body."""
    chosen = round(percent / 100 * (1 << 32))

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        # Not `random`: its state is the scoring script's, and is the same in all workers after a fork.
        is_score = environ.get("PATH_INFO") == PATH and environ.get("REQUEST_METHOD") in METHODS
        if not is_score or int.from_bytes(os.urandom(4), "big") >= chosen:
            return inner(environ, start_response)
        note = Note(environ, limit)
        environ["wsgi.input"] = Tee(environ["wsgi.input"], note.input)

        def started(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            note.answers(status, headers)
            return start_response(status, headers, *more)

        return Answer(inner(environ, started), note, recorder)

    return application


def made(inner: Any, wish: dict[str, Any]) -> Any:
    """The wrapped application as the pod's environment wants it."""
    about = {name: wish[name] for name in ("service", "version", "revision")}
    about["replica"] = os.environ.get("SLIPWAY_POD", "")
    folder = os.environ["SLIPWAY_SPOOL"]
    limit = int(wish["body_bytes"])
    recorder = Recorder(about, lambda: Spool(folder, wish["seconds"], wish["hard_bytes"]), max(HELD_BYTES, 2 * limit))
    return wrapped(inner, recorder, wish["percent"], limit)


def __getattr__(name: str) -> Any:
    """`app`, when gunicorn asks for it: whoever imports this file for its classes needs no inference server."""
    if name != "app":
        raise AttributeError(name)
    from azureml_inference_server_http.server.entry import app  # type: ignore[import-not-found]

    return made(app, json.loads(os.environ["SLIPWAY_COLLECT"]))
