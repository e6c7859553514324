"""Forms that change something: the split, deletes, roll-backs; and trying a model."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from endpoints import actions, queries
from endpoints.types import AuthMode, EndpointKind, VersionChange
from endpoints.views.reading import found, shown, version_shown
from portal import pages
from portal import queries as portal
from portal.problems import Invalid, InvalidShape, Problem, Stale
from portal.types import Role

SHARE = "share-"


@login_required
@require_POST
def split(request: HttpRequest, workspace: str, name: str, kind: EndpointKind) -> HttpResponse:
    """Apply a draft of the traffic editor: every share, the default and the control, and where it started from."""
    endpoint = found(request, workspace, name, kind, Role.CONTRIBUTOR)
    try:
        generation, wanted = draft(request.POST, [row.name for row in endpoint.versions.all()])
        op = actions.endpoint_set_traffic(
            endpoint=endpoint, wanted=wanted, generation=generation, actor=pages.actor(request)
        )
    except Problem as problem:
        return _refused(request, workspace, name, kind, problem)
    pages.tell(request, op)
    return redirect("endpoint", workspace, name)


def _refused(request: HttpRequest, workspace: str, name: str, kind: EndpointKind, problem: Problem) -> HttpResponse:
    endpoint = found(request, workspace, name, kind, Role.CONTRIBUTOR)
    context = shown(endpoint)
    for row in context["rows"]:
        row["typed"] = request.POST.get(SHARE + row["version"].name, row["percentile"])
    if isinstance(problem, Stale):
        lines = portal.audit_events(workspace=endpoint.workspace).filter(target_ref=endpoint.ref)
        context["other"] = lines.first()
    draft = {"default": request.POST.get("default", ""), "control": request.POST.get("control", ""), "is_draft": True}
    return pages.refused(request, "endpoints/detail.html", {**context, **draft}, problem)


def draft(posted: Any, known: list[str]) -> tuple[int, dict[str, VersionChange]]:
    """Generation and wanted changes of a posted editor. Raises InvalidShape (400) or Invalid (422)."""
    if not posted.get("generation", "").isdigit():
        raise InvalidShape("generation: reload the page, then change the split.")
    versions = [key.removeprefix(SHARE) for key in posted if key.startswith(SHARE)]
    default, control = posted.get("default"), posted.get("control")
    named = [each for each in (default, control) if each and each not in known]
    if named:
        raise Invalid(f"There is no version {named[0]}. There are: {', '.join(sorted(known))}.")
    wanted = {
        version: VersionChange(
            traffic_percentile=share(version, posted[SHARE + version]),
            is_default=True if version == default else None,
            is_control=None if control is None else version == control,
        )
        for version in versions
    }
    return int(posted["generation"]), wanted


def share(version: str, text: str) -> Decimal:
    """A percentile as people type it. Raises Invalid (422)."""
    try:
        return Decimal(text.strip().replace(",", ".") or "0")
    except InvalidOperation:
        raise Invalid(f"{version}: {text!r} is not a number. Give a percentile from 0 to 100.") from None


@login_required
@require_POST
def delete(request: HttpRequest, workspace: str, name: str, kind: EndpointKind) -> HttpResponse:
    """Start to delete a service or endpoint."""
    endpoint = found(request, workspace, name, kind, Role.CONTRIBUTOR)
    try:
        typed = request.POST.get("confirm", "").strip()
        if typed != endpoint.name:
            raise Invalid(f"Type {endpoint.name} to confirm; you typed {typed!r}.")
        op = actions.endpoint_delete(endpoint=endpoint, actor=pages.actor(request))
    except Problem as problem:
        return pages.refused(request, "endpoints/detail.html", shown(endpoint), problem)
    return redirect("operation", workspace, op.pk)


@login_required
@require_POST
def version_delete(request: HttpRequest, workspace: str, name: str, version: str, kind: EndpointKind) -> HttpResponse:
    """Start to delete one version; its share goes to the default."""
    endpoint = found(request, workspace, name, kind, Role.CONTRIBUTOR)
    row = queries.version(endpoint=endpoint, name=version)
    try:
        generation = request.POST.get("generation", "")
        op = actions.version_delete(
            endpoint=endpoint, version=row, generation=int(generation) if generation.isdigit() else None,
            actor=pages.actor(request),
        )  # fmt: skip
    except Problem as problem:
        return pages.refused(request, "endpoints/version.html", version_shown(endpoint, row), problem)
    return redirect("operation", workspace, op.pk)


@login_required
@require_POST
def rollback(request: HttpRequest, workspace: str, name: str, version: str, kind: EndpointKind) -> HttpResponse:
    """Start to roll a version to what an earlier revision was."""
    endpoint = found(request, workspace, name, kind, Role.CONTRIBUTOR)
    row = queries.version(endpoint=endpoint, name=version)
    is_service = kind == EndpointKind.SERVICE
    number = request.POST.get("revision", "")
    try:
        if not number.isdigit():
            raise InvalidShape(f"revision is {number!r}: give its number.")
        actions.version_rollback(endpoint=endpoint, version=row, number=int(number), actor=pages.actor(request))
    except Problem as problem:
        template = "endpoints/detail.html" if is_service else "endpoints/version.html"
        context = shown(endpoint) if is_service else version_shown(endpoint, row)
        return pages.refused(request, template, context, problem)
    messages.success(request, f"{row.name} goes back to revision {number}. What serves goes on until it is ready.")
    return (
        redirect("service", workspace, name) if is_service else redirect("endpoint-version", workspace, name, version)
    )


@login_required
@require_POST
def score(request: HttpRequest, workspace: str, name: str, kind: EndpointKind) -> HttpResponse:
    """Try it: one body to the split and to every version. With htmx each answers by itself, all at once."""
    endpoint = found(request, workspace, name, kind, Role.CONTRIBUTOR)
    text = request.POST.get("body", "")
    try:
        body = json.loads(text)
    except ValueError as error:
        raise InvalidShape(f"The body is no JSON: {error}.") from None
    only = request.GET.get("version")
    names = ["", *(row.name for row in endpoint.versions.all())] if kind == EndpointKind.VERSIONED else [""]
    context: dict[str, Any] = {
        "workspace": endpoint.workspace, "endpoint": endpoint, "word": endpoint.kind.lower(), "names": names,
        "body": text, "needs_key": endpoint.auth != AuthMode.NONE,
    }  # fmt: skip
    if pages.is_fragment(request) and only is None:
        return render(request, "endpoints/_tries.html", context)
    wanted = names if only is None else [only]
    context["answers"] = [_answer(request, endpoint, body, each) for each in wanted]
    if pages.is_fragment(request):
        return render(request, "endpoints/_answers.html", context)
    return render(request, "endpoints/detail.html", {**shown(endpoint), **context, "sample": text})


def _answer(request: HttpRequest, endpoint: Any, body: Any, version: str) -> dict[str, Any]:
    credential = actions.try_credential(endpoint=endpoint, actor=pages.actor(request))
    try:
        answer = queries.score(endpoint=endpoint, body=body, credential=credential, version=version)
    except Problem as problem:
        return {"asked": version, "problem": problem}
    return {"asked": version, "answer": answer}
