"""Pages of power and of the autoscaler: each button of a cluster's page, then back to that page."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from compute import forms
from compute.actions import power as power_actions
from compute.views.targets import act_on
from portal import pages


@login_required
@require_POST
def compute_start(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Start to start a stopped cluster."""
    return act_on(
        request, workspace, name,
        lambda target: power_actions.compute_target_start(target=target, actor=pages.actor(request)),
    )  # fmt: skip


@login_required
@require_POST
def compute_stop(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Start to stop a cluster."""

    def act(target: Any) -> Any:
        force = forms.confirmed(request.POST, target.name)
        return power_actions.compute_target_stop(target=target, actor=pages.actor(request), force=force)

    return act_on(request, workspace, name, act)


@login_required
@require_POST
def compute_autoscaler(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Start to set the autoscaler."""

    def act(target: Any) -> Any:
        wish = forms.autoscaler_wish(request.POST)
        return power_actions.compute_target_autoscale(target=target, actor=pages.actor(request), **wish)

    return act_on(request, workspace, name, act)
