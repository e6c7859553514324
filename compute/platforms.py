"""What an AKS cluster has and any other Kubernetes has not: everything that is asked of Azure. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from compute import fit, sizes
from compute.types import VmSize
from portal.problems import Conflict

OLDEST, NEWEST = (1, 29), (1, 35)  # the Kubernetes versions whose schemas are tested against
TYPE_LABEL = "node.kubernetes.io/instance-type"
BLOCKING = ("NoSchedule", "NoExecute")
GIB = 1024**3


class NotInAzure(Conflict):
    code, title = "not_in_azure", "Azure does not know this cluster"


class Target(Protocol):
    """A compute target, as far as it matters here."""

    @property
    def name(self) -> Any: ...

    @property
    def is_azure(self) -> bool: ...


def refuse_without_azure(target: Target, what: str) -> None:
    """Say that only Azure could do it, of a cluster that Azure does not know: `what` as "it cannot be scaled here".

    Raises NotInAzure (409).
    """
    if not target.is_azure:
        raise NotInAzure(
            f"{target.name} was attached by its kubeconfig: Azure does not know it, so {what}. Do it where the "
            "cluster was made."
        )


def minor(version: str) -> tuple[int, int] | None:
    """Major and minor of an API server's version ("v1.33.6+k3s1"); None when it says nothing like it."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


def usable(nodes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The nodes that replicas can run on: of Linux, and without a taint that keeps all others away."""
    return [node for node in nodes if _is_open(node)]


def _is_open(node: dict[str, Any]) -> bool:
    labels, taints = (node.get("metadata") or {}).get("labels") or {}, (node.get("spec") or {}).get("taints") or []
    is_linux = str(labels.get("kubernetes.io/os") or "linux") == "linux"
    kept_out = [taint for taint in taints if taint.get("effect") in BLOCKING and not _passes_by_itself(taint)]
    return is_linux and not kept_out


def _passes_by_itself(taint: dict[str, Any]) -> bool:
    """Kubernetes' own taints for a node's present state (not ready, cordoned, under pressure)."""
    return str(taint.get("key", "")).startswith("node.kubernetes.io/")


def machines(nodes: Sequence[dict[str, Any]]) -> list[sizes.Pool]:
    """The usable nodes as sizes with their counts, the most frequent first; sizes by capacity, not what is left."""
    found = Counter(_size(node) for node in usable(nodes))
    return [(VmSize(*facts, family=""), count) for facts, count in sorted(found.items(), key=lambda row: -row[1])]


def _size(node: dict[str, Any]) -> tuple[str, int, float, int]:
    """Name, vCPUs, memory and GPUs of a node. Clouds name its type by a label; others are just nodes."""
    has = (node.get("status") or {}).get("capacity") or {}
    labels = (node.get("metadata") or {}).get("labels") or {}
    cpus, memory = int(fit.amount(has.get("cpu"))), round(fit.amount(has.get("memory")) / GIB, 1)
    return str(labels.get(TYPE_LABEL) or "node")[:60], cpus, memory, int(fit.amount(has.get(fit.GPU)))


def largest(parts: Sequence[sizes.Pool]) -> VmSize:
    """What the biggest node has of each, under the names of all kinds of them: what fits nowhere is seen by it."""
    kinds = list(dict.fromkeys(size.name for size, _ in parts))
    name = ", ".join(kinds)
    return VmSize(
        name if len(name) <= 60 else f"{len(kinds)} kinds of nodes",
        max((size.vcpus for size, _ in parts), default=0), max((size.memory_gb for size, _ in parts), default=0.0),
        max((size.gpus for size, _ in parts), default=0), "",
    )  # fmt: skip
