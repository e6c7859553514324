"""One look at a gateway: read its counters, store what was answered, scale replicas, and bring changed health to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from math import inf
from typing import TYPE_CHECKING, Any

import structlog
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from compute import power
from compute import queries as compute
from compute.types import ComputeState
from deployments import autoscale, manifests
from deployments.config import DeploymentConfig
from deployments.models import Deployment
from deployments.types import Scaler
from endpoints import counters
from endpoints.counters import Reading, Tally
from endpoints.models import EndpointVersion, Gateway, TrafficSample
from endpoints.steps import picture, publish
from portal.problems import Problem, Retryable

if TYPE_CHECKING:
    from compute.cluster import Cluster

log = structlog.get_logger(__name__)
LEAST_SECONDS = 0.5
GAP_SECONDS = 15.0  # whether a longer time that nobody looked at ended quietly, a mean over it does not tell
ENOUGH = 20
LESSON = 6  # samples, which is a minute under load
KEEP = timedelta(hours=24)
BUSY_NOTE = timedelta(seconds=5)  # often enough for a minute of quiet


@dataclass
class Look:
    """What one look found: answers per (endpoint, version) and the seconds they came in, and what is under way.

    `steady` is under way now and was at the last look: long scores, which no counter shows before they end.
    """

    answered: dict[tuple[str, str], Tally]
    seconds: float
    steady: dict[tuple[str, str], int]
    hosts: dict[tuple[str, str], int]


def look(gateway_id: int) -> None:
    """Read, scale and republish. Trouble with the cluster is logged: the next look is a second away."""
    row = Gateway.objects.select_related("compute_target__workspace").get(pk=gateway_id)
    is_stopped = power.is_stopped(row.compute_target)
    if is_stopped or row.compute_target.state == ComputeState.MISSING:  # nobody answers there
        EndpointVersion.objects.filter(endpoint__compute_target_id=row.compute_target_id).update(hosts=0)
        return
    try:
        seen = read_counters(row)
        if seen is None:
            return
        cluster = compute.open_cluster(row.compute_target)
        for version in _versions(row):
            _note_hosts(version, seen)
            _adapt(version, seen)
            _scale(cluster, version, seen)
        _follow_rows(cluster, row)
    except (Problem, Retryable) as trouble:
        log.warning("gateway_look_failed", gateway=gateway_id, error=str(trouble))


def _follow_rows(cluster: Cluster, row: Gateway) -> None:
    """Publish when rows changed without an operation, e.g. because a version lost its last replica."""
    mark = picture.signature(row)
    if mark != row.signature and publish.publish(cluster, row) is not None:
        Gateway.objects.filter(pk=row.pk).update(signature=mark)


def read_counters(row: Gateway) -> Look | None:
    """Add what was answered since the last reading to the samples. None when somebody else has just read."""
    now, before = timezone.now(), row.read_at
    free = Q(read_at__isnull=True) | Q(read_at__lt=now - timedelta(seconds=LEAST_SECONDS))
    if not Gateway.objects.filter(free, pk=row.pk).update(read_at=now):
        return None
    pages, there = _read(row)
    fresh = {uid: counters.parse(text) for uid, text in pages.items()}
    old = {uid: counters.unpack(stored) for uid, stored in row.readings.get("counters", {}).items()}
    answered = counters.total(counters.since(old.get(uid, {}), reading) for uid, reading in fresh.items())
    active = _sum(counters.gauges(text, counters.ACTIVE) for text in pages.values())
    earlier = row.readings.get("active", {})
    unread = {uid: reading for uid, reading in old.items() if uid in there}  # not ready just now: it counts on
    readings = {
        "counters": {uid: counters.pack(reading) for uid, reading in {**unread, **fresh}.items()},
        "active": {"|".join(key): count for key, count in active.items()},
    }
    with transaction.atomic():
        if Gateway.objects.select_for_update().get(pk=row.pk).readings != row.readings:
            return None  # a look that overlapped this one has counted the same answers
        Gateway.objects.filter(pk=row.pk).update(readings=readings)
        load = _store(row, answered, now)
    seconds = (now - before).total_seconds() if before else LEAST_SECONDS
    steady = {key: min(count, earlier.get("|".join(key), 0)) for key, count in active.items()}
    hosts: dict[tuple[str, str], int] = {}
    for text in pages.values():
        for key, count in counters.gauges(text, counters.HOSTS).items():
            hosts[key] = max(count, hosts.get(key, 0))
    return Look(load, seconds, steady, hosts)


def _sum(parts: Iterable[dict[tuple[str, str], int]]) -> dict[tuple[str, str], int]:
    result: dict[tuple[str, str], int] = {}
    for part in parts:
        for key, count in part.items():
            result[key] = result.get(key, 0) + count
    return result


def _read(row: Gateway) -> tuple[dict[str, str], set[str]]:
    """Each ready Envoy's page, and which Envoys there are; a container that started anew is another one."""
    cluster = compute.open_cluster(row.compute_target)
    found = publish.all_pods(cluster, row)
    ready = [pod for pod in found if publish.is_ready(pod)]
    pages = {_identity(pod): publish.read(cluster, row, pod, counters.PATH).decode() for pod in ready}
    return pages, {_identity(pod) for pod in found}


def _identity(pod: dict[str, Any]) -> str:
    restarts = [s["restartCount"] for s in pod["status"].get("containerStatuses") or [] if s["name"] == "envoy"]
    return f"{pod['metadata']['uid']}/{restarts[0] if restarts else 0}"


def _store(row: Gateway, answered: Reading, now: datetime) -> dict[tuple[str, str], Tally]:
    """Add to the samples of these ten seconds; answers what models answered per version."""
    start = now.replace(microsecond=0) - timedelta(seconds=now.second % 10)
    versions = {(version.endpoint.name, version.name): version for version in _versions(row)}
    load: dict[tuple[str, str], Tally] = {}
    for (endpoint, name, code), tally in sorted(answered.items()):
        version = versions.get((endpoint, name))
        if version is None or not tally.requests and not tally.seconds:
            continue
        _add(version, start, code, tally)
        if code not in counters.NOT_ANSWERED:
            load[endpoint, name] = load.get((endpoint, name), Tally()).plus(tally)
    return load


def _add(version: EndpointVersion, start: datetime, code: str, tally: Tally) -> None:
    sample, _ = TrafficSample.objects.get_or_create(endpoint=version.endpoint, version=version.name, at=start)
    sample.codes = {**sample.codes, code: sample.codes.get(code, 0) + tally.requests}
    if code not in counters.NOT_ANSWERED:
        both = Tally(0, sample.seconds, sample.buckets).plus(tally)
        sample.seconds, sample.buckets = both.seconds, both.buckets
    sample.save()


def _versions(row: Gateway) -> list[EndpointVersion]:
    rows = EndpointVersion.objects.select_related("endpoint", "deployment")
    return list(rows.filter(endpoint__compute_target_id=row.compute_target_id, is_loaded=True).order_by("pk"))


def _note_hosts(version: EndpointVersion, seen: Look) -> None:
    """A version that lost its last replica gives its share away within a second or two."""
    # Envoy does not list a gauge that was never above 0: what was seen before and is not listed has none.
    unseen = None if version.hosts is None or not seen.hosts else 0
    hosts = seen.hosts.get((version.endpoint.name, version.name), unseen)
    if hosts is not None and hosts != version.hosts:
        EndpointVersion.objects.filter(pk=version.pk).update(hosts=hosts)


def _adapt(version: EndpointVersion, seen: Look) -> None:
    """Learn how long a score takes, for the queue's length.

    Each lesson is one more publish, so that only a change by half or double counts, in the mean of the last samples:
    one slow second is none.
    """
    if seen.answered.get((version.endpoint.name, version.name), Tally()).requests < ENOUGH:
        return
    rows = TrafficSample.objects.filter(endpoint=version.endpoint, version=version.name).order_by("-at")[:LESSON]
    mean = reduce(Tally.plus, (Tally(0, row.seconds, row.buckets) for row in rows), Tally()).mean_seconds
    measured = max(1, round(1000 * mean)) if mean is not None else version.expected_ms
    if not version.expected_ms / 2 < measured < version.expected_ms * 2:
        EndpointVersion.objects.filter(pk=version.pk).update(expected_ms=measured)


def _scale(cluster: Cluster, version: EndpointVersion, seen: Look) -> None:
    """Bring the replicas to what the load asks for: up at once, down after a minute of quiet; unless KEDA does."""
    deployment, now = version.deployment, timezone.now()
    config = picture.config_of(deployment)
    if not config.autoscale_enabled or not version.is_routed or deployment.scaler == Scaler.KEDA:
        return
    if version.scaled_at and now - version.scaled_at < timedelta(seconds=config.refresh_period_seconds):
        return
    key = (version.endpoint.name, version.name)
    # Mean requests at work: their seconds over the time, or what is steadily under way if that is more.
    at_work = max(seen.answered.get(key, Tally()).seconds / seen.seconds, float(seen.steady.get(key, 0)))
    if seen.seconds > GAP_SECONDS or _asked(version, config, at_work, inf) >= deployment.wanted_replicas:
        _stay_busy(version, now)
    quiet = (now - (version.busy_at or version.created_at)).total_seconds()
    _follow(cluster, version, deployment, _asked(version, config, at_work, quiet), now)


def _asked(version: EndpointVersion, config: DeploymentConfig, at_work: float, quiet_seconds: float) -> int:
    return autoscale.wanted(
        current=version.deployment.wanted_replicas, rps=at_work, seconds=1.0,
        target_utilization=config.target_utilization, concurrency=config.max_concurrent_requests,
        min_replicas=config.min_replicas, max_replicas=config.max_replicas, quiet_seconds=quiet_seconds,
    )  # fmt: skip


def _stay_busy(version: EndpointVersion, now: datetime) -> None:
    """The load asks for all replicas that there are, or may have: a minute of quiet begins anew."""
    if version.busy_at is None or now - version.busy_at > BUSY_NOTE:
        EndpointVersion.objects.filter(pk=version.pk).update(busy_at=now)
    version.busy_at = now


def _follow(cluster: Cluster, version: EndpointVersion, deployment: Deployment, wanted: int, now: datetime) -> None:
    if wanted == deployment.wanted_replicas:
        return
    cluster.scale(deployment.namespace, manifests.workload_name(deployment), wanted)
    Deployment.objects.filter(pk=deployment.pk).update(wanted_replicas=wanted)
    EndpointVersion.objects.filter(pk=version.pk).update(scaled_at=now, busy_at=now)
    log.info("scaled", deployment=deployment.pk, before=deployment.wanted_replicas, after=wanted)


def forget_old() -> None:
    """Drop samples older than a day."""
    TrafficSample.objects.filter(at__lt=timezone.now() - KEEP).delete()
