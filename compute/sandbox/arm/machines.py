"""The machines of a managed cluster, as its pretend Kubernetes sees them."""

from datetime import UTC, datetime
from typing import Any

from compute.sandbox.arm import catalogue
from compute.sandbox.kube.clusters import Clusters, NodeSpec

Json = dict[str, Any]


def ensure(kube: Clusters, record: Json) -> None:
    """Make the pretend Kubernetes of the record, or bring its version up to date."""
    body = record["body"]
    kube.ensure(
        record["uid"], name=record["name"], resource_group=record["group"], region=body["location"],
        version=body["properties"]["currentKubernetesVersion"], local=local_accounts(body["properties"]),
    )  # fmt: skip


def local_accounts(props: Json) -> list[str]:
    """Which accounts without Entra a cluster has."""
    if props.get("disableLocalAccounts"):
        return []
    return ["clusterAdmin"] if props.get("aadProfile") else ["clusterUser", "clusterAdmin"]


def specs(record: Json, without: str = "") -> list[NodeSpec]:
    """The machines of all pools but one."""
    rows = record["body"]["properties"]["agentPoolProfiles"]
    return [spec for pool in rows if pool["name"] != without for spec in _pool(record, pool)]


def _pool(record: Json, pool: Json) -> list[NodeSpec]:
    size = catalogue.sizes()[pool["vmSize"].lower()]
    zones = pool.get("availabilityZones") or []
    number = int(record["uid"][:7], 16) % 90_000_000 + 10_000_000
    labels = {"kubernetes.azure.com/mode": pool["mode"].lower(), **(pool.get("nodeLabels") or {})}
    return [
        NodeSpec(
            name=f"aks-{pool['name']}-{number}-vmss{_base36(index)}", pool=pool["name"], vm_size=size.name,
            vcpus=size.vcpus, memory_gb=size.memory_gb, gpus=size.gpus, max_pods=pool["maxPods"],
            zone=str(zones[index % len(zones)]) if zones else "",
            labels=labels, taints=[_taint(text) for text in pool.get("nodeTaints") or []],
        )
        for index in range(pool["count"])
    ]  # fmt: skip


def _base36(number: int) -> str:
    digits = ""
    for _ in range(6):
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
    return digits


def _taint(text: str) -> Json:
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    return {"key": key, "value": value, "effect": effect}


def stamp(seconds: float) -> str:
    """A moment as ARM writes it, with seven digits behind the second."""
    moment = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
    return moment.replace("+00:00", "0Z")
