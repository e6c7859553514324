"""REST doors of environments."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from deployments import actions, queries
from deployments.types import EnvironmentState
from portal import http
from portal import queries as portal
from portal.types import Role


class EnvironmentOut(http.Shape):
    """An environment as REST shows it."""

    name = serializers.CharField()
    version = serializers.IntegerField()
    spec = serializers.JSONField()
    content_hash = serializers.CharField()
    state = serializers.ChoiceField(choices=EnvironmentState.choices)
    image = serializers.CharField()
    same_as = serializers.CharField()
    reason = serializers.CharField()
    description = serializers.CharField()
    tags = serializers.JSONField()
    created_by = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()


class EnvironmentIn(http.Shape):
    """A new environment: one of pip, requirements, conda, image."""

    name = serializers.CharField(max_length=255)
    python = serializers.CharField(default="3.11")
    pip = serializers.ListField(child=serializers.CharField(), required=False)
    requirements = serializers.CharField(default="", allow_blank=True)
    conda = serializers.CharField(default="", allow_blank=True)
    image = serializers.CharField(default="", allow_blank=True)
    base_image = serializers.CharField(default="", allow_blank=True, max_length=500)
    description = serializers.CharField(default="", allow_blank=True, max_length=10_000)
    tags = serializers.JSONField(required=False)


class Environments(http.ApiView):
    """The environments of a workspace."""

    @extend_schema(responses=EnvironmentOut(many=True))
    def get(self, request: Request, workspace: str) -> Response:
        """List environments, newest first."""
        home = portal.workspace(actor=self.actor(request), slug=workspace, needs=Role.READER)
        rows = queries.environments(workspace=home, name=request.query_params.get("name", ""))
        return http.page(self, rows, show, ordering=("-created_at", "-pk"))

    @extend_schema(request=EnvironmentIn, responses={201: EnvironmentOut})
    def post(self, request: Request, workspace: str) -> Response:
        """Register the next version; it is built when it is first needed, or by build/."""
        actor = self.actor(request)
        home = portal.workspace(actor=actor, slug=workspace, needs=Role.CONTRIBUTOR)
        row = actions.environment_register(workspace=home, actor=actor, **EnvironmentIn.parse(request.data))
        where = f"/api/v1/workspaces/{workspace}/environments/{row.name}/{row.version}/"
        return Response(show(row), status=201, headers={"Location": where})


class EnvironmentDetail(http.ApiView):
    """One version of an environment."""

    @extend_schema(responses=EnvironmentOut)
    def get(self, request: Request, workspace: str, name: str, version: int) -> Response:
        """Show it."""
        return Response(show(_row(self, request, workspace, name, version, Role.READER)))


class EnvironmentBuild(http.ApiView):
    """The build of an environment."""

    @extend_schema(request=None, responses={202: None})
    def post(self, request: Request, workspace: str, name: str, version: int) -> Response:
        """Build its image now."""
        row = _row(self, request, workspace, name, version, Role.CONTRIBUTOR)
        return http.accepted(actions.environment_build(environment=row, actor=self.actor(request)))


class EnvironmentLog(http.ApiView):
    """The log of the newest build."""

    @extend_schema(responses={200: serializers.JSONField()})
    def get(self, request: Request, workspace: str, name: str, version: int) -> Response:
        """Show the end of the log, at most 60,000 characters."""
        row = _row(self, request, workspace, name, version, Role.READER)
        return Response({"state": row.state, "log": row.log})


def show(row: Any) -> dict[str, Any]:
    """An environment as JSON."""
    names = (
        "name", "version", "spec", "content_hash", "state", "image", "same_as", "reason", "description", "tags",
        "created_at",
    )  # fmt: skip
    creator = row.created_by.username if row.created_by else None
    return {**{name: getattr(row, name) for name in names}, "created_by": creator}


def _row(view: http.ApiView, request: Request, workspace: str, name: str, version: int, needs: Role) -> Any:
    return queries.environment(actor=view.actor(request), workspace=workspace, name=name, version=version, needs=needs)
