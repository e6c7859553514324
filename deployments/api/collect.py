"""The door for replicas that bring what they collected: their token may add, and nothing else."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from deployments import actions, queries
from deployments.collected import LARGEST_PART, Report
from portal import http
from portal.problems import InvalidShape, NotFound, Problem


class PartTooLarge(Problem):
    status, code, title = 413, "part_too_large", "The part is too large"


class ReportIn(http.Shape):
    """What the address of a report carries; the last two only with a part."""

    replica = serializers.RegexField(r"^[a-z0-9]([-a-z0-9.]{0,198}[a-z0-9])?$")
    dropped = serializers.IntegerField(min_value=0)
    waiting_parts = serializers.IntegerField(min_value=0)
    waiting_bytes = serializers.IntegerField(min_value=0)
    waiting_seconds = serializers.IntegerField(min_value=0)
    full = serializers.BooleanField()
    sequence = serializers.IntegerField(min_value=1, required=False)
    day = serializers.DateField(required=False)


class Lines(BaseParser):
    """JSON lines, read by the door itself."""

    media_type = "application/x-ndjson"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> dict[str, Any]:
        """Nothing: the body is taken as it comes."""
        return {}


class Collect(http.ApiView):
    """What a replica says: how it goes, and a part of what it collected."""

    authentication_classes: Any = []
    permission_classes: Any = [AllowAny]
    parser_classes: Any = [Lines]

    @extend_schema(exclude=True)
    def post(self, request: Request, deployment: int) -> Response:
        """Take it; 404 without the right token."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            raise NotFound("There is nothing here.")
        row = queries.collecting_deployment(deployment_id=deployment, token=token.strip())
        report = _report(request)
        return Response(actions.report_take(deployment=row, report=report, body=_body(request)))


def _report(request: Request) -> Report:
    found = ReportIn.parse(request.query_params)
    if ("sequence" in found) != ("day" in found):
        raise InvalidShape("A part comes with sequence and day.")
    return Report(
        replica=found["replica"], dropped=found["dropped"], waiting_bytes=found["waiting_bytes"],
        waiting_seconds=found["waiting_seconds"], is_full=found["full"], sequence=found.get("sequence", 0),
        day=found.get("day"),
    )  # fmt: skip


def _body(request: Request) -> bytes:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not str(length).isdigit() or int(length) > LARGEST_PART:
        raise PartTooLarge(f"A part has {length} bytes; {LARGEST_PART:,} are the most.")
    data: bytes = request._request.read(int(length))
    return data
