"""Pages of models and environments: lists, details, and the forms that register; and of collected requests."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe
from rest_framework import serializers

from deployments import actions, checks, environments, queries
from deployments.actions.models import Upload
from deployments.api.collected import download
from deployments.types import EnvironmentState
from portal import http, pages
from portal import queries as portal
from portal.problems import Invalid, InvalidShape, Problem
from portal.types import Role

SORTS = {"newest": ("-created_at", "-pk"), "name": ("name", "-version", "pk"), "oldest": ("created_at", "pk")}
ENVIRONMENT_START = "scikit-learn==1.5.2\nnumpy<3\n"


class ModelForm(http.Shape):
    """The register form of a model, without its files."""

    name = serializers.CharField()
    description = serializers.CharField(required=False, allow_blank=True)
    framework = serializers.CharField(required=False, allow_blank=True, max_length=60)
    framework_version = serializers.CharField(required=False, allow_blank=True, max_length=60)


class EnvironmentForm(http.Shape):
    """The register form of an environment; `made_of` says which of the three texts counts."""

    name = serializers.CharField()
    made_of = serializers.ChoiceField(choices=["pip", "conda", "image"])
    python = serializers.ChoiceField(choices=checks.PYTHONS)
    requirements = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    conda = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    image = serializers.CharField(required=False, allow_blank=True)
    base_image = serializers.CharField(required=False, allow_blank=True, max_length=500)
    description = serializers.CharField(required=False, allow_blank=True)


@login_required
@require_safe
def model_list(request: HttpRequest, workspace: str) -> HttpResponse:
    """The registered models."""
    home = portal.workspace(actor=pages.actor(request), slug=workspace, needs=Role.READER)
    text = request.GET.get("q", "").strip()
    page = pages.listing(request, queries.models(workspace=home, search=text), sorts=SORTS)
    context = {"workspace": home, "page": page, "q": text, "sort": request.GET.get("sort", "newest")}
    return render(request, "deployments/models.html", context)


@login_required
@require_safe
def model(request: HttpRequest, workspace: str, name: str, version: int | None = None) -> HttpResponse:
    """One version of a model; without a version the newest."""
    actor = pages.actor(request)
    found = queries.model(actor=actor, workspace=workspace, name=name, version=version, needs=Role.READER)
    return render(request, "deployments/model.html", _model(found))


def _model(found: Any) -> dict[str, Any]:
    return {
        "workspace": found.workspace, "model": found, "used_by": queries.deployments_using(model=found),
        "versions": list(queries.models(workspace=found.workspace, name=found.name)[:50]),
    }  # fmt: skip


@login_required
def model_register(request: HttpRequest, workspace: str) -> HttpResponse:
    """The form that uploads a model: one file, several, an archive, or a folder."""
    actor = pages.actor(request)
    home = portal.workspace(actor=actor, slug=workspace, needs=Role.CONTRIBUTOR)
    context: dict[str, Any] = {"workspace": home, "typed": {"name": request.GET.get("name", "")}}
    if request.method != "POST":
        return render(request, "deployments/model_register.html", context)
    try:
        files = {"files", "folder", "paths"}
        data = ModelForm.parse({name: value for name, value in request.POST.items() if name not in files})
        found = actions.model_register(workspace=home, actor=actor, uploads=_uploads(request), **data)
    except Problem as problem:
        return pages.refused(request, "deployments/model_register.html", context, problem)
    messages.success(request, f"Registered {found.name}:{found.version}.")
    return redirect("model", workspace, found.name, found.version)


def _uploads(request: HttpRequest) -> list[Upload]:
    """The files with their paths: browsers send a folder's paths apart, in the same order."""
    files, folder = request.FILES.getlist("files"), request.FILES.getlist("folder")
    paths = request.POST.getlist("paths")
    if folder and paths and len(paths) != len(folder):
        raise InvalidShape(f"{len(folder)} files came with {len(paths)} paths. Choose the folder again.")
    names = paths or [each.name or "" for each in folder]
    named = [*((each.name or "", each) for each in files), *zip(names, folder, strict=True)]
    return [Upload(path, each.file, each.size or 0) for path, each in named if each.file is not None]


@login_required
@require_POST
def model_delete(request: HttpRequest, workspace: str, name: str, version: int) -> HttpResponse:
    """Forget one version of a model that nothing uses."""
    actor = pages.actor(request)
    found = queries.model(actor=actor, workspace=workspace, name=name, version=version, needs=Role.CONTRIBUTOR)
    try:
        actions.model_delete(model=found, actor=actor)
    except Problem as problem:
        return pages.refused(request, "deployments/model.html", _model(found), problem)
    messages.success(request, f"Deleted {name}:{version}.")
    return redirect("model-list", workspace)


@login_required
@require_safe
def environment_list(request: HttpRequest, workspace: str) -> HttpResponse:
    """The registered environments."""
    home = portal.workspace(actor=pages.actor(request), slug=workspace, needs=Role.READER)
    text, state = request.GET.get("q", "").strip(), request.GET.get("state", "")
    rows = queries.environments(workspace=home)
    rows = rows.filter(name__icontains=text) if text else rows
    rows = rows.filter(state=state) if state else rows
    context = {
        "workspace": home, "page": pages.listing(request, rows, sorts=SORTS), "q": text, "state": state,
        "states": EnvironmentState.values, "sort": request.GET.get("sort", "newest"),
    }  # fmt: skip
    return render(request, "deployments/environments.html", context)


@login_required
@require_safe
def environment(request: HttpRequest, workspace: str, name: str, version: int | None = None) -> HttpResponse:
    """One version of an environment with its build log; without a version the newest."""
    actor = pages.actor(request)
    found = queries.environment(actor=actor, workspace=workspace, name=name, version=version, needs=Role.READER)
    return render(request, "deployments/environment.html", _environment(found))


def _environment(found: Any) -> dict[str, Any]:
    op = pages.news(found.ref)
    return {
        "workspace": found.workspace, "environment": found, "op": op,
        "is_building": found.state == EnvironmentState.BUILDING or bool(op and op.is_active),
        "versions": list(queries.environments(workspace=found.workspace, name=found.name)[:50]),
        "may_build": found.state in (EnvironmentState.NOT_BUILT, EnvironmentState.FAILED),
    }  # fmt: skip


@login_required
@require_safe
def environment_log(request: HttpRequest, workspace: str, name: str, version: int) -> HttpResponse:
    """The build log for htmx, which asks again until 286: the build has ended."""
    actor = pages.actor(request)
    found = queries.environment(actor=actor, workspace=workspace, name=name, version=version, needs=Role.READER)
    context = _environment(found)
    status = 200 if context["is_building"] else 286
    return render(request, "deployments/_environment_log.html", context, status=status)


@login_required
def environment_register(request: HttpRequest, workspace: str) -> HttpResponse:
    """The form that registers an environment."""
    actor = pages.actor(request)
    home = portal.workspace(actor=actor, slug=workspace, needs=Role.CONTRIBUTOR)
    typed = {"name": request.GET.get("name", ""), "requirements": ENVIRONMENT_START, "python": "3.11", "made_of": "pip"}
    base = settings.BASE_IMAGE or environments.PIP_BASE
    context: dict[str, Any] = {"workspace": home, "pythons": checks.PYTHONS, "typed": typed, "base_image": base}
    if request.method != "POST":
        return render(request, "deployments/environment_register.html", context)
    try:
        found = actions.environment_register(workspace=home, actor=actor, **_environment_wish(request.POST))
    except Problem as problem:
        return pages.refused(request, "deployments/environment_register.html", context, problem)
    messages.success(request, f"Registered {found.name}:{found.version}.")
    return redirect("environment", workspace, found.name, found.version)


def _environment_wish(posted: Any) -> dict[str, Any]:
    data = EnvironmentForm.parse(posted)
    field = {"pip": "requirements"}.get(data["made_of"], data["made_of"])
    text = data.get(field, "")
    if not text.strip():
        raise InvalidShape(f"{field}: write down what the environment needs.")
    wish = {"name": data["name"], "description": data.get("description", ""), field: text}
    wish |= {"base_image": data.get("base_image", "")} if field != "image" else {}
    return wish | ({"python": data["python"]} if field == "requirements" else {})


@login_required
@require_POST
def environment_build(request: HttpRequest, workspace: str, name: str, version: int) -> HttpResponse:
    """Start to build an environment's image."""
    actor = pages.actor(request)
    found = queries.environment(actor=actor, workspace=workspace, name=name, version=version, needs=Role.CONTRIBUTOR)
    try:
        actions.environment_build(environment=found, actor=actor)
    except Problem as problem:
        return pages.refused(request, "deployments/environment.html", _environment(found), problem)
    return redirect("environment", workspace, name, version)


@login_required
@require_safe
def collected_list(request: HttpRequest, workspace: str) -> HttpResponse:
    """What is kept of scored requests, by day and version."""
    home = portal.workspace(actor=pages.actor(request), slug=workspace, needs=Role.READER)
    return render(request, "deployments/collected.html", _collected(request, home, request.GET))


def _collected(request: HttpRequest, home: Any, given: Any) -> dict[str, Any]:
    whose = {name: given.get(name, "").strip() for name in ("service", "version")}
    rows = queries.collected_days(workspace=home, **whose)
    page = pages.listing(request, rows, sorts={"newest": ("-day", "-pk")})
    return {"workspace": home, "page": page, **whose, "sum": queries.collected_sum(rows=rows)}


@login_required
@require_POST
def collected_download(request: HttpRequest, workspace: str, id: int) -> HttpResponse | StreamingHttpResponse:
    """A day's lines; written to history."""
    actor = pages.actor(request)
    row = queries.collected_day(actor=actor, workspace=workspace, id=id, needs=Role.CONTRIBUTOR)
    return download(row, actor)


@login_required
@require_POST
def collected_delete(request: HttpRequest, workspace: str, id: int) -> HttpResponse:
    """Delete one day of one version."""
    actor = pages.actor(request)
    row = queries.collected_day(actor=actor, workspace=workspace, id=id, needs=Role.CONTRIBUTOR)
    actions.collected_forget(workspace=row.workspace, actor=actor, service=row.service, version=row.version, day=row)
    messages.success(request, f"Deleted what was collected of {row}.")
    return redirect(f"{reverse('collected-list', args=[workspace])}?{urlencode({'service': row.service})}")


@login_required
@require_POST
def collected_delete_all(request: HttpRequest, workspace: str) -> HttpResponse:
    """Delete all of a service or endpoint, or of one version, after its name was typed."""
    actor = pages.actor(request)
    home = portal.workspace(actor=actor, slug=workspace, needs=Role.CONTRIBUTOR)
    whose: dict[str, Any] = {name: request.POST.get(name, "").strip() for name in ("service", "version")}
    try:
        typed = request.POST.get("confirm", "").strip()
        if not typed or typed != whose["service"]:
            raise Invalid(f"Type {whose['service']} to confirm; you typed {typed!r}.")
        told = actions.collected_forget(workspace=home, actor=actor, **whose)
    except Problem as problem:
        return pages.refused(request, "deployments/collected.html", _collected(request, home, request.POST), problem)
    messages.success(request, f"Deleted {told['lines']:,} lines of {told['days']} days.")
    return redirect("collected-list", workspace)
