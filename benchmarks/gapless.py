"""Nothing is lost: requests all the time while what serves them is replaced, scaled, drained and rekeyed.

The portal changes what a portal changes (revisions, replicas, keys, certificate), and the cluster what an operator of a
cluster changes (a node is drained, gateway pods are deleted and rolled).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import yaml

from benchmarks.base import Portal, Result, percentile
from benchmarks.callers import Callers, Link, Where
from benchmarks.cluster import Cluster
from compute import certificates

LEAST_REQUESTS, LEAST_RATE = 20_000, 50
NAME, HOST = "gapless", "score.example.com"
SERVICE, TARGET = f"services/{NAME}/", f"compute-targets/{NAME}/"
SCRIPT = """\
import json


def init():
    pass


def run(data):
    return {{"number": json.loads(data)["number"], "release": {release}}}
"""


def run(portal: Portal) -> list[Result]:
    """The story in a home of its own, as often as it takes to ask that much; a table, and a line."""
    portal.forget()
    portal.up()
    scene = Scene(portal)
    with Callers(scene.where) as callers:
        while callers.asked < LEAST_REQUESTS:
            for name, act in scene.acts():
                with callers.phase(name):
                    act()
    for line in callers.table():
        print(line)
    portal.forget()
    return [_verdict(callers)]


def _verdict(callers: Callers) -> Result:
    seconds = sum(phase.seconds for phase in callers.phases)
    times = [each for phase in callers.phases for each in phase.times]
    rate = callers.asked / seconds
    lost = callers.failures
    figures = (
        f"{len(lost)} of {callers.asked} in {seconds:.0f} s, {rate:.0f} a second, "
        f"p50 {percentile(times, 50):.1f}, p95 {percentile(times, 95):.1f}"
    )
    is_good = not lost and callers.asked >= LEAST_REQUESTS and rate >= LEAST_RATE
    return Result("requests lost", figures, f"limit 0 of {LEAST_REQUESTS}, {LEAST_RATE} a second", is_good=is_good)


class Scene:
    """A cluster, a service with one replica and an own certificate, and what happens to them."""

    def __init__(self, portal: Portal) -> None:
        self._api, self._release = portal.api, 0
        now = datetime.now(UTC)
        self._authority = certificates.Issuer(*certificates.make(["authority.example"], now, 30))
        self._deploy(portal)
        self._certify()
        shown = self._api.get(f"{TARGET}gateway/")
        self.where = Where(
            address=shown["address"], http_port=shown["http_port"], https_port=shown["https_port"], host=HOST,
            authority=self._authority.chain, path=f"/api/v1/service/{NAME}/score", key=self._keys()["primary"],
        )  # fmt: skip
        text = self._api.call("POST", f"{TARGET}credentials/")["kubeconfig"]
        self._cluster = Cluster(yaml.safe_load(text))

    def acts(self) -> list[tuple[str, Any]]:
        """Everything that happens, in order."""
        return [
            ("nothing happens", lambda: time.sleep(10)),
            ("rolling update of 1", self._release_next),
            ("scale-up from 1 to 3", lambda: self._patch(replicas=3)),
            ("rolling update of 3", self._release_next),
            ("node drained", self._drain),
            ("certificate rotated 3 times", lambda: [self._certify() for _ in range(3)]),
            ("keys regenerated", self._rekey),
            ("gateway replica deleted", self._delete_gateway_pod),
            ("gateway rolled", self._roll_gateway),
            ("scale-down from 3 to 1", lambda: self._patch(replicas=1)),
        ]

    def _deploy(self, portal: Portal) -> None:
        self._api.do(
            "POST", "compute-targets/",
            {"name": NAME, "vm_size": "Standard_D4s_v3", "node_count": 3, "purpose": "FastProd", "region": "westeurope",
             "resource_group": portal.credentials["resource_group"]},
        )  # fmt: skip
        self._api.call("POST", "environments/", {"name": "bare", "pip": ["joblib"]})
        what = {"environment": "bare:1", "entry_script": "score.py", **self._code(), **self._config(1)}
        self._api.do("POST", "services/", {"name": NAME, "compute_target": NAME, **what})

    def _code(self) -> dict[str, Any]:
        self._release += 1
        return {"code": {"files": {"score.py": SCRIPT.format(release=self._release)}}, "entry_script": "score.py"}

    def _config(self, replicas: int) -> dict[str, Any]:
        self._replicas = replicas
        least = {"cpu": 0.1, "memoryInGB": 0.3}
        config = {"numReplicas": replicas, "maxQueueWaitMs": 20_000, "containerResourceRequirements": least}
        return {"deployment_config": config}

    def _release_next(self) -> None:
        self._api.do("PATCH", SERVICE, {**self._code(), **self._config(self._replicas)})
        self._await_pods(self._workload(), self._replicas)

    def _patch(self, replicas: int) -> None:
        self._api.do("PATCH", SERVICE, self._config(replicas))
        self._await_pods(self._workload(), replicas)

    def _keys(self) -> dict[str, str]:
        return dict(self._api.call("POST", f"{SERVICE}keys/"))

    def _certify(self) -> None:
        chain, key = certificates.make([HOST], datetime.now(UTC), 20, self._authority)
        body = {"certificate": chain, "key": key, "cname": HOST}
        self._api.do("POST", f"{TARGET}gateway/certificate/", body)
        shown = self._api.get(f"{TARGET}gateway/")["certificate"]
        if (shown["fingerprint"], shown["is_seen"]) != (certificates.facts(chain).fingerprint, True):
            raise AssertionError(f"the gateway does not show the new certificate: {shown}")

    def _rekey(self) -> None:
        """The other key goes on: callers take the new secondary one, then the primary one ends."""
        for slot in ("secondary", "primary"):
            old = self._keys()[slot]
            self._api.do("POST", f"{SERVICE}keys/regenerate/", {"slot": slot})
            self._expect(old, 401)
            self.where.key = self._keys()[slot]
            self._expect(self.where.key, 200)

    def _expect(self, key: str, status: int) -> None:
        link = Link(self.where, tls=False)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        link.request("POST", self.where.path, '{"number": 1}', headers)
        seen = link.getresponse().status
        link.close()
        if seen != status:
            raise AssertionError(f"a key gave {seen}, not {status}")

    # --- what somebody does with kubectl

    def _workload(self) -> str:
        return "slipway.dev/deployment"

    def _gateways(self) -> list[dict[str, Any]]:
        return self._cluster.pods("app.kubernetes.io/name=slipway-gateway")

    def _drain(self) -> None:
        node = self._gateways()[0]["spec"]["nodeName"]
        self._cluster.drain(node)
        self._await_pods("app.kubernetes.io/name=slipway-gateway", 2)
        self._await_pods(self._workload(), self._replicas)
        self._cluster.cordon(node, False)

    def _delete_gateway_pod(self) -> None:
        self._cluster.delete_pod(self._gateways()[0])
        self._await_pods("app.kubernetes.io/name=slipway-gateway", 2)

    def _roll_gateway(self) -> None:
        pod = self._gateways()[0]
        old = {each["metadata"]["uid"] for each in self._gateways()}
        self._cluster.restart(pod["metadata"]["namespace"], "slipway-gateway")
        self._await_pods("app.kubernetes.io/name=slipway-gateway", 2, without=old)

    def _await_pods(self, selector: str, count: int, without: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """Until there are so many pods, all ready, none ending."""
        end = time.monotonic() + 420
        while True:
            found = self._cluster.pods(selector)
            good = [pod for pod in found if is_ready(pod) and pod["metadata"]["uid"] not in without]
            if len(good) == len(found) == count:
                return
            if time.monotonic() > end:
                raise TimeoutError(f"{selector}: {len(good)} of {len(found)} pods are ready, {count} are wanted")
            time.sleep(0.5)


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod is ready and stays."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(row["type"] == "Ready" and row["status"] == "True" for row in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")
