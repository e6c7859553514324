"""Who sets the replicas: KEDA where the cluster has it, so that scaling survives the portal, else the portal's loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog
from django.utils import timezone

from compute import ownership
from compute import queries as compute
from deployments import autoscale, manifests
from deployments import queries as deployments
from deployments.config import DeploymentConfig
from deployments.models import Deployment
from deployments.types import Scaler
from endpoints import gateway, scaler
from endpoints.models import EndpointVersion, Gateway
from endpoints.steps import picture
from portal.models import Operation
from portal.problems import Problem
from portal.types import Wait

if TYPE_CHECKING:
    from compute.cluster import Cluster

log = structlog.get_logger(__name__)


def release_scaler(op: Operation) -> Wait | None:
    """Before a fixed count is applied: KEDA lets go, else both would set the replicas."""
    row = Deployment.objects.select_related("compute_target__workspace").get(pk=op.input["deployment_id"])
    revision = deployments.revision_of(deployment=row, number=op.input["revision"])
    if row.scaler != Scaler.KEDA or DeploymentConfig.parse(revision.config).autoscale_enabled:
        return None
    gone = _release(compute.open_cluster(row.compute_target), row)
    return None if gone else Wait(0.5, "Waiting for KEDA to let the replicas go")


def settle_scalers(op: Operation) -> Wait | None:
    """At the end of a change: the scaler of each version that it was about is as its configuration wants."""
    rows = EndpointVersion.objects.select_related("endpoint", "deployment__compute_target__workspace")
    found = rows.filter(endpoint_id=op.input["endpoint_id"], is_loaded=True)
    for row in found.filter(pk=op.input["version_id"]) if "version_id" in op.input else found:
        follow(compute.open_cluster(row.deployment.compute_target), row)
    return None


def follow(cluster: Cluster, version: EndpointVersion, has_keda: bool | None = None) -> None:
    """Bring a version's scaler to what is wanted and possible; a scaler that is in force already costs one question.

    Replicas do not jump when it changes: KEDA starts from those that there are, and so does the portal.
    """
    row, config = version.deployment, picture.config_of(version.deployment)
    if not config.autoscale_enabled:
        if row.scaler != Scaler.KEDA or _release(cluster, row):
            _note(row, scaler=Scaler.FIXED, scaler_note="", scaler_mark="")
        return
    serves = cluster.serves(scaler.KIND) if has_keda is None else has_keda
    if not serves:
        _take_over(cluster, version, config, "")
        return
    objects = scaler.build(view_of(version, config))
    mark = scaler.mark(objects)
    if row.scaler == Scaler.KEDA and row.scaler_mark == mark:
        return
    try:
        there: list[dict[str, Any]] = []
        cluster.apply(objects, there=there)
    except Problem as refusal:
        log.info("keda_refused", deployment=row.pk, reason=refusal.detail)
        _take_over(cluster, version, config, f"The cluster has KEDA, but refused its object: {refusal.detail}")
        return
    _note(
        row, scaler=Scaler.KEDA, scaler_note="", scaler_mark=mark, applied={**_applied(row), **ownership.marks(there)}
    )


def note_seen(row: Deployment, there: Mapping[str, Mapping[str, Any]]) -> None:
    """What KEDA set, and what it says of its object when that does not work."""
    name = f"{row.namespace}/{manifests.workload_name(row)}"
    if f"Deployment {name}" in there:
        _note(row, wanted_replicas=int(there[f"Deployment {name}"]["spec"].get("replicas") or 0))
    conditions = (there.get(f"{scaler.KIND} {name}", {}).get("status") or {}).get("conditions") or []
    ready: Mapping[str, Any] = next((each for each in conditions if each.get("type") == "Ready"), {})
    wrong = str(ready.get("message") or ready.get("reason") or "") if ready.get("status") == "False" else ""
    _note(row, scaler_note=f"KEDA says: {wrong}"[:500] if wrong else "")


def view_of(version: EndpointVersion, config: DeploymentConfig) -> scaler.ScalerView:
    """The picture that a scaler is built from."""
    row, target = version.deployment, version.deployment.compute_target
    return scaler.ScalerView(
        deployment=row.pk, workload=manifests.workload_name(row), namespace=row.namespace,
        workspace=target.workspace.slug, endpoint=version.endpoint.name, version=version.name, config=config,
        url=gateway.numbers_url(target.pk, target.workspace.slug),
        secret=Gateway.objects.get(compute_target=target).probe_secret,
    )  # fmt: skip


def _take_over(cluster: Cluster, version: EndpointVersion, config: DeploymentConfig, note: str) -> None:
    """The portal scales, from the replicas that there are, and goes down after a minute of quiet at the earliest."""
    row = version.deployment
    if row.scaler != Scaler.KEDA:
        _note(row, scaler=Scaler.PORTAL, scaler_note=note)
        return
    _release(cluster, row)
    found = cluster.observe("Deployment", namespace=row.namespace, name=manifests.workload_name(row))
    there = int(found[0]["spec"].get("replicas") or 0) if found else row.wanted_replicas
    wanted = min(max(there, config.min_replicas), config.max_replicas)
    if found and wanted != there:
        cluster.scale(row.namespace, manifests.workload_name(row), wanted)
    EndpointVersion.objects.filter(pk=version.pk).update(busy_at=timezone.now())
    _note(row, scaler=Scaler.PORTAL, scaler_note=note, wanted_replicas=wanted)


def _release(cluster: Cluster, row: Deployment) -> bool:
    """Take a scaler away; whether it is gone. Its replicas stay as they are."""
    things = autoscale.things(manifests.workload_name(row))
    for kind, name in things:
        cluster.remove(kind, namespace=row.namespace, name=name)
    if cluster.observe(scaler.KIND, namespace=row.namespace, name=things[0][1]):
        return False
    mine = {f"{kind} {row.namespace}/{name}" for kind, name in things}
    applied = {name: mark for name, mark in _applied(row).items() if name not in mine}
    _note(row, scaler=Scaler.FIXED, scaler_note="", scaler_mark="", applied=applied)
    return True


def _applied(row: Deployment) -> dict[str, ownership.Mark]:
    """As it is now: an operation may have applied something since the row was read."""
    found: dict[str, ownership.Mark] = Deployment.objects.values_list("applied", flat=True).get(pk=row.pk)
    return found


def _note(row: Deployment, **fields: object) -> None:
    if any(getattr(row, name) != value for name, value in fields.items()):
        Deployment.objects.filter(pk=row.pk).update(**fields)
    for name, value in fields.items():
        setattr(row, name, value)
