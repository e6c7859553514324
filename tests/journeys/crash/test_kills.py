"""SIGKILL of each process in a traffic change, a create and a deploy: all end rightly, once, and scoring goes on.

Each process dies twice: right after a traffic change was accepted; and the moment a traffic change has reached the
cluster (nobody has noted that yet), while a cluster is being made and a service is being deployed.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portal.launcher.demo.client import Api
from tests.journeys.crash.house import Caller, House, follow, move, score, target, until, what

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
SILENT = ("web", "worker", "beat", "broker")  # what a caller must not notice
VICTIMS = (*SILENT, "sandbox", "envoy")
BACK_SECONDS, SERVING_SECONDS = 30, 20
PUBLISHED = "/configmaps/gateway-config$"


def pid_of(house: House, name: str) -> int | None:
    """The process to kill; None while it is not back."""
    if name != "envoy":
        return house.pids().get(name)
    pods = house.admin("GET", "state")["pods"]
    pids = [pid for pod in pods if pod["name"].startswith("slipway-gateway") for pid in pod["pids"]]
    named = [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == "envoy"]
    return named[0] if named else None


class Death:
    """One SIGKILL, now or when the cloud's log says so."""

    def __init__(self, house: House, name: str) -> None:
        self._house, self._name = house, name
        self._pid = until(lambda: pid_of(house, name), BACK_SECONDS, f"{name} runs")
        self.at = 0.0

    def strike(self) -> None:
        """Now."""
        self.at = time.monotonic()  # before it: a caller may notice at once
        os.kill(self._pid, signal.SIGKILL)

    def when_noted(self, pattern: str) -> threading.Thread:
        """The moment the clusters' log has a change of what matches; join it to know that it happened."""
        log = self._house.file("sandbox", "requests-kube.jsonl")
        start = log.stat().st_size

        def watch() -> None:
            end = time.monotonic() + BACK_SECONDS
            while not any(re.search(pattern, line["path"]) for line in self._house.noted("kube", start)):
                if time.monotonic() > end:
                    return
                time.sleep(0.005)
            self.strike()

        thread = threading.Thread(target=watch)
        thread.start()
        return thread

    def is_over(self, caller: Caller) -> None:
        """It runs again under a new pid, and callers are answered again."""
        assert self.at, "nobody died"

        def again() -> bool:
            return pid_of(self._house, self._name) not in (None, self._pid)

        until(again, BACK_SECONDS - (time.monotonic() - self.at), f"{self._name} is back under a new pid")
        until(lambda: caller.last_good > self.at + 0.5, BACK_SECONDS, "pods serve")

    def explains(self, failure: tuple[float, str], name: str) -> bool:
        """Whether a call may have failed by it: only while there were no pods, or no gateway."""
        return name not in SILENT and self.at <= failure[0] <= self.at + SERVING_SECONDS


def changes(house: House, since: dict[str, int], kind: str, pattern: str) -> Counter[str]:
    """How often each object whose path matches was changed since."""
    lines = house.noted(kind)[since[kind] :]
    return Counter(f"{line['method']} {line['path']}" for line in lines if re.search(pattern, line["path"]))


def so_far(house: House) -> dict[str, int]:
    return {kind: len(house.noted(kind)) for kind in ("arm", "kube")}


def other_share(api: Api) -> int:
    """All of the traffic to the version that has none now: the share of v2."""
    return 0 if api.get("endpoints/main/")["versions"]["v2"]["configured_share"] else 100


def is_in_force(api: Api, caller: Caller, name: str, wanted: int) -> None:
    """The change is what the portal shows, and what callers meet: at once, or when the version's pods are back."""
    seconds = 1 if name in SILENT else SERVING_SECONDS

    def shares() -> tuple[float, float]:
        shown = api.get("endpoints/main/")["versions"]["v2"]
        return shown["configured_share"], shown["effective_share"]

    def answering() -> set[str]:
        caller.counted.clear()
        until(lambda: caller.counted.total() >= 30, 10, "answers")
        return set(caller.counted)

    until(lambda: shares() == (wanted, wanted), seconds, "the split is shown as set")
    time.sleep(1)
    until(lambda: answering() == {"v2" if wanted else "v1"}, seconds, "callers meet the split")


def was_published(house: House, since: dict[str, int], name: str, times: int, least: int = 0) -> None:
    """The gateway's routes were written that often; when all pods die, each version's health is a change of its own."""
    (count,) = changes(house, since, "kube", PUBLISHED).values()
    assert (least or times) <= count <= times or (name == "sandbox" and times < count <= times + 4)


def change_traffic(house: House, api: Api, caller: Caller, name: str) -> Death:
    """A change whose accepting is the last that the process sees."""
    wanted, since, death = other_share(api), so_far(house), Death(house, name)
    accepted = move(api, "main", wanted)
    death.strike()
    follow(api, accepted["url"])
    death.is_over(caller)
    is_in_force(api, caller, name, wanted)
    was_published(house, since, name, 1)
    return death


@contextmanager
def unfinished(house: House) -> Iterator[None]:
    """No replica starts to serve and no create is seen to end during the block, however slow the machine is."""
    house.admin("PUT", "faults/kube.probe", {"container": "server", "probe": "startup"})
    house.admin("PUT", "faults/arm.unavailable", {"target": "operation"})
    try:
        yield
    finally:
        until(lambda: is_lifted(house), BACK_SECONDS, "the sandbox, which may have died, forgets the faults")


def is_lifted(house: House) -> bool:
    try:
        house.admin("DELETE", "faults")
    except OSError:
        return False
    return True


def change_all(house: House, api: Api, caller: Caller, name: str, cluster: str) -> Death:
    """A create, a deploy and a traffic change that have all reached the cloud when the process dies."""
    wanted, since, death = other_share(api), so_far(house), Death(house, name)
    service = {"name": f"s-{name}", "compute_target": cluster, **what("namer:1", authEnabled=False)}
    with unfinished(house):
        started = [
            api.call("POST", "services/", service)["url"],
            api.call("POST", "compute-targets/", target(f"k-{name}"))["url"],
        ]
        until(lambda: changes(house, since, "kube", f"/deployments/s-{name}-"), 30, "a workload is there")
        until(lambda: changes(house, since, "arm", f"/managedClusters/k-{name}-"), 30, "a cluster is being made")
        assert [api.get(url)["state"] for url in started] == ["Running", "Running"]
        dying = death.when_noted(PUBLISHED)
        started.append(move(api, "main", wanted)["url"])
        dying.join()
    for url in started:
        follow(api, url)
    death.is_over(caller)
    is_in_force(api, caller, name, wanted)
    # The split; the new service's replicas, and then its route. The first two go out as one where they meet.
    was_published(house, since, name, 3, least=2)
    is_made_once(house, api, since, name)
    return death


def is_made_once(house: House, api: Api, since: dict[str, int], name: str) -> None:
    """The cluster and the service of `change_all` are there, and each object was made once."""
    shown = [api.get(path) for path in (f"compute-targets/k-{name}/", f"services/s-{name}/")]
    assert [row["state"] for row in shown] == ["Succeeded", "Healthy"]
    clusters = changes(house, since, "arm", f"^((?!listCluster).)*/managedClusters/k-{name}-[^/]*$")
    assert list(clusters.values()) == [1], clusters
    objects = changes(house, since, "kube", f"/(?!pods/)[a-z]+/s-{name}-")
    assert len(objects) == 7
    assert set(objects.values()) == {1}, objects
    assert score(shown[1]["scoring_uri"]) == {"model": "one"}


@pytest.mark.parametrize("name", VICTIMS)
def test_a_process_killed_in_a_traffic_change_a_create_and_a_deploy(
    house: House, caller: Caller, cluster: str, name: str
) -> None:
    api = house.api()
    caller.failures.clear()
    with caller.scoring():
        until(lambda: caller.counted, 10, "the first answer")
        deaths = [change_traffic(house, api, caller, name), change_all(house, api, caller, name, cluster)]
    unexplained = [bad for bad in caller.failures if not any(death.explains(bad, name) for death in deaths)]
    assert unexplained == []
