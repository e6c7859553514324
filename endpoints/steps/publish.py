"""Bring the rows to the gateway: one publisher per gateway at a time, rows read after the lease, then confirmed."""

from __future__ import annotations

import json
import secrets
import uuid
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from compute import ownership
from compute import queries as compute
from compute.models import ComputeTarget
from compute.names import gateway_namespace
from endpoints import gateway as builder
from endpoints import issuing
from endpoints.gateway import Files, GatewayView
from endpoints.models import Endpoint, Gateway
from endpoints.steps import picture
from portal.models import Operation
from portal.problems import NotFound, Problem, Retryable
from portal.types import Wait

if TYPE_CHECKING:
    from compute.cluster import Cluster

# Longer than the operation's own, so that whoever takes that one over meets no publisher that is still at work.
LEASE = 1.5 * timedelta(seconds=settings.OPERATION_LEASE_SECONDS)
# A publisher that took longer than this before its first write leaves it to the next: it may not be alone any more.
SAFE = LEASE / 3
SOON = 0.2
NUDGE_AFTER = timedelta(seconds=2)
AGAIN_AFTER = timedelta(seconds=8)
PUBLISHED = "slipway.dev/published"
VERSIONS = "/stats?format=json&filter=version_text"


# An object of a cluster holds 1 MiB at most; the rest of it is small.
LARGEST = 1_000_000


class TooMuch(Problem):
    status, code, title = 422, "gateway_full", "The gateway cannot take more versions"


class LeaseLost(Retryable):
    """Somebody else publishes now."""


def target_of(op: Operation) -> ComputeTarget:
    """The compute target that the operation's endpoint is on, or that the operation is about."""
    if "endpoint_id" not in op.input:
        return ComputeTarget.objects.select_related("workspace").get(pk=op.input["target_id"])
    rows = Endpoint.objects.select_related("compute_target__workspace")
    found = rows.filter(pk=op.input["endpoint_id"]).first()
    if found is None:
        raise NotFound(f"{op.target_name} was deleted meanwhile.")
    return found.compute_target


def gateway_of(target: ComputeTarget) -> Gateway:
    """The gateway's row, made with a secret and a certificate when it is the first."""
    found = Gateway.objects.select_related("compute_target__workspace").filter(compute_target=target).first()
    if found is not None:
        return found
    names = issuing.names_of(target, "")
    certificate, key = issuing.pair(names, timezone.now())
    fresh = {
        "probe_secret": secrets.token_urlsafe(24),
        "tls_certificate": certificate,
        "tls_key": key,
        "tls_names": names,
    }
    Gateway.objects.get_or_create(compute_target=target, defaults=fresh)
    return Gateway.objects.select_related("compute_target__workspace").get(compute_target=target)


@contextmanager
def lease(row: Gateway) -> Iterator[Gateway | None]:
    """The gateway's row under our lease with the next counter, or None while somebody else publishes."""
    now, ours = timezone.now(), uuid.uuid4()
    free = Q(leased_until__isnull=True) | Q(leased_until__lt=now)
    taken = Gateway.objects.filter(free, pk=row.pk).update(
        lease=ours, leased_until=now + LEASE, revision=F("revision") + 1
    )
    if not taken:
        yield None
        return
    try:
        yield Gateway.objects.select_related("compute_target__workspace").get(pk=row.pk)
    finally:
        Gateway.objects.filter(pk=row.pk, lease=ours).update(lease=None, leased_until=None)


def publish(
    cluster: Cluster, row: Gateway, *, anew: bool = False, doubt: bool = False, whole: bool = False
) -> dict[str, str] | None:
    """Write what changed since the last publish; answers the files' versions, or None while another one publishes.

    `anew` writes all files with a new counter, for an Envoy that did not take the last ones. `doubt`: what is out may
    have been lost with the gateway, so that the cluster is asked instead of our notes. `whole`: what did not change is
    written too, over what others wrote.
    """
    with lease(row) as mine:
        if mine is None:
            return None
        view = picture.draw(mine)
        before = _out(cluster, mine, anew=anew, doubt=doubt)
        files = builder.build(view, mine.revision, before)
        changed = {name for name, version in files.versions.items() if whole or before.get(name) != version}
        if changed:
            _write(cluster, mine, view, files, changed, alone=whole)
        if changed or files.versions != mine.published:
            nudge(cluster, view, mine.revision)
            _store(mine, published=files.versions, pushed_at=timezone.now())
        return files.versions


def _out(cluster: Cluster, mine: Gateway, *, anew: bool, doubt: bool) -> dict[str, str]:
    """The versions that are out. A publisher that died has left gaps in our notes: then what it wrote is taken over."""
    known: dict[str, str] = mine.published
    if doubt or not all(known.get(name) for name in builder.FILES):
        return _held(cluster, mine)
    return {} if anew else known


def _held(cluster: Cluster, mine: Gateway) -> dict[str, str]:
    config, secret = _data(cluster, mine, "ConfigMap"), _data(cluster, mine, "Secret")
    return builder.held(config, {name: b64decode(text).decode() for name, text in secret.items()})


def _data(cluster: Cluster, mine: Gateway, kind: str) -> dict[str, str]:
    found = cluster.observe(kind, namespace=namespace(mine), name=builder.HOLDERS[kind])
    return dict(found[0].get("data") or {}) if found else {}


def _write(
    cluster: Cluster, mine: Gateway, view: GatewayView, files: Files, changed: set[str], *, alone: bool = False
) -> None:
    if mine.leased_until is None or mine.leased_until - timezone.now() < LEASE - SAFE:
        raise LeaseLost("Publishing was held up and leaves it to the next try")
    size = sum(len(text) for text in files.config.values())
    if size > LARGEST:
        raise TooMuch(
            f"The routes of {mine.compute_target.name} would take {size:,} bytes; at most {LARGEST:,} are possible. "
            "Delete versions that get no traffic, or use another compute target."
        )
    # Forgotten before the write: if we die in it, the next publisher looks at what the cluster got of it.
    _store(mine, published={name: text for name, text in files.versions.items() if name not in changed})
    secret, config = builder.published(view, files)
    objects = ([secret] if changed & {*builder.IN_SECRET, "rest"} else []) + (
        [config] if changed - builder.IN_SECRET else []
    )
    # Without times: what a publisher wrote that died before this note is ours all the same.
    there: list[dict[str, Any]] = []
    cluster.apply(objects, there=there)
    marks = ownership.marks([cluster.strip(item) for item in there] if alone else there)
    note_applied(mine, {name: {**mark, "time": ""} for name, mark in marks.items()})


def note_applied(row: Gateway, marks: Mapping[str, ownership.Mark]) -> None:
    """Keep the marks of objects that were just applied beside those of the others."""
    with transaction.atomic():
        fresh = Gateway.objects.select_for_update().get(pk=row.pk)
        Gateway.objects.filter(pk=row.pk).update(applied={**fresh.applied, **marks})


def _store(mine: Gateway, **fields: Any) -> None:
    if not Gateway.objects.filter(pk=mine.pk, lease=mine.lease).update(**fields):
        raise LeaseLost("Another publisher took over")


def nudge(cluster: Cluster, view: GatewayView, counter: int) -> None:
    """Change an annotation of the pods: their volumes follow at once then, not at the kubelet's next round."""
    namespace = gateway_namespace(view.target_id, view.workspace)
    cluster.annotate(namespace, builder.SELECTOR, PUBLISHED, f"{counter}-{secrets.token_hex(2)}")


def pods(cluster: Cluster, row: Gateway) -> list[dict[str, Any]]:
    """The gateway's pods that run and take requests."""
    return [pod for pod in all_pods(cluster, row) if is_ready(pod)]


def all_pods(cluster: Cluster, row: Gateway) -> list[dict[str, Any]]:
    """The gateway's pods, also those that start, end or are not ready for a moment."""
    return cluster.observe("Pod", namespace=namespace(row), selector=builder.SELECTOR)


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod is ready and not on its way out."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def namespace(row: Gateway) -> str:
    """The gateway's namespace."""
    return gateway_namespace(row.compute_target_id, row.compute_target.workspace.slug)


def read(cluster: Cluster, row: Gateway, pod: dict[str, Any], path: str) -> bytes:
    """A page of Envoy's statistics, through the API server."""
    name = pod["metadata"]["name"]
    headers = {builder.PROBE_HEADER: row.probe_secret}
    return cluster.proxy(namespace(row), name, builder.PROBE_PORT, path, headers=headers)


def statistics(cluster: Cluster, row: Gateway, pod: dict[str, Any], path: str) -> dict[str, Any]:
    """Name -> value of a JSON page."""
    page = json.loads(read(cluster, row, pod, path))
    return {item["name"]: item["value"] for item in page["stats"] if "name" in item}


def late(cluster: Cluster, row: Gateway, versions: dict[str, str]) -> list[str] | None:
    """The files that some gateway pod has not taken; None when no pod is there to ask."""
    found = pods(cluster, row)
    if not found:
        return None
    return sorted(
        {name for pod in found for name in builder.expected(versions, statistics(cluster, row, pod, VERSIONS))}
    )


def publish_now(op: Operation) -> Wait | None:
    """Publish for a step: remembers which versions to wait for."""
    target = target_of(op)
    versions = publish(compute.open_cluster(target), gateway_of(target))
    if versions is None:
        return Wait(SOON, "Another change is being brought to the gateway")
    op.memo["published"] = versions
    return None


def confirm_now(op: Operation) -> Wait | None:
    """Wait until every gateway pod serves what this operation published, or something later."""
    target = target_of(op)
    return confirmed(op, compute.open_cluster(target), gateway_of(target))


def confirmed(op: Operation, cluster: Cluster, row: Gateway) -> Wait | None:
    """None once every gateway pod has what the operation published; presses a gateway that is late."""
    missing = late(cluster, row, op.memo["published"])
    if missing == []:
        return None
    if missing is None:
        return Wait(1, "Waiting for a gateway pod that is ready")
    return _press(op, cluster, row, missing)


def _press(op: Operation, cluster: Cluster, row: Gateway, missing: list[str]) -> Wait:
    """The gateway is late: touch its pods again after a while, and publish anew when even that does not help."""
    waited = timezone.now() - row.pushed_at if row.pushed_at else timedelta(0)
    if waited > AGAIN_AFTER:
        op.memo["published"] = publish(cluster, row, anew=True) or op.memo["published"]
    elif waited > NUDGE_AFTER:
        nudge(cluster, picture.draw(row), row.revision)
        return Wait(0.5, f"Waiting for the gateway to take {', '.join(missing)}")
    return Wait(SOON, "Waiting for the gateway to take the change")
