"""What nodes can hold: Kubernetes quantities, free room per node, and warnings before scaling down. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

UNITS = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1), "k": Decimal(10**3),
    "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
    **{f"{letter}i": Decimal(1024**power) for power, letter in enumerate("KMGTPE", 1)},
}  # fmt: skip
GPU = "nvidia.com/gpu"
GIB = 1024**3


def amount(text: Any) -> float:
    """A Kubernetes quantity as a number: "500m" is 0.5, "1Gi" is 1073741824. What is no quantity is 0."""
    word = str(text or "0")
    unit = next((unit for unit in sorted(UNITS, key=len, reverse=True) if unit and word.endswith(unit)), "")
    try:
        return float(Decimal(word.removesuffix(unit)) * UNITS[unit])
    except InvalidOperation:
        return 0.0


def requests_of(pod: dict[str, Any]) -> tuple[float, float, float]:
    """What a pod asks for: cores, bytes, GPUs. Sidecars count with the containers; another init container where it,
    with the sidecars before it, asks for more than all of them.
    """
    spec = pod.get("spec") or {}
    total = _sum(_asked(container) for container in spec.get("containers") or [])
    beside, peaks = (0.0, 0.0, 0.0), []
    for container in spec.get("initContainers") or []:
        if container.get("restartPolicy") == "Always":
            beside = _sum((beside, _asked(container)))
        else:
            peaks.append(_sum((beside, _asked(container))))
    most = [max(each) for each in zip(_sum((total, beside)), *peaks, strict=True)]
    return most[0], most[1], most[2]


def _sum(parts: Iterable[tuple[float, float, float]]) -> tuple[float, float, float]:
    rows = list(parts)
    return sum(each[0] for each in rows), sum(each[1] for each in rows), sum(each[2] for each in rows)


def _asked(container: dict[str, Any]) -> tuple[float, float, float]:
    asked = (container.get("resources") or {}).get("requests") or {}
    return amount(asked.get("cpu")), amount(asked.get("memory")), amount(asked.get(GPU))


def nodes(found: Iterable[dict[str, Any]], pods: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Nodes with what they can allocate, what is free after the pods on them, and which deployments those are of
    ("workspace/id" in `runs`), by name.
    """
    used: dict[str, list[float]] = {}
    runs: dict[str, set[str]] = {}
    for pod in pods:
        name = (pod.get("spec") or {}).get("nodeName")
        if name and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            asked = requests_of(pod)
            used[name] = [left + right for left, right in zip(used.get(name, [0.0, 0.0, 0.0]), asked, strict=True)]
            runs.setdefault(name, set()).add(_deployment(pod))
    rows = [_node(node, used.get(node["metadata"]["name"], [0.0, 0.0, 0.0])) for node in found]
    rows = [row | {"runs": sorted(filter(None, runs.get(row["name"], ())))} for row in rows]
    return sorted(rows, key=lambda row: str(row["name"]))


def _deployment(pod: dict[str, Any]) -> str:
    labels = (pod.get("metadata") or {}).get("labels") or {}
    number = labels.get("slipway.dev/deployment")
    return f"{labels.get('slipway.dev/workspace', '')}/{number}" if number else ""


def _node(node: dict[str, Any], used: list[float]) -> dict[str, Any]:
    meta, status = node["metadata"], node.get("status") or {}
    can, has = status.get("allocatable") or {}, status.get("capacity") or {}
    labels = meta.get("labels") or {}
    cpu, memory, gpus = amount(can.get("cpu")), amount(can.get("memory")), amount(can.get(GPU))
    return {
        "name": meta["name"],
        "pool": labels.get("kubernetes.azure.com/agentpool") or labels.get("agentpool", ""),
        "ready": _is_ready(status) and not (node.get("spec") or {}).get("unschedulable"),
        "vcpus": int(amount(has.get("cpu"))),
        "cpu": round(cpu, 3),
        "memory_bytes": int(memory),
        "gpus": int(gpus),
        "cpu_free": round(max(0.0, cpu - used[0]), 3),
        "memory_free": int(max(0.0, memory - used[1])),
        "gpus_free": int(max(0.0, gpus - used[2])),
    }


def _is_ready(status: dict[str, Any]) -> bool:
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in status.get("conditions") or [])


def asked_text(pod: dict[str, Any]) -> str:
    """What a pod asks for, for people: "0.5 CPU, 1 GiB of memory"."""
    cpu, memory, gpus = requests_of(pod)
    words = ((cpu, "CPU", 1), (memory, "GiB of memory", GIB), (gpus, "GPU", 1))
    return ", ".join(f"{round(asked / unit, 3):g} {word}" for asked, word, unit in words if asked)


def room(observed: Sequence[dict[str, Any]]) -> str:
    """The most that one node has free of each, and which node that is; empty when there is no node."""
    words = (("cpu_free", "CPU", 1), ("memory_free", "memory in GiB", GIB))
    most = [
        (max(observed, key=lambda node: float(node[key])), key, word, unit) for key, word, unit in words if observed
    ]
    found = [f"{word} {round(node[key] / unit, 3):g} ({node['name']})" for node, key, word, unit in most]
    return f"The most that one node has free: {', '.join(found)}." if found else ""


def of_pool(observed: Sequence[dict[str, Any]], pool: str) -> list[dict[str, Any]]:
    """The nodes of one pool."""
    return [node for node in observed if node.get("pool") == pool]


def scale_warnings(observed: list[dict[str, Any]], count: int) -> list[str]:
    """What `count` nodes like the observed ones cannot hold of what runs now, with numbers."""
    if not observed or count >= len(observed):
        return []
    found = []
    for key, free, unit, word in (
        ("cpu", "cpu_free", 1, "cores"),
        ("memory_bytes", "memory_free", GIB, "GiB of memory"),
    ):
        whole = sum(node[key] for node in observed)
        asked, room = (whole - sum(node[free] for node in observed)) / unit, whole / len(observed) * count / unit
        if asked > room:
            found.append(
                f"What runs now asks for {asked:.1f} {word}; {count} of {len(observed)} nodes have {room:.1f}. "
                "Some replicas will not fit."
            )
    return found
