"""Drift: what Azure and the cluster are really like, looked at now and then. Not an operation."""

from __future__ import annotations

import structlog

from compute import queries
from compute.models import ComputeTarget
from compute.steps.inside import observed_nodes, store_observed
from compute.steps.waiting import arm_for, view_of
from compute.types import ClusterView, ComputeState
from portal import operations
from portal.problems import Problem, Retryable

log = structlog.get_logger(__name__)
RESTING = (ComputeState.SUCCEEDED, ComputeState.FAILED, ComputeState.CANCELED, ComputeState.MISSING)


def watch_target(target_id: int) -> None:
    """Compare one target with Azure and its cluster, and write what was seen. Does nothing while an operation runs."""
    target = ComputeTarget.objects.select_related("workspace").filter(pk=target_id, state__in=RESTING).first()
    if target is None or operations.active_on(target.ref):
        return
    try:
        view = view_of(target, arm_for(target))
        nodes = _nodes(target, view)
    except (Problem, Retryable) as trouble:
        log.info("drift_unseen", target=target.ref, reason=trouble.detail)
        return
    store_observed(target, view, nodes)
    state, reason = verdict(target, view)
    changed = (state, reason) != (target.state, target.reason)
    if changed and not operations.active_on(target.ref):
        rows = ComputeTarget.objects.filter(pk=target.pk, state=target.state, generation=target.generation)
        rows.update(state=state, reason=reason)


def _nodes(target: ComputeTarget, view: ClusterView | None) -> list[dict[str, object]] | None:
    """The nodes, [] of a cluster that is gone or stopped, None when its API server is silent."""
    if view is None or view.power_state.lower() != "running":
        return []
    try:
        return observed_nodes(queries.open_cluster(target))
    except (Problem, Retryable) as trouble:
        log.info("nodes_unseen", target=target.ref, reason=trouble.detail)
        return None


def verdict(target: ComputeTarget, view: ClusterView | None) -> tuple[str, str]:
    """State and reason that the row should have for what Azure shows. A cluster that Azure repaired is well again."""
    if view is None:
        return ComputeState.MISSING, f"The cluster {target.cluster_name} was deleted outside the portal."
    if target.state == ComputeState.CANCELED or not view.is_settled:
        return target.state, target.reason
    if view.provisioning_state.lower() != "succeeded":
        return ComputeState.FAILED, target.reason or f"Azure has the cluster as {view.provisioning_state}."
    if not target.node_count:  # an attach that never saw the cluster
        return target.state, target.reason
    if target.state == ComputeState.FAILED and target.is_attached and "nodes" not in target.observed:
        return target.state, target.reason
    return ComputeState.SUCCEEDED, _difference(target, view)


def _difference(target: ComputeTarget, view: ClusterView) -> str:
    if view.power_state.lower() != "running":
        return f"The cluster is {view.power_state.lower()}."
    if view.node_count != target.node_count and not view.has_autoscaler:
        return f"Azure has {view.node_count} nodes; {target.node_count} are wanted."
    return ""
