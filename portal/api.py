"""REST doors of the shared things: workspaces, operations, tokens, members, history."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from portal import actions, http, operations, queries, schema
from portal.problems import NotFound
from portal.types import OperationKind, OperationState, Role


class WorkspaceOut(http.Shape):
    """A workspace as REST shows it."""

    slug = serializers.CharField()
    name = serializers.CharField()
    team = serializers.CharField()
    subscription_id = serializers.CharField()
    resource_group = serializers.CharField()
    region = serializers.CharField()
    your_role = serializers.CharField(required=False)


class UsualOut(http.Shape):
    """Half of the runs took less than `low`, nine in ten less than `high`; without samples: as documented."""

    low = serializers.FloatField(help_text="Seconds.")
    high = serializers.FloatField(help_text="Seconds.")
    samples = serializers.IntegerField()


class StepOut(http.Shape):
    """One step of an operation."""

    name = serializers.CharField()
    state = serializers.ChoiceField(choices=["waiting", "running", "done", "failed"])
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    usual = UsualOut(allow_null=True)


class OperationOut(http.Shape):
    """A long job as REST shows it."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=OperationKind.choices)
    target = serializers.CharField()
    target_ref = serializers.CharField()
    state = serializers.ChoiceField(choices=OperationState.choices)
    percent = serializers.IntegerField()
    note = serializers.CharField()
    error = serializers.JSONField(allow_null=True)
    actor = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    is_cancel_requested = serializers.BooleanField()
    warnings = serializers.ListField(child=serializers.CharField())
    findings = serializers.ListField(
        child=serializers.DictField(), help_text="Of the preflight: code, level, message, fix and facts of each."
    )
    cloud_ids = serializers.DictField(
        child=serializers.CharField(), help_text="Azure's ids of its last answer, for its support: x_ms_request_id, …"
    )
    steps = StepOut(many=True, required=False)


class RetryIn(http.Shape):
    """How an operation is run again."""

    take_over = serializers.BooleanField(
        required=False, help_text="Set in the cluster also what somebody else has set there, which made it fail."
    )


class TokenIn(http.Shape):
    """A wish for an API token."""

    name = serializers.CharField(max_length=100)
    role = serializers.ChoiceField(choices=[role.label for role in Role], default=Role.OWNER.label)
    workspace = serializers.SlugField(required=False)
    days = serializers.IntegerField(min_value=1, max_value=3650, default=90)


class Workspaces(http.ApiView):
    """The workspaces that you can see."""

    @extend_schema(responses=WorkspaceOut(many=True))
    def get(self, request: Request) -> Response:
        """List workspaces."""
        return http.page(self, queries.workspaces(actor=self.actor(request)), workspace_json, ordering=("name", "pk"))


class Operations(http.ApiView):
    """The long jobs of a workspace."""

    @extend_schema(
        responses=OperationOut(many=True),
        parameters=[OpenApiParameter(name) for name in ("state", "kind", "target", "cursor", "page_size")],
    )
    def get(self, request: Request, workspace: str) -> Response:
        """List operations, newest first; filter by state, kind and target name."""
        home = queries.workspace(actor=self.actor(request), slug=workspace, needs=Role.READER)
        wanted = {name: request.query_params.get(name, "") for name in ("state", "kind", "target")}
        rows = queries.operations(workspace=home, **wanted)
        return http.page(self, rows, operation_json, ordering=("-created_at", "-pk"))


class OperationDetail(http.ApiView):
    """One long job."""

    @extend_schema(responses=OperationOut)
    def get(self, request: Request, workspace: str, id: UUID) -> Response:
        """Show an operation with its steps."""
        op = queries.operation(actor=self.actor(request), slug=workspace, id=id, needs=Role.READER)
        steps = [_step(each) for each in queries.operation_steps(op=op)]
        body = {**operation_json(op), "steps": steps}
        return Response(body, headers={"Retry-After": "1"} if op.is_active else {})


class OperationLogLines(http.ApiView):
    """What the steps of a long job wrote."""

    @extend_schema(responses={200: serializers.JSONField()})
    def get(self, request: Request, workspace: str, id: UUID) -> Response:
        """Show the log of an operation, oldest first."""
        op = queries.operation(actor=self.actor(request), slug=workspace, id=id, needs=Role.READER)
        fields = ("at", "step", "event", "text")
        lines = [{name: getattr(line, name) for name in fields} for line in queries.operation_log(op=op)]
        return Response({"items": lines, "next": None})


class OperationCancel(http.ApiView):
    """Ask a long job to stop."""

    @extend_schema(description=operations.CANCELLING, request=None, responses={202: OperationOut})
    def post(self, request: Request, workspace: str, id: UUID) -> Response:
        """Cancel, as the description says."""
        op = queries.operation_to_control(actor=self.actor(request), slug=workspace, id=id)
        return http.accepted(operations.cancel(op=op, actor=self.actor(request)))


class OperationRetry(http.ApiView):
    """Go on with a long job that failed."""

    @extend_schema(request=RetryIn, responses={202: OperationOut})
    def post(self, request: Request, workspace: str, id: UUID) -> Response:
        """Run again from the step that failed."""
        op = queries.operation_to_control(actor=self.actor(request), slug=workspace, id=id)
        wish = RetryIn.parse(request.data or {})
        return http.accepted(operations.retry(op=op, actor=self.actor(request), **wish))


class Audit(http.ApiView):
    """Who did what."""

    @extend_schema(responses={200: serializers.JSONField()})
    def get(self, request: Request, workspace: str) -> Response:
        """List history, newest first."""
        home = queries.workspace(actor=self.actor(request), slug=workspace, needs=Role.READER)
        return http.page(self, queries.audit_events(workspace=home), _event, ordering=("-pk",))


class Tokens(http.ApiView):
    """Your API tokens."""

    @extend_schema(responses={200: serializers.JSONField()})
    def get(self, request: Request) -> Response:
        """List your tokens; secrets are not stored and not shown."""
        return http.page(self, queries.api_tokens(actor=self.actor(request)), _token, ordering=("-created_at", "-pk"))

    @extend_schema(request=TokenIn, responses={201: serializers.JSONField()})
    def post(self, request: Request) -> Response:
        """Make a token; the secret is in this answer only."""
        actor, data = self.actor(request), TokenIn.parse(request.data)
        slug = data.get("workspace")
        home = queries.workspace(actor=actor, slug=slug, needs=Role.READER) if slug else None
        role = next(role for role in Role if role.label == data["role"])
        token, secret = actions.token_create(
            user=actor, name=data["name"], role=role, workspace=home, days=data["days"]
        )
        return Response({**_token(token), "token": secret}, status=201)


class TokenDetail(http.ApiView):
    """One API token."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, id: int) -> Response:
        """End a token at once."""
        actor = self.actor(request)
        token = queries.api_tokens(actor=actor).filter(pk=id).first()
        if token is None:
            raise NotFound(f"You have no token {id}.")
        actions.token_revoke(token=token, actor=actor)
        return Response(status=204)


class Members(http.ApiView):
    """The people of a team."""

    @extend_schema(responses={200: serializers.JSONField()})
    def get(self, request: Request, team: str) -> Response:
        """List members with their roles."""
        actor = self.actor(request)
        found = queries.team(actor=actor, slug=team, needs=Role.READER)
        rows = queries.members(actor=actor, team=found)
        return http.page(
            self, rows, lambda row: {"user": row.user.username, "role": Role(row.role).label}, ordering=("pk",)
        )


def workspace_json(row: Any) -> dict[str, Any]:
    fields = ("slug", "name", "subscription_id", "resource_group", "region")
    return {**{name: getattr(row, name) for name in fields}, "team": row.team.slug}


def _event(row: Any) -> dict[str, Any]:
    fields = ("at", "action", "target_ref", "target_name", "before", "after")
    return {
        **{name: getattr(row, name) for name in fields},
        "actor": row.actor_name,
        "operation": row.operation_id_text or None,
    }


def _token(row: Any) -> dict[str, Any]:
    fields = ("id", "name", "prefix", "created_at", "expires_at", "last_used_at", "revoked_at")
    home = row.workspace.slug if row.workspace else None
    return {**{name: getattr(row, name) for name in fields}, "role": Role(row.role).label, "workspace": home}


def _step(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "usual": asdict(row["usual"]) if row["usual"] else None}


def operation_json(op: Any) -> dict[str, Any]:
    """An operation without its steps."""
    fields = (
        "id",
        "kind",
        "target_ref",
        "state",
        "note",
        "error",
        "created_at",
        "started_at",
        "ended_at",
        "is_cancel_requested",
        "warnings",
        "findings",
        "cloud_ids",
    )
    return {
        **{name: getattr(op, name) for name in fields},
        "target": op.target_name,
        "percent": queries.operation_percent(op=op),
        "actor": op.actor.username if op.actor else None,
    }


class Docs(SpectacularSwaggerSplitView):
    """The API's description for people: every call in a list, and a tool to try them where scripts run."""

    template_name = "portal/docs.html"

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The page, or its script."""
        response: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        response.data["calls"] = schema.calls
        del response["Cross-Origin-Opener-Policy"]  # the library's loosens ours, for a sign-in that we do not have
        return response
