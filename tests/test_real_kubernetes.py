"""What we apply, held against a real API server: `REAL_KUBECONFIG=FILE ./slipway test tests/test_real_kubernetes.py`.

Server, CA and token or client certificate have to be inline, as the portal wants them. Namespaces are made and removed.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from compute import hardening
from compute.cluster import Cluster, Refused, connect
from tests.deployments import test_manifests as deployments
from tests.endpoints import test_gateway as gateways

FILE = os.environ.get("REAL_KUBECONFIG", "")
pytestmark = pytest.mark.skipif(not FILE, reason="REAL_KUBECONFIG names no cluster")
Json = dict[str, Any]
FREE = ("Namespace", "PriorityClass")


@pytest.fixture
def cluster(settings: Any) -> Iterator[Cluster]:
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
    found = connect(Path(FILE).read_bytes())
    yield found
    found.close()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    name = f"real-{uuid.uuid4().hex[:8]}"
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}
    cluster.apply([hardening.namespace(name, {}), account])  # a server without controllers makes no account
    yield name
    cluster.remove("Namespace", namespace="", name=name)


def moved(objects: list[Json], namespace: str) -> list[Json]:
    """The objects as they are, but all in one namespace; of equal ones the last."""
    found = {}
    for item in objects:
        if item["kind"] not in FREE:
            meta = {**item["metadata"], "namespace": namespace}
            found[item["kind"], meta["name"]] = {**item, "metadata": meta}
    return list(found.values())


def each() -> list[list[Json]]:
    """Every object of every combination of options: lists in which no name comes twice."""
    lists: list[list[Json]] = []
    for item in [*deployments.everything(), *gateways.everything()]:
        key = (item["kind"], item["metadata"]["name"])
        room = next((row for row in lists if key not in [(o["kind"], o["metadata"]["name"]) for o in row]), None)
        if room is None:
            lists.append(room := [])
        room.append(item)
    return lists


def test_every_object_is_taken_and_applied_again_changes_nothing(cluster: Cluster, namespace: str) -> None:
    for objects in each():
        cluster.apply([item for item in objects if item["kind"] in FREE])
        here = moved(objects, namespace)
        cluster.apply(here)
        before = marks(cluster, here)
        cluster.apply(here)
        assert marks(cluster, here) == before


def marks(cluster: Cluster, objects: list[Json]) -> dict[str, Any]:
    """What a change of ours would change. Controllers write the status meanwhile, so no resourceVersion."""
    found = {}
    for item in objects:
        meta = item["metadata"]
        seen = cluster.observe(item["kind"], namespace=meta["namespace"], name=meta["name"])[0]
        content = {name: value for name, value in seen.items() if name not in ("metadata", "status")}
        found[f"{item['kind']}/{meta['name']}"] = (content, seen["metadata"].get("generation"))
    return found


@pytest.mark.kubectl
def test_kubectl_finds_no_difference_to_what_was_applied(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    file = tmp_path / "objects.yaml"
    for objects in each():
        here = moved(objects, namespace)
        cluster.apply(here)
        file.write_text(yaml.safe_dump_all(here))
        words = [
            "kubectl",
            "--kubeconfig",
            FILE,
            "diff",
            "--server-side",
            "--field-manager",
            "slipway",
            "-f",
            str(file),
        ]
        done = subprocess.run(words, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "value"),
    [("hostNetwork", True), ("securityContext", {"runAsNonRoot": False}), ("hostPID", True)],
)
def test_a_pod_with_more_rights_is_refused_in_our_namespaces(
    cluster: Cluster, namespace: str, path: str, value: Any
) -> None:
    good = next(item for item in deployments.everything() if item["kind"] == "Deployment")
    spec = {**good["spec"]["template"]["spec"], path: value}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "more", "namespace": namespace}, "spec": spec}
    with pytest.raises(Refused, match="violates PodSecurity"):
        cluster.apply([pod])
