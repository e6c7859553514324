"""The page of a workspace's settings: names, credential, cloud, and the test of its connection to Azure."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST
from rest_framework import serializers

from compute.steps import connection
from portal import azure_api, http, pages, queries
from portal.credentials import CLOUDS, NEEDED, OF_THE_PORTAL
from portal.models import User
from portal.problems import Problem
from portal.types import Role

KINDS = {
    "default": "The portal's own sign-in (default chain)", "client_secret": "App with a client secret",
    "certificate": "App with a certificate", "workload_identity": "Workload identity",
    "managed_identity": "Managed identity", "static": "A token (this machine only)",
}  # fmt: skip
PLAIN = ("name", "region", "registry")
PLACE = ("cloud", "arm_endpoint", "arm_ca_file", "authority_host")
COLLECTION = ("days", "daily_mib")
CREDENTIAL = ("tenant_id", "client_id", "client_secret", "certificate", "token", "token_file_path")
TEMPLATE = "portal/azure.html"


def _blank(**more: Any) -> serializers.CharField:
    return serializers.CharField(required=False, allow_blank=True, **more)


class AzureForm(http.Shape):
    """The settings as the form sends them; an empty `kind` or `cloud` keeps what is there."""

    name = serializers.CharField(max_length=100)
    region = _blank()
    registry = _blank()
    kind = serializers.ChoiceField(choices=list(NEEDED), required=False, allow_blank=True)
    tenant_id = _blank()
    client_id = _blank()
    client_secret = _blank(trim_whitespace=False)
    certificate = _blank()
    token = _blank()
    token_file_path = _blank()
    cloud = serializers.ChoiceField(choices=[*CLOUDS, "Custom"], required=False, allow_blank=True)
    arm_endpoint = _blank()
    arm_ca_file = _blank()
    authority_host = _blank()
    app_insights = _blank()
    app_insights_off = _blank()
    collection_days = _blank()
    collection_daily_mib = _blank()


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: HttpRequest, workspace: str) -> HttpResponse:
    """The settings, to be changed by an Owner. Nothing secret is in the page."""
    actor = pages.actor(request)
    home = queries.workspace(actor=actor, slug=workspace, needs=Role.OWNER)
    if request.method != "POST":
        return render(request, TEMPLATE, _context(request, home))
    try:
        wish = azure_api.SettingsIn.parse(_wish(AzureForm.parse(request.POST)))
        azure_api.update(home, actor, wish)
    except Problem as problem:
        return pages.refused(request, TEMPLATE, _context(request, home), problem)
    messages.success(request, "The settings are saved.")
    return redirect("settings-azure", workspace)


@login_required
@require_POST
def test(request: HttpRequest, workspace: str) -> HttpResponse:
    """Test the connection; the findings are on the page that answers."""
    home = queries.workspace(actor=pages.actor(request), slug=workspace, needs=Role.OWNER)
    found = connection.connection_findings(workspace=home)
    return render(request, TEMPLATE, {**_context(request, home), "findings": found})


def _wish(data: dict[str, Any]) -> dict[str, Any]:
    """The form's members as REST names them; what was left empty is not asked for."""
    wish = {name: data[name] for name in PLAIN if data.get(name) or (name == "registry" and name in data)}
    cloud = data.get("cloud", "")
    if cloud in CLOUDS:
        wish["cloud"] = cloud
    elif cloud == "Custom":
        wish |= {name: data.get(name, "") for name in PLACE if name != "cloud"}
    if data.get("app_insights") or data.get("app_insights_off"):
        wish["app_insights"] = data.get("app_insights", "")
    collection = {name: data[f"collection_{name}"] for name in COLLECTION if data.get(f"collection_{name}")}
    if collection:
        wish["collection"] = collection
    if data.get("kind"):
        given = {name: data[name] for name in CREDENTIAL if data.get(name)}
        wish["credential"] = {"kind": data["kind"], **given}
    return wish


def _context(request: HttpRequest, home: Any) -> dict[str, Any]:
    actor = pages.actor(request)
    now = queries.settings_shown(home)
    return {
        "workspace": home, "now": now, "kind_in_use": KINDS[now["credential"]["kind"]], "kinds": _kinds(actor),
        "clouds": list(CLOUDS), "is_superuser": actor.is_superuser,
    }  # fmt: skip


def _kinds(actor: User) -> list[tuple[str, str]]:
    """Who is no superuser is not offered to act as the portal."""
    return [(kind, words) for kind, words in KINDS.items() if actor.is_superuser or kind not in OF_THE_PORTAL]
