"""SIGKILL of each process in a traffic change, a create and a deploy: all end rightly, once, and scoring goes on."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from portal.launcher.demo.client import Api
from tests.journeys.crash.house import Caller, House, move, target, until, what

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
SILENT = ("web", "worker", "beat", "broker")  # what a caller must not notice
VICTIMS = (*SILENT, "sandbox", "envoy")
BACK_SECONDS, SERVING_SECONDS = 30, 20


def victim(house: House, name: str) -> int:
    """The process to kill."""
    if name != "envoy":
        return house.pids()[name]
    pods = house.admin("GET", "state")["pods"]
    pids = [pid for pod in pods if pod["name"].startswith("slipway-gateway") for pid in pod["pids"]]
    return next(pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == "envoy")


def kill(house: House, name: str) -> float:
    """SIGKILL it; when that was."""
    os.kill(victim(house, name), signal.SIGKILL)
    return time.monotonic()


def back(house: House, name: str, caller: Caller, died: float) -> None:
    """It runs again under a new pid, and callers are answered again."""
    if name in SILENT:
        until(lambda: len(house.pids()) == 6, BACK_SECONDS, f"{name} is back")
        return
    caller.last_good = 0
    until(lambda: caller.last_good > died + 0.5, BACK_SECONDS, "pods serve")
    bad = [when for when, _ in caller.failures if when >= died]
    assert not bad or max(bad) - died <= SERVING_SECONDS
    until(lambda: len(house.pids()) == 6, BACK_SECONDS, f"{name} is back")


def changes(house: House, since: dict[str, int], kind: str, pattern: str) -> Counter[str]:
    """How often each object whose path matches was changed since."""
    lines = house.noted(kind)[since[kind] :]
    return Counter(f"{line['method']} {line['path']}" for line in lines if re.search(pattern, line["path"]))


def so_far(house: House) -> dict[str, int]:
    return {kind: len(house.noted(kind)) for kind in ("arm", "kube")}


def change_traffic(house: House, api: Api, caller: Caller, name: str) -> None:
    before = api.get("endpoints/main/")["versions"]["v2"]["configured_share"]
    wanted = 0 if before else 100
    since = so_far(house)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(move, api, "main", wanted)
        time.sleep(0.05)
        died = kill(house, name)
        api.follow(asked.result()["url"])
    back(house, name, caller, died)
    shown = api.get("endpoints/main/")["versions"]["v2"]
    assert (shown["configured_share"], shown["effective_share"]) == (wanted, wanted)
    time.sleep(1)
    caller.counted.clear()
    until(lambda: caller.counted.total() >= 30, 10, "answers")
    assert set(caller.counted) == {"v2" if wanted else "v1"}
    (count,) = changes(house, since, "kube", "/configmaps/gateway-config$").values()
    # One for the change; the gateway may also have learned anew how long each of the two versions takes.
    assert 1 <= count <= 3


def create_and_deploy(house: House, api: Api, caller: Caller, name: str, cluster: str) -> None:
    since = so_far(house)
    made = api.call("POST", "compute-targets/", target(f"k-{name}"))
    service = {"name": f"s-{name}", "compute_target": cluster, **what("namer:1", authEnabled=False)}
    deployed = api.call("POST", "services/", service)
    until(lambda: changes(house, since, "arm", f"/managedClusters/k-{name}-"), 30, "a cluster is being made")
    until(lambda: changes(house, since, "kube", f"/deployments/s-{name}-"), 30, "a workload is there")
    died = kill(house, name)
    back(house, name, caller, died)
    for op in (made, deployed):
        api.follow(op["url"])
    shown = [api.get(path) for path in (f"compute-targets/k-{name}/", f"services/s-{name}/")]
    assert [row["state"] for row in shown] == ["Succeeded", "Healthy"]
    clusters = changes(house, since, "arm", f"^((?!listCluster).)*/managedClusters/k-{name}-[^/]*$")
    assert list(clusters.values()) == [1], clusters
    objects = changes(house, since, "kube", f"/(?!pods/)[a-z]+/s-{name}-")
    assert len(objects) == 6
    assert set(objects.values()) == {1}, objects
    assert score(shown[1]["scoring_uri"]) == {"model": "one"}


def score(uri: str) -> Any:
    from portal.launcher.demo import traffic

    link = traffic.connect(uri)
    _, problem, answer = traffic.ask(link, uri, "", b"{}")
    link.close()
    assert not problem
    return answer


@pytest.mark.parametrize("name", VICTIMS)
def test_a_process_killed_in_a_traffic_change_a_create_and_a_deploy(
    house: House, caller: Caller, cluster: str, name: str
) -> None:
    api = house.api()
    caller.failures.clear()
    with caller.scoring():
        until(lambda: caller.counted, 10, "the first answer")
        change_traffic(house, api, caller, name)
        create_and_deploy(house, api, caller, name, cluster)
    if name in SILENT:
        assert caller.failures == []
