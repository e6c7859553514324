"""Pages that show: lists, one service or endpoint, one version, logs and events."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from deployments import queries as deployments
from endpoints import pictures, queries, traffic
from endpoints.types import AuthMode, EndpointKind
from portal import pages
from portal import queries as portal
from portal.problems import Problem, Retryable
from portal.types import Role

SORTS = {"name": ("name", "pk"), "newest": ("-created_at", "-pk")}
MINUTES = 5
DAYS = 7
SAMPLE = '{"data": [[5.1, 3.5, 1.4, 0.2]]}'


class ClusterSilent(Problem):
    status, code, title = 502, "cluster_unreachable", "The cluster does not answer"


def found(request: HttpRequest, workspace: str, name: str, kind: EndpointKind, needs: Role = Role.READER) -> Any:
    """The service or endpoint that a page is about."""
    return queries.endpoint(actor=pages.actor(request), workspace=workspace, name=name, needs=needs, kind=kind)


def line(row: Any) -> dict[str, Any]:
    """A service or endpoint in a list."""
    state, reason = queries.state_of(row)
    versions = list(row.versions.all())
    wanted = sum(version.deployment.wanted_replicas for version in versions)
    ready = sum(version.deployment.ready_replicas for version in versions)
    shares = traffic.shares([version.traffic() for version in versions])
    return {
        "row": row, "word": row.kind.lower(), "state": state, "reason": reason, "bar": pictures.of_rows(versions),
        "wanted": wanted, "ready": ready, "shares": [(name, share) for name, share in shares.items() if share],
    }  # fmt: skip


@login_required
@require_safe
def listing(request: HttpRequest, workspace: str, kind: EndpointKind) -> HttpResponse:
    """The services, or the endpoints, of a workspace."""
    home = portal.workspace(actor=pages.actor(request), slug=workspace, needs=Role.READER)
    text, target, sort = (request.GET.get(name, "").strip() for name in ("q", "compute_target", "sort"))
    rows = queries.endpoints(workspace=home, kind=kind, target=target)
    page = pages.listing(request, rows.filter(name__icontains=text) if text else rows, sorts=SORTS)
    context = {
        "workspace": home, "word": kind.label.lower(), "page": page, "rows": [line(row) for row in page.items],
        "q": text, "target": target, "sort": sort or "name",
    }  # fmt: skip
    return render(request, "endpoints/list.html", context)


@login_required
@require_safe
def detail(request: HttpRequest, workspace: str, name: str, kind: EndpointKind) -> HttpResponse:
    """One service or endpoint."""
    endpoint = found(request, workspace, name, kind)
    return render(request, "endpoints/detail.html", shown(endpoint))


@login_required
@require_safe
def live(request: HttpRequest, workspace: str, name: str, kind: EndpointKind) -> HttpResponse:
    """The parts of its page that move; fields and sliders are not among them."""
    context = numbers(found(request, workspace, name, kind))
    return render(request, "endpoints/_live.html", {**context, "is_poll": True})


def shown(endpoint: Any) -> dict[str, Any]:
    """What the page of a service or endpoint needs."""
    context = numbers(endpoint)
    rows = context["rows"]
    split = [row["version"].traffic() for row in rows]
    before = _previous(endpoint)
    for row in rows:
        row["previous"] = before.get(row["version"].name, {}).get("traffic_percentile", "")
        row["successor"] = traffic.successor(split, row["version"].name) if len(split) > 1 else ""
    only = rows[0]["version"] if endpoint.kind == EndpointKind.SERVICE and rows else None
    return {
        **context, "op": pages.news(endpoint.ref), "sample": SAMPLE, "has_previous": bool(before),
        "drift": pages.since([each for row in rows for each in row["deployment"].drift]),
        "may_add": len(rows) < traffic.MOST_VERSIONS, "most": traffic.MOST_VERSIONS,
        "control": next((row["version"].name for row in rows if row["version"].is_control), ""),
        "version": only, "auth_words": AUTH_WORDS[AuthMode(endpoint.auth)],
        "revision": deployments.revision_of(deployment=only.deployment) if only else None,
        "revisions": queries.revisions(version=only) if only else [], **(_collected(endpoint, only) if only else {}),
    }  # fmt: skip


AUTH_WORDS = {
    AuthMode.KEY: "keys", AuthMode.TOKEN: "tokens", AuthMode.NONE: "open: anyone who reaches the address may score",
}  # fmt: skip


def numbers(endpoint: Any) -> dict[str, Any]:
    """The versions with their shares, replicas and counts."""
    state, reason = queries.state_of(endpoint)
    rows = [_row(row) for row in queries.version_rows(endpoint=endpoint)]
    requests = sum(row["observed"].requests for row in rows)
    return {
        "workspace": endpoint.workspace, "endpoint": endpoint, "word": endpoint.kind.lower(), "state": state,
        "reason": reason, "rows": rows, "requests": requests, "per_minute": round(requests / MINUTES, 1),
        "bar": pictures.of_rows([row["version"] for row in rows]),
        "is_service": endpoint.kind == EndpointKind.SERVICE,
    }  # fmt: skip


def _row(row: queries.VersionRow) -> dict[str, Any]:
    version, split = row.version, row.version.traffic()
    return {
        "version": version, "deployment": version.deployment, "percentile": traffic.plain(version.traffic_percentile),
        "configured": row.configured, "effective": round(row.effective, 2), "observed": row.observed, "note": row.note,
        "words": pictures.told(split, row.configured, row.effective), "color": version.color % 6,
        "serves": version.serves, "collection": deployments.collection(deployment=version.deployment),
    }  # fmt: skip


def _previous(endpoint: Any) -> dict[str, Any]:
    """The split before the last change, as history has it."""
    lines = portal.audit_events(workspace=endpoint.workspace)
    last = lines.filter(target_ref=endpoint.ref, action="endpoint.traffic_set").first()
    return dict((last.before or {}).get("versions", {})) if last else {}


@login_required
@require_safe
def version(request: HttpRequest, workspace: str, name: str, version: str, kind: EndpointKind) -> HttpResponse:
    """One version of an endpoint: what it runs, since when, and what it was before."""
    endpoint = found(request, workspace, name, kind)
    return render(
        request, "endpoints/version.html", version_shown(endpoint, queries.version(endpoint=endpoint, name=version))
    )


def version_shown(endpoint: Any, row: Any) -> dict[str, Any]:
    """What the page of a version needs."""
    context = numbers(endpoint)
    split = [each["version"].traffic() for each in context["rows"]]
    return {
        **context, "version": row, "row": next(each for each in context["rows"] if each["version"].pk == row.pk),
        "revision": deployments.revision_of(deployment=row.deployment), "revisions": queries.revisions(version=row),
        "successor": traffic.successor(split, row.name) if len(split) > 1 else "", "op": pages.news(endpoint.ref),
        **_collected(endpoint, row),
    }  # fmt: skip


def _collected(endpoint: Any, row: Any) -> dict[str, Any]:
    """The last days of what a version collected."""
    rows = deployments.collected_days(workspace=endpoint.workspace, deployment=row.deployment)
    return {"days": list(rows[:DAYS])}


@login_required
@require_safe
def inside(request: HttpRequest, workspace: str, name: str, kind: EndpointKind) -> HttpResponse:
    """Logs and events of the replicas, from the cluster; for one version or all."""
    endpoint = found(request, workspace, name, kind)
    only, previous = request.GET.get("version", ""), request.GET.get("previous") == "1"
    rows = [queries.version(endpoint=endpoint, name=only)] if only else list(endpoint.versions.all())
    try:
        logs = [
            {"version": row, **entry}
            for row in rows
            for entry in queries.logs(endpoint=endpoint, version=row, previous=previous)
        ]
        events = [event for event in queries.events(endpoint=endpoint) if not only or event["version"] == only]
    except Retryable as trouble:
        raise ClusterSilent(f"{endpoint.compute_target.name}: {trouble.detail} Try again in a moment.") from None
    context = {
        "workspace": endpoint.workspace, "endpoint": endpoint, "word": endpoint.kind.lower(), "logs": logs,
        "events": events[:100], "only": only, "previous": previous,
    }  # fmt: skip
    return render(request, "endpoints/_inside.html" if pages.is_fragment(request) else "endpoints/inside.html", context)
