"""Pods of the pretend clusters and processes of this machine are the same, one by one."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from tests.journeys import spy
from tests.journeys.crash.house import House, until
from tests.journeys.test_contract import ask, kubeconfig

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]


def test_each_ready_pod_is_a_live_process_and_no_process_is_there_without_a_pod(told: House, tmp_path: Path) -> None:
    known = json.loads(told.file("credentials.json").read_text())
    until(lambda: not unlike(told, known, tmp_path), 30, "pods and processes differ", 1)
    pods = [pod for pod in pods_of(known, tmp_path) if is_ready(pod)]
    assert {word for pod in pods for word in ("v1", "v2", "envoy") if word in str(pod.spec)} == {"v1", "v2", "envoy"}


def pods_of(known: dict[str, Any], folder: Path) -> list[Any]:
    """Every pod of every cluster, as the official client reads them."""
    every = f"{known['arm_url']}/subscriptions/{known['subscription_id']}/providers/Microsoft.ContainerService"
    rows = ask(f"{every}/managedClusters?api-version=2025-05-01", Authorization=f"Bearer {known['arm_token']}").json()
    found = []
    for row in rows["value"]:
        if row["properties"]["provisioningState"] == "Succeeded":
            path = folder / row["name"]
            path.write_bytes(kubeconfig(known, row["name"], row["id"].split("/")[4]))
            with config.new_client_from_config(str(path)) as link:
                found += client.CoreV1Api(link).list_pod_for_all_namespaces().items
    return found


def is_ready(pod: Any) -> bool:
    """Whether all containers of a pod are ready."""
    return bool(pod.status.container_statuses) and all(each.ready for each in pod.status.container_statuses)


def unlike(told: House, known: dict[str, Any], folder: Path) -> list[str]:
    """How the pods in the Kubernetes APIs, the sandbox's own list and the processes of this machine differ."""
    at_work = processes_by_pod(told)
    listed = {row["ip"]: row["pids"] for row in told.admin("GET", "state")["pods"]}
    listening = {row.inode: (row.host, row.port) for row in spy.table()}
    pods = pods_of(known, folder)
    found = [f"processes of no pod: {uid}" for uid in set(at_work) - {pod.metadata.uid for pod in pods}]
    for pod in filter(is_ready, pods):
        pids = at_work.get(pod.metadata.uid, set())
        held = {listening[inode] for inode in spy.owners(pids) if inode in listening}
        ports = {port.container_port for each in pod.spec.containers for port in each.ports or ()}
        missing = {(pod.status.pod_ip, port) for port in ports} - held
        unknown = {pid for first in listed.get(pod.status.pod_ip, []) for pid in spy.tree(first)} ^ pids
        if len(pids) < len(pod.spec.containers) or not ports or missing or unknown:
            found.append(f"{pod.metadata.name}: {len(pids)} processes, without {missing}, not the same: {unknown}")
    return found


def processes_by_pod(told: House) -> dict[str, set[int]]:
    """Live processes by the uid of the pod in whose folder they work."""
    pods, found = f"{told.file('sandbox', 'pods')}/", defaultdict(set)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place = str((process / "cwd").readlink())
        except OSError:
            continue
        if place.startswith(pods):
            found[place.removeprefix(pods).split("/")[0]].add(int(process.name))
    return found
