"""The wrapper in the replica: what it writes of a request, that it never changes or fails one, and what it drops."""

from __future__ import annotations

import fcntl
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deployments.pod import capture

WISH = {"service": "iris", "version": "v2", "revision": 3, "percent": 100, "body_bytes": 64, "seconds": 0.2}
BIG = 1 << 20


class Server:
    """The wrapped application, called as gunicorn calls it."""

    def __init__(self, folder: Path, answer: Callable[[bytes], list[bytes]], **wish: Any) -> None:
        self.folder, self.status, self.closed = folder, "200 OK", 0
        wanted = {**WISH, "hard_bytes": BIG, **wish}
        about = {name: wanted[name] for name in ("service", "version", "revision")}
        kind = wanted.get("spool", capture.Spool)
        spool = partial(kind, str(folder), wanted["seconds"], wanted["hard_bytes"])
        self.recorder = capture.Recorder(about, spool, wanted.get("held", capture.HELD_BYTES))

        def inner(environ: dict[str, Any], start: Any) -> Any:
            body = environ["wsgi.input"].read()
            start(self.status, [("Content-Type", "text/plain"), ("X-Request-Id", "from-the-server")])
            return Parts(answer(body), self)

        self.app = capture.wrapped(inner, self.recorder, wanted["percent"], wanted["body_bytes"])

    def post(self, body: bytes, path: str = "/score", method: str = "POST", **headers: str) -> bytes:
        environ = {
            "PATH_INFO": path, "REQUEST_METHOD": method, "CONTENT_TYPE": "application/json",
            "wsgi.input": io.BytesIO(body), **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
        }  # fmt: skip
        parts = self.app(environ, lambda *_: None)
        answer = b"".join(parts)
        parts.close()
        return answer

    def lines(self) -> list[dict[str, Any]]:
        """What is in the spool after the worker's end."""
        self.recorder.close()
        files = sorted(self.folder.glob("*.lines"), key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def dropped(self) -> int:
        return sum(int(path.read_text()) for path in self.folder.glob("dropped.*"))


class Parts:
    """An answer that comes in parts and has to be closed."""

    def __init__(self, parts: list[bytes], server: Server) -> None:
        self._parts, self._server = parts, server

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)

    def close(self) -> None:
        self._server.closed += 1


def echo(body: bytes) -> list[bytes]:
    return [body[:3], body[3:]]


def test_a_line_has_ids_version_time_status_duration_and_both_bodies(tmp_path: Path) -> None:
    server = Server(tmp_path, echo)
    server.status = "201 Created"
    before = time.time()
    assert server.post(b'{"data": [1]}', x_request_id="r1", x_ms_client_request_id="c1") == b'{"data": [1]}'
    (line,) = server.lines()
    moment = time.strptime(line["time"].partition(".")[0], "%Y-%m-%dT%H:%M:%S")
    assert abs(time.mktime(moment) - time.mktime(time.gmtime(before))) <= 2
    assert 0 <= line.pop("duration_ms") < 5000
    assert line == {
        "time": line["time"], "service": "iris", "version": "v2", "revision": 3, "request_id": "from-the-server",
        "client_request_id": "c1", "status": 201,
        "input": {"content_type": "application/json", "bytes": 13, "text": '{"data": [1]}'},
        "output": {"content_type": "text/plain", "bytes": 13, "text": '{"data": [1]}'},
    }  # fmt: skip
    assert server.closed == 1


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", {"bytes": 0, "text": ""}),
        ("grün ☃".encode(), {"bytes": 9, "text": "grün ☃"}),
        (b'{"a":\r\n"\\u2028"}', {"bytes": 16, "text": '{"a":\r\n"\\u2028"}'}),
        (b"\xff\xfe\x00", {"bytes": 3, "base64": "//4A"}),
        (b"\x01" * 8, {"bytes": 8, "base64": "AQEBAQEBAQE="}),  # as text each byte would take six
        (b"x" * 65, {"bytes": 65, "text": "x" * 64, "truncated": True}),
        (b"x" + "ä".encode() * 40, {"bytes": 81, "text": "x" + "ä" * 31, "truncated": True}),
    ],
)
def test_a_body_is_kept_as_text_or_base64_and_says_when_it_was_cut(
    tmp_path: Path, body: bytes, told: dict[str, Any]
) -> None:
    server = Server(tmp_path, echo)
    assert server.post(body) == body
    (line,) = server.lines()
    assert line["input"] == {"content_type": "application/json", **told}
    assert line["output"] == {"content_type": "text/plain", **told}


def test_only_scores_are_kept_and_of_these_the_percent_that_is_wanted(tmp_path: Path) -> None:
    server = Server(tmp_path, echo, percent=25)
    for _ in range(400):
        server.post(b"x")
    assert 50 < len(server.lines()) < 150  # 100 fair draws; outside of that once in ten million
    other = Server(tmp_path / "none", echo)
    (tmp_path / "none").mkdir()
    parts = other.app({"PATH_INFO": "/", "REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO()}, lambda *_: None)
    assert not isinstance(parts, capture.Answer)
    parts = other.app({"PATH_INFO": "/score", "REQUEST_METHOD": "OPTIONS", "wsgi.input": io.BytesIO()}, lambda *_: None)
    assert not isinstance(parts, capture.Answer)


def test_all_ways_to_read_a_request_are_noted() -> None:
    for read in (
        lambda stream: stream.read(),
        lambda stream: stream.read(4) + stream.read(),
        lambda stream: stream.readline() + b"".join(stream.readlines()),
        lambda stream: b"".join(stream),
        lambda stream: into(stream),
    ):
        body = capture.Body(100)
        assert read(capture.Tee(io.BytesIO(b"one\ntwo\nthree"), body)) == b"one\ntwo\nthree"
        assert (body.total, body.told("")["text"]) == (13, "one\ntwo\nthree")


def into(stream: Any) -> bytes:
    buffer = bytearray(20)
    return bytes(buffer[: stream.readinto(buffer)])


def test_an_application_that_raises_raises_as_before_and_leaves_no_line(tmp_path: Path) -> None:
    def broken(_: bytes) -> list[bytes]:
        raise ValueError("no such model")

    server = Server(tmp_path, broken)
    with pytest.raises(ValueError, match="no such model"):
        server.post(b"x")
    assert server.lines() == []


def test_a_full_spool_fails_no_score_and_each_line_that_it_does_not_take_is_counted(tmp_path: Path) -> None:
    server = Server(tmp_path, echo, hard_bytes=1000)
    for _ in range(20):
        assert server.post(b"y" * 60) == b"y" * 60
    kept = len(server.lines())
    assert 0 < kept < 5
    assert server.dropped() == 20 - kept


def test_a_spool_that_cannot_be_written_fails_no_score_and_counts_when_it_can_again(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    server = Server(folder, echo)
    assert [server.post(b"z") for _ in range(3)] == [b"z"] * 3
    time.sleep(0.3)
    folder.mkdir()
    server.post(b"z")
    assert len(server.lines()) == 1
    assert server.dropped() == 3


class SlowSpool(capture.Spool):
    """On a disk that takes a fifth of a second for a line."""

    def write(self, day: str, line: bytes) -> None:
        time.sleep(0.2)
        super().write(day, line)


def test_a_writer_that_falls_behind_drops_and_counts_and_no_score_waits_for_it(tmp_path: Path) -> None:
    server = Server(tmp_path, echo, held=300, spool=SlowSpool)
    started = time.monotonic()
    for _ in range(21):
        server.post(b"a" * 60)
    assert time.monotonic() - started < 0.2
    kept = len(server.lines())
    assert kept + server.dropped() == 21
    assert server.dropped() > 10


def test_files_are_closed_by_age_size_and_day_and_open_ones_are_locked(tmp_path: Path) -> None:
    spool = capture.Spool(str(tmp_path), 0.1, BIG)
    spool.write("2026-11-30", b"one\n")
    (open_file,) = tmp_path.glob("*.open")
    with open(open_file, "rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    spool.write("2026-12-01", b"two\n")
    time.sleep(0.12)
    spool.tick()
    spool.write("2026-12-01", b"x" * capture.FILE_BYTES)
    assert not list(tmp_path.glob("*.open"))
    found = sorted((path.name.partition(".")[0], path.stat().st_size) for path in tmp_path.glob("*.lines"))
    assert found == [("2026-11-30", 4), ("2026-12-01", 4), ("2026-12-01", capture.FILE_BYTES)]


def test_each_worker_starts_its_own_writer_after_a_fork(tmp_path: Path) -> None:
    server = Server(tmp_path, echo)
    server.post(b"parent")
    pid = os.fork()
    if not pid:
        server.post(b"child")
        server.recorder.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert sorted(line["input"]["text"] for line in server.lines()) == ["child", "parent"]
