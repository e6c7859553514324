"""REST doors of collected requests: days with counts, one day's lines, and deleting."""

from __future__ import annotations

from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from deployments import actions, queries
from portal import http
from portal import queries as portal
from portal.problems import InvalidShape
from portal.types import Role


class CollectedOut(http.Shape):
    """What is kept of one version on one day (UTC)."""

    id = serializers.IntegerField()
    service = serializers.CharField(help_text="The service or endpoint; it may be deleted.")
    version = serializers.CharField()
    day = serializers.DateField()
    lines = serializers.IntegerField()
    bytes = serializers.IntegerField()
    lost = serializers.IntegerField(help_text="Requests that were chosen to be kept and are not here.")
    last_at = serializers.DateTimeField(allow_null=True)


class ForgottenOut(http.Shape):
    """What was deleted."""

    days = serializers.IntegerField()
    lines = serializers.IntegerField()
    bytes = serializers.IntegerField()


SERVICE = OpenApiParameter("service", str, description="Only of this service or endpoint.")
VERSION = OpenApiParameter("version", str, description="Only of this version of it.")
WHOSE = OpenApiParameter("service", str, required=True, description="Of this service or endpoint.")


class CollectedDays(http.ApiView):
    """Collected requests of a workspace."""

    @extend_schema(parameters=[SERVICE, VERSION], responses=CollectedOut(many=True))
    def get(self, request: Request, workspace: str) -> Response:
        """List days with their counts, newest first."""
        home = portal.workspace(actor=self.actor(request), slug=workspace, needs=Role.READER)
        return http.page(
            self, queries.collected_days(workspace=home, **_whose(request)), show, ordering=("-day", "-pk")
        )

    @extend_schema(parameters=[WHOSE, VERSION], responses=ForgottenOut)
    def delete(self, request: Request, workspace: str) -> Response:
        """Delete all that is kept of a service or endpoint, or of one version of it."""
        actor, whose = self.actor(request), _whose(request)
        home = portal.workspace(actor=actor, slug=workspace, needs=Role.CONTRIBUTOR)
        if not whose["service"]:
            raise InvalidShape("Say whose: DELETE …/collected/?service=NAME, with &version=NAME for one version.")
        return Response(actions.collected_forget(workspace=home, actor=actor, **whose))


class CollectedDetail(http.ApiView):
    """One day of one version."""

    @extend_schema(responses=CollectedOut)
    def get(self, request: Request, workspace: str, id: int) -> Response:
        """Show its counts."""
        row = queries.collected_day(actor=self.actor(request), workspace=workspace, id=id, needs=Role.READER)
        return Response(show(row))

    @extend_schema(responses=ForgottenOut)
    def delete(self, request: Request, workspace: str, id: int) -> Response:
        """Delete it. What comes later the same day is kept again."""
        actor = self.actor(request)
        row = queries.collected_day(actor=actor, workspace=workspace, id=id, needs=Role.CONTRIBUTOR)
        told = actions.collected_forget(
            workspace=row.workspace, actor=actor, service=row.service, version=row.version, day=row
        )
        return Response(told)


class CollectedLines(APIView):
    """The requests of a day."""

    @extend_schema(responses={(200, "application/x-ndjson"): OpenApiTypes.BINARY})
    def get(self, request: Request, workspace: str, id: int) -> StreamingHttpResponse:
        """Download JSON lines: time, version, request ids, status, duration, input and output. Written to history."""
        actor = http.ApiView.actor(request)
        row = queries.collected_day(actor=actor, workspace=workspace, id=id, needs=Role.CONTRIBUTOR)
        return download(row, actor)


def _whose(request: Request) -> dict[str, Any]:
    return {name: request.query_params.get(name, "").strip() for name in ("service", "version")}


def show(row: Any) -> dict[str, Any]:
    """A day as JSON."""
    names = ("id", "service", "version", "day", "lines", "lost", "last_at")
    return {**{name: getattr(row, name) for name in names}, "bytes": row.size}


def download(row: Any, actor: Any) -> StreamingHttpResponse:
    """A day's lines as an attachment."""
    names = actions.collected_read(day=row, actor=actor)
    answer = StreamingHttpResponse(queries.parts_of(names=names), content_type="application/x-ndjson")
    file = "-".join(part for part in (row.service, row.version, f"{row.day}") if part)
    answer["Content-Disposition"] = f'attachment; filename="{file}.jsonl"'
    answer["Cache-Control"] = "no-store"
    return answer
