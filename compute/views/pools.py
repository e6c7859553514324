"""Pages of node pools: the table on a cluster's page, the form that adds one, scale, adopt, remove."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from compute import forms, platforms, pool_table, queries
from compute.actions import pools as pool_actions
from compute.steps import pool_checks
from compute.views.targets import detail_context, sizes_context
from portal import pages
from portal.problems import Problem
from portal.types import Role


@login_required
@require_safe
def pools(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """The part of a target's page that moves: its node pools."""
    target = queries.compute_target(actor=pages.actor(request), workspace=workspace, name=name, needs=Role.READER)
    context = {"workspace": target.workspace, "target": target, "pools": pool_table.rows(target)}
    return render(request, "compute/_pool_rows.html", context)


@login_required
def pool_add(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """The form that adds a node pool."""
    actor = pages.actor(request)
    target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
    platforms.refuse_without_azure(target, pool_actions.NO_POOLS)
    home = target.workspace
    context = {
        **sizes_context(home, request, region=target.region), "workspace": home, "target": target, "typed": {},
    }  # fmt: skip
    if request.method != "POST":
        return render(request, "compute/pool_add.html", context)
    wish: dict[str, Any] = {}
    try:
        wish = forms.pool_wish(request.POST)
        if request.POST.get("check"):
            findings = pool_checks.add_findings(target=target, wish=wish)
            return render(request, "compute/pool_add.html", {**context, "findings": findings, "typed": request.POST})
        op = pool_actions.pool_add(target=target, actor=actor, **wish)
    except Problem as problem:
        rules = pool_checks.rule_findings(target=target, wish=wish)[1] if wish else []
        found = rules if len(rules) > 1 else []  # one is what the problem says already
        return pages.refused(request, "compute/pool_add.html", {**context, "findings": found}, problem)
    pages.tell(request, op)
    return redirect("compute", workspace, target.name)


@login_required
@require_POST
def pool_scale(request: HttpRequest, workspace: str, name: str, pool: str) -> HttpResponse:
    """Start to change the count of a pool, or its autoscaler."""

    def act(row: Any) -> Any:
        return pool_actions.pool_scale(pool=row, actor=pages.actor(request), **forms.pool_scale_wish(request.POST))

    return _act(request, workspace, name, pool, act)


@login_required
@require_POST
def pool_adopt(request: HttpRequest, workspace: str, name: str, pool: str) -> HttpResponse:
    """Take Azure's count and bounds as the wanted ones."""
    return _act(
        request, workspace, name, pool, lambda row: pool_actions.pool_adopt(pool=row, actor=pages.actor(request))
    )


@login_required
@require_POST
def pool_remove(request: HttpRequest, workspace: str, name: str, pool: str) -> HttpResponse:
    """Start to take a pool away."""

    def act(row: Any) -> Any:
        force = forms.confirmed(request.POST, row.name)
        return pool_actions.pool_remove(pool=row, actor=pages.actor(request), force=force)

    return _act(request, workspace, name, pool, act)


def _act(request: HttpRequest, workspace: str, name: str, pool: str, act: Callable[[Any], Any]) -> HttpResponse:
    """Do one thing to a pool; then to its cluster's page, on which a refusal is shown too."""
    target = queries.compute_target(actor=pages.actor(request), workspace=workspace, name=name, needs=Role.OPERATOR)
    try:
        pool_actions.refuse_first(target, pool)
        op = act(queries.node_pool(target=target, name=pool))
    except Problem as problem:
        target.refresh_from_db()
        context = {**detail_context(target), "pool_open": pool}
        return pages.refused(request, "compute/detail.html", context, problem)
    pages.tell(request, op)
    return redirect("compute", workspace, target.name)
