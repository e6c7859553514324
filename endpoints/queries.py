"""Every read of endpoints, with the permission check."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from compute import certificates, edge
from compute import queries as compute
from compute.models import ComputeTarget
from compute.types import Purpose
from deployments import diagnose, manifests
from deployments import queries as deployments
from endpoints import counters, traffic
from endpoints.counters import Tally
from endpoints.models import Endpoint, EndpointVersion, Gateway, SigningKey, TrafficSample
from endpoints.types import EndpointKind, EndpointState, GatewayState
from portal import outbound
from portal import queries as portal
from portal.models import User, Workspace
from portal.problems import Conflict, Invalid, NotFound, Problem, Retryable
from portal.types import Role

OBSERVED = timedelta(minutes=5)
LOG_LINES = 200
TRY_SECONDS, TRY_BYTES = 10, 1_000_000


class NoAnswer(Problem):
    status, code, title = 502, "gateway_unreachable", "The gateway did not answer"


@dataclass(frozen=True)
class Observed:
    """What a version really answered lately; `share` in percent, times in milliseconds."""

    requests: int = 0
    share: Decimal = Decimal(0)
    failed: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True)
class VersionRow:
    """A version with its three shares in percent: as configured, as in force now, and as observed."""

    version: EndpointVersion
    configured: Decimal
    effective: Decimal
    observed: Observed
    note: str = ""


def endpoint(*, actor: User, workspace: str, name: str, needs: Role, kind: EndpointKind | None = None) -> Endpoint:
    """One service or endpoint of the workspace with that slug, with its versions."""
    home = portal.workspace(actor=actor, slug=workspace, needs=needs)
    found = _with_versions(Endpoint.objects.filter(workspace=home, name=name)).first()
    if found is None or (kind is not None and found.kind != kind):
        word = kind.label.lower() if kind else "service or endpoint"
        raise NotFound(f"There is no {word} {name} in {home.name}.")
    return found


def endpoints(*, workspace: Workspace, kind: EndpointKind | None = None, target: str = "") -> QuerySet[Endpoint]:
    """The services and endpoints of a workspace that the caller has been let into, by name."""
    found = _with_versions(Endpoint.objects.filter(workspace=workspace)).order_by("name", "pk")
    found = found.filter(kind=kind) if kind else found
    return found.filter(compute_target__name=target) if target else found


def changed(*, workspace: Workspace) -> QuerySet[Endpoint]:
    """The services and endpoints of a workspace that others changed in the cluster."""
    drifted = EndpointVersion.objects.filter(endpoint__workspace=workspace).exclude(deployment__drift=[])
    return Endpoint.objects.filter(pk__in=drifted.values("endpoint_id")).order_by("name", "pk")


def _with_versions(rows: QuerySet[Endpoint]) -> QuerySet[Endpoint]:
    versions = EndpointVersion.objects.select_related("deployment__collecting").order_by("pk")
    return rows.select_related("workspace__team", "compute_target", "created_by").prefetch_related(
        Prefetch("versions", queryset=versions)
    )


def version(*, endpoint: Endpoint, name: str) -> EndpointVersion:
    """One version of an endpoint that the caller has been let into."""
    for found in endpoint.versions.all():
        if found.name == name:
            return found
    known = ", ".join(found.name for found in endpoint.versions.all()) or "none"
    raise NotFound(f"{endpoint.name} has no version {name}. It has: {known}.")


def collection_troubles(*, workspace: Workspace) -> list[tuple[EndpointVersion, str]]:
    """Versions whose scored requests are not kept as asked for, each with the sentence that says so."""
    bad = {row.pk: row for row in deployments.badly_collecting(workspace=workspace)}
    found = []
    for row in EndpointVersion.objects.select_related("endpoint").filter(deployment__in=bad).order_by("pk"):
        state = deployments.collection(deployment=bad[row.deployment_id])
        if state and state["warning"]:
            found.append((row, str(state["warning"])))
    return found


def split(*, endpoint: Endpoint) -> dict[str, dict[str, Any]]:
    """The split as people edit it: version -> percentile, flags, shares."""
    rows = [found.traffic() for found in endpoint.versions.all()]
    planned, now = traffic.configured(rows), traffic.shares(rows)
    return {
        row.name: {
            "traffic_percentile": float(row.percentile),
            "is_default": row.is_default,
            "is_control": row.is_control,
            "configured_share": float(planned[row.name]),
            "effective_share": float(round(now[row.name], 2)),
        }
        for row in rows
    }


def version_rows(*, endpoint: Endpoint) -> list[VersionRow]:
    """The versions with configured, effective and observed shares; `note` says why a share is not in force."""
    rows = {found.name: found for found in endpoint.versions.all()}
    split_now = [found.traffic() for found in rows.values()]
    planned, now, seen = traffic.configured(split_now), traffic.shares(split_now), observed(endpoint=endpoint)
    return [
        VersionRow(row, planned[name], now[name], seen.get(name, Observed()), _note(row, planned, now))
        for name, row in rows.items()
    ]


def _note(row: EndpointVersion, planned: dict[str, Decimal], now: dict[str, Decimal]) -> str:
    if row.serves or not planned[row.name]:
        return ""
    heirs = ", ".join(name for name, share in now.items() if share > planned[name])
    where = (
        f"its {traffic.plain(planned[row.name])} % goes to {heirs}"
        if heirs
        else "no version has one, so callers get 503"
    )
    return f"{row.name} has no ready replica: {where}."


def state_of(endpoint: Endpoint) -> tuple[str, str]:
    """State and reason: those of the default version, unless the whole endpoint is going or was never reachable."""
    if endpoint.state in (EndpointState.DELETING, EndpointState.TRANSITIONING, EndpointState.FAILED):
        return endpoint.state, endpoint.reason
    rows = list(endpoint.versions.all())
    lead = next((row for row in rows if row.is_default), None)
    if lead is None:
        return endpoint.state, endpoint.reason
    return str(lead.deployment.state), lead.deployment.reason


def observed(*, endpoint: Endpoint, window: timedelta = OBSERVED) -> dict[str, Observed]:
    """Version -> what the gateway counted in the last five minutes."""
    sums: dict[str, dict[str, Any]] = {}
    for sample in TrafficSample.objects.filter(endpoint=endpoint, at__gte=timezone.now() - window):
        entry = sums.setdefault(sample.version, {"codes": {}, "tally": Tally()})
        for code, count in sample.codes.items():
            entry["codes"][code] = entry["codes"].get(code, 0) + count
        entry["tally"] = entry["tally"].plus(Tally(0, sample.seconds, sample.buckets))
    answered = {name: _answered(entry["codes"]) for name, entry in sums.items()}
    whole = sum(answered.values())
    return {name: _observed(entry, answered[name], whole) for name, entry in sums.items()}


def _answered(codes: dict[str, int]) -> int:
    return sum(count for code, count in codes.items() if code not in counters.NOT_ANSWERED)


def _observed(entry: dict[str, Any], answered: int, whole: int) -> Observed:
    buckets = entry["tally"].buckets
    return Observed(
        requests=answered,
        share=round(Decimal(100 * answered) / whole, 2) if whole else Decimal(0),
        failed=sum(count for code, count in entry["codes"].items() if code.startswith("5")),
        p50_ms=counters.quantile(buckets, 0.5),
        p95_ms=counters.quantile(buckets, 0.95),
    )


def series(*, endpoint: Endpoint, window: timedelta = OBSERVED) -> list[dict[str, Any]]:
    """What each version answered in each ten seconds, oldest first."""
    rows = TrafficSample.objects.filter(endpoint=endpoint, at__gte=timezone.now() - window).order_by("at", "version")
    return [
        {"at": row.at, "version": row.version, "codes": row.codes, "requests": _answered(row.codes),
         "seconds": round(row.seconds, 6)}
        for row in rows
    ]  # fmt: skip


def gateway(*, target_id: int) -> Gateway | None:
    """The gateway of a compute target, if it has one that answers."""
    rows = Gateway.objects.select_related("compute_target")
    return rows.filter(compute_target_id=target_id, state=GatewayState.READY).first()


def gateway_shown(*, target: ComputeTarget) -> dict[str, Any]:
    """How callers reach a target that the caller has been let into, and the certificate that they are shown."""
    row = Gateway.objects.filter(compute_target=target).first() or Gateway(compute_target=target)
    row.compute_target = target
    is_tls_only = is_https_only(target)
    return {
        "state": row.state, "host": edge.host(target.config, target.region), "address": row.address,
        "http_port": None if is_tls_only else row.http_port, "https_port": row.https_port,
        "is_internal": bool((target.config.get("load_balancer") or {}).get("internal")),
        "replicas": replicas(target), "certificate": _certificate(row) if row.certificate else None,
    }  # fmt: skip


def replicas(target: ComputeTarget) -> int:
    """How many gateway pods a target has."""
    return 1 if target.purpose == Purpose.DEV_TEST else 2


def is_https_only(target: ComputeTarget) -> bool:
    """Whether the plain door is closed: where TLS was asked for before anybody called."""
    tls = target.config.get("tls") or {}
    return bool(tls) and not tls.get("http")


def _certificate(row: Gateway) -> dict[str, Any]:
    told = certificates.facts(row.certificate)
    by = "itself" if told.subject == told.issuer else "issuer"
    return {
        "made_by": "owner" if row.compute_target.tls_certificate else by, "subject": told.subject,
        "issuer": told.issuer, "names": list(told.names), "begins_at": told.begins_at, "ends_at": told.ends_at,
        "days_left": told.days_left(timezone.now()), "fingerprint": told.fingerprint,
        "is_seen": row.tls_seen.get("fingerprint") == told.fingerprint, "note": row.tls_note,
    }  # fmt: skip


def ending_certificates(*, workspace: Workspace) -> list[Gateway]:
    """Gateways whose certificate somebody should look at, by the name of their compute target."""
    rows = Gateway.objects.filter(compute_target__workspace=workspace).exclude(tls_note="")
    return list(rows.select_related("compute_target").order_by("compute_target__name"))


def gateways_to_look_at() -> list[int]:
    """Ids of the gateways that answer and carry something."""
    rows = Gateway.objects.filter(state=GatewayState.READY, compute_target__endpoints__isnull=False)
    return sorted(set(rows.values_list("pk", flat=True)))


def signing_keys() -> QuerySet[SigningKey]:
    """The keys whose tokens gateways take, newest first."""
    return SigningKey.objects.filter(retired_at__isnull=True).order_by("-pk")


def logs(
    *, endpoint: Endpoint, version: EndpointVersion, tail: int = LOG_LINES, previous: bool = False
) -> list[dict[str, str]]:
    """The last lines of each replica's container, from the cluster."""
    cluster = compute.open_cluster(endpoint.compute_target)
    deployment = version.deployment
    found = []
    for pod in cluster.observe(
        "Pod", namespace=deployment.namespace, selector=f"slipway.dev/deployment={deployment.pk}"
    ):
        name = pod["metadata"]["name"]
        for container in pod["spec"]["containers"]:
            text = cluster.logs(deployment.namespace, name, container["name"], tail=tail, previous=previous)
            found.append({"replica": name, "container": container["name"], "text": text})
    return found


def events(*, endpoint: Endpoint) -> list[dict[str, Any]]:
    """What the cluster says about the replicas of an endpoint and what makes them, newest first."""
    cluster = compute.open_cluster(endpoint.compute_target)
    result = []
    for row in endpoint.versions.all():
        deployment = row.deployment
        pods = cluster.observe(
            "Pod", namespace=deployment.namespace, selector=f"slipway.dev/deployment={deployment.pk}"
        )
        names = {pod["metadata"]["name"] for pod in pods}
        above = manifests.workload_name(deployment)
        for event in cluster.observe("Event", namespace=deployment.namespace):
            if event["involvedObject"].get("name") in names or diagnose.is_of_workload(event, above):
                result.append(_event(event, row.name))
    return sorted(result, key=lambda event: str(event["at"]), reverse=True)


def _event(event: dict[str, Any], version: str) -> dict[str, Any]:
    return {
        "at": diagnose.moment(event),
        "version": version,
        "object": event["involvedObject"].get("name"),
        "type": event.get("type"),
        "reason": event.get("reason"),
        "message": event.get("message"),
        "count": (event.get("series") or {}).get("count") or event.get("count") or 1,
    }


def revisions(*, version: EndpointVersion) -> list[dict[str, Any]]:
    """What a version was over time, newest first."""
    deployment = version.deployment
    return [
        {
            "revision": row.number,
            "is_current": row.number == deployment.revision,
            "models": [f"{model.name}:{model.version}" for model in row.models.all()],
            "environment": f"{row.environment.name}:{row.environment.version}",
            "entry_script": row.entry_script,
            "deployment_config": row.config,
            "comment": row.comment,
            "created_by": row.created_by.username if row.created_by else None,
            "created_at": row.created_at,
        }
        for row in deployment.revisions.select_related("environment", "created_by")
        .prefetch_related("models")
        .order_by("-number")
    ]


@dataclass(frozen=True)
class Scored:
    """What a model answered to a try."""

    status: int
    version: str
    milliseconds: float
    body: str


def score(*, endpoint: Endpoint, body: Any, credential: str, version: str = "") -> Scored:
    """Send `body` (JSON) through the gateway like a caller: at most 1 MB, 10 s; the answer is cut at 1 MB.

    Raises Invalid (422) for a larger body, Conflict (409) without a gateway, NoAnswer (502).
    """
    payload = json.dumps(body).encode()
    if len(payload) > TRY_BYTES:
        raise Invalid(f"The body has {len(payload):,} bytes; trying it here takes at most {TRY_BYTES:,}.")
    found = gateway(target_id=endpoint.compute_target_id)
    if found is None or not found.address:
        raise Conflict(f"{endpoint.compute_target.name} has no gateway that answers yet.")
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {credential}"} if credential else {})}
    headers |= {"azureml-model-deployment": version} if version else {}
    began = time.perf_counter()
    try:
        status, answered_by, text = _post(found, f"/api/v1/service/{endpoint.name}/score", payload, headers)
    except (OSError, http.client.HTTPException, Retryable) as error:
        raise NoAnswer(f"{endpoint.scoring_uri} gave no answer within {TRY_SECONDS} s: {error}") from None
    return Scored(status, answered_by, round(1000 * (time.perf_counter() - began), 1), text)


def _post(found: Gateway, path: str, payload: bytes, headers: dict[str, str]) -> tuple[int, str, str]:
    """Status, version and text from the gateway's TLS door, which must show the certificate that we gave it."""
    target = found.compute_target
    where = outbound.place(f"https://{found.address}:{found.https_port}")
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=found.certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it is enough by itself, whoever signed it
    name = edge.host(target.config, target.region) or found.address
    connection = http.client.HTTPSConnection(name, found.https_port, timeout=TRY_SECONDS, context=context)
    connection.sock = context.wrap_socket(
        socket.create_connection((where.ip, where.port), timeout=TRY_SECONDS), server_hostname=name
    )
    try:
        connection.request("POST", path, payload, headers)
        response = connection.getresponse()
        text = response.read(TRY_BYTES).decode(errors="replace")
        return response.status, response.getheader("azureml-model-deployment", "") or "", text
    finally:
        connection.close()
