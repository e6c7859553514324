"""Collected requests: what was sent is what is stored, per version; a store that is full or slow fails no score."""

from __future__ import annotations

import base64
import calendar
import json
import os
import signal
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from portal.launcher.demo import traffic
from portal.launcher.demo.client import Api
from tests.journeys import spy
from tests.journeys.crash.house import Caller, House, until

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
SCRIPT = """
import json


def init():
    pass


def run(data):
    asked = json.loads(data)
    if asked.get("fail"):
        raise ValueError("asked to fail")
    return {"back": asked}
"""
LIMIT = {"v1": 64 * 1024, "v2": 1024, "v3": 1024}  # of a body, as the versions are deployed


def deployment(version: str) -> dict[str, Any]:
    config = {
        "numReplicas": 1, "maxQueueWaitMs": 3_600_000,
        "containerResourceRequirements": {"cpu": 0.1, "memoryInGB": 0.3},
        "dataCollection": {"storageEnabled": True, "maxBodyKiB": LIMIT[version] // 1024},
    }  # fmt: skip
    return {
        "version": version, "models": [], "environment": "iris:1", "entry_script": "score.py",
        "code": {"files": {"score.py": SCRIPT}}, "deployment_config": config,
    }  # fmt: skip


@pytest.fixture(scope="module")
def kept(told: House) -> Iterator[Api]:
    """The endpoint `kept` with two versions that collect."""
    api, demo = told.api(), json.loads(told.file("demo.json").read_text())
    head = {"name": "kept", "compute_target": demo["compute_target"]}
    api.do("POST", "endpoints/", {**head, **deployment("v1")})
    api.do("POST", "endpoints/kept/versions/", deployment("v2"))
    yield api
    api.do("DELETE", "endpoints/kept/")


@pytest.fixture(scope="module")
def caller(kept: Api) -> Caller:
    key = kept.call("POST", "endpoints/kept/keys/")["primary"]
    return Caller(kept.get("endpoints/kept/")["scoring_uri"], key)


class Sent:
    """One request as its caller saw it."""

    def __init__(self, link: Any, caller: Caller, version: str, number: int, body: bytes) -> None:
        self.version, self.body, self.id = version, body, f"{version}-{number}-{os.urandom(3).hex()}"
        headers = {
            "Authorization": f"Bearer {caller.key}", "Content-Type": "application/json",
            "azureml-model-deployment": version, "x-ms-client-request-id": self.id,
        }  # fmt: skip
        self.began = time.time()
        link.request("POST", urllib.parse.urlsplit(caller.uri).path, body, headers)
        found = link.getresponse()
        self.answer, self.status, self.request_id = found.read(), found.status, found.headers["x-request-id"]
        self.ended = time.time()


def bodies(version: str) -> list[bytes]:
    """JSON of many kinds, what is no JSON, bytes, and what is longer than the version keeps."""
    plain = [json.dumps({"number": number, "word": "grün ☃"}, ensure_ascii=False).encode() for number in range(25)]
    long = json.dumps({"long": "ä" * LIMIT[version]}).encode()
    return [*plain, b'{"fail": true}', b"no json", b"\xff\x00\xfe", b"", b'{ "spaced" :\r\n 1.50e1 }', long]


def lines(api: Api, version: str, count: int) -> dict[str, dict[str, Any]]:
    """The stored lines of a version by the caller's id, when there are `count` of them."""

    def listed() -> list[dict[str, Any]] | None:
        rows: list[dict[str, Any]] = api.get(f"collected/?service=kept&version={version}")["items"]
        return rows if sum(row["lines"] for row in rows) >= count else None

    found = until(listed, 60, f"{count} lines of {version} are stored", 0.5)
    assert sum(row["lost"] for row in found) == 0
    text = b"".join(raw(api, f"collected/{row['id']}/lines/") for row in found)
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(rows) == sum(row["lines"] for row in found)
    return {row["client_request_id"]: row for row in rows}


def raw(api: Api, path: str) -> bytes:
    link = traffic.connect(api.root)
    link.request("GET", api.home + path, headers={"Authorization": f"Bearer {api._token}"})
    found = link.getresponse()
    assert found.status == 200
    data = found.read()
    link.close()
    return data


def whole(told: dict[str, Any]) -> bytes:
    return base64.b64decode(told["base64"]) if "base64" in told else told["text"].encode()


def is_same(told: dict[str, Any], data: bytes, limit: int) -> bool:
    """Whether a body is stored as it was, or cut and says so; a cut never splits a character."""
    if len(data) <= limit:
        return (whole(told), told["bytes"], "truncated" in told) == (data, len(data), False)
    start = whole(told)
    return (
        told["truncated"] and told["bytes"] == len(data) and data.startswith(start) and limit - 3 <= len(start) <= limit
    )


def test_what_was_sent_and_answered_is_what_is_stored_by_version(kept: Api, caller: Caller) -> None:
    before = {version: count(kept, version) for version in ("v1", "v2")}
    link = traffic.connect(caller.uri)
    sent = [
        Sent(link, caller, version, number, body)
        for version in ("v1", "v2")
        for number, body in enumerate(bodies(version))
    ]
    link.close()
    assert {each.status for each in sent} == {200, 400, 500}
    for version in ("v1", "v2"):
        mine = {each.id: each for each in sent if each.version == version}
        stored = lines(kept, version, before[version] + len(mine))
        assert count(kept, version) == before[version] + len(mine)
        for key, each in mine.items():
            line, limit = stored[key], LIMIT[version]
            assert is_same(line["input"], each.body, limit), (line["input"], each.body[:100])
            assert is_same(line["output"], each.answer, limit), (line["output"], each.answer[:100])
            told = (line["service"], line["version"], line["revision"], line["status"], line["request_id"])
            assert told == ("kept", version, 1, each.status, each.request_id)
            moment = time.strptime(line["time"].partition(".")[0], "%Y-%m-%dT%H:%M:%S")
            assert each.began - 1 < calendar.timegm(moment) <= each.ended
            assert 0 < line["duration_ms"] < 1000 * (each.ended - each.began)


@contextmanager
def refusing(told: House) -> Iterator[None]:
    """The store's folder is a file: nothing can be stored."""
    place, aside = told.file("collected"), told.file("collected-aside")
    place.mkdir(mode=0o700, exist_ok=True)  # whoever comes first has nothing collected yet
    place.rename(aside)
    place.touch()
    try:
        yield
    finally:
        place.unlink()
        aside.rename(place)


@contextmanager
def hanging(told: House) -> Iterator[None]:
    """The portal takes connections and answers none."""
    pids = spy.tree(told.pids()["web"])
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def warning(api: Api) -> str:
    return str(api.get("endpoints/kept/")["versions"]["v1"]["data_collection"]["warning"])


def count(api: Api, version: str = "") -> int:
    """Lines that are stored."""
    return sum(row["lines"] for row in api.get(f"collected/?service=kept&version={version}")["items"])


def test_a_store_that_refuses_fails_no_score_is_warned_of_and_gets_all_lines_when_it_is_well(
    told: House, kept: Api, caller: Caller
) -> None:
    before = count(kept)
    with refusing(told), caller.scoring():
        until(lambda: "The store refused: Not a directory" in warning(kept), 60, "people are warned", 0.5)
        assert "nothing is lost yet" in warning(kept)
        until(lambda: caller.counted.total() > 100, 60, "scores go on")
    assert caller.failures == []
    scored = caller.counted.total()
    until(lambda: count(kept) == before + scored, 90, f"{scored} more lines are stored", 0.5)
    assert lost(kept) == 0


def test_a_portal_that_hangs_fails_and_slows_no_score_and_gets_all_lines_when_it_goes_on(
    told: House, kept: Api, caller: Caller
) -> None:
    before, link = count(kept), traffic.connect(caller.uri)
    with hanging(told):
        sent = []
        for number in range(200):
            sent.append(Sent(link, caller, "v1", number, b"{}"))
            time.sleep(0.03)  # all in all longer than it takes to bring them
    link.close()
    assert {each.status for each in sent} == {200}
    assert sorted(each.ended - each.began for each in sent)[190] < 0.5
    until(lambda: count(kept) == before + 200, 90, "200 more lines are stored", 0.5)
    assert lost(kept) == 0


def lost(api: Api) -> int:
    return sum(row["lost"] for row in api.get("collected/?service=kept")["items"])


def test_what_the_last_scores_left_is_brought_when_their_version_is_deleted_and_outlives_it(
    kept: Api, caller: Caller
) -> None:
    kept.do("POST", "endpoints/kept/versions/", deployment("v3"))
    link = traffic.connect(caller.uri)
    sent = [Sent(link, caller, "v3", number, b"{}") for number in range(20)]
    link.close()
    kept.do("DELETE", "endpoints/kept/versions/v3/", {})
    assert {each.id for each in sent} == set(lines(kept, "v3", 20))
