"""Putting back what others changed in a cluster."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from compute import queries as compute
from compute.views.targets import detail_context
from endpoints import actions
from endpoints.types import EndpointKind
from endpoints.views.reading import found, shown
from portal import pages
from portal.problems import Problem
from portal.types import Role


@login_required
@require_POST
def put_back(request: HttpRequest, workspace: str, name: str, kind: EndpointKind) -> HttpResponse:
    """Start to apply a service or endpoint again."""
    endpoint = found(request, workspace, name, kind, Role.CONTRIBUTOR)
    try:
        op = actions.endpoint_put_back(endpoint=endpoint, actor=pages.actor(request))
    except Problem as problem:
        return pages.refused(request, "endpoints/detail.html", shown(endpoint), problem)
    pages.tell(request, op)
    return redirect(kind.label.lower(), workspace, name)


@login_required
@require_POST
def gateway_put_back(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Start to apply a gateway again."""
    actor = pages.actor(request)
    target = compute.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
    try:
        op = actions.gateway_put_back(target=target, actor=actor)
    except Problem as problem:
        return pages.refused(request, "compute/detail.html", detail_context(target), problem)
    pages.tell(request, op)
    return redirect("compute", workspace, name)
