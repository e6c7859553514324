"""Drift of what runs: what a cluster has against what the portal applied to it. Looked at now and then, mended by
nobody but a person's "Put back"."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import structlog
from django.db.models import Q
from django.utils import timezone

from compute import ownership, power
from compute import queries as compute
from compute.models import ComputeTarget
from compute.names import SELECTOR
from compute.ownership import Mark
from compute.types import ComputeState
from deployments import autoscale, manifests
from deployments.models import Deployment
from deployments.steps.health import SETTLED
from deployments.types import Scaler
from endpoints import gateway as builder
from endpoints.gateway.files import STATISTICS
from endpoints.models import Endpoint, EndpointVersion, Gateway
from endpoints.steps import picture, publish, scaling
from portal import operations
from portal.problems import Problem, Retryable

if TYPE_CHECKING:
    from compute.cluster import Cluster

Row = dict[str, Any]
There = dict[str, dict[str, Any]]
log = structlog.get_logger(__name__)


def watch_target(target_id: int) -> None:
    """Compare what runs on one target with what was applied, and write what differs. One list per kind of object;
    nothing is changed in the cluster. What an operation works on is left for the next look.
    """
    target = ComputeTarget.objects.select_related("workspace").filter(pk=target_id).first()
    if target is None or target.state != ComputeState.SUCCEEDED or power.is_stopped(target):
        return
    versions, gateway = _versions(target), _gateway(target)
    marks = [row.deployment.applied for row in versions] + ([gateway.applied] if gateway else [])
    kinds = sorted({name.partition(" ")[0] for each in marks for name in each})
    try:
        cluster = compute.open_cluster(target)
        there = {ownership.key(item): item for kind in kinds for item in cluster.observe(kind, selector=SELECTOR)}
        _look_up(cluster, there, [name for each in marks for name in each if name not in there])
    except (Problem, Retryable) as trouble:
        log.info("workloads_unseen", target=target.ref, reason=trouble.detail)
        return
    _watch_scalers(cluster, versions, there)
    for row in versions:
        _store(row.deployment, row.endpoint, workload_drift(row, there))
    if gateway is not None:
        _store(gateway, target, gateway_drift(gateway, there))


def _watch_scalers(cluster: Cluster, versions: list[EndpointVersion], there: There) -> None:
    """KEDA may come and go; what it set is what is wanted."""
    configs = picture.configs_of([row.deployment for row in versions])
    scaled = [row for row in versions if row.is_loaded and configs[row.deployment_id].autoscale_enabled]
    try:
        has_keda = bool(scaled) and cluster.serves(autoscale.SCALED)
        for row in scaled:
            scaling.follow(cluster, row, has_keda)
            if row.deployment.scaler == Scaler.KEDA:
                scaling.note_seen(row.deployment, there)
    except (Problem, Retryable) as trouble:
        log.info("scalers_unseen", reason=trouble.detail)


def _versions(target: ComputeTarget) -> list[EndpointVersion]:
    """The versions whose deployment has settled and that no operation works on."""
    rows = EndpointVersion.objects.select_related("endpoint").order_by("pk")
    rows = rows.select_related("deployment__compute_target__workspace")
    found = rows.filter(endpoint__compute_target=target, deployment__state__in=SETTLED).exclude(deployment__applied={})
    return [row for row in found if not operations.active_on(row.endpoint.ref)]


def _gateway(target: ComputeTarget) -> Gateway | None:
    """The gateway, unless somebody works on it or publishes right now."""
    rows = Gateway.objects.select_related("compute_target__workspace").exclude(applied={})
    free = Q(leased_until__isnull=True) | Q(leased_until__lt=timezone.now())
    return None if operations.active_on(target.ref) else rows.filter(free, compute_target=target).first()


def _look_up(cluster: Cluster, there: There, missing: Iterable[str]) -> None:
    """What no list had is asked for by name: it may have lost only our label."""
    for name in missing:
        kind, _, path = name.partition(" ")
        namespace, _, single = path.rpartition("/")
        for item in cluster.observe(kind, namespace=namespace or None, name=single):
            there[name] = item


def _store(row: Deployment | Gateway, on: Endpoint | ComputeTarget, found: list[Row]) -> None:
    """Write the differences, unless somebody applied something meanwhile: what was seen may be older."""
    kept = {(one["code"], one["object"], one["message"]): one["since"] for one in row.drift}
    now = timezone.now().isoformat(timespec="seconds")
    told = [one | {"since": kept.get((one["code"], one["object"], one["message"]), now)} for one in found]
    fresh = type(row).objects.filter(pk=row.pk).values_list("applied", "revision").first()
    if told != row.drift and fresh == (row.applied, row.revision) and not operations.active_on(on.ref):
        type(row).objects.filter(pk=row.pk).update(drift=told)


def workload_drift(version: EndpointVersion, there: There) -> list[Row]:
    """What differs of one version's objects."""
    row = version.deployment
    found = _objects(row.applied, there)
    name = f"Deployment {row.namespace}/{manifests.workload_name(row)}"
    if name not in there:
        return found
    config = picture.config_of(row)
    fixed = config.num_replicas
    return [*found, *_replicas(name, there[name], fixed), *_revision(name, there[name], row.revision)]


def gateway_drift(row: Gateway, there: There) -> list[Row]:
    """What differs of a gateway's objects, its certificate among them."""
    found = _objects(row.applied, there)
    home, view = publish.namespace(row), picture.draw(row)
    name = f"Deployment {home}/{builder.COMPONENT}"
    if name in there:
        found += _replicas(name, there[name], view.replicas)
    names = {kind: f"{kind} {home}/{holder}" for kind, holder in builder.HOLDERS.items()}
    if all(each in there for each in names.values()):
        config, secret = ((there[names[kind]].get("data") or {}) for kind in ("ConfigMap", "Secret"))
        found += _files(row, names, config, {key: b64decode(text).decode() for key, text in secret.items()})
    return found


def _files(row: Gateway, names: Mapping[str, str], config: Mapping[str, str], secret: Mapping[str, str]) -> list[Row]:
    """The certificate, and files whose content is not that of the version that is out."""
    held, found = builder.held(config, secret), []
    wrong = [name for name in STATISTICS if row.published.get(name) and held[name] != row.published[name]]
    if "sds.json" in wrong:
        found.append(_row("certificate", names["Secret"], "The gateway's certificate is not the one that is wanted."))
    if others := [name for name in wrong if name != "sds.json"]:
        found.append(_row("files", names["ConfigMap"], f"The gateway's {', '.join(others)} are not as published."))
    return found


def _objects(applied: Mapping[str, Mark], there: There) -> list[Row]:
    found = []
    for name, mark in applied.items():
        if name not in there or there[name]["metadata"].get("deletionTimestamp"):
            found.append(_row("deleted", name, f"{name} was deleted outside the portal."))
        elif words := ownership.changes(there[name], mark):
            found.append(_row("changed", name, f"{name} {words}."))
    return found


def _replicas(name: str, item: dict[str, Any], wanted: int | None) -> list[Row]:
    """A fixed count only: else an autoscaler sets it."""
    seen = int(item["spec"].get("replicas") or 0)
    if wanted is None or seen == wanted:
        return []
    return [_row("replicas", name, f"{name} has {seen} replicas; {wanted} are wanted.")]


def _revision(name: str, item: dict[str, Any], wanted: int) -> list[Row]:
    seen = (item["metadata"].get("labels") or {}).get("slipway.dev/revision", "none")
    if seen == str(wanted):
        return []
    return [_row("revision", name, f"{name} is at revision {seen}; {wanted} is wanted.")]


def _row(code: str, name: str, message: str) -> Row:
    return {"code": code, "object": name, "message": message}
