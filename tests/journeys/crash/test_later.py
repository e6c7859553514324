"""40 days after a deploy, with no deploy since, the autoscaler, a crash and a drain each start a replica that serves.

What "40 days later" is made of: the pretend cloud's clock is moved on while it runs, which is what tokens of pods end
by; web, worker and beat are killed, and those that the supervisor starts instead read another time from the first line
on (`later.py`), with rows, files and pods left as they are. Envoy and TLS libraries read the machine's clock, which
stays: the certificates are looked at instead. So a scoring token, which Envoy judges, plays no part here.

These come last in this folder (`tests/conftest.py`), as nobody takes the home back.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import ssl
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
import yaml
from cryptography import x509
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from portal.launcher.demo import traffic
from tests.journeys.crash.house import Caller, House, target, until

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
DAYS = timedelta(days=40)
PORTAL = ("web", "web-tls", "worker", "beat")
NOTED = ("SELECT at FROM portal_beat", "SELECT read_at FROM endpoints_gateway")
SCALER = {
    "autoscaleEnabled": True, "minReplicas": 1, "maxReplicas": 2, "refreshPeriodInSeconds": 1, "targetUtilization": 50,
}  # fmt: skip
SCRIPT = """
import json
import os
import time


def init():
    global name
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "name.txt")) as file:
        name = file.read()


def run(data):
    time.sleep(json.loads(data).get("sleep", 0.1))
    return {"model": name, "replica": os.environ["POD_IP"]}
"""


class Story:
    """The services `busy`, which scales itself, and `steady` with two replicas, and eyes in their cluster."""

    def __init__(self, house: House) -> None:
        self.house, self.api = house, house.api()
        self.cluster: Any = None
        self.crashed = 0.0  # when, on the clock of `Caller`

    def tell(self) -> None:
        """Deploy both; the gateway and the replicas of `steady` lie on different nodes, as they ask for much."""
        self.api.do("POST", "compute-targets/", target("clock", 3))
        asked = [self.deploy("steady", 2, numReplicas=2), self.deploy("busy", 0.1, autoScaler=SCALER)]
        for accepted in asked:
            self.api.follow(accepted["url"])
        self.cluster = self._client()

    def deploy(self, name: str, cpu: float, **more: Any) -> dict[str, Any]:
        """Ask for a service."""
        asks = {"containerResourceRequirements": {"cpu": cpu, "memoryInGB": 0.3}, "maxQueueWaitMs": 5000}
        body = {
            "name": name, "compute_target": "clock", "models": ["namer:1"], "environment": "bare:1",
            "entry_script": "score.py", "code": {"files": {"score.py": SCRIPT}}, "deployment_config": {**asks, **more},
        }  # fmt: skip
        return dict(self.api.call("POST", "services/", body))

    def _client(self) -> Any:
        text = self.api.call("POST", "compute-targets/clock/credentials/")["kubeconfig"]
        settings = client.Configuration()
        load: Any = config.load_kube_config_from_dict
        load(yaml.safe_load(text), client_configuration=settings)
        settings.proxy = None
        return client.CoreV1Api(client.ApiClient(settings))

    def pods(self, prefix: str) -> list[Any]:
        """The ready pods of a workload that are to stay."""
        found = self.cluster.list_pod_for_all_namespaces().items
        return [
            pod
            for pod in found
            if pod.metadata.name.startswith(prefix) and not pod.metadata.deletion_timestamp
            and any(row.type == "Ready" and row.status == "True" for row in pod.status.conditions or [])
        ]  # fmt: skip

    def pids(self, pod: Any) -> list[int]:
        """Its processes."""
        rows = self.house.admin("GET", "state")["pods"]
        return next(row["pids"] for row in rows if row["name"] == pod.metadata.name)

    def caller(self, service: str) -> Caller:
        """Who scores there."""
        key = self.api.call("POST", f"services/{service}/keys/")["primary"]
        return Caller(self.api.get(f"services/{service}/")["scoring_uri"], key)

    @property
    def gateway(self) -> str:
        """The address of the gateway."""
        return str(urlsplit(self.api.get("services/steady/")["scoring_uri"]).hostname)

    def restarts(self, pod: Any) -> int:
        """How often its ready container was started again; -1 while it is not ready."""
        shown = self.cluster.read_namespaced_pod(pod.metadata.name, pod.metadata.namespace)
        (row,) = shown.status.container_statuses
        return row.restart_count if row.ready else -1

    def replaced(self, prefix: str, old: Any) -> Any:
        """The youngest pod, once there are two without `old`."""

        def both() -> list[Any]:
            left = [pod for pod in self.pods(prefix) if pod.metadata.uid != old.metadata.uid]
            return left if len(left) == 2 else []

        return max(until(both, 40, "a new replica"), key=lambda pod: pod.metadata.creation_timestamp)

    def drain(self, node: str) -> None:
        """What `kubectl drain` does: no new pods there, and those that are there are asked to go until they do."""
        self.cluster.patch_node(node, {"spec": {"unschedulable": True}})
        until(lambda: not self._evicted(node), 40, f"{node} is empty")

    def undrain(self, node: str) -> None:
        """Pods may come again."""
        self.cluster.patch_node(node, {"spec": {"unschedulable": False}})

    def _evicted(self, node: str) -> list[Any]:
        found = self.cluster.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={node}").items
        left = [pod for pod in found if pod.metadata.namespace != "kube-system"]
        for pod in (pod for pod in left if not pod.metadata.deletion_timestamp):
            name, namespace = pod.metadata.name, pod.metadata.namespace
            body = client.V1Eviction(metadata=client.V1ObjectMeta(name=name, namespace=namespace))
            try:
                self.cluster.create_namespaced_pod_eviction(name, namespace, body)
            except ApiException as refusal:
                if refusal.status != 429:  # else its budget says: not now
                    raise
        return left

    def ending(self, pod: Any) -> bool:
        """Whether a pod was told to end, or has."""
        found = self.cluster.list_namespaced_pod(pod.metadata.namespace).items
        return all(row.metadata.deletion_timestamp for row in found if row.metadata.uid == pod.metadata.uid)

    def gone(self, pod: Any) -> bool:
        """Whether it has ended."""
        found = self.cluster.list_namespaced_pod(pod.metadata.namespace).items
        return pod.metadata.uid not in [row.metadata.uid for row in found]

    def roll(self, pod: Any) -> None:
        """What `kubectl rollout restart` does with the workload that the pod belongs to."""
        note = {"kubectl.kubernetes.io/restartedAt": datetime.now(UTC).isoformat()}
        body = {"spec": {"template": {"metadata": {"annotations": note}}}}
        apps = client.AppsV1Api(self.cluster.api_client)
        apps.patch_namespaced_deployment("slipway-gateway", pod.metadata.namespace, body)

    def deployed(self) -> Any:
        """What a deploy would change: revisions, and operations."""
        shown = [self.api.get(f"services/{name}/")["versions"] for name in ("steady", "busy")]
        revisions = [version["revision"] for versions in shown for version in versions.values()]
        return revisions, [row["id"] for row in self.api.get("operations/")["items"]]

    def move(self) -> None:
        """40 days later, everywhere."""
        self.house.file("moved").write_text(str(DAYS.total_seconds()))
        before = self.house.pids()
        for name in PORTAL:
            self.house.kill(name)
        self.house.admin("POST", "clock", {"advance": DAYS.total_seconds()})
        until(lambda: _renewed(before, self.house.pids()), 60, "the portal is back")
        until(lambda: self._token() > soon(), 10, "a new token of the gateway's companion")

    def _token(self) -> datetime:
        """When the token was issued with which the companion follows replicas. It ends after an hour."""
        (pod,) = self.pods("slipway-gateway")
        text = self.house.file("sandbox", "pods", pod.metadata.uid, "volumes", "token", "token").read_text()
        claims = jwt.decode(text, options={"verify_signature": False})
        return datetime.fromtimestamp(claims["iat"], UTC)


def soon() -> datetime:
    """Almost 40 days from now."""
    return datetime.now(UTC) + DAYS - timedelta(hours=1)


def _renewed(before: dict[str, int], now: dict[str, int]) -> bool:
    return len(now) == len(before) and all(now[name] != before[name] for name in PORTAL)


@pytest.fixture(scope="module")
def later(house: House) -> Iterator[Story]:
    """Two services that were deployed 40 days ago. `steady` is scored all the time; a crash may take one request."""
    story = Story(house)
    story.tell()
    caller = story.caller("steady")
    with caller.scoring():
        until(lambda: caller.counted.total(), 10, "an answer")
        story.move()
        yield story
        caller.last_good = 0
        until(lambda: caller.last_good, 10, "a last answer")
    lost = [f"{when - story.crashed:.1f} s after the crash: {why}" for when, why in caller.failures]
    assert len(lost) <= 1, lost
    assert all(0 <= when - story.crashed < 1 for when, _ in caller.failures), lost


@contextmanager
def nothing_deployed(story: Story) -> Iterator[None]:
    """The block starts no operation and makes no revision."""
    before = story.deployed()
    yield
    assert story.deployed() == before


def fetched(story: Story, pod: Any) -> None:
    """Its init container has brought code and model anew."""
    text = story.cluster.read_namespaced_pod_log(pod.metadata.name, pod.metadata.namespace, container="fetch")
    assert "azureml-models/namer/1" in text


def served(story: Story, service: str, pod: Any) -> None:
    """The replica answers callers, by way of the gateway."""
    caller = story.caller(service)
    with closing(traffic.connect(caller.uri)) as link:

        def answers() -> bool:
            _, problem, answer = traffic.ask(link, caller.uri, caller.key, b"{}")
            assert not problem
            assert answer["model"] == "one"
            return bool(answer["replica"] == pod.status.pod_ip)

        until(answers, 10, f"an answer of {pod.metadata.name}", pause=0)


def test_every_process_is_40_days_on_and_no_certificate_is_over(later: Story, house: House) -> None:
    with urllib.request.urlopen(f"{later.api.root}/healthz") as answer:
        assert parsedate_to_datetime(answer.headers["Date"]) > soon()
    assert datetime.fromisoformat(house.admin("GET", "clock")["now"]) > soon()

    def noted() -> bool:
        with closing(sqlite3.connect(house.file("portal.db"))) as rows:
            (beat,), (look,) = (rows.execute(text).fetchone() for text in NOTED)
        return bool(min(beat, look) > soon().isoformat(" "))

    until(noted, 20, "beat and worker write that time too")
    known = json.loads(house.file("home.json").read_text())["ports"]
    doors = [("127.0.0.1", known["https"]), ("127.0.0.1", known["kube"]), (later.gateway, 8443)]
    texts = [ssl.get_server_certificate(door) for door in doors]
    texts += [house.file("tls", "ca.pem").read_text()]
    for text in texts:
        assert x509.load_pem_x509_certificate(text.encode()).not_valid_after_utc > soon()


def test_load_makes_the_autoscaler_start_a_replica_that_serves(later: Story) -> None:
    (old,) = later.pods("busy")
    callers = [later.caller("busy") for _ in range(3)]
    with nothing_deployed(later), ExitStack() as stack:
        for caller in callers:
            stack.enter_context(caller.scoring())
        until(lambda: len(later.pods("busy")) == 2, 40, "a second replica")
        (new,) = (pod for pod in later.pods("busy") if pod.metadata.uid != old.metadata.uid)
        fetched(later, new)
        served(later, "busy", new)
    assert [caller.failures for caller in callers] == [[], [], []]


def test_a_crashed_replica_starts_again_and_a_deleted_one_anew(later: Story) -> None:
    crashed = later.pods("steady")[0]
    with nothing_deployed(later):
        later.crashed = time.monotonic()
        for pid in later.pids(crashed):
            os.kill(pid, signal.SIGKILL)
        until(lambda: later.restarts(crashed) == 1, 30, "a restart of the container")
        (again,) = (pod for pod in later.pods("steady") if pod.metadata.uid == crashed.metadata.uid)
        served(later, "steady", again)
        later.cluster.delete_namespaced_pod(crashed.metadata.name, crashed.metadata.namespace)
        new = later.replaced("steady", crashed)
        fetched(later, new)
        served(later, "steady", new)


def test_a_drained_node_gives_its_replica_to_another_node(later: Story) -> None:
    (gateway,) = later.pods("slipway-gateway")
    moved = next(pod for pod in later.pods("steady") if pod.spec.node_name != gateway.spec.node_name)
    with nothing_deployed(later):
        later.drain(moved.spec.node_name)
        new = later.replaced("steady", moved)
        assert new.spec.node_name != moved.spec.node_name
        fetched(later, new)
        served(later, "steady", new)
    later.undrain(moved.spec.node_name)


def test_a_gateway_that_is_rolled_loses_no_request_of_kept_connections(later: Story) -> None:
    (old,) = later.pods("slipway-gateway")
    callers, slow = [later.caller("steady") for _ in range(3)], later.caller("busy")
    with nothing_deployed(later), ExitStack() as stack, closing(traffic.connect(slow.uri)) as link:
        for caller in callers:
            stack.enter_context(caller.scoring())
        assert traffic.ask(link, slow.uri, slow.key, b"{}")[1] == ""
        later.roll(old)
        until(lambda: later.ending(old), 30, "a new gateway")
        assert traffic.ask(link, slow.uri, slow.key, b'{"sleep": 6}')[1] == ""
        until(lambda: later.gone(old), 15, "the end of the old gateway")
    assert [caller.failures for caller in callers] == [[], [], []]
