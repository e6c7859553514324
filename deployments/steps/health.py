"""Look at what runs: ready replicas and health of all deployments of one compute target, by one list of pods."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import structlog
from django.utils import timezone

from compute import power
from compute import queries as compute
from compute.models import ComputeTarget
from compute.types import ComputeState
from deployments import diagnose
from deployments.models import Deployment
from deployments.types import DeploymentState
from portal.problems import Problem, Retryable

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
        found = compute.open_cluster(target).observe("Pod", selector="slipway.dev/deployment")
    except (Problem, Retryable) as trouble:
        log.warning("observe_failed", target=target_id, error=trouble.detail)
        return
    pods: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for pod in found:
        pods[pod["metadata"]["labels"]["slipway.dev/deployment"]].append(pod)
    for row in rows:
        own = [pod for pod in pods[str(row.pk)] if pod["metadata"].get("namespace") == row.namespace]
        Deployment.objects.filter(pk=row.pk, state=row.state).update(**facts_of(row, own))


def _lost(rows: Iterable[Deployment], target: ComputeTarget) -> None:
    """What a cluster served that was deleted outside is lost; if the cluster comes back, it is looked at again."""
    reason = f"Lost: {target.name} is Missing. {target.reason} Detach it, and deploy to another compute target."
    silence(rows, reason)


def silence(rows: Iterable[Deployment], reason: str) -> None:
    """Nothing of these runs; what was settled is Unhealthy for that reason."""
    for row in rows:
        told = {"state": DeploymentState.UNHEALTHY, "reason": reason} if row.state in SETTLED else {}
        Deployment.objects.filter(pk=row.pk, state=row.state).update(ready_replicas=0, **told)


def facts_of(row: Deployment, pods: list[dict[str, Any]]) -> dict[str, Any]:
    """What changes in a row by what its pods look like; the state only after its operation has ended."""
    ready = sum(1 for pod in pods if diagnose.is_ready(pod))
    facts: dict[str, Any] = {"ready_replicas": ready, "observed_at": timezone.now()}
    if row.state not in SETTLED:
        return facts
    if ready:
        healed = row.state == DeploymentState.UNHEALTHY
        return {**facts, "state": DeploymentState.HEALTHY, **({"reason": "", "evidence": ""} if healed else {})}
    trouble = diagnose.trouble(pods)
    reason = trouble.text if trouble else f"None of {row.wanted_replicas} replicas is ready."
    return {**facts, "state": DeploymentState.UNHEALTHY, "reason": reason}
