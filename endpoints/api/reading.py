"""Logs, events, numbers, revisions, and try-it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from endpoints import actions, queries
from endpoints.api import shapes, show
from endpoints.api.endpoints import KindView
from portal import http
from portal.problems import InvalidShape
from portal.types import Role

VERSION = OpenApiParameter("version", str, description="Only this version.")
TAIL = OpenApiParameter("tail", int, description="Lines of each container, 1 to 5000; 200 by default.")


def _tail(request: Request) -> int:
    text = request.query_params.get("tail", str(queries.LOG_LINES))
    if not text.isdigit() or not 1 <= int(text) <= 5000:
        raise InvalidShape(f"tail is {text!r}: give a number of lines from 1 to 5000.")
    return int(text)


class Logs(KindView):
    """What the containers printed."""

    @extend_schema(parameters=[VERSION, TAIL], responses=shapes.LogOut(many=True))
    def get(self, request: Request, workspace: str, name: str, version: str = "") -> Response:
        """The last lines of each replica; `?previous=1` for the container that ended before."""
        endpoint = self.found(request, workspace, name, Role.READER)
        only = version or request.query_params.get("version", "")
        rows = [queries.version(endpoint=endpoint, name=only)] if only else list(endpoint.versions.all())
        previous = request.query_params.get("previous", "") in ("1", "true")
        items = [
            {"version": row.name, **entry}
            for row in rows
            for entry in queries.logs(endpoint=endpoint, version=row, tail=_tail(request), previous=previous)
        ]
        return Response({"items": items, "next": None})


class Events(KindView):
    """What the cluster says about the replicas."""

    @extend_schema(responses=shapes.EventOut(many=True))
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """Events, newest first."""
        endpoint = self.found(request, workspace, name, Role.READER)
        return Response({"items": queries.events(endpoint=endpoint), "next": None})


class Metrics(KindView):
    """What the gateway counted."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """Observed shares of the last five minutes per version, and the ten-second samples behind them."""
        endpoint = self.found(request, workspace, name, Role.READER)
        versions = {row.version.name: show.version(row) for row in queries.version_rows(endpoint=endpoint)}
        keep = ("observed_share", "observed_requests", "observed_failed", "p50_ms", "p95_ms", "effective_share")
        told: dict[str, Any] = {name: {key: row[key] for key in keep} for name, row in versions.items()}
        return Response({"window_seconds": 300, "versions": told, "samples": queries.series(endpoint=endpoint)})


class Revisions(KindView):
    """What a version was over time."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, workspace: str, name: str, version: str = "") -> Response:
        """Revisions, newest first."""
        endpoint = self.found(request, workspace, name, Role.READER)
        rows = [queries.version(endpoint=endpoint, name=version)] if version else list(endpoint.versions.all())
        items = [{"version": row.name, **entry} for row in rows for entry in queries.revisions(version=row)]
        return Response({"items": items, "next": None})


class Rollback(KindView):
    """Go back to an earlier revision."""

    @extend_schema(request=shapes.RollbackIn, responses={202: shapes.EndpointAcceptedOut})
    def post(self, request: Request, workspace: str, name: str, version: str = "") -> Response:
        """Roll to what a revision was; it becomes a new revision."""
        endpoint = self.found(request, workspace, name, Role.CONTRIBUTOR)
        number = shapes.RollbackIn.parse(request.data)["revision"]
        rows = list(endpoint.versions.all())
        if not version and len(rows) != 1:
            raise InvalidShape("Say which version: POST to versions/{version}/rollback/.")
        row = queries.version(endpoint=endpoint, name=version or rows[0].name)
        return http.accepted(
            actions.version_rollback(endpoint=endpoint, version=row, number=number, actor=self.actor(request))
        )


class Score(KindView):
    """Try it."""

    @extend_schema(request=shapes.ScoreIn, responses=shapes.ScoreOut)
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Send a body through the gateway as a caller would: at most 1 MB, at most 10 s."""
        endpoint = self.found(request, workspace, name, Role.CONTRIBUTOR)
        data = shapes.ScoreIn.parse(request.data)
        token = actions.try_credential(endpoint=endpoint, actor=self.actor(request))
        answer = queries.score(endpoint=endpoint, body=data["body"], credential=token, version=data.get("version", ""))
        return Response(asdict(answer))
