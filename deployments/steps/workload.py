"""Bring a revision to its cluster, wait for its replicas, take it back, take it away."""

from __future__ import annotations

import secrets
from base64 import b64decode
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import timezone

from compute import fit, ownership, placed
from compute import queries as compute
from deployments import artifacts, autoscale, diagnose, manifests, placing, queries
from deployments.config import DeploymentConfig
from deployments.models import Collecting, Deployment, Revision
from deployments.steps import around, files, why
from deployments.steps.why import Finding
from deployments.types import DeploymentState, Scaler
from portal.models import Operation
from portal.problems import Conflict, Problem
from portal.secrets import fingerprint
from portal.types import OperationState, Wait

if TYPE_CHECKING:
    from compute.cluster import Cluster

NO_TROUBLE: dict[str, Any] = {"reason": "", "evidence": "", "fix": "", "is_reason_observed": False}
PULLS, PULL_SECONDS = ("ErrImagePull", "ImagePullBackOff"), 330
KINDS = ("Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "ConfigMap", "Secret")


class DeploymentFailed(Problem):
    status, code, title = 422, "deployment_failed", "The replicas did not get ready"


class Unschedulable(DeploymentFailed):
    code, title = "unschedulable", "The replicas fit on no node"


def deployment_of(op: Operation) -> Deployment:
    """The deployment that an operation is about."""
    rows = Deployment.objects.select_related("workspace__team", "compute_target__workspace")
    return rows.get(pk=op.input["deployment_id"])


def apply_workload(op: Operation) -> Wait | None:
    """Apply the objects of the operation's revision; the same again changes nothing."""
    row = deployment_of(op)
    newest = row.revisions.order_by("-number").values_list("number", flat=True).first()
    if op.input["revision"] != newest:
        raise Conflict(f"{row.name} is at revision {newest} now, not at {op.input['revision']}.")
    Deployment.objects.filter(pk=row.pk).update(revision=newest)  # run again after it was rolled back
    _apply(op, compute.open_cluster(row.compute_target), row, op.input["revision"])
    return None


def _apply(op: Operation, cluster: Cluster, row: Deployment, number: int, *, alone: bool = False) -> None:
    """Apply a revision; `alone`: over what others set, and what they added goes."""
    revision = queries.revision_of(deployment=row, number=number)
    config = DeploymentConfig.parse(revision.config)
    collect = _token(cluster, row, manifests.COLLECT_KEY, "collect_token_digest") if config.collection else ""
    fresh = files.addresses(row, number)
    view = replace(view_of(row, revision, _token(cluster, row), collect), files=fresh.files)
    take_over = alone or bool(op.memo.get("take_over"))
    around.apply(cluster, row, view, force=take_over)
    there: list[dict[str, Any]] = []
    told = cluster.apply(manifests.within(view), force=take_over, there=there)
    fresh.keep(row)
    if told:
        op.memo["warnings"] = [*(each for each in op.memo.get("warnings", []) if each not in told), *told]
    _note_collection(row, config)
    inside = _inside(row.wanted_replicas, config)
    if config.autoscale_enabled and row.scaler != Scaler.KEDA:
        _start_scaled(cluster, row, inside)
    marks = ownership.marks([cluster.strip(item) for item in there] if alone else there)
    Deployment.objects.filter(pk=row.pk).update(wanted_replicas=inside, applied=marks, drift=[], scaler_mark="")


def put_back(op: Operation, row: Deployment) -> None:
    """Apply the wanted revision again, over what others changed, added or deleted."""
    _apply(op, compute.open_cluster(row.compute_target), row, row.revision, alone=True)


def rolled(row: Deployment) -> Wait | None:
    """A Wait until the cluster has rolled out what was applied last, with all of its replicas available."""
    name = manifests.workload_name(row)
    found = compute.open_cluster(row.compute_target).observe("Deployment", namespace=row.namespace, name=name)
    if not found:
        raise DeploymentFailed(f"The workload of {row.name} was removed from {row.compute_target.name} meanwhile.")
    wanted, status = int(found[0]["spec"].get("replicas") or 0), found[0].get("status") or {}
    counts = [int(status.get(word) or 0) for word in ("replicas", "updatedReplicas", "availableReplicas")]
    if int(status.get("observedGeneration") or 0) >= found[0]["metadata"]["generation"] and counts == [wanted] * 3:
        return None
    return Wait(1, f"{counts[2]} of {wanted} replicas of {row.name} are available")


def _inside(wanted: int, config: DeploymentConfig) -> int:
    if config.num_replicas is not None:
        return config.num_replicas
    return min(max(wanted, config.min_replicas), config.max_replicas)


def _start_scaled(cluster: Cluster, row: Deployment, wanted: int) -> None:
    """The manifest leaves the count to the autoscaler, so that it has to be set once, and after new limits."""
    name = manifests.workload_name(row)
    found = cluster.observe("Deployment", namespace=row.namespace, name=name)
    if found and int(found[0]["spec"].get("replicas") or 0) != wanted:
        cluster.scale(row.namespace, name, wanted)


def _note_collection(row: Deployment, config: DeploymentConfig) -> None:
    """From now on replicas report, or none does any more."""
    is_on = config.collection is not None
    known = Collecting.objects.filter(deployment=row)
    if is_on:
        Collecting.objects.get_or_create(deployment=row)
        known.filter(is_on=False).update(is_on=True, told_at=timezone.now())
    else:
        known.update(is_on=False)


def _token(cluster: Cluster, row: Deployment, key: str = "token", kept: str = "fetch_token_digest") -> str:
    """The token that the cluster has if it is the one we know, else a new one whose hash is stored first."""
    found = cluster.observe("Secret", namespace=row.namespace, name=manifests.workload_name(row))
    held = b64decode((found[0].get("data") or {}).get(key, "")).decode("ascii", "replace") if found else ""
    if held and fingerprint(held) == getattr(row, kept):
        return held
    fresh = secrets.token_urlsafe(32)
    Deployment.objects.filter(pk=row.pk).update(**{kept: fingerprint(fresh)})
    return fresh


def view_of(row: Deployment, revision: Revision, token: str, collect: str = "") -> manifests.DeploymentView:
    """The picture that manifests are built from."""
    ca_file = settings.CA_FILE_FOR_CLUSTERS
    config = DeploymentConfig.parse(revision.config)
    pool = _pool_name(row, revision)
    image = revision.environment.image
    return manifests.DeploymentView(
        pk=row.pk, name=row.name, workspace=row.workspace.slug, namespace=row.namespace, revision=revision.number,
        config=config, image=image,
        fetch_image=settings.INFERENCE_IMAGE, entry_script=revision.entry_script,
        fetch_url=f"{settings.URL_FOR_CLUSTERS.rstrip('/')}/api/v1/fetch/{row.pk}/{revision.number}/",
        fetch_token=token, ca=Path(ca_file).read_text() if ca_file else "",
        models=tuple((model.name, model.version) for model in revision.models.order_by("name", "version")),
        node_pool=pool, taints=placed.taints_of(target=row.compute_target, pool=pool),
        insights=row.workspace.app_insights if config.app_insights else "",
        collect=_collect(row, revision, config, collect),
        size=sum(item["size"] for item in queries.files_of(revision=revision)),
        storage_urls=artifacts.places(), scratch_gib=settings.REPLICA_SCRATCH_GIB, team=row.workspace.team.slug,
        **around.decided(row.workspace, (image, settings.INFERENCE_IMAGE)),
    )  # fmt: skip


def _collect(row: Deployment, revision: Revision, config: DeploymentConfig, token: str) -> manifests.Collect | None:
    if config.collection is None:
        return None
    service, version = queries.served_as(deployment=row)
    return manifests.Collect(
        url=f"{settings.URL_FOR_CLUSTERS.rstrip('/')}/api/v1/collect/{row.pk}/", token=token, service=service,
        version=version, revision=revision.number, percent=config.collection.percent,
        body_bytes=config.collection.body_kib * 1024, seconds=settings.COLLECT_SECONDS,
        workers=config.max_concurrent_requests,
    )  # fmt: skip


def await_replicas(op: Operation) -> Wait | None:
    """Wait until all wanted replicas of the revision are ready. Raises DeploymentFailed with evidence."""
    row = deployment_of(op)
    cluster = compute.open_cluster(row.compute_target)
    found = cluster.observe("Deployment", namespace=row.namespace, name=manifests.workload_name(row))
    if not found:
        raise DeploymentFailed(f"The workload of {row.name} was removed from {row.compute_target.name} meanwhile.")
    _renew(op, cluster, row)
    selector = f"{manifests.selector(row.pk)},slipway.dev/revision={op.input['revision']}"
    pods = cluster.observe("Pod", namespace=row.namespace, selector=selector)
    wanted = int(found[0]["spec"].get("replicas") or 1)
    ready = sum(1 for pod in pods if diagnose.is_ready(pod))
    Deployment.objects.filter(pk=row.pk).update(observed_at=timezone.now())
    if ready >= wanted and not _is_replacing(row, op.input["revision"], found[0]):
        Deployment.objects.filter(pk=row.pk).update(ready_replicas=ready)
        return None
    note, finding = why.judged(op, cluster, row.namespace, pods, found[0], grows=_grows(op, row))
    if finding is not None and not _may_pull_now(op, finding):
        raise _failure(cluster, row, finding, op.input["revision"])
    return Wait(0.5, diagnose.progress(wanted, pods, note))


def _renew(op: Operation, cluster: Cluster, row: Deployment) -> None:
    """A login that was given since the objects were applied reaches replicas that wait for it."""
    if around.is_stale(row):
        revision = queries.revision_of(deployment=row, number=op.input["revision"])
        around.apply(cluster, row, view_of(row, revision, ""))
        op.memo["renewed_at"] = timezone.now().timestamp()


def _may_pull_now(op: Operation, finding: Finding) -> bool:
    """After a new login the kubelet tries again by itself, at the latest after five minutes."""
    renewed = op.memo.get("renewed_at")
    return (
        renewed is not None
        and finding.trouble.reason in PULLS
        and (timezone.now().timestamp() - renewed < PULL_SECONDS)
    )


def _is_replacing(row: Deployment, number: int, workload: dict[str, Any]) -> bool:
    """Whether what serves still stands in for new replicas, which were not ready for long enough (minReadySeconds)."""
    seen = workload.get("status") or {}
    is_old = seen.get("observedGeneration", 0) < workload["metadata"].get("generation", 0)
    return row.serving_revision not in (0, number) and (is_old or bool(seen.get("unavailableReplicas")))


def _grows(op: Operation, row: Deployment) -> bool:
    """Whether a cluster autoscaler may add a node that the revision's replicas go to."""
    pool = _pool_name(row, queries.revision_of(deployment=row, number=op.input["revision"]))
    return placed.grows(target=row.compute_target, pool=pool)


def _pool_name(row: Deployment, revision: Revision) -> str:
    """The node pool that the replicas of a revision are bound to; empty for any."""
    if revision.node_pool is not None:
        return revision.node_pool
    config = DeploymentConfig.parse(revision.config)
    pool = placing.pool_of(placed.choices(target=row.compute_target), config)
    return pool.name if pool else config.node_pool


def _failure(cluster: Cluster, row: Deployment, finding: Finding, number: int) -> DeploymentFailed:
    """The failure as people see it; one for want of room says how much there is."""
    found, text = finding.trouble, finding.trouble.text
    told = {"evidence": finding.evidence, "fix": found.fix, "pod": found.pod, "reason": found.reason}
    if found.state != DeploymentState.UNSCHEDULABLE:
        return DeploymentFailed(text, **told)
    pool = _pool_name(row, queries.revision_of(deployment=row, number=number))
    nodes = fit.nodes(cluster.observe("Node"), cluster.observe("Pod"))
    where = f"It goes to the node pool {pool}. " if pool else ""
    return Unschedulable(f"{text} {where}{fit.room(fit.of_pool(nodes, pool) if pool else nodes)}".strip(), **told)


def restore_workload(op: Operation) -> Wait | None:
    """After a failed update: apply what served before; its pods were never taken away.

    Where somebody else holds a field, nothing of ours got in, so that there is nothing to take back.
    """
    from compute.cluster import FieldConflict

    row = deployment_of(op)
    if not row.serving_revision or row.serving_revision == op.input["revision"]:
        return None
    Deployment.objects.filter(pk=row.pk).update(revision=row.serving_revision)
    with suppress(FieldConflict):
        _apply(op, compute.open_cluster(row.compute_target), row, row.serving_revision)
    return None


def remove_workload(op: Operation) -> Wait | None:
    """Remove the operation's deployment from its cluster."""
    row = deployment_of(op)
    gone = remove_from(compute.open_cluster(row.compute_target), row)
    return None if gone else Wait(0.5, f"Waiting for the replicas of {row.name} to end")


def remove_from(cluster: Cluster, deployment: Deployment) -> bool:
    """Ask for everything of a deployment to go; whether its pods are gone. Its token is worth nothing from now on."""
    Deployment.objects.filter(pk=deployment.pk).update(state=DeploymentState.DELETING, fetch_token_digest="")
    name = manifests.workload_name(deployment)
    scaler = autoscale.things(name) if deployment.scaler == Scaler.KEDA else []
    for kind, each in [*scaler, *((kind, name) for kind in KINDS)]:
        cluster.remove(kind, namespace=deployment.namespace, name=each)
    cluster.remove("Secret", namespace=deployment.namespace, name=manifests.login_name(deployment))
    gone = not cluster.observe("Pod", namespace=deployment.namespace, selector=manifests.selector(deployment.pk))
    if gone:  # until then they may bring what they collected
        Deployment.objects.filter(pk=deployment.pk).update(collect_token_digest="")
    return gone


def settle_deployment(op: Operation) -> None:
    """Write the end of a create or update into the deployment: state, reason and evidence. No I/O."""
    row = Deployment.objects.filter(pk=op.input["deployment_id"]).first()
    if row is None or row.state == DeploymentState.DELETING:
        return
    if op.state == OperationState.SUCCEEDED:
        facts = {"state": DeploymentState.HEALTHY, "serving_revision": op.input["revision"], **NO_TROUBLE}
    else:
        facts = _failed(row, op)
    Deployment.objects.filter(pk=row.pk).update(**facts)


def _failed(row: Deployment, op: Operation) -> dict[str, Any]:
    error = op.error or {}
    told = {name: str(error.get(name) or "") for name in ("evidence", "fix")}
    facts = {**NO_TROUBLE, "reason": str(error.get("detail") or "It was stopped."), **told}
    if row.serving_revision:
        facts["reason"] = f"The change to revision {op.input['revision']} failed: {facts['reason']}"
        alive = row.ready_replicas > 0
        return {**facts, "state": DeploymentState.HEALTHY if alive else DeploymentState.UNHEALTHY}
    lost = error.get("code") == Unschedulable.code
    return {**facts, "state": DeploymentState.UNSCHEDULABLE if lost else DeploymentState.FAILED}
