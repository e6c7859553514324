"""The page of a compute target's gateway."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from compute import queries as compute
from endpoints import actions, queries
from portal import pages
from portal.problems import Problem
from portal.types import Role


def _context(target: Any) -> dict[str, Any]:
    return {
        "workspace": target.workspace, "target": target, "gateway": queries.gateway_shown(target=target),
        "op": pages.news(target.ref), "is_tls": bool(target.config.get("tls")),
    }  # fmt: skip


@login_required
@require_safe
def gateway(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Where callers reach it, and the certificate that they are shown."""
    target = compute.compute_target(actor=pages.actor(request), workspace=workspace, name=name, needs=Role.READER)
    return render(request, "endpoints/gateway.html", _context(target))


@login_required
@require_POST
def entrance(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Reach the gateway another way."""
    actor = pages.actor(request)
    target = compute.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
    wish = {name: request.POST.get(name, "").strip() for name in ("gateway_service", "gateway_address")}
    try:
        op = actions.entrance_set(target=target, actor=actor, **wish)
    except Problem as problem:
        target.refresh_from_db()
        return pages.refused(request, "endpoints/gateway.html", _context(target), problem)
    pages.tell(request, op)
    return redirect("gateway", workspace, target.name)


@login_required
@require_POST
def certificate(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Replace the certificate by the one that was given, or by a made one."""
    actor = pages.actor(request)
    target = compute.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
    given = {name: request.POST.get(name, "").strip() for name in ("certificate", "key", "cname")}
    try:
        if request.POST.get("made"):
            op = actions.certificate_make(target=target, actor=actor)
        else:
            op = actions.certificate_set(target=target, actor=actor, **given)
    except Problem as problem:
        target.refresh_from_db()
        return pages.refused(request, "endpoints/gateway.html", _context(target), problem)
    pages.tell(request, op)
    return redirect("gateway", workspace, target.name)
