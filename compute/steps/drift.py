"""Drift: what Azure and the cluster are really like, looked at now and then. Not an operation."""

from __future__ import annotations

import structlog
from django.utils import timezone

from compute import drift, queries
from compute.models import ComputeTarget, NodePool
from compute.steps.given import watch_given
from compute.steps.inside import identify, observed_nodes, store_observed
from compute.steps.pool_watch import watch_pools
from compute.steps.waiting import arm_for, view_of
from compute.types import RESTING, ClusterView, ComputeState
from portal import operations
from portal.problems import Problem, Retryable

log = structlog.get_logger(__name__)


def watch_target(target_id: int) -> None:
    """Compare one target with Azure and its cluster, and write what was seen. Does nothing while an operation runs."""
    target = ComputeTarget.objects.select_related("workspace").filter(pk=target_id, state__in=RESTING).first()
    if target is None or operations.active_on(target.ref):
        return
    if not target.is_azure:
        watch_given(target)
        return
    known, began = list(target.pools.all()), timezone.now()
    try:
        arm = arm_for(target)
        view = view_of(target, arm)
        _note_power(target, view)
        has_group = view is not None or arm.resource_group(target.resource_group)
        nodes = _nodes(target, view)
    except (Problem, Retryable) as trouble:
        log.info("drift_unseen", target=target.ref, reason=trouble.detail)
        return
    if queries.changed_since(target, began):  # what was seen may be older than what an operation wrote
        return
    store_observed(target, view, nodes)
    _store_drift(target, view, known)
    watch_pools(target, view, known)
    state, reason = verdict(target, view, has_group)
    changed = (state, reason) != (target.state, target.reason)
    if changed and not operations.active_on(target.ref):
        rows = ComputeTarget.objects.filter(pk=target.pk, state=target.state, generation=target.generation)
        rows.update(state=state, reason=reason)


def _note_power(target: ComputeTarget, view: ClusterView | None) -> None:
    """At once, so that a cluster that others started is looked into; one that is gone has no power state."""
    target.observed.pop("power_state", None)
    if view is not None:
        target.observed["power_state"] = view.power_state


def _nodes(target: ComputeTarget, view: ClusterView | None) -> list[dict[str, object]] | None:
    """The nodes, [] of a cluster that is gone or stopped, None when its API server is silent."""
    if view is None or view.is_stopped:
        return []
    try:
        cluster = queries.open_cluster(target)
        identify(target, cluster)
        return observed_nodes(cluster)
    except (Problem, Retryable) as trouble:
        log.info("nodes_unseen", target=target.ref, reason=trouble.detail)
        return None


def verdict(target: ComputeTarget, view: ClusterView | None, has_group: bool = True) -> tuple[str, str]:
    """State and reason that the row should have for what Azure shows. A cluster that Azure repaired is well again."""
    if view is None:
        return ComputeState.MISSING, gone(target, has_group)
    if not view.is_settled or _stays_canceled(target, view):
        return target.state, target.reason
    if view.provisioning_state.lower() != "succeeded":
        return ComputeState.FAILED, target.reason or f"Azure has the cluster as {view.provisioning_state}."
    if not target.node_count:  # an attach that never saw the cluster
        return target.state, target.reason
    if target.state == ComputeState.FAILED and target.is_attached and "nodes" not in target.observed:
        return target.state, target.reason
    return ComputeState.SUCCEEDED, " ".join(row["message"] for row in target.observed.get("drift") or [])


def _stays_canceled(target: ComputeTarget, view: ClusterView) -> bool:
    """A create that was cancelled stays so; after a cancelled change the cluster is well when Azure says that it is."""
    if target.state != ComputeState.CANCELED:
        return False
    return view.provisioning_state.lower() == "canceled" or not queries.was_made(target)


def gone(target: ComputeTarget, has_group: bool) -> str:
    """What was deleted outside the portal: the cluster, or its whole resource group."""
    if has_group:
        return f"The cluster {target.cluster_name} was deleted outside the portal."
    return (
        f"The resource group {target.resource_group} was deleted outside the portal, "
        f"and the cluster {target.cluster_name} with it."
    )


def _store_drift(target: ComputeTarget, view: ClusterView | None, known: list[NodePool]) -> None:
    """Write what differs beside what was seen; nothing that is wanted changes by it."""
    rows, before = [], target.observed.get("drift") or []
    now = timezone.now().isoformat(timespec="seconds")
    if view is not None and not view.busy_with:
        rows = drift.differences(
            node_count=target.node_count, version=target.kubernetes_version, config=target.config,
            is_attached=target.is_attached, view=view, before=before, now=now,
        )  # fmt: skip
        made = [pool for pool in known if pool.observed and pool.name != view.pool]
        rows += drift.pool_differences(wanted=made, view=view, before=before, now=now)
    target.observed = {**target.observed, "drift": rows}
    ComputeTarget.objects.filter(pk=target.pk).update(observed=target.observed)
