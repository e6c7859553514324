"""Why it is not running: each fault is one sentence, its proof and a fix; what ran before serves on, nothing is held.

Services serve while their updates meet one fault after the other; one starts slowly, and then loses its node.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from kubernetes import client, config

from tests.journeys.crash.house import ENDED, Caller, House, target, until
from tests.journeys.test_bad_input import OPEN, ended, good, what
from tests.journeys.test_contract import ask, kubeconfig, signed_in

Json = dict[str, Any]
pytestmark = [pytest.mark.journey, pytest.mark.timeout(400)]
CLUSTER = "why"
SLOW = "import time\n\n\ndef init():\n    time.sleep(12)\n\n\ndef run(data):\n    return 'slow'\n"
BIG = """
import time

def init():
    global held
    held = b"x" * (500 * 2**20)
    time.sleep(5)

def run(data):
    return 1
"""
SMALL = {"containerResourceRequirements": {"cpu": 0.1, "memoryInGB": 0.3, "memoryInGBLimit": 0.4}}
HASTY = {"periodSeconds": 1, "initialDelaySeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1}
# fault: what the sentence says, what helps
TOLD = {
    "image": ("The image nowhere.example/iris:1 cannot be pulled: its registry nowhere.example does not have", "tag"),
    "denied": ("does not let the cluster read it, or has no such image", "AcrPull"),
    "quota": ("The quota tight of the namespace is used up: a replica needs pods=1, pods=1 are used of", "Raise"),
    "crash": ("The container server was ended by SIGKILL (exit code 137); it ended ", "memoryInGB"),
    "memory": ("used more than its memory limit of 0.4 GiB (it asks for 0.3 GiB) and was killed", "memoryInGBLimit"),
    "policy": ("The cluster's policy rules.example refuses the replica: no replicas on Mondays.", "exempt"),
    "probe": ("The liveness probe of the container server failed, so that it was ended", "failureThreshold 1"),
    "room": ("1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }, 2 node(s) were unsch", "uncordon"),
}  # fmt: skip


class Place:
    """The cluster that things go wrong in, and services in namespaces of their own, named alike."""

    def __init__(self, told: House, folder: Any) -> None:
        self.told, self.api = told, told.api()
        self.ops: dict[str, Json] = {}
        self.shown: dict[str, Json] = {}
        self.callers: dict[str, Caller] = {}
        self.known: Json = json.loads(told.file("credentials.json").read_text())
        self.api.do("POST", "compute-targets/", target(CLUSTER, 3))
        cluster = self.api.get(f"compute-targets/{CLUSTER}/")["cluster_name"]
        path = folder / CLUSTER
        path.write_bytes(kubeconfig(self.known, cluster, "slipway"))
        self.core = client.CoreV1Api(config.new_client_from_config(str(path)))
        self.id = next(row["id"] for row in told.admin("GET", "state")["clusters"] if row["name"] == cluster)
        self.nodes = sorted(row.metadata.name for row in self.core.list_node().items)

    def create(self, name: str, script: str) -> Json:
        body = {"name": name, "compute_target": CLUSTER, **what(script, **OPEN, namespace=name)}
        return dict(self.api.call("POST", "services/", body))

    def change(self, fault: str, name: str, **body: Any) -> None:
        """An update that meets a fault, and what its service looks like then."""
        self.finish(fault, name, self.api.call("PATCH", f"services/{name}/", body))

    def finish(self, fault: str, name: str, accepted: Json) -> None:
        self.ops[fault] = ended(self.api, accepted)
        self.shown[fault] = self.api.get(f"services/{name}/")

    def worse(self, name: str, script: str = good("worse"), **more: Any) -> Json:
        found = what(script, **OPEN, namespace=name, **more)
        return {"code": found["code"], "deployment_config": found["deployment_config"]}

    @contextmanager
    def fault(self, kind: str, name: str, pod: str = "", **spec: Any) -> Iterator[None]:
        """A fault of the sandbox in one namespace, or for one pod."""
        whom = {"pod": pod} if pod else {"namespace": name}
        self.told.admin("PUT", f"faults/{kind}+{name}", {"cluster": self.id, **whom, **spec})
        yield
        self.told.admin("DELETE", f"faults/{kind}+{name}")

    def fresh_pod(self) -> str:
        """The replica of why-c that an update makes."""
        rows = self.core.list_namespaced_pod("why-c").items
        return next((row.metadata.name for row in rows if row.metadata.labels["slipway.dev/revision"] == "3"), "")

    def cordon(self, *names: str, free: bool = False) -> None:
        for each in names:
            self.core.patch_node(each, {"spec": {"unschedulable": None if free else True}})

    def node(self, name: str, state: str) -> None:
        self.told.admin("POST", f"clusters/{self.id}/nodes/{name}/{state}")

    # --- the stories

    def images(self) -> None:
        """An image that is not there, one that is not to be read, and a quota without room for one more pod."""
        self.api.call("POST", "environments/", {"name": "why-nowhere", "image": "nowhere.example/iris:1"})
        self.change("image", "why-a", environment="why-nowhere:1")
        with self.fault("kube.image_pull", "why-a", why="denied"):
            self.change("denied", "why-a", **self.worse("why-a"))
        tight = {"metadata": {"name": "tight"}, "spec": {"hard": {"pods": "1"}}}
        self.core.create_namespaced_resource_quota("why-a", tight)
        self.change("quota", "why-a", **self.worse("why-a"))
        self.core.delete_namespaced_resource_quota("tight", "why-a", _preload_content=False)

    def crashes(self) -> None:
        """A server that ends at once, and one that needs more memory than it may use."""
        with self.fault("kube.crash", "why-b", container="server"):
            self.change("crash", "why-b", **self.worse("why-b"))
        self.change("memory", "why-b", **self.worse("why-b", BIG, **SMALL))

    def probes(self) -> None:
        """A policy that lets no replica be made, and a server that does not pass its liveness probe."""
        with self.fault("kube.admission", "why-c", webhook="rules.example", message="no replicas on Mondays"):
            self.change("policy", "why-c", **self.worse("why-c"))
        started = self.api.call("PATCH", "services/why-c/", self.worse("why-c", livenessProbeRequirements=HASTY))
        fresh = until(self.fresh_pod, 20, "no new replica")
        with ExitStack() as stack:
            for probe, said in (("liveness", "dial tcp 10.244.0.9:5001: i/o timeout"), ("readiness", "no answer")):
                stack.enter_context(self.fault("kube.probe", f"why-c-{probe}", fresh, probe=probe, message=said))
            self.finish("probe", "why-c", started)

    def lost(self) -> None:
        """The slow service's node goes while the others take no pods; then all comes back."""
        slow = next(row.spec.node_name for row in self.core.list_namespaced_pod("why-d").items)
        self.node(slow, "lost")
        others = [name for name in self.nodes if name != slow]
        self.cordon(*others)
        self.change("room", "why-a", **self.worse("why-a"))
        self.shown["lost"] = until(lambda: self.is_seen("Unhealthy"), 30, "the lost node is not told", 0.5)
        self.node(slow, "back")
        self.cordon(*others, free=True)
        self.shown["back"] = until(lambda: self.is_seen("Healthy"), 60, "the slow service did not come back", 0.5)

    def is_seen(self, state: str) -> Json | None:
        found: Json = self.api.get("services/why-d/")
        reason = found["versions"]["v1"]["reason"]
        return found if found["state"] == state and bool(reason) == (state == "Unhealthy") else None


@pytest.fixture(scope="module")
def place(told: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """All stories: the faults beside each other, then the lost node."""
    made = Place(told, tmp_path_factory.mktemp("why"))
    first = [made.create(f"why-{letter}", good(letter)) for letter in "abc"]
    made.ops |= {row["target"]: ended(made.api, row) for row in first}
    assert {row["state"] for row in made.ops.values()} == {"Succeeded"}, made.ops
    made.cordon(made.nodes[0])
    slow = made.create("why-d", SLOW)
    until(lambda: [row for row in made.core.list_namespaced_pod("why-d").items if row.spec.node_name], 20, "no pod")
    made.cordon(made.nodes[0], free=True)
    uris = {f"why-{letter}": made.api.get(f"services/why-{letter}/")["scoring_uri"] for letter in "abc"}
    made.callers = {name: Caller(uri, "", pause=0.1) for name, uri in uris.items()}
    with ExitStack() as stack:
        for caller in made.callers.values():
            stack.enter_context(caller.scoring())
        pool = stack.enter_context(ThreadPoolExecutor(3))
        stories: list[Callable[[], None]] = [made.images, made.crashes, made.probes]
        for running in [pool.submit(each) for each in stories]:
            running.result()
        made.ops["why-d"] = ended(made.api, slow)
        made.lost()
    yield made
    made.api.do("DELETE", f"compute-targets/{CLUSTER}/?force=true")


@pytest.mark.parametrize("fault", TOLD)
def test_each_fault_is_one_sentence_with_proof_and_fix_and_what_served_serves_on(place: Place, fault: str) -> None:
    sentence, fix = TOLD[fault]
    error = place.ops[fault]["error"]
    assert (place.ops[fault]["state"], error["step"]) == ("RolledBack", "await_replicas"), place.ops[fault]
    assert sentence in error["detail"]
    assert fix in error["fix"]
    assert error["evidence"]
    row = place.shown[fault]["versions"]["v1"]
    assert (row["state"], row["fix"], row["evidence"]) == ("Healthy", error["fix"], error["evidence"])
    assert row["reason"].endswith(f"failed: {error['detail']}")


def test_a_slow_start_succeeds_and_is_told_meanwhile(place: Place) -> None:
    op = place.ops["why-d"]
    assert (op["state"], op["error"]) == ("Succeeded", None)
    lines = [row["text"] for row in place.api.get(f"operations/{op['id']}/log/")["items"]]
    assert any("The container server is starting: it has up to 600 s for that." in line for line in lines)


def test_a_service_whose_node_is_lost_says_so_and_is_well_when_it_is_back(place: Place) -> None:
    row = place.shown["lost"]["versions"]["v1"]
    assert row["reason"].startswith("The node aks-")
    assert "is not ready (NodeStatusUnknown: Kubelet stopped posting node status.)." in row["reason"]
    assert "Warning NodeNotReady: Node is not ready" in row["evidence"]
    assert "starts the replica elsewhere after five minutes" in row["fix"]
    well = place.shown["back"]["versions"]["v1"]
    assert (well["state"], well["reason"], well["evidence"], well["fix"]) == ("Healthy", "", "", "")


def test_no_request_failed_and_nothing_is_held(place: Place, told: House) -> None:
    assert {name: caller.failures for name, caller in place.callers.items() if caller.failures} == {}
    assert min(sum(caller.counted.values()) for caller in place.callers.values()) > 50
    rows = [row for row in told.api().get("operations/?page_size=200")["items"] if row["target"].startswith("why-")]
    assert len(rows) == len(place.ops)
    assert [row for row in rows if row["state"] not in ENDED] == []


def test_the_pages_show_sentence_fix_and_proof(place: Place) -> None:
    root, cookie = f"{place.known['http_url']}/w/{place.known['workspace']}", signed_in(place.known)
    error = place.ops["room"]["error"]
    for path in (f"operations/{place.ops['room']['id']}/", "services/why-a/"):
        text = html.unescape(ask(f"{root}/{path}", Cookie=cookie).text)
        assert error["detail"] in text
        assert f"<b>What helps:</b> {error['fix']}" in text
        assert error["evidence"].splitlines()[-1] in text
