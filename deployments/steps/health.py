"""Look at what runs: ready replicas and health of all deployments of one compute target, by one list of pods."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import structlog
from django.utils import timezone

from compute import power
from compute import queries as compute
from compute.models import ComputeTarget
from compute.types import ComputeState
from deployments import diagnose, manifests
from deployments.models import Deployment
from deployments.steps import refresh
from deployments.steps.why import Looker
from deployments.types import DeploymentState
from portal.problems import Problem, Retryable

if TYPE_CHECKING:
    from compute.cluster import Cluster

Json = dict[str, Any]
log = structlog.get_logger(__name__)
SETTLED = (DeploymentState.HEALTHY, DeploymentState.UNHEALTHY)


def observe_target(target_id: int) -> None:
    """Write what the cluster shows into the deployments. Trouble with the cluster is logged and changes nothing."""
    target = ComputeTarget.objects.select_related("workspace").filter(pk=target_id).first()
    rows = list(Deployment.objects.filter(compute_target_id=target_id).exclude(state=DeploymentState.DELETING))
    if target is None or not rows:
        return
    if target.state == ComputeState.MISSING:
        _lost(rows, target)
        return
    if power.is_stopped(target):
        silence(rows, f"{target.name} is stopped: it answers again when that is started.")
        return
    try:
        _observe(compute.open_cluster(target), rows)
    except (Problem, Retryable) as trouble:
        log.warning("observe_failed", target=target_id, error=trouble.detail)


def _observe(cluster: Cluster, rows: list[Deployment]) -> None:
    looker, pods = Looker(cluster), defaultdict[str, list[Json]](list)
    for pod in cluster.observe("Pod", selector="slipway.dev/deployment"):
        pods[pod["metadata"]["labels"]["slipway.dev/deployment"]].append(pod)
    for row in rows:
        own = [pod for pod in pods[str(row.pk)] if pod["metadata"].get("namespace") == row.namespace]
        Deployment.objects.filter(pk=row.pk, state=row.state).update(**_facts(looker, row, own))
    refresh.refresh(cluster, rows)


def _lost(rows: Iterable[Deployment], target: ComputeTarget) -> None:
    """What a cluster served that was deleted outside is lost; if the cluster comes back, it is looked at again."""
    reason = f"Lost: {target.name} is Missing. {target.reason} Detach it, and deploy to another compute target."
    silence(rows, reason)


def silence(rows: Iterable[Deployment], reason: str) -> None:
    """Nothing of these runs; what was settled is Unhealthy for that reason."""
    for row in rows:
        told = {"state": DeploymentState.UNHEALTHY, **_told(reason)} if row.state in SETTLED else {}
        Deployment.objects.filter(pk=row.pk, state=row.state).update(ready_replicas=0, **told)


def _facts(looker: Looker, row: Deployment, pods: list[Json]) -> dict[str, Any]:
    """What changes in a row by what its pods look like; the state only after its operation has ended."""
    ready = sum(1 for pod in pods if diagnose.is_ready(pod))
    facts: dict[str, Any] = {"ready_replicas": ready, "observed_at": timezone.now()}
    if row.state not in SETTLED:
        return facts
    facts["state"] = DeploymentState.HEALTHY if ready else DeploymentState.UNHEALTHY
    if ready >= row.wanted_replicas:
        healed = row.is_reason_observed or row.state == DeploymentState.UNHEALTHY
        return {**facts, **(_told("") if healed else {})}
    return {**facts, **_why(looker, row, pods, ready)}


def _why(looker: Looker, row: Deployment, pods: list[Json], ready: int) -> dict[str, Any]:
    """Reason, evidence and fix of what is missing; replicas that are only on their way are none while one serves."""
    workload = looker.cluster.observe("Deployment", namespace=row.namespace, name=manifests.workload_name(row))
    scene = looker.scene(row.namespace, pods, workload[0] if workload else None)
    found = diagnose.trouble(scene)
    if found is not None:
        finding = looker.proven(row.namespace, scene, found)
        return _told(finding.trouble.text, finding.evidence, finding.trouble.fix)
    if not ready:
        return _told(f"None of {row.wanted_replicas} replicas is ready.")
    return _told("") if row.is_reason_observed else {}


def _told(reason: str, evidence: str = "", fix: str = "") -> dict[str, Any]:
    return {"reason": reason, "evidence": evidence, "fix": fix, "is_reason_observed": bool(reason)}
