"""The doors for pods: a deployment's token for signed URLs, and the blobs behind these. No session, no account."""

from __future__ import annotations

from typing import Any

from django.http import FileResponse
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from deployments import queries
from portal import http
from portal.problems import NotFound

NO_STORE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class Fetch(http.ApiView):
    """What a pod has to download."""

    authentication_classes: Any = []
    permission_classes: Any = [AllowAny]

    @extend_schema(exclude=True)
    def get(self, request: Request, deployment: int, revision: int) -> Response:
        """URLs that are valid for 10 minutes; 404 without the right token."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            raise NotFound("There is nothing here.")
        items = queries.files_for_pod(deployment_id=deployment, number=revision, token=token.strip())
        return Response(items, headers=NO_STORE)


class Blob(APIView):
    """One blob by a signed URL."""

    authentication_classes: Any = []
    permission_classes: Any = [AllowAny]

    @extend_schema(exclude=True)
    def get(self, request: Request, digest: str) -> FileResponse:
        """The bytes; 404 when the signature is wrong or over."""
        given = {name: request.query_params.get(name, "") for name in ("expires", "signature")}
        if not queries.is_signed(digest=digest, **given):
            raise NotFound("There is nothing here.")
        return FileResponse(queries.blob(digest=digest), content_type="application/octet-stream", headers=NO_STORE)
