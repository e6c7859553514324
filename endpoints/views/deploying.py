"""The deploy form: a new service or endpoint, one more version, or a change of what runs."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from compute import queries as compute
from compute.types import ComputeState
from deployments import actions as deployments_actions
from deployments import queries as deployments
from deployments.actions.models import Upload
from deployments.types import EnvironmentState
from endpoints import actions, forms, queries
from endpoints.api import spec
from endpoints.types import EndpointKind, VersionChange
from endpoints.views.changing import share
from endpoints.views.reading import found
from portal import pages
from portal import queries as portal
from portal.problems import Problem
from portal.types import Role

CHOICES = 100  # newest models and environments that the form offers


@login_required
def create(request: HttpRequest, workspace: str, kind: EndpointKind) -> HttpResponse:
    """The form for a new service or endpoint."""
    actor = pages.actor(request)
    home = portal.workspace(actor=actor, slug=workspace, needs=Role.CONTRIBUTOR)
    context = _context(home, kind.label.lower(), "create", _asked(request, home))
    if request.method != "POST":
        return render(request, "endpoints/deploy.html", context)
    try:
        op = _create(request, home, kind)
    except Problem as problem:
        return _again(request, context, problem)
    pages.tell(request, op)
    return redirect(kind.label.lower(), workspace, op.target_name)


@transaction.atomic
def _create(request: HttpRequest, home: Any, kind: EndpointKind) -> Any:
    actor, posted = pages.actor(request), request.POST
    target = compute.compute_target(
        actor=actor, workspace=home.slug, name=posted.get("compute_target", ""), needs=Role.CONTRIBUTOR
    )
    data = _data(request, home) | {
        "name": posted.get("name", "").strip(), "description": posted.get("description", ""), "tags": {},
        "properties": {},
    }  # fmt: skip
    draft = spec.draft(home, data, actor)
    if kind == EndpointKind.SERVICE:
        return actions.service_create(workspace=home, target=target, draft=draft, actor=actor)
    return actions.endpoint_create(
        workspace=home, target=target, draft=draft, version=posted.get("version", "").strip(), wanted=VersionChange(),
        actor=actor,
    )  # fmt: skip


@login_required
def version_create(request: HttpRequest, workspace: str, name: str, kind: EndpointKind) -> HttpResponse:
    """The form for one more version of an endpoint, filled with what the default runs."""
    endpoint = found(request, workspace, name, kind, Role.CONTRIBUTOR)
    rows = list(endpoint.versions.all())
    lead = next((row for row in rows if row.is_default), rows[0])
    typed = _filled(lead) | {"version": _next_name([row.name for row in rows]), "percentile": "0", "code": forms.SCRIPT}
    context = _context(endpoint.workspace, "endpoint", "version", typed) | {"endpoint": endpoint}
    if request.method != "POST":
        return render(request, "endpoints/deploy.html", context)
    try:
        op = _add(request, endpoint)
    except Problem as problem:
        return _again(request, context, problem)
    pages.tell(request, op)
    return redirect("endpoint", workspace, name)


@transaction.atomic
def _add(request: HttpRequest, endpoint: Any) -> Any:
    version, actor = request.POST.get("version", "").strip(), pages.actor(request)
    data = _data(request, endpoint.workspace)
    spec.refuse_access(endpoint, data["deployment_config"])
    return actions.version_create(
        endpoint=endpoint, name=version, spec=spec.whole(endpoint.workspace, data, actor),
        wanted=VersionChange(share(version, request.POST.get("percentile", "0"))), generation=None, actor=actor,
    )  # fmt: skip


@login_required
def update(request: HttpRequest, workspace: str, name: str, version: str, kind: EndpointKind) -> HttpResponse:
    """The form that rolls a service or a version to something else; code left empty stays."""
    endpoint = found(request, workspace, name, kind, Role.CONTRIBUTOR)
    row = queries.version(endpoint=endpoint, name=version)
    context = _context(endpoint.workspace, kind.label.lower(), "update", _filled(row))
    context |= {"endpoint": endpoint, "version": row}
    if request.method != "POST":
        return render(request, "endpoints/deploy.html", context)
    try:
        op = _update(request, endpoint, row)
    except Problem as problem:
        return _again(request, context, problem)
    pages.tell(request, op)
    messages.success(request, "What serves goes on serving until the new revision is ready.")
    is_service = kind == EndpointKind.SERVICE
    return (
        redirect("service", workspace, name) if is_service else redirect("endpoint-version", workspace, name, version)
    )


@transaction.atomic
def _update(request: HttpRequest, endpoint: Any, row: Any) -> Any:
    actor, data = pages.actor(request), _data(request, endpoint.workspace)
    if not request.POST.get("deployment_config", "").strip():
        now = deployments.revision_of(deployment=row.deployment).config
        data["deployment_config"] = forms.kept(now, data["deployment_config"])
    if endpoint.kind == EndpointKind.SERVICE:
        return actions.endpoint_change(endpoint=endpoint, change=spec.change(endpoint, data, actor), actor=actor)
    spec.refuse_access(endpoint, data["deployment_config"])
    wanted = spec.changed(endpoint, row, data, actor)
    return actions.version_update(endpoint=endpoint, version=row, spec=wanted, actor=actor)


def _data(request: HttpRequest, home: Any) -> dict[str, Any]:
    """What the form wants to run; uploaded source files count before pasted code."""
    data = forms.deployment(request.POST)
    files = request.FILES.getlist("source")
    if files:
        uploads = [Upload(each.name or "", each.file, each.size or 0) for each in files if each.file is not None]
        kept = deployments_actions.code_upload_files(workspace=home, uploads=uploads, actor=pages.actor(request))
        data["code"] = {"digest": kept.digest}
    return data


def _context(home: Any, word: str, mode: str, typed: dict[str, Any]) -> dict[str, Any]:
    return {
        "workspace": home, "word": word, "mode": mode, "typed": typed, "sample": forms.SCRIPT,
        "targets": list(compute.compute_targets(workspace=home)), "pools": compute.pool_names(workspace=home),
        "models": list(deployments.models(workspace=home)[:CHOICES]),
        "environments": list(deployments.environments(workspace=home)[:CHOICES]),
    }  # fmt: skip


def _asked(request: HttpRequest, home: Any) -> dict[str, Any]:
    """A blank form with what the link that led here named."""
    usable = deployments.environments(workspace=home).exclude(state=EnvironmentState.FAILED).first()
    ready = compute.compute_targets(workspace=home).filter(state=ComputeState.SUCCEEDED).first()
    return forms.BLANK | {
        "compute_target": request.GET.get("compute_target") or (ready.name if ready else ""),
        "models": request.GET.getlist("model"), "environment": str(usable) if usable else "",
    }  # fmt: skip


def _filled(row: Any) -> dict[str, Any]:
    return forms.BLANK | {"code": ""} | forms.typed(deployments.revision_of(deployment=row.deployment))


def _next_name(names: list[str]) -> str:
    return next(name for name in (f"v{number}" for number in range(1, 100)) if name not in names)


def _again(request: HttpRequest, context: dict[str, Any], problem: Problem) -> HttpResponse:
    """The form with what was typed; a list of models is a list again."""
    typed = request.POST.dict() | {"models": request.POST.getlist("models")}
    return render(
        request, "endpoints/deploy.html", {**context, "typed": typed, "problem": problem}, status=problem.status
    )
