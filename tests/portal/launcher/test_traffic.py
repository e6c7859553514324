"""How the demo counts, and how the launcher reads what tools say."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from portal.launcher import checking
from portal.launcher.demo import client, traffic
from portal.launcher.errors import Stop


class Far(BaseHTTPRequestHandler):
    """Scores: every fifth answer is v2's; the path /fail/score answers 503. Operations: see `states`."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, else each answer waits 40 ms
    count = 0
    lock = threading.Lock()
    states: list[dict[str, Any]] = []
    keys: list[str] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        with Far.lock:
            Far.count += 1
            version = "v2" if Far.count % 5 == 0 else "v1"
        if self.path == "/fail/score":
            self._answer(503, b"no healthy upstream", "")
        elif self.headers["Authorization"] != "Bearer key":
            self._answer(401, b"", "")
        else:
            self._answer(200, body, version)

    def do_PATCH(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        Far.keys.append(self.headers["Idempotency-Key"])
        self._answer(202, b'{"url": "/operation"}', "")

    def do_GET(self) -> None:
        if self.path != "/operation":
            self._answer(404, json.dumps({"title": "Not found", "detail": "There is nothing here."}).encode(), "")
            return
        state = Far.states.pop(0) if len(Far.states) > 1 else Far.states[0]
        self._answer(200, json.dumps(state).encode(), "")

    def _answer(self, status: int, body: bytes, version: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("azureml-model-deployment", version)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def far() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Far)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    Far.count = 0
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def api(far: str, told: list[str] | None = None) -> client.Api:
    say = (told if told is not None else []).append
    return client.Api({"http_url": far, "workspace": "main", "api_token": "t"}, say)


def test_every_request_is_counted_under_the_version_that_answered(far: str) -> None:
    bodies = [json.dumps(number).encode() for number in range(100)]
    count = traffic.send(f"{far}/score", "key", bodies, lambda version, index, answer: answer == index)
    assert count.versions == {"v1": 80, "v2": 20}
    assert (count.wrong, count.failures, count.total) == (0, [], 100)


def test_wrong_answers_and_failures_are_told_apart(far: str) -> None:
    wrong = traffic.send(f"{far}/score", "key", [b"1"] * 5, lambda *_: False)
    failed = traffic.send(f"{far}/fail/score", "key", [b"1"] * 5, lambda *_: True)
    assert (wrong.wrong, len(wrong.failures)) == (5, 0)
    assert (failed.total, failed.failures[0]) == (0, "503 no healthy upstream")


@pytest.mark.parametrize(
    ("share", "total", "expected"),
    [(20, 1000, (168, 232)), (100, 500, (500, 500)), (0, 500, (0, 0)), (50, 100, (38, 62))],
)
def test_the_99_percent_interval(share: float, total: int, expected: tuple[int, int]) -> None:
    low, high = traffic.interval(share, total)
    assert (low, high) == expected


def test_a_change_is_followed_to_its_end_and_each_note_is_told_once(far: str) -> None:
    base = {"kind": "endpoint.update", "target": "demo", "error": None}
    running = {**base, "state": "Running", "note": "waiting"}
    Far.states = [running, running, {**base, "state": "Succeeded", "note": ""}]
    told: list[str] = []
    api(far, told).do("PATCH", "endpoints/demo/traffic/", {})
    assert told == ["    waiting"]
    assert Far.keys.pop()


def test_an_operation_that_fails_stops_the_demo_with_its_reason(far: str) -> None:
    error = {"detail": "init() raised ValueError", "evidence": "line 3", "fix": "Mend it."}
    Far.states = [{"kind": "endpoint.create", "target": "demo", "state": "Failed", "note": "", "error": error}]
    with pytest.raises(Stop, match=r"init\(\) raised ValueError\nMend it\.\nline 3"):
        api(far).do("PATCH", "endpoints/demo/", {})


def test_what_is_not_there_is_none_and_other_refusals_are_the_portals_words(far: str) -> None:
    assert api(far).find("models/none/") is None
    with pytest.raises(client.Refused, match="404 Not found: There is nothing here"):
        api(far).get("models/none/")


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("", None),
        ('{"dependencies": []}', None),
        ('{"dependencies": [{"name": "a", "skip_reason": "not found"}]}', None),
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', []),
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}]}]}', ["a 1: CVE-1"]),
    ],
)
def test_an_audit_that_asked_nobody_is_not_a_pass(report: str, expected: list[str] | None) -> None:
    assert checking.vulnerable(report) == expected
