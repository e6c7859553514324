"""The collector beside a replica, against the portal's own door: each line once, whatever happens in between."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compute.models import ComputeTarget
from deployments import queries
from deployments.models import CollectedDay, Collecting, CollectingReplica, Deployment
from deployments.pod import capture, collect
from portal.models import Workspace
from portal.secrets import fingerprint

pytestmark = pytest.mark.django_db(transaction=True)
TODAY = time.strftime("%Y-%m-%d", time.gmtime())


@pytest.fixture
def row(home: Workspace, target: ComputeTarget) -> Deployment:
    return Deployment.objects.create(workspace=home, compute_target=target, name="iris", namespace="n", revision=1)


class Pod:
    """The folder of a replica that collects, with its programs' environment."""

    def __init__(self, folder: Path, url: str, row: Deployment, **wish: Any) -> None:
        self.folder, self.spool = folder, folder / "spool"
        for name in ("spool", "token", "program"):
            (folder / name).mkdir(parents=True)
        self.wish = {"url": f"{url}/api/v1/collect/{row.pk}/", "seconds": 0.2, "spool_bytes": 10_000, **wish}
        self.token(row)

    def token(self, row: Deployment) -> None:
        text = secrets.token_urlsafe(8)
        Deployment.objects.filter(pk=row.pk).update(collect_token_digest=fingerprint(text))
        (self.folder / "token" / "collect").write_text(text)

    def write(self, *texts: str, day: str = TODAY) -> None:
        """What a worker of the server does, which ends then."""
        worker = capture.Spool(str(self.spool), 60, 1 << 30)
        for text in texts:
            worker.write(day, json.dumps({"text": text}).encode() + b"\n")
        worker.close()

    def collector(self) -> collect.Collector:
        return collect.Collector(self.wish)


@pytest.fixture
def pod(tmp_path: Path, live_server: Any, row: Deployment, monkeypatch: pytest.MonkeyPatch) -> Pod:
    made = Pod(tmp_path / "pod", live_server.url, row)
    monkeypatch.chdir(made.folder)
    monkeypatch.setenv("SLIPWAY_POD", "iris-7-abcde")
    return made


def stored() -> list[str]:
    """The texts of all lines that the portal keeps, as a download has them."""
    names = [part.path for day in CollectedDay.objects.order_by("day") for part in day.parts.order_by("at", "pk")]
    return [json.loads(line)["text"] for line in b"".join(queries.parts_of(names=names)).splitlines()]


def test_lines_arrive_in_order_and_by_day_and_the_spool_is_empty_then(pod: Pod) -> None:
    yesterday = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86400))
    pod.write("a", "b", day=yesterday)
    pod.write("c")
    pod.collector().round()
    assert stored() == ["a", "b", "c"]
    days = CollectedDay.objects.order_by("day").values_list("service", "lines", "lost")
    assert list(days) == [("iris", 2, 0), ("iris", 1, 0)]
    assert [path.name for path in pod.spool.iterdir()] == ["number"]


def test_a_part_that_was_taken_and_not_heard_of_is_not_taken_twice(pod: Pod) -> None:
    pod.write("a")
    one = pod.collector()
    one._spool.adopt()
    (part,) = pod.spool.glob("*.part")
    data = part.read_bytes()
    one.round()
    part.write_bytes(data)  # as if the collector had been killed before it removed the part
    pod.write("b")
    pod.collector().round()
    assert stored() == ["a", "b"]


def test_while_the_portal_is_away_parts_wait_and_over_the_limit_the_oldest_go_and_are_counted(
    pod: Pod, row: Deployment
) -> None:
    url, pod.wish["url"] = pod.wish["url"], "http://127.0.0.1:9/"
    away = pod.collector()
    for number in range(5):
        pod.write(*(f"{number}" * 300 for _ in range(10)))
        with pytest.raises(OSError, match="refused"):
            away.round()
        time.sleep(0.01)
    pod.wish["url"] = url
    pod.collector().round()
    assert [text[0] for text in stored()] == ["2"] * 10 + ["3"] * 10 + ["4"] * 10
    assert CollectedDay.objects.get().lost == 20
    state = Collecting.objects.get(deployment=row)
    assert (state.lost, "Replicas dropped" in state.reason) == (20, True)
    pod.collector().round()  # it says the same number again
    assert Collecting.objects.get(deployment=row).lost == 20


def test_what_a_killed_worker_left_open_is_brought_without_its_broken_end_and_what_a_living_one_writes_is_not(
    pod: Pod,
) -> None:
    (pod.spool / f"{TODAY}.1-dead.1.open").write_bytes(b'{"text": "whole"}\n{"text": "bro')
    living = pod.spool / f"{TODAY}.2-alive.1.open"
    living.write_bytes(b'{"text": "later"}\n')
    with living.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        pod.collector().round()
        assert stored() == ["whole"]
        assert living.exists()
    pod.collector().round()
    assert stored() == ["whole", "later"]
    assert CollectedDay.objects.get().lost == 1


def test_a_token_that_is_wrong_is_tried_again_and_a_part_that_is_refused_for_good_is_counted(
    pod: Pod, row: Deployment
) -> None:
    pod.write("early", day="2001-01-01")
    pod.write("now")
    (pod.folder / "token" / "collect").write_text("wrong")
    one = pod.collector()
    with pytest.raises(OSError, match="status 404"):
        one.round()
    pod.token(row)
    one.round()
    assert stored() == ["now"]
    assert CollectedDay.objects.get().lost == 1


def test_of_a_day_that_is_full_no_more_is_sent_and_all_is_counted(pod: Pod, home: Workspace, row: Deployment) -> None:
    Workspace.objects.filter(pk=home.pk).update(collection_daily_mib=1)
    pod.wish["spool_bytes"] = 1 << 23
    one = pod.collector()
    for _ in range(4):
        pod.write("x" * 400_000)
        one.round()
    day = CollectedDay.objects.get()
    assert (day.lines, day.lost) == (2, 2)
    state = Collecting.objects.get(deployment=row)
    assert state.reason.startswith(f"iris {day.day} is full: 1 MiB a day are kept of a version.")
    assert state.lost == 2


def test_a_collector_says_a_word_without_lines(pod: Pod, row: Deployment) -> None:
    pod.collector().round()
    replica = CollectingReplica.objects.get()
    assert (replica.name, replica.sequence, replica.dropped) == ("iris-7-abcde", 0, 0)
    assert Collecting.objects.get(deployment=row).told_at is not None


@pytest.fixture
def running(pod: Pod) -> Iterator[subprocess.Popen[str]]:
    program = Path(collect.__file__)
    env = {**os.environ, "SLIPWAY_COLLECT": json.dumps({**pod.wish, "seconds": 60})}
    made = subprocess.Popen(
        [sys.executable, "-S", str(program)], cwd=pod.folder, env=env, stdout=subprocess.PIPE, text=True
    )
    yield made
    made.kill()
    made.wait()


def test_the_program_needs_no_package_and_little_memory_and_brings_the_rest_when_it_is_ended(
    pod: Pod, running: subprocess.Popen[str]
) -> None:
    until = time.monotonic() + 10
    while not CollectingReplica.objects.exists() and time.monotonic() < until:
        time.sleep(0.05)
    pod.write("the last words")  # its next look would be in a minute
    peak = Path(f"/proc/{running.pid}/status").read_text().split("VmHWM:")[1].split()[0]
    assert int(peak) < 32 * 1024
    running.terminate()
    assert running.wait(10) == 0
    assert stored() == ["the last words"]
