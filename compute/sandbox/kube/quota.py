"""Resource quotas: what a namespace may hold."""

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from compute.sandbox.kube import quantity
from compute.sandbox.kube.errors import forbidden
from compute.sandbox.kube.kinds import KINDS, Kind
from compute.sandbox.kubelet import requests

if TYPE_CHECKING:
    from compute.sandbox.kube.store import Store

Json = dict[str, Any]
Usage = dict[str, Decimal]
COMPUTE = {"cpu": ("requests.cpu", "cpu"), "memory": ("requests.memory", "memory")}
PLAIN_COUNTS = ("pods", "services", "secrets", "configmaps", "resourcequotas")


def check(store: "Store", cluster: str, kind: Kind, obj: Json) -> None:
    """403 when the new object would exceed a quota of its namespace, or leaves out what a quota counts."""
    if not kind.namespaced:
        return
    namespace = obj["metadata"]["namespace"]
    for row in store.list(cluster, "resourcequotas", namespace):
        hard = {name: quantity.parse(value) for name, value in row.get("spec", {}).get("hard", {}).items()}
        asked = usage_of(kind, obj)
        _check_named(kind, obj, row, hard)
        used = used_in(store, cluster, namespace)
        over = [
            name for name in sorted(hard) if name in asked and used.get(name, Decimal(0)) + asked[name] > hard[name]
        ]
        if over:
            raise forbidden(kind, obj["metadata"]["name"], _exceeded(row, over, asked, used, hard))


def _exceeded(row: Json, over: list[str], asked: Usage, used: Usage, hard: Usage) -> str:
    def listed(values: Usage) -> str:
        return ",".join(f"{name}={quantity.show(values.get(name, Decimal(0)), name)}" for name in over)

    name = row["metadata"]["name"]
    return f"exceeded quota: {name}, requested: {listed(asked)}, used: {listed(used)}, limited: {listed(hard)}"


def _check_named(kind: Kind, obj: Json, row: Json, hard: Usage) -> None:
    if kind.resource != "pods":
        return
    lacking: dict[str, list[str]] = {}
    for name in hard:
        part, _, resource = name.rpartition(".")
        if resource not in ("cpu", "memory"):
            continue
        for item in obj["spec"]["containers"]:
            if resource not in item.get("resources", {}).get(part or "requests", {}):
                lacking.setdefault(name, []).append(item["name"])
    if lacking:
        text = "; ".join(f"{name} for: {','.join(items)}" for name, items in sorted(lacking.items()))
        raise forbidden(kind, obj["metadata"]["name"], f"failed quota: {row['metadata']['name']}: must specify {text}")


def usage_of(kind: Kind, obj: Json) -> Usage:
    """What one object counts for, by quota name."""
    usage: Usage = {f"count/{kind.qualified}": Decimal(1)}
    if kind.resource in PLAIN_COUNTS:
        usage[kind.resource] = Decimal(1)
    if kind.resource == "services" and obj["spec"].get("type") == "LoadBalancer":
        usage["services.loadbalancers"] = Decimal(1)
    if kind.resource == "pods":
        for part, names in (("requests", COMPUTE), ("limits", {})):
            for resource, total in _pod_total(obj, part).items():
                for name in names.get(resource, (f"{part}.{resource}",)):
                    usage[name] = total
    return usage


def _pod_total(pod: Json, part: str) -> Usage:
    def of(container: Json) -> Usage:
        rows = container.get("resources", {}).get(part, {})
        return {name: quantity.parse(value) for name, value in rows.items()}

    return requests.summed(pod["spec"], of)


def used_in(store: "Store", cluster: str, namespace: str) -> Usage:
    """What the namespace holds now; pods that ended do not count."""
    total: Usage = {}
    for kind, obj in _counted(store, cluster, namespace):
        for name, value in usage_of(kind, obj).items():
            total[name] = total.get(name, Decimal(0)) + value
    return total


def _counted(store: "Store", cluster: str, namespace: str) -> Iterator[tuple[Kind, Json]]:
    for kind in KINDS.values():
        if not kind.namespaced or kind.resource == "events":
            continue
        for obj in store.list(cluster, kind.resource, namespace):
            if obj.get("status", {}).get("phase") not in ("Succeeded", "Failed") or kind.resource != "pods":
                yield kind, obj
