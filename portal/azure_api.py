"""REST doors of a workspace's settings: change them, and test its connection to Azure."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.api.findings import PreflightOut, told
from compute.steps import connection
from portal import actions, api, http, outbound, queries
from portal.credentials import CLOUDS, NEEDED
from portal.insights import EXAMPLE
from portal.problems import Invalid, Retryable
from portal.types import Role


class CredentialOut(http.Shape):
    """What is shown of a credential; of a certificate the thumbprint and expiry."""

    kind = serializers.ChoiceField(choices=list(NEEDED))
    tenant_id = serializers.CharField(required=False)
    client_id = serializers.CharField(required=False)
    authority_host = serializers.CharField(required=False)
    thumbprint = serializers.CharField(required=False)
    expires_at = serializers.DateTimeField(required=False)


class InsightsOut(http.Shape):
    """What is shown of the connection to Application Insights."""

    key = serializers.CharField(help_text="How the instrumentation key ends.")
    endpoint = serializers.CharField()


class CollectionOut(http.Shape):
    """How long collected requests are kept, and how much of a version a day."""

    days = serializers.IntegerField()
    daily_mib = serializers.IntegerField()


class CollectionIn(http.Shape):
    """What is to change of it."""

    days = serializers.IntegerField(min_value=1, max_value=3650, required=False)
    daily_mib = serializers.IntegerField(min_value=1, max_value=102_400, required=False)


class SettingsOut(api.WorkspaceOut):
    """A workspace as its Owners see it."""

    registry = serializers.CharField(required=False)
    cloud = serializers.ChoiceField(choices=[*CLOUDS, "Custom"], required=False)
    arm_endpoint = serializers.CharField(required=False)
    arm_ca_file = serializers.CharField(required=False)
    credential = CredentialOut(required=False)
    app_insights = InsightsOut(required=False, allow_null=True)
    collection = CollectionOut(required=False)


class CredentialIn(http.Shape):
    """A credential; which members it has depends on its kind. It is stored encrypted and never shown again."""

    kind = serializers.ChoiceField(choices=list(NEEDED))
    tenant_id = serializers.CharField(required=False, allow_blank=True)
    client_id = serializers.CharField(required=False, allow_blank=True)
    client_secret = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    certificate = serializers.CharField(
        required=False, allow_blank=True, help_text="PEM: the certificate and its private key."
    )
    token = serializers.CharField(required=False, allow_blank=True)
    token_file_path = serializers.CharField(required=False, allow_blank=True, help_text="Superusers only.")
    authority_host = serializers.CharField(required=False, allow_blank=True, help_text="Superusers only.")


class SettingsIn(http.Shape):
    """What is to change; what is left out stays."""

    name = serializers.CharField(max_length=100, required=False)
    region = serializers.RegexField(r"^[a-z0-9]{2,50}$", required=False)
    registry = serializers.RegexField(r"^([a-zA-Z0-9]{5,50})?$", required=False, allow_blank=True)
    credential = CredentialIn(required=False)
    app_insights = serializers.CharField(
        required=False,
        allow_blank=True,
        help_text="Connection string of Application Insights, for deployments with appInsightsEnabled; empty: none.",
    )
    collection = CollectionIn(
        required=False,
        help_text="For deployments with dataCollection.storageEnabled: days to keep, and MiB of a version a day.",
    )
    cloud = serializers.ChoiceField(choices=list(CLOUDS), required=False, help_text="Superusers only.")
    arm_endpoint = serializers.CharField(
        max_length=500,
        required=False,
        allow_blank=True,
        help_text="Superusers only; for a cloud that has no name here.",
    )
    arm_ca_file = serializers.CharField(
        max_length=500, required=False, allow_blank=True, help_text="Superusers only; a PEM on the portal's machine."
    )
    authority_host = serializers.CharField(max_length=500, required=False, allow_blank=True)


SECRET_EXAMPLE = OpenApiExample(
    "A client secret",
    value={"credential": {
        "kind": "client_secret", "tenant_id": "11111111-2222-3333-4444-555555555555",
        "client_id": "aaaaaaaa-0000-4000-a000-000000000001", "client_secret": "the value of the secret",
    }},
    request_only=True,
)  # fmt: skip
INSIGHTS_EXAMPLE = OpenApiExample("Application Insights", value={"app_insights": EXAMPLE}, request_only=True)
TEST_EXAMPLE = OpenApiExample(
    "A missing role",
    value={"passes": False, "findings": [{
        "code": "permission_missing", "level": "error",
        "message": "Missing: Microsoft.ContainerService/managedClusters/write on /subscriptions/1/resourceGroups/rg. "
        "Without it the portal cannot create, change and delete clusters.",
        "fix": 'Give the role "Azure Kubernetes Service Contributor Role" there: az role assignment create ...',
        "facts": {"role": "Azure Kubernetes Service Contributor Role"},
    }]},
    response_only=True,
    status_codes=["200"],
)  # fmt: skip


class WorkspaceDetail(http.ApiView):
    """One workspace."""

    @extend_schema(responses=SettingsOut)
    def get(self, request: Request, workspace: str) -> Response:
        """Show a workspace with your role in it; to its Owners also the settings, without secrets."""
        actor = self.actor(request)
        found = queries.workspace(actor=actor, slug=workspace, needs=Role.READER)
        return Response(shown(found, queries.require(actor=actor, workspace=found, needs=Role.READER)))

    @extend_schema(request=SettingsIn, responses=SettingsOut, examples=[SECRET_EXAMPLE, INSIGHTS_EXAMPLE])
    def patch(self, request: Request, workspace: str) -> Response:
        """Change settings. A credential is checked, stored encrypted and never shown again."""
        actor = self.actor(request)
        found = queries.workspace(actor=actor, slug=workspace, needs=Role.OWNER)
        return Response(shown(update(found, actor, SettingsIn.parse(request.data)), Role.OWNER))


class ConnectionTest(http.ApiView):
    """The connection to Azure."""

    @extend_schema(request=None, responses=PreflightOut, examples=[TEST_EXAMPLE])
    def post(self, request: Request, workspace: str) -> Response:
        """Test it: token, subscription, resource group, and what is permitted or missing. It takes up to 15 s."""
        home = queries.workspace(actor=self.actor(request), slug=workspace, needs=Role.OWNER)
        return Response(told(connection.connection_findings(workspace=home)))


def update(home: Any, actor: Any, wish: dict[str, Any]) -> Any:
    """Change settings; addresses that a superuser gives are resolved and checked first, outside of any transaction."""
    if actor.is_superuser:
        for url in (
            wish.get("arm_endpoint"),
            wish.get("authority_host"),
            wish.get("credential", {}).get("authority_host"),
        ):
            _check_place(url)
    return actions.workspace_update(workspace=home, actor=actor, **wish)


def _check_place(url: str | None) -> None:
    try:
        if url:
            outbound.place(url)
    except Retryable as trouble:
        raise Invalid(trouble.detail) from None


def shown(row: Any, role: Role) -> dict[str, Any]:
    """A workspace for somebody with that role."""
    settings = queries.settings_shown(row) if role >= Role.OWNER else {}
    return {**api.workspace_json(row), "your_role": role.label, **settings}
