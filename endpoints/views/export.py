"""The YAML of what runs, as a page and as a file."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from compute import queries as compute
from endpoints import actions, export
from endpoints.types import EndpointKind
from endpoints.views.reading import found
from portal import pages
from portal.types import Role


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def exported(request: HttpRequest, workspace: str, name: str, kind: EndpointKind) -> HttpResponse:
    """The objects of a service or endpoint; a POST downloads them with secret values and is in the history."""
    is_secret = request.method == "POST"
    endpoint = found(request, workspace, name, kind, Role.CONTRIBUTOR if is_secret else Role.READER)
    text = export.of_endpoint(endpoint, with_secrets=is_secret)
    word = kind.label.lower()
    crumbs = [
        (reverse(f"{word}-list", args=[workspace]), f"{kind.label}s"),
        (reverse(word, args=[workspace, name]), name),
    ]
    return _answer(request, endpoint, text, {"crumbs": crumbs, "needs": Role.CONTRIBUTOR.label})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def gateway_exported(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """The objects of a gateway; a POST downloads them with secret values and is in the history."""
    is_secret = request.method == "POST"
    role = Role.OPERATOR if is_secret else Role.READER
    target = compute.compute_target(actor=pages.actor(request), workspace=workspace, name=name, needs=role)
    text = export.of_gateway(target, with_secrets=is_secret)
    crumbs = [
        (reverse("compute-list", args=[workspace]), "Compute"),
        (reverse("compute", args=[workspace, name]), name),
    ]
    return _answer(request, target, text, {"crumbs": crumbs, "needs": Role.OPERATOR.label})


def _answer(request: HttpRequest, on: Any, text: export.Export, more: dict[str, Any]) -> HttpResponse:
    if request.method == "POST":
        actions.export_revealed(on=on, actor=pages.actor(request))
    if request.method == "POST" or request.GET.get("download"):
        headers = {"Content-Disposition": f'attachment; filename="{text.name}"', "Cache-Control": "no-store"}
        return HttpResponse(text.yaml, content_type="application/yaml", headers=headers)
    context = {
        "workspace": on.workspace, "name": on.name, "export": text, "apply": export.APPLY.replace("FILE", text.name),
        "diff": export.DIFF.replace("FILE", text.name), **more,
    }  # fmt: skip
    return render(request, "endpoints/export.html", context)
