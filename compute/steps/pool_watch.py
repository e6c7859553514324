"""Node pools as Azure has them: those that others made appear, and what others changed is told. Never changes Azure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import F

from compute import drift, power, sizes
from compute.arm import OWNER_TAG
from compute.models import ComputeTarget, NodePool
from compute.steps.waiting import owner_mark
from compute.types import ClusterView, ComputeState, PoolView, VmSize
from portal import audit

log = structlog.get_logger(__name__)
SEEN = ("count", "provisioning_state", "power_state", "min_count", "max_count", "os_type")


def seen(there: PoolView) -> dict[str, Any]:
    """What a row keeps of the pool as Azure has it."""
    return {name: getattr(there, name) for name in SEEN}


def watch_pools(target: ComputeTarget, view: ClusterView | None, known: Iterable[NodePool]) -> None:
    """Take up pools that others made, and write where a pool differs from what is wanted.

    `known` are the rows as they were before Azure was asked: a row that came or changed since is left alone.
    """
    if view is None or view.busy_with:
        return
    rows = {row.name: row for row in known}
    for there in view.node_pools:
        row = rows.pop(there.name, None)
        if there.name == view.pool:
            _note_own(target, there, row)
        elif row is None:
            _adopt_new(target, there)
        elif not row.observed and not is_ours(row, there):
            _write(
                row, **_facts(there), generation=F("generation") + 1, is_adopted=True, state=ComputeState.SUCCEEDED,
                reason="",
            )  # fmt: skip
        else:
            _take_up(row, there, *verdict(row, view))
    for row in rows.values():
        if row.observed:  # one that Azure never had stays Failed
            reason = verdict(row, view)[1] or f"The node pool {row.name} is not in Azure any more."
            _write(row, state=ComputeState.MISSING, reason=reason)


def verdict(row: NodePool, view: ClusterView) -> tuple[str, str]:
    """State and reason that the row should have for what Azure shows."""
    there = view.node_pool(row.name)
    reason = " ".join(each["message"] for each in drift.pool_differences(wanted=[row], view=view, before=(), now=""))
    if there is not None and there.is_broken:
        is_aborted = row.state == ComputeState.CANCELED and there.provisioning_state.lower() == "canceled"
        state = ComputeState.CANCELED if is_aborted else ComputeState.FAILED
        return state, row.reason or f"Azure has the node pool as {there.provisioning_state}."
    return ComputeState.SUCCEEDED, reason


def _take_up(row: NodePool, there: PoolView, state: str, reason: str) -> None:
    """What can be changed only in Azure is as Azure has it, also the machines of a pool that was made anew there."""
    facts: dict[str, Any] = {"mode": there.mode, "labels": there.labels, "taints": list(there.taints)}
    kept = {name: row.observed[name] for name in ("was_size",) if name in row.observed}
    if there.vm_size.lower() != row.vm_size.lower():
        kept.setdefault("was_size", row.vm_size)
        facts |= _machines(there) | {"is_adopted": not is_ours(row, there), "generation": row.generation + 1}
    before = {name: getattr(row, name) for name in facts}
    changes = [name for name in facts if name != "generation" and facts[name] != before[name]]
    with transaction.atomic():
        if _write(row, state=state, reason=reason, observed=seen(there) | kept, **facts) and changes:
            audit.record(
                action="node_pool.changed_outside", on=row.target, actor=None,
                before={"pool": row.name, **{name: before[name] for name in changes}},
                after={"pool": row.name, **{name: facts[name] for name in changes}},
            )  # fmt: skip


def mark_of(pool: NodePool) -> str:
    """The value of our tag on a pool that we made for this row."""
    return mark_for(pool.target, pool.pk)


def mark_for(target: ComputeTarget, pool_id: int) -> str:
    """The same by the row's id, for one that may be gone."""
    return f"{owner_mark(target)}.{pool_id}"


def is_ours(pool: NodePool, there: PoolView) -> bool:
    """Whether Azure's pool was made for this row."""
    return there.tags.get(OWNER_TAG) == mark_of(pool)


def _write(row: NodePool, **facts: Any) -> bool:
    """Unless somebody changed the row meanwhile."""
    return bool(NodePool.objects.filter(pk=row.pk, generation=row.generation, state=row.state).update(**facts))


def _adopt_new(target: ComputeTarget, there: PoolView) -> None:
    facts = _facts(there)
    try:
        with transaction.atomic():
            NodePool.objects.create(
                target=target, name=there.name, state=ComputeState.SUCCEEDED, is_adopted=True, **facts
            )
            told = {"pool": there.name, **{name: facts[name] for name in ("mode", "vm_size", "count")}}
            audit.record(action="node_pool.seen", on=target, actor=None, after=told)
    except IntegrityError:
        log.info("pool_came_meanwhile", target=target.ref, pool=there.name)


def _note_own(target: ComputeTarget, there: PoolView, row: NodePool | None) -> None:
    """The machines of the target's own pool. Where that was removed outside, a further system pool, `row`, takes its
    place with what was wanted of it.
    """
    size = _size(there.vm_size)
    facts: dict[str, Any] = {}
    if target.vm_size and there.vm_size.lower() != target.vm_size.lower():
        facts = {"vm_size": there.vm_size, "vcpus": size.vcpus, "memory_gb": size.memory_gb, "gpus": size.gpus}
    if row is not None:
        bounds = {"min_count": row.min_count or 0, "max_count": row.max_count} if row.max_count is not None else None
        facts |= {"node_count": row.count or there.count, "config": power.config_of(target, bounds)}
    if not facts:
        return
    before = {name: getattr(target, name) for name in facts}
    rows = ComputeTarget.objects.filter(pk=target.pk, generation=target.generation, state=target.state)
    with transaction.atomic():
        if not rows.update(generation=target.generation + 1, **facts):
            return
        if row is not None:
            NodePool.objects.filter(pk=row.pk, generation=row.generation, state=row.state).delete()
        audit.record(
            action="compute_target.first_pool_changed_outside", on=target, actor=None, before=before,
            after={"pool": there.name, **facts},
        )  # fmt: skip
    for name, value in {**facts, "generation": target.generation + 1}.items():
        setattr(target, name, value)


def _facts(there: PoolView) -> dict[str, Any]:
    """The columns of a pool that somebody made outside."""
    return {
        "mode": there.mode, "count": there.count, "min_count": there.min_count, "max_count": there.max_count,
        "labels": there.labels, "taints": list(there.taints), "observed": seen(there), **_machines(there),
    }  # fmt: skip


def _machines(there: PoolView) -> dict[str, Any]:
    """What stays as long as a pool does."""
    size = _size(there.vm_size)
    return {
        "vm_size": there.vm_size, "vcpus": size.vcpus, "memory_gb": size.memory_gb, "gpus": size.gpus,
        "zones": list(there.zones), "os_disk_gb": there.os_disk_gb,
    }  # fmt: skip


def _size(name: str) -> VmSize:
    """A size; one that nobody knows has no numbers."""
    try:
        return sizes.find(name)
    except (sizes.UnknownSize, sizes.FpgaSize):
        return VmSize(name, 0, 0, 0, "")
