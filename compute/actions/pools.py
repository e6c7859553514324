"""Every write of node pools: add, scale, adopt, remove. No socket is opened here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet

from compute import fit, placed, platforms, pools, power, queries, sizes
from compute.actions import targets
from compute.models import ComputeTarget, NodePool
from compute.types import ComputeState, PoolMode, Purpose, VmSize
from portal import audit, operations
from portal.models import Operation, User
from portal.operations.start import busy
from portal.problems import Conflict, Stale
from portal.types import OperationKind

DEFAULTS = {"mode": PoolMode.USER.value, "vm_size": sizes.DEFAULT_SIZE, "count": 1}
FIELDS = ("mode", "vm_size", "count", "min_count", "max_count", "zones", "labels", "taints", "os_disk_gb")
ADOPTED = ("pool_count", "pool_autoscaler", "pool_size")
NO_POOLS = "it has no node pools here"
COUNTS = ("count", "min_count", "max_count")


class PoolTaken(Conflict):
    code, title = "pool_name_taken", "The name is taken"


class TooManyPools(Conflict):
    code, title = "too_many_pools", "The cluster has as many node pools as Azure allows"


class PoolNotScalable(Conflict):
    code, title = "pool_not_scalable", "The node pool cannot be scaled now"


class PoolInUse(Conflict):
    code, title = "pool_in_use", "Something runs on the node pool"


class NoPoolDrift(Conflict):
    code, title = "no_drift", "Azure has what is wanted"


@transaction.atomic
def pool_add(*, target: ComputeTarget, actor: User, **wish: Any) -> Operation:
    """Start to add a node pool: name, vm_size, count, mode, min_count, max_count, zones, labels, taints, os_disk_gb.

    Raises BadPool, BadOption or a rule of sizes (422); PoolTaken, TooManyPools, NotScalable or Busy (409).
    """
    platforms.refuse_without_azure(target, NO_POOLS)
    wish = {**DEFAULTS, **wish}
    for check in pools.checks(wish):
        check()
    size = size_for(target, wish)
    check_usable(target)
    facts = {"vm_size": size.name, "vcpus": size.vcpus, "memory_gb": size.memory_gb, "gpus": size.gpus}
    given = {name: wish[name] for name in FIELDS if wish.get(name) is not None} | facts
    pool = _insert(target, wish["name"], given)
    return _start(OperationKind.POOL_ADD, pool, actor, "added", after=_told(pool), warnings=_words(pool))


@transaction.atomic
def pool_scale(
    *, pool: NodePool, actor: User, count: int | None = None, min_count: int | None = None,
    max_count: int | None = None, generation: int | None = None,
) -> Operation:  # fmt: skip
    """Start to change the count of a node pool, or the bounds of its autoscaler; without bounds it is off.

    Raises BadPool or TooFewCores (422), Stale (412), PoolNotScalable, NotScalable or Busy (409).
    """
    target = pool.target
    number = _count_of(pool, count, min_count, max_count)
    pools.check_count(pool.mode, number, min_count, max_count)
    check_usable(target)
    _check_scalable(pool)
    _check_floor(pool, number if min_count is None else min_count)
    before = {name: getattr(pool, name) for name in (*COUNTS, "state")}
    after = {"count": number, "min_count": min_count, "max_count": max_count}
    _take_generation(pool, generation, **after, state=ComputeState.SCALING, reason="")
    warnings = _fewer(pool, number) if max_count is None else []
    return _start(
        OperationKind.POOL_SCALE, pool, actor, "scaled", before=before, after=after, warnings=warnings, wish=after
    )


@transaction.atomic
def pool_remove(*, pool: NodePool, actor: User, force: bool = False) -> Operation:
    """Start to take a node pool away with its nodes.

    Raises PoolInUse (409) unless forced: with the names of what asks for it, with the number of other workspaces that
    have the cluster, and for a pool that others made in a cluster of others. NotScalable or Busy (409), TooFewCores
    (422).
    """
    target = pool.target
    check_usable(target)
    _check_floor(pool, 0)
    names, others = _users(pool)
    if not force:
        check_unused(pool)
    warnings = [f"Without a node to run on: {', '.join(names)}."] if names else []
    warnings += [_uses(pool, [], others)] if others else []
    before = {"state": pool.state}
    NodePool.objects.filter(pk=pool.pk).update(state=ComputeState.DELETING, reason="", generation=F("generation") + 1)
    return _start(
        OperationKind.POOL_REMOVE, pool, actor, "removed", before=before, force=force,
        told={**_told(pool), "deployments": names, "force": force}, warnings=warnings + _moved(pool, names),
    )  # fmt: skip


def check_unused(pool: NodePool) -> None:
    """Whether the pool may be removed without force. Raises PoolInUse (409)."""
    names, others = _users(pool)
    uses = _uses(pool, names, others)
    if uses:
        raise PoolInUse(f"{uses} Force it to remove it all the same.", deployments=names, other_workspaces=others)


def _users(pool: NodePool) -> tuple[list[str], int]:
    """What asks for the pool by name, and how many other workspaces have its cluster."""
    others = 0 if pool.state == ComputeState.MISSING else len(queries.attachments(target=pool.target))
    return placed.on_pool(target=pool.target, pool=pool.name), others


@transaction.atomic
def pool_adopt(*, pool: NodePool, actor: User) -> None:
    """Take the count and bounds that Azure was seen to have as the wanted ones.

    Raises NoPoolDrift or Busy (409), TooFewCores (422).
    """
    target = pool.target
    if operations.active_on(target.ref):
        raise busy(target.ref, target.name)
    before = {name: getattr(pool, name) for name in COUNTS}
    after = {name: pool.observed.get(name) for name in COUNTS}
    drift = target.observed.get("drift") or []
    mine = [row for row in drift if row.get("pool") == pool.name and row["code"] in ADOPTED]
    if not mine:
        raise NoPoolDrift(f"Azure has what is wanted for the node pool {pool.name}.")
    _check_floor(pool, int((after["count"] if after["min_count"] is None else after["min_count"]) or 0))
    seen = {name: value for name, value in pool.observed.items() if name != "was_size"}
    _take_generation(pool, None, **after, observed=seen, reason="")
    rest = [row for row in drift if row not in mine]
    ComputeTarget.objects.filter(pk=target.pk).update(
        observed={**target.observed, "drift": rest}, reason=" ".join(row["message"] for row in rest)
    )
    audit.record(
        action="node_pool.count_adopted", on=target, actor=actor, before={"pool": pool.name, **before},
        after={"pool": pool.name, **after},
    )  # fmt: skip


def _uses(pool: NodePool, names: list[str], others: int) -> str:
    """Why a pool is not removed without a second thought, in one or two sentences; empty when nothing speaks for it."""
    parts = []
    if names:
        parts.append(
            f"{', '.join(names)} {'needs' if len(names) == 1 else 'need'} the node pool {pool.name}. Move or delete "
            "first what runs there; without it its replicas fit on no node."
        )
    if others:
        whom = "Another workspace has" if others == 1 else f"{others} other workspaces have"
        parts.append(f"{whom} the same cluster, and may run something on {pool.name}.")
    if pool.observed.get("was_size"):
        parts.append(f"{pool.name} was made anew outside the portal.")
    elif pool.is_adopted and pool.target.is_attached and pool.state != ComputeState.MISSING:
        parts.append(f"{pool.name} was made outside the portal, in a cluster that is only attached.")
    return " ".join(parts)


def refuse_first(target: ComputeTarget, name: str) -> None:
    """The first system pool is the cluster itself. Raises PoolStays (409)."""
    if name == queries.first_pool(target):
        raise pools.PoolStays(
            f"{name} is the first system pool of {target.name}: it stays, since Kubernetes itself runs there. "
            "Scale the compute target to change its nodes."
        )


def _insert(target: ComputeTarget, name: str, given: dict[str, Any]) -> NodePool:
    """The new row; one that was never made in Azure is taken again, so that what a lost answer left is found."""
    check_free(target, name)
    never_made = _never_made(target, name)
    old = never_made.values_list("pk", flat=True).first()
    never_made.delete()
    try:
        with transaction.atomic():
            return NodePool.objects.create(pk=old, target=target, name=name, **given)
    except IntegrityError:
        raise PoolTaken(f"{target.name} has a node pool {name} already.") from None


def _never_made(target: ComputeTarget, name: str) -> QuerySet[NodePool]:
    ended = (ComputeState.FAILED, ComputeState.CANCELED)
    return NodePool.objects.filter(target=target, name=name, state__in=ended, observed={})


def check_free(target: ComputeTarget, name: str) -> None:
    """Whether a further pool may have the name. Raises PoolTaken or TooManyPools (409)."""
    if name == queries.first_pool(target):
        raise PoolTaken(f"{target.name} has a node pool {name} already: it is its first one.")
    if target.pools.count() + 1 >= pools.MOST_POOLS:
        raise TooManyPools(f"{target.name} has {pools.MOST_POOLS} node pools; Azure allows no more in one cluster.")
    state = target.pools.filter(name=name).values_list("state", flat=True).first()
    if state is not None and not _never_made(target, name).exists():
        raise PoolTaken(f"{target.name} has a node pool {name} already; it is {state}.")


def size_for(target: ComputeTarget, wish: Mapping[str, Any]) -> VmSize:
    """The size that a wish names, if it does for the mode. Raises a rule of sizes or BadPool (422)."""
    size = queries.size_known(workspace=target.workspace, name=wish["vm_size"], region=target.region)
    pools.check_size(wish["mode"], size)
    return size


def _start(
    kind: OperationKind, pool: NodePool, actor: User, verb: str, *, before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None, told: dict[str, Any] | None = None, **more: Any,
) -> Operation:  # fmt: skip
    target = pool.target
    op = operations.start(
        kind=kind, on=target, actor=actor, target_id=target.pk, pool_id=pool.pk, pool=pool.name, before=before or {},
        **more,
    )  # fmt: skip
    words = {"before": told or before, "after": after}
    history = {key: {"pool": pool.name, **value} for key, value in words.items() if value}
    audit.record(action=f"node_pool.{verb}", on=target, actor=actor, operation=op, **history)
    return op


def check_usable(target: ComputeTarget) -> None:
    """Whether pools can change now; says busy before anything about states, which only mirror what is running.

    Raises Busy or NotScalable (409).
    """
    if operations.active_on(target.ref):
        raise busy(target.ref, target.name)
    if not queries.is_changeable(target):
        raise targets.NotScalable(f"{target.name} is {target.state}; its node pools can change when it is Succeeded.")
    if power.is_stopped(target):
        raise targets.NotScalable(f"{target.name} is stopped; its node pools can change when it runs.")


def _check_scalable(pool: NodePool) -> None:
    if pool.state not in (*targets.SCALABLE, ComputeState.CANCELED) or not pool.observed:
        raise PoolNotScalable(f"The node pool {pool.name} is {pool.state}; it can be scaled when it is Succeeded.")
    if power.is_off(pool.observed):
        raise PoolNotScalable(f"The node pool {pool.name} is stopped in Azure; it can be scaled when it runs.")


def _count_of(pool: NodePool, count: int | None, low: int | None, high: int | None) -> int:
    """The count that was asked for; with bounds, what Azure has as far as they allow."""
    if count is not None:
        return count
    if low is None or high is None:
        raise pools.BadPool("Give count, or min_count and max_count for the autoscaler.")
    return min(max(int(pool.observed.get("count") or pool.count), low), high)


def _check_floor(pool: NodePool, count: int) -> None:
    """A FastProd cluster keeps its vCPUs when this pool has `count` nodes."""
    target = pool.target
    if target.purpose != Purpose.FAST_PROD or count >= queries.least_of(pool):
        return
    own, rest = queries.pools(target=target, without=pool.name)
    parts = [(own, queries.least_own(target)), *rest]
    here = (queries.size_of(pool), count)
    sizes.check_cores(parts=[here, *parts] if count else parts, purpose=target.purpose)


def _take_generation(pool: NodePool, generation: int | None, **facts: Any) -> None:
    wanted = pool.generation if generation is None else generation
    rows = NodePool.objects.filter(pk=pool.pk, generation=wanted)
    if not rows.update(generation=F("generation") + 1, **facts):
        now = NodePool.objects.get(pk=pool.pk)
        raise Stale(
            f"The node pool {pool.name} was changed meanwhile: it has {now.count} nodes now. Look again.",
            generation=now.generation, count=now.count,
        )  # fmt: skip


def _fewer(pool: NodePool, count: int) -> list[str]:
    """What fewer nodes of the pool cannot hold of what runs on it now."""
    return fit.scale_warnings(fit.of_pool(pool.target.observed.get("nodes") or [], pool.name), count)


def _moved(pool: NodePool, needing: list[str]) -> list[str]:
    """What was seen to run there, and may go elsewhere."""
    names = [name for name in placed.seen_on_pool(target=pool.target, pool=pool.name) if name not in needing]
    return [f"Replicas move to other nodes, as far as they fit: {', '.join(names)}."] if names else []


def _words(pool: NodePool) -> list[str]:
    if pool.gpus and not pool.taints:
        return [f"{pool.name} has GPUs and no taint: pods that need none may run there too."]
    return []


def _told(pool: NodePool) -> dict[str, Any]:
    return {name: getattr(pool, name) for name in FIELDS}
