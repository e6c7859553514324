"""The page of what a workspace decides about all that runs: outgoing connections, quotas, logins for registries."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST
from rest_framework import serializers

from deployments import actions, queries
from deployments.api.rules import RulesIn
from deployments.outgoing import MODES
from portal import http, pages
from portal import queries as portal
from portal.problems import Problem
from portal.types import Role

TEMPLATE = "deployments/rules.html"
QUOTA = ("cpu", "memory_gb", "pods", "gpus")


class LoginForm(http.Shape):
    """The form of a login."""

    server = serializers.CharField()
    username = serializers.CharField()
    password = serializers.CharField(trim_whitespace=False)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def rules(request: HttpRequest, workspace: str) -> HttpResponse:
    """The rules, to be changed by an Owner."""
    actor = pages.actor(request)
    home = portal.workspace(actor=actor, slug=workspace, needs=Role.OWNER)
    if request.method != "POST":
        return render(request, TEMPLATE, _context(home))
    try:
        actions.rules_set(workspace=home, actor=actor, **RulesIn.parse(_wish(request.POST)))
    except Problem as problem:
        return pages.refused(request, TEMPLATE, _context(home), problem)
    messages.success(request, "The rules are saved. What runs takes them within a minute.")
    return redirect("settings-running", workspace)


@login_required
@require_POST
def registry_set(request: HttpRequest, workspace: str) -> HttpResponse:
    """Store or replace a login."""
    actor = pages.actor(request)
    home = portal.workspace(actor=actor, slug=workspace, needs=Role.OWNER)
    try:
        row = actions.registry_set(workspace=home, actor=actor, **LoginForm.parse(request.POST))
    except Problem as problem:
        return pages.refused(request, TEMPLATE, _context(home), problem)
    messages.success(request, f"The login for {row.server} is saved.")
    return redirect("settings-running", workspace)


@login_required
@require_POST
def registry_remove(request: HttpRequest, workspace: str, server: str) -> HttpResponse:
    """Forget a login."""
    actor = pages.actor(request)
    row = queries.registry_login(actor=actor, workspace=workspace, server=server, needs=Role.OWNER)
    actions.registry_remove(login=row, actor=actor)
    messages.success(request, f"The login for {server} is removed.")
    return redirect("settings-running", workspace)


def _wish(posted: Any) -> dict[str, Any]:
    """The form's members as REST names them; a quota that is left empty is none."""
    return {
        "outgoing": posted.get("outgoing", ""),
        "allowed": [line.strip() for line in posted.get("allowed", "").splitlines() if line.strip()],
        "quota": {name: posted[name] for name in QUOTA if posted.get(name)},
    }


def _context(home: Any) -> dict[str, Any]:
    now = queries.rules(workspace=home)
    return {
        "workspace": home, "now": now, "modes": MODES, "logins": queries.registry_logins(workspace=home),
        "allowed": "\n".join(now.allowed),
    }  # fmt: skip
