"""Rules of node pools: names, counts, labels and taints, and which pool a deployment goes to. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compute.options import check_disk, check_zones
from compute.types import PoolMode, VmSize
from portal.problems import Conflict, Invalid

NAME = re.compile(r"[a-z][a-z0-9]{0,11}")
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
TAINT = re.compile(rf"({LABEL_KEY.pattern})=({LABEL_VALUE.pattern}):(NoSchedule|PreferNoSchedule|NoExecute)")
RESERVED = "kubernetes.azure.com"
POOL_LABEL = f"{RESERVED}/agentpool"
SYSTEM_TAINT = "CriticalAddonsOnly=true:NoSchedule"
SYSTEM_LEAST = (2, 4)  # vCPUs and GB of a node that holds what Kubernetes itself needs
MOST_NODES = 1000
MOST_POOLS = 100
SOFT = ":PreferNoSchedule"


class BadPool(Invalid):
    code, title = "bad_node_pool", "The node pool does not fit the rules"


class PoolStays(Conflict):
    code, title = "pool_stays", "The node pool cannot be removed"


@dataclass(frozen=True)
class Choice:
    """A pool as deployments see it; numbers are of one node. `most` is the most nodes that it may have by itself."""

    name: str
    vm_size: str
    vcpus: int = 0
    memory_gb: float = 0
    gpus: int = 0
    taints: tuple[str, ...] = ()
    most: int = 1

    @property
    def is_open(self) -> bool:
        """Whether pods that say nothing about taints can be there."""
        return all(taint.endswith(SOFT) for taint in self.taints)


def check_name(name: str) -> None:
    """A pool's name as AKS takes it. Raises BadPool."""
    if not NAME.fullmatch(name):
        raise BadPool(
            f"{name!r} has {len(name)} characters. A node pool's name has 1 to 12 lower-case letters and digits, and "
            "begins with a letter, e.g. gpu1."
        )


def check_count(mode: str, count: int, low: int | None, high: int | None) -> None:
    """Count and the autoscaler's bounds, which go together. Raises BadPool."""
    least = 1 if mode == PoolMode.SYSTEM else 0
    if not least <= count <= MOST_NODES:
        raise BadPool(f"{count} nodes were asked for; a {mode} pool has {least} to {MOST_NODES}.")
    if (low is None) != (high is None):
        raise BadPool("The autoscaler needs both min_count and max_count.")
    if low is None or high is None:
        return
    if not (least <= low <= high <= MOST_NODES and high >= 1):
        raise BadPool(
            f"min_count {low} and max_count {high} of a {mode} pool need {least} ≤ min_count ≤ max_count ≤ "
            f"{MOST_NODES}, and at least 1 as max_count."
        )
    if not low <= count <= high:
        raise BadPool(f"count {count} has to lie between the autoscaler's {low} and {high}.")


def check_size(mode: str, size: VmSize) -> None:
    """A system pool's machines can hold Kubernetes' own pods. Raises BadPool."""
    if mode == PoolMode.SYSTEM and (size.vcpus < SYSTEM_LEAST[0] or size.memory_gb < SYSTEM_LEAST[1]):
        raise BadPool(
            f"{size.name} has {size.vcpus} vCPUs and {size.memory_gb:g} GB; a node of a System pool needs at least "
            f"{SYSTEM_LEAST[0]} and {SYSTEM_LEAST[1]}. Choose a larger size, or mode User."
        )


def check_labels(labels: Mapping[str, str]) -> None:
    """Labels of nodes. Raises BadPool."""
    for key, value in labels.items():
        if RESERVED in key.lower():
            raise BadPool(f"The label {key} is Azure's: {RESERVED} is reserved.")
        if not LABEL_KEY.fullmatch(key) or not LABEL_VALUE.fullmatch(value):
            raise BadPool(f"{key}={value} is not a label: give letters, digits, '-', '_' and '.', at most 63 of them.")


def check_taints(mode: str, taints: Sequence[str]) -> None:
    """Taints of nodes, as key=value:Effect. Raises BadPool."""
    for taint in taints:
        if not TAINT.fullmatch(taint):
            raise BadPool(f"{taint!r} is not a taint. Write key=value:NoSchedule, PreferNoSchedule or NoExecute.")
        if mode == PoolMode.SYSTEM and not taint.endswith(SOFT) and taint != SYSTEM_TAINT:
            raise BadPool(f"A System pool takes no taint {taint}; it may have {SYSTEM_TAINT}. Or choose mode User.")


def checks(wish: Mapping[str, Any]) -> list[Callable[[], object]]:
    """Every check of a wished pool that needs no other facts. They raise BadPool or BadOption."""
    bounds = (wish.get("min_count"), wish.get("max_count"))
    return [
        lambda: check_name(wish["name"]),
        lambda: check_count(wish["mode"], wish["count"], *bounds),
        lambda: check_labels(wish.get("labels") or {}),
        lambda: check_taints(wish["mode"], wish.get("taints") or []),
        lambda: check_zones(wish.get("zones") or []),
        lambda: check_disk(wish["os_disk_gb"]) if wish.get("os_disk_gb") else None,
    ]


def pick(pools: Sequence[Choice], wanted: str, gpus: int) -> Choice | None:
    """The pool of a deployment: the named one; for GPUs, where the cluster's own pool has too few, the one with
    the fewest that are enough. None for any pool, and where there is none. The first of `pools` is the cluster's own.
    """
    if wanted:
        return next((pool for pool in pools if pool.name == wanted), None)
    if not gpus or pools[0].gpus >= gpus:
        return None
    fits = [pool for pool in pools if pool.gpus >= gpus]
    return min(fits, key=lambda pool: (pool.most == 0, pool.gpus, pool.name)) if fits else None


def told(pools: Sequence[Choice]) -> str:
    """The pools by name, with their size: "nodepool1 (Standard_D3_v2), gpu1 (Standard_NC4as_T4_v3, 1 GPU)"."""
    return ", ".join(f"{pool.name} ({_size_words(pool)})" for pool in pools)


def _size_words(pool: Choice) -> str:
    if not pool.gpus:
        return pool.vm_size
    return f"{pool.vm_size}, {pool.gpus} GPU{'s' if pool.gpus > 1 else ''}"


def tolerations(taints: Sequence[str]) -> list[dict[str, str]]:
    """What a pod says to run on nodes with these taints."""
    found = [_toleration(taint) for taint in taints]
    return [each for each in found if each["key"]]


def _toleration(taint: str) -> dict[str, str]:
    pair, _, effect = taint.rpartition(":")
    key, _, value = pair.partition("=")
    return {"key": key, "operator": "Equal", "value": value, "effect": effect}
