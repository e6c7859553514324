"""Keys and tokens. Each reveal is in the history, and its answer is not stored by browsers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from endpoints import actions
from endpoints.types import EndpointKind, Slot
from endpoints.views.reading import found, shown
from portal import pages
from portal.problems import InvalidShape, Problem
from portal.types import Role


@login_required
@require_POST
def keys(request: HttpRequest, workspace: str, name: str, kind: EndpointKind) -> HttpResponse:
    """Show both keys."""
    endpoint = found(request, workspace, name, kind, Role.CONTRIBUTOR)
    revealed = actions.keys_reveal(endpoint=endpoint, actor=pages.actor(request))
    return _revealed(request, endpoint, {"keys": revealed})


@login_required
@require_POST
def token(request: HttpRequest, workspace: str, name: str, kind: EndpointKind) -> HttpResponse:
    """Issue a scoring token and show it."""
    endpoint = found(request, workspace, name, kind, Role.CONTRIBUTOR)
    hours = request.POST.get("hours", "1")
    if not hours.isdigit():
        raise InvalidShape(f"hours is {hours!r}: give a whole number of hours, at most 24.")
    issued = actions.token_issue(endpoint=endpoint, actor=pages.actor(request), life=timedelta(hours=int(hours)))
    return _revealed(request, endpoint, {"issued": issued})


def _revealed(request: HttpRequest, endpoint: Any, secrets: dict[str, Any]) -> HttpResponse:
    template = "endpoints/_access.html" if pages.is_fragment(request) else "endpoints/detail.html"
    context = shown(endpoint) | secrets
    if pages.is_fragment(request):
        context["may_change"] = True
    response = render(request, template, context)
    response["Cache-Control"] = "no-store"
    return response


@login_required
@require_POST
def regenerate(request: HttpRequest, workspace: str, name: str, kind: EndpointKind) -> HttpResponse:
    """Replace one key; the other goes on working."""
    endpoint = found(request, workspace, name, kind, Role.CONTRIBUTOR)
    slot = request.POST.get("slot", "")
    try:
        if slot not in Slot.values:
            raise InvalidShape(f"slot is {slot!r}: give primary or secondary.")
        actions.key_regenerate(endpoint=endpoint, slot=Slot(slot), actor=pages.actor(request))
    except Problem as problem:
        return pages.refused(request, "endpoints/detail.html", shown(endpoint), problem)
    messages.success(request, f"The {slot} key is being replaced. The old one ends when the operation succeeds.")
    return redirect(kind.label.lower(), workspace, name)
