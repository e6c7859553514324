"""Node pools as Azure has them: those that others made appear, and what others changed is told. Never changes Azure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import F

from compute import drift, sizes
from compute.arm import OWNER_TAG
from compute.models import ComputeTarget, NodePool
from compute.types import ClusterView, ComputeState, PoolView
from portal import audit

log = structlog.get_logger(__name__)
SEEN = ("count", "provisioning_state", "power_state", "min_count", "max_count")


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
            _drop_own(target, row)
        elif row is None:
            _adopt_new(target, there)
        elif not row.observed and there.tags.get(OWNER_TAG, "").rpartition(".")[2] != str(row.pk):
            _write(
                row, **_facts(there), generation=F("generation") + 1, is_adopted=True, state=ComputeState.SUCCEEDED,
                reason="",
            )  # fmt: skip
        else:
            state, reason = verdict(row, view)
            _write(row, state=state, reason=reason, observed=seen(there))
    for row in rows.values():
        if row.observed:  # one that Azure never had stays Failed
            reason = verdict(row, view)[1] or f"The node pool {row.name} is not in Azure any more."
            _write(row, state=ComputeState.MISSING, reason=reason)


def verdict(row: NodePool, view: ClusterView) -> tuple[str, str]:
    """State and reason that the row should have for what Azure shows."""
    there = view.node_pool(row.name)
    reason = " ".join(each["message"] for each in drift.pool_differences(wanted=[row], view=view, before=(), now=""))
    if there is not None and there.is_broken:
        return ComputeState.FAILED, row.reason or f"Azure has the node pool as {there.provisioning_state}."
    return ComputeState.SUCCEEDED, reason


def _write(row: NodePool, **facts: Any) -> None:
    """Unless somebody changed the row meanwhile."""
    NodePool.objects.filter(pk=row.pk, generation=row.generation, state=row.state).update(**facts)


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


def _drop_own(target: ComputeTarget, row: NodePool | None) -> None:
    """The pool that the target stood for was removed outside, and a further system pool takes its place."""
    if row is not None:
        log.info("further_pool_is_the_first_now", target=target.ref, pool=row.name)
        row.delete()


def _facts(there: PoolView) -> dict[str, Any]:
    """The columns of a pool that somebody made outside."""
    try:
        size = sizes.find(there.vm_size)
        numbers: dict[str, Any] = {"vcpus": size.vcpus, "memory_gb": size.memory_gb, "gpus": size.gpus}
    except (sizes.UnknownSize, sizes.FpgaSize):
        numbers = {}
    return {
        "mode": there.mode, "vm_size": there.vm_size, "count": there.count, "min_count": there.min_count,
        "max_count": there.max_count, "zones": list(there.zones), "labels": there.labels,
        "taints": list(there.taints), "os_disk_gb": there.os_disk_gb, "observed": seen(there),
        **numbers,
    }  # fmt: skip
