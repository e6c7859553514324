"""`/metrics` for Prometheus: what the rows say at the time of the scrape. Asks no cluster and no cloud."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.db.models import TextChoices
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from compute import queries as compute
from compute.types import ComputeState
from deployments import queries as deployments
from deployments.types import DeploymentState
from endpoints import everywhere
from endpoints.types import EndpointState
from portal import health, queries

UNAUTHORIZED = {"WWW-Authenticate": 'Bearer realm="slipway-metrics"'}
Labelled = Iterable[tuple[tuple[str, ...], float]]


def metrics(request: HttpRequest) -> HttpResponse:
    """The numbers, for who has the token of SLIPWAY_METRICS_TOKEN; while that is not set there is nothing here."""
    if not settings.METRICS_TOKEN:
        return health.not_found(request)
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), settings.METRICS_TOKEN.encode()):
        return HttpResponse("The metrics token is missing or wrong.\n", "text/plain", 401, headers=UNAUTHORIZED)
    if request.method not in ("GET", "HEAD"):
        return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Rows())
    return HttpResponse(generate_latest(registry), CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


class Rows(Collector):
    """Everything that is told, in a number of queries that does not grow with what there is."""

    def collect(self) -> Iterator[Metric]:
        """The families, each with its samples."""
        yield _family("slipway_build_info", "The version of the portal.", ("version",), [((settings.VERSION,), 1)])
        yield from _operations()
        yield from _states()
        yield from _replicas()
        yield from _gateways()
        now = timezone.now()
        ages = [((name,), (now - at).total_seconds()) for name, at in queries.beats().items()]
        yield _family("slipway_beat_age_seconds", "Since a periodic task last ran.", ("task",), ages)


def _family(name: str, text: str, labels: tuple[str, ...], rows: Labelled) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _operations() -> Iterator[Metric]:
    counts = queries.operation_counts()
    yield _family("slipway_operations", "Operations by kind and state.", ("kind", "state"), counts.items())
    times: list[tuple[tuple[str, ...], float]] = [
        ((kind, stat), seconds)
        for kind, (mean, most) in queries.operation_seconds().items()
        for stat, seconds in (("mean", mean), ("max", most))
    ]
    text = "How long operations took that ended well in the last hour."
    yield _family("slipway_operation_duration_seconds", text, ("kind", "stat"), times)
    late = "How long the step that waits longest for a worker is overdue."
    yield _family("slipway_operation_queue_age_seconds", late, (), [((), queries.operation_queue_age())])


def _states() -> Iterator[Metric]:
    parts: tuple[tuple[str, type[TextChoices], Mapping[str, int]], ...] = (
        ("compute_targets", ComputeState, compute.state_counts()),
        ("deployments", DeploymentState, deployments.state_counts()),
        ("endpoints", EndpointState, everywhere.state_counts()),
    )
    for name, states, counts in parts:
        rows = [((str(state),), counts.get(str(state), 0)) for state in states]  # 0 too: an alert needs the line
        yield _family(f"slipway_{name}", f"{name.replace('_', ' ').capitalize()} by state.", ("state",), rows)


def _replicas() -> Iterator[Metric]:
    names, rows = ("workspace", "endpoint", "version"), list(everywhere.replicas())
    for word in ("wanted", "ready"):
        found = [(tuple(row[name] for name in names), row[word]) for row in rows]
        yield _family(f"slipway_replicas_{word}", f"Replicas of a version that are {word}.", names, found)


def _gateways() -> Iterator[Metric]:
    names, rows = ("workspace", "compute_target"), list(everywhere.gateways())
    told: tuple[tuple[str, str, str], ...] = (
        ("slipway_gateway_reading_age_seconds", "reading_age", "Since the gateway's numbers were last read."),
        ("slipway_gateway_certificate_days_left", "days_left", "Until the gateway's certificate ends."),
    )
    for name, key, text in told:
        yield _family(name, text, names, [(_labels(row, names), row[key]) for row in rows if row[key] is not None])


def _labels(row: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in names)
