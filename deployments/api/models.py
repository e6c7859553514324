"""REST doors of models and code."""

from __future__ import annotations

from typing import Any

from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from deployments import actions, queries
from deployments.api.uploads import fields, labels, uploads
from deployments.uploads import StreamedMultiPart
from portal import http
from portal import queries as portal
from portal.types import Role


class ModelOut(http.Shape):
    """A model as REST shows it."""

    name = serializers.CharField()
    version = serializers.IntegerField()
    size = serializers.IntegerField(help_text="Bytes of all files.")
    files = serializers.JSONField()
    sha256 = serializers.CharField(help_text="Of what is downloaded.")
    framework = serializers.CharField()
    framework_version = serializers.CharField()
    description = serializers.CharField()
    tags = serializers.JSONField()
    properties = serializers.JSONField()
    created_by = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()


class ModelIn(http.Shape):
    """What goes with the files of a new model."""

    name = serializers.CharField(max_length=255)
    description = serializers.CharField(default="", allow_blank=True, max_length=10_000)
    tags = serializers.CharField(required=False, allow_blank=True, help_text="A JSON object.")
    properties = serializers.CharField(required=False, allow_blank=True, help_text="A JSON object.")
    framework = serializers.CharField(default="", allow_blank=True, max_length=60)
    framework_version = serializers.CharField(default="", allow_blank=True, max_length=60)
    sha256 = serializers.RegexField(r"^[0-9a-f]{64}$", required=False)


class ModelChange(http.Shape):
    """What can change of a model."""

    description = serializers.CharField(required=False, allow_blank=True, max_length=10_000)
    tags = serializers.JSONField(required=False)
    properties = serializers.JSONField(required=False)


UPLOAD = {
    "multipart/form-data": {
        "type": "object",
        "required": ["name", "files"],
        "properties": {
            "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
            "paths": {"type": "array", "items": {"type": "string"}},
            **{name: {"type": "string"} for name in ("name", "description", "tags", "properties", "framework")},
        },
    }
}


class Models(http.ApiView):
    """The models of a workspace."""

    def get_parsers(self) -> list[Any]:
        """Uploads go to disk while they arrive."""
        return [StreamedMultiPart()]

    @extend_schema(
        responses=ModelOut(many=True),
        parameters=[OpenApiParameter(name) for name in ("name", "search", "cursor", "page_size")],
    )
    def get(self, request: Request, workspace: str) -> Response:
        """List models, newest first."""
        home = portal.workspace(actor=self.actor(request), slug=workspace, needs=Role.READER)
        given = {name: request.query_params.get(name, "") for name in ("name", "search")}
        return http.page(self, queries.models(workspace=home, **given), show, ordering=("-created_at", "-pk"))

    @extend_schema(request=UPLOAD, responses={201: ModelOut})
    def post(self, request: Request, workspace: str) -> Response:
        """Register the next version: a file, several with paths, or one .tar.gz."""
        actor = self.actor(request)
        home = portal.workspace(actor=actor, slug=workspace, needs=Role.CONTRIBUTOR)
        data = ModelIn.parse(fields(request))
        wanted = {**data, "tags": labels(data.get("tags"), "tags")}
        wanted["properties"] = labels(data.get("properties"), "properties")
        row = actions.model_register(workspace=home, uploads=uploads(request), actor=actor, **wanted)
        return Response(show(row), status=201, headers={"Location": _place(workspace, row)})


class ModelVersions(http.ApiView):
    """The versions of one model."""

    @extend_schema(responses=ModelOut(many=True))
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """List the versions, newest first."""
        row = queries.model(actor=self.actor(request), workspace=workspace, name=name, needs=Role.READER)
        return http.page(self, queries.models(workspace=row.workspace, name=name), show, ordering=("-version",))


class ModelDetail(http.ApiView):
    """One version of a model."""

    @extend_schema(responses=ModelOut)
    def get(self, request: Request, workspace: str, name: str, version: int) -> Response:
        """Show it."""
        return Response(show(_row(self, request, workspace, name, version, Role.READER)))

    @extend_schema(request=ModelChange, responses=ModelOut)
    def patch(self, request: Request, workspace: str, name: str, version: int) -> Response:
        """Change description and tags; add properties."""
        row = _row(self, request, workspace, name, version, Role.CONTRIBUTOR)
        data = ModelChange.parse(request.data)
        return Response(show(actions.model_update(model=row, actor=self.actor(request), **data)))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, workspace: str, name: str, version: int) -> Response:
        """Forget it, unless a deployment needs it."""
        row = _row(self, request, workspace, name, version, Role.CONTRIBUTOR)
        actions.model_delete(model=row, actor=self.actor(request))
        return Response(status=204)


class ModelDownload(APIView):
    """The bytes of a model."""

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    def get(self, request: Request, workspace: str, name: str, version: int) -> FileResponse:
        """Download it: the file, or a tar of its folder."""
        return download(_row(http.ApiView(), request, workspace, name, version, Role.READER))


class Code(http.ApiView):
    """Source folders of entry scripts."""

    def get_parsers(self) -> list[Any]:
        """Uploads go to disk while they arrive."""
        return [StreamedMultiPart()]

    @extend_schema(request=UPLOAD, responses={201: OpenApiTypes.OBJECT})
    def post(self, request: Request, workspace: str) -> Response:
        """Upload files; name the answered digest in a deployment."""
        actor = self.actor(request)
        home = portal.workspace(actor=actor, slug=workspace, needs=Role.CONTRIBUTOR)
        row = actions.code_upload_files(workspace=home, uploads=uploads(request), actor=actor)
        return Response({"digest": row.digest, "size": row.size, "files": row.files}, status=201)


def download(row: Any) -> FileResponse:
    """The stored bytes of a model as an attachment."""
    ending = ".tar" if row.artifact.is_archive else f"-{row.files[0]['path'].rpartition('/')[2]}"
    stream = queries.blob(digest=row.artifact.digest)
    answer = FileResponse(stream, as_attachment=True, filename=f"{row.name}-{row.version}{ending}")
    answer["Cache-Control"] = "no-store"
    return answer


def show(row: Any) -> dict[str, Any]:
    """A model as JSON."""
    names = (
        "name", "version", "size", "files", "framework", "framework_version", "description", "tags", "properties",
        "created_at",
    )  # fmt: skip
    creator = row.created_by.username if row.created_by else None
    return {**{name: getattr(row, name) for name in names}, "sha256": row.artifact.digest, "created_by": creator}


def _row(view: http.ApiView, request: Request, workspace: str, name: str, version: int, needs: Role) -> Any:
    return queries.model(actor=view.actor(request), workspace=workspace, name=name, version=version, needs=needs)


def _place(workspace: str, row: Any) -> str:
    return f"/api/v1/workspaces/{workspace}/models/{row.name}/{row.version}/"
