"""REST doors of what a workspace decides about all that runs: outgoing connections, quotas, logins for registries."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from deployments import actions, queries
from deployments.actions.rules import shown
from deployments.outgoing import EXAMPLE, MODES
from portal import http
from portal import queries as portal
from portal.types import Role


class QuotaShape(http.Shape):
    """What the workloads of a workspace may ask for in each namespace; null or left out is not limited."""

    cpu = serializers.FloatField(required=False, allow_null=True, help_text="vCPUs.")
    memory_gb = serializers.FloatField(required=False, allow_null=True)
    pods = serializers.IntegerField(required=False, allow_null=True)
    gpus = serializers.IntegerField(required=False, allow_null=True)


class RulesOut(http.Shape):
    """The rules in force."""

    outgoing = serializers.ChoiceField(choices=list(MODES))
    allowed = serializers.ListField(child=serializers.CharField())
    quota = QuotaShape()


class RulesIn(http.Shape):
    """What is to change; what is left out stays."""

    outgoing = serializers.ChoiceField(choices=list(MODES), required=False, help_text="What replicas may call.")
    allowed = serializers.ListField(
        child=serializers.CharField(max_length=60), required=False, help_text=f"Exceptions, e.g. {EXAMPLE}."
    )
    quota = QuotaShape(required=False)


class LoginOut(http.Shape):
    """A login, without its password."""

    server = serializers.CharField()
    username = serializers.CharField()
    changed_at = serializers.DateTimeField()


class LoginIn(http.Shape):
    """A login. The password is stored encrypted and never shown again."""

    username = serializers.CharField()
    password = serializers.CharField(trim_whitespace=False)


class Rules(http.ApiView):
    """What a workspace decides about all that runs."""

    @extend_schema(responses=RulesOut)
    def get(self, request: Request, workspace: str) -> Response:
        """Show the rules."""
        home = portal.workspace(actor=self.actor(request), slug=workspace, needs=Role.READER)
        return Response(shown(queries.rules(workspace=home)))

    @extend_schema(request=RulesIn, responses=RulesOut)
    def patch(self, request: Request, workspace: str) -> Response:
        """Change them. What runs takes the change within a minute, without a restart."""
        actor = self.actor(request)
        home = portal.workspace(actor=actor, slug=workspace, needs=Role.OWNER)
        return Response(shown(actions.rules_set(workspace=home, actor=actor, **RulesIn.parse(request.data))))


class Registries(http.ApiView):
    """Logins for container registries."""

    @extend_schema(responses=LoginOut(many=True))
    def get(self, request: Request, workspace: str) -> Response:
        """List them, without passwords."""
        home = portal.workspace(actor=self.actor(request), slug=workspace, needs=Role.READER)
        return http.page(self, queries.registry_logins(workspace=home), show, ordering=("server", "pk"))


class Registry(http.ApiView):
    """The login of one registry."""

    @extend_schema(request=LoginIn, responses=LoginOut)
    def put(self, request: Request, workspace: str, server: str) -> Response:
        """Store or replace it. What runs takes it within a minute."""
        actor = self.actor(request)
        home = portal.workspace(actor=actor, slug=workspace, needs=Role.OWNER)
        data = LoginIn.parse(request.data)
        return Response(show(actions.registry_set(workspace=home, actor=actor, server=server, **data)))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, workspace: str, server: str) -> Response:
        """Forget it."""
        actor = self.actor(request)
        row = queries.registry_login(actor=actor, workspace=workspace, server=server, needs=Role.OWNER)
        actions.registry_remove(login=row, actor=actor)
        return Response(status=204)


def show(row: Any) -> dict[str, Any]:
    """A login as JSON."""
    return {"server": row.server, "username": row.username, "changed_at": row.changed_at}
