"""The node pools of a cluster side by side, its own first, as pages and REST show them."""

from __future__ import annotations

from typing import Any

from compute import cost, fit, power, queries
from compute.models import ComputeTarget, NodePool
from compute.types import ComputeState, PoolMode

Row = dict[str, Any]
SAME = (
    "name", "mode", "vm_size", "vcpus", "memory_gb", "gpus", "count", "min_count", "max_count", "zones", "labels",
    "taints", "os_disk_gb", "generation", "state", "reason", "is_adopted",
)  # fmt: skip


def rows(target: ComputeTarget) -> list[Row]:
    """All pools: what is wanted, what was seen (`observed_count`, `nodes_ready`), and the estimate an hour. None where
    Azure does not know the cluster.
    """
    if not target.is_azure:
        return []
    return [first(target), *(further(target, pool) for pool in target.pools.all())]


def totals(target: ComputeTarget) -> tuple[int, int]:
    """Nodes and vCPUs of all pools that are wanted and there; where Azure chooses the count, as it was seen."""
    if not target.is_azure:
        return target.node_count, target.total_vcpus
    seen = target.observed.get("node_count") if power.bounds_in_force(target) else None
    own = int(seen or target.node_count)
    there = [pool for pool in target.pools.all() if pool.observed and pool.state != ComputeState.MISSING]
    counts = [(pool, int(pool.observed.get("count") or 0) if pool.is_autoscaled else pool.count) for pool in there]
    nodes = own + sum(count for _, count in counts)
    return nodes, own * target.vcpus + sum(count * pool.vcpus for pool, count in counts)


def first(target: ComputeTarget) -> Row:
    """The pool that the target itself stands for."""
    bounds = power.bounds_in_force(target) or {}
    same = ("vm_size", "vcpus", "memory_gb", "gpus", "generation", "state")
    drift = [row["message"] for row in target.observed.get("drift") or [] if not row.get("pool")]
    facts = {
        "name": queries.first_pool(target), "mode": PoolMode.SYSTEM.value, "count": target.node_count,
        "min_count": bounds.get("min_count"), "max_count": bounds.get("max_count"), "labels": {}, "is_adopted": False,
        "zones": target.config.get("zones") or [], "taints": target.observed.get("pool_taints") or [],
        "os_disk_gb": target.config.get("os_disk_gb") or 0,
        "reason": " ".join(drift) if target.state == ComputeState.SUCCEEDED else target.reason,
        **{name: getattr(target, name) for name in same},
    }  # fmt: skip
    return _seen(target, facts, target.observed.get("node_count"), cost.of_first(target).usd_hour, is_first=True)


def further(target: ComputeTarget, pool: NodePool) -> Row:
    """A further pool."""
    facts = {name: getattr(pool, name) for name in SAME}
    return _seen(target, facts, pool.observed.get("count"), cost.of_pool(target, pool).usd_hour, is_first=False)


def _seen(target: ComputeTarget, facts: Row, count: int | None, hour: float | None, *, is_first: bool) -> Row:
    nodes = fit.of_pool(target.observed.get("nodes") or [], str(facts["name"]))
    return {
        **facts, "is_first": is_first, "observed_count": count, "usd_hour": hour,
        "nodes_ready": sum(1 for node in nodes if node["ready"]),
    }  # fmt: skip
