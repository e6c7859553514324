"""The YAML of what runs."""

from __future__ import annotations

import json
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from compute import queries as compute
from endpoints import actions, export
from endpoints.api.endpoints import KindView
from portal import http
from portal.problems import InvalidShape
from portal.types import Role

SECRETS = OpenApiParameter("secrets", bool, description="With secret values; written to the history.")
FORMAT = OpenApiParameter("format", str, enum=["json", "yaml"], description="yaml: the file itself.")
WORDS = {"": False, "0": False, "false": False, "1": True, "true": True}


class ExportOut(http.Shape):
    """Kubernetes objects as multi-document YAML, and which Secrets ("namespace/name") are not in it."""

    yaml = serializers.CharField()
    left_out = serializers.ListField(child=serializers.CharField())


class File(BaseRenderer):
    """The YAML itself, for a pipe into kubectl; problems stay JSON."""

    media_type, format, charset = "application/yaml", "yaml", "utf-8"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        """The file's text, or the problem."""
        text = data["yaml"] if isinstance(data, dict) and "yaml" in data else json.dumps(data, default=str)
        return text.encode()


def wants_secrets(given: str) -> bool:
    """Whether `?secrets=` asks for them. Raises InvalidShape (400)."""
    if given.lower() not in WORDS:
        raise InvalidShape(f"secrets is {given!r}: give true or false.")
    return WORDS[given.lower()]


def _answer(found: export.Export, is_secret: bool) -> Response:
    headers = {"Cache-Control": "no-store"} if is_secret else {}
    return Response({"yaml": found.yaml, "left_out": list(found.left_out)}, headers=headers)


class Export(KindView):
    """The Kubernetes objects of a service or endpoint."""

    renderer_classes = (JSONRenderer, File)

    @extend_schema(parameters=[SECRETS, FORMAT], responses=ExportOut)
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """Export them exactly as the portal applies them; `?secrets=true` needs the role Contributor."""
        secret = wants_secrets(request.query_params.get("secrets", ""))
        endpoint = self.found(request, workspace, name, Role.CONTRIBUTOR if secret else Role.READER)
        found = export.of_endpoint(endpoint, with_secrets=secret)
        if secret:
            actions.export_revealed(on=endpoint, actor=self.actor(request))
        return _answer(found, secret)


class GatewayExport(http.ApiView):
    """The Kubernetes objects of a compute target's gateway."""

    renderer_classes = (JSONRenderer, File)

    @extend_schema(parameters=[SECRETS, FORMAT], responses=ExportOut)
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """Export them exactly as the portal applies them; `?secrets=true` (keys, TLS key) needs the role Operator."""
        secret, actor = wants_secrets(request.query_params.get("secrets", "")), self.actor(request)
        role = Role.OPERATOR if secret else Role.READER
        target = compute.compute_target(actor=actor, workspace=workspace, name=name, needs=role)
        found = export.of_gateway(target, with_secrets=secret)
        if secret:
            actions.export_revealed(on=target, actor=actor)
        return _answer(found, secret)
