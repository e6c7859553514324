"""What deployments have to do with node pools: where they can go, and where they are. Opens no socket."""

from __future__ import annotations

from typing import Any

from django.db.models import F, Q

from compute import fit, power, queries, sizes
from compute import pools as rules
from compute.models import ComputeTarget, NodePool
from compute.types import ComputeState

GONE = (ComputeState.CREATING, ComputeState.DELETING, ComputeState.MISSING)


def choices(*, target: ComputeTarget) -> list[rules.Choice]:
    """The pools that a deployment can go to, the target's own first; those that are going, or not there, or of Windows
    or ARM machines, are left out.
    """
    own = rules.Choice(
        queries.first_pool(target), target.vm_size or target.name, target.vcpus, target.memory_gb, target.gpus,
        tuple(target.observed.get("pool_taints") or ()), most=max(target.node_count, 1),
    )  # fmt: skip
    alive = {node.get("pool") for node in target.observed.get("nodes") or []}  # what failed may have nodes still
    return [
        own,
        *(
            _choice(row) for row in target.pools.all()
            if row.observed and _runs_ours(row) and row.state not in GONE
            and (row.state not in (ComputeState.FAILED, ComputeState.CANCELED) or row.name in alive)
        ),
    ]  # fmt: skip


def _runs_ours(row: NodePool) -> bool:
    """Whether its machines run the images that deployments have."""
    return str(row.observed.get("os_type") or "Linux").lower() == "linux" and not sizes.is_arm(row.vm_size)


def _choice(row: NodePool) -> rules.Choice:
    most = row.count if row.max_count is None else row.max_count
    most = 0 if power.is_off(row.observed) else most
    return rules.Choice(row.name, row.vm_size, row.vcpus, row.memory_gb, row.gpus, tuple(row.taints), most)


def taints_of(*, target: ComputeTarget, pool: str) -> tuple[str, ...]:
    """The taints of a pool, whatever its state; none without a name, or where no such pool is known."""
    if pool == queries.first_pool(target):
        return tuple(target.observed.get("pool_taints") or ())
    return tuple(target.pools.filter(name=pool).values_list("taints", flat=True).first() or ())


def grows(*, target: ComputeTarget, pool: str) -> bool:
    """Whether an autoscaler may add nodes of that pool; without a name, of any pool that takes everything."""
    own = queries.first_pool(target)
    if pool != own and any(row.is_autoscaled and _takes(row, pool) for row in target.pools.all()):
        return True
    return pool in ("", own) and bool(power.bounds_in_force(target))


def _takes(row: NodePool, pool: str) -> bool:
    """Whether a pool is the named one, or without a name, one that takes everything."""
    return row.name == pool if pool else row.state not in GONE and _choice(row).is_open


def on_pools(*, target: ComputeTarget) -> dict[str, list[str]]:
    """By pool, the names of the deployments that are bound to it, sorted."""
    rows: Any = getattr(target, "deployments", None)
    if rows is None:
        return {}
    offered, found = choices(target=target), dict[str, set[str]]()
    alive = rows.filter(Q(revisions__number=F("revision")) | Q(revisions__number=F("serving_revision")))
    for name, pool, config in alive.values_list("name", "revisions__node_pool", "revisions__config"):
        found.setdefault(_goes_to(offered, config) if pool is None else pool, set()).add(str(name))
    return {pool: sorted(names) for pool, names in found.items() if pool}


def on_pool(*, target: ComputeTarget, pool: str) -> list[str]:
    """Those of one pool."""
    return on_pools(target=target).get(pool, [])


def seen_on_pool(*, target: ComputeTarget, pool: str) -> list[str]:
    """Names of the deployments of which replicas were seen on nodes of the pool, sorted."""
    rows: Any = getattr(target, "deployments", None)
    there = {each for node in fit.of_pool(target.observed.get("nodes") or [], pool) for each in node.get("runs") or ()}
    if rows is None or not there:
        return []
    slug = target.workspace.slug
    return sorted(str(row.name) for row in rows.all() if f"{slug}/{row.pk}" in there)


def _goes_to(offered: list[rules.Choice], config: dict[str, Any]) -> str:
    """The pool of a revision from before it was stored."""
    asked = config.get("containerResourceRequirements") or {}
    wanted, gpus = str(config.get("nodePool") or ""), int(config.get("gpuCores") or asked.get("gpu") or 0)
    found = rules.pick(offered, wanted, gpus)
    return wanted or (found.name if found else "")
