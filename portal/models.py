"""Tables that every app shares: people, workspaces, operations, history."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q

from portal.secrets import EncryptedTextField
from portal.types import ACTIVE_STATES, OperationKind, OperationState, Role


class User(AbstractUser):
    """A person or service account. `acting_token` is set for the length of a request made with an API token."""

    acting_token: ApiToken | None = None

    @property
    def name(self) -> str:
        """What lists and history call this user."""
        return self.get_full_name() or self.username


class Team(models.Model):
    """People who share workspaces."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)
    members = models.ManyToManyField(User, through="Membership", related_name="teams")

    def __str__(self) -> str:
        return self.slug


class Membership(models.Model):
    """One person's role in one team."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.IntegerField(choices=Role.choices)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["team", "user"], name="membership_once")]


class Workspace(models.Model):
    """The unit of isolation: compute targets, models, environments, services and endpoints belong to one."""

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="workspaces")
    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    subscription_id = models.CharField(max_length=36)
    resource_group = models.CharField(max_length=90)
    region = models.CharField(max_length=50)
    arm_endpoint = models.URLField(max_length=500, blank=True, help_text="Empty: the public Azure cloud.")
    arm_credential = EncryptedTextField(
        blank=True, help_text='JSON, e.g. {"kind": "static", "token": …}; empty: default chain.'
    )
    arm_ca_file = models.CharField(max_length=500, blank=True)
    registry = models.CharField(max_length=100, blank=True, help_text="Container registry that builds environments.")
    app_insights = EncryptedTextField(blank=True, help_text="Connection string that replicas send telemetry with.")
    collection_days = models.PositiveSmallIntegerField(default=30, help_text="How long collected requests are kept.")
    collection_daily_mib = models.PositiveIntegerField(default=100, help_text="Most that is kept of a version a day.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["subscription_id", "resource_group", "name"], name="workspace_once")
        ]

    def __str__(self) -> str:
        return self.slug

    @property
    def ref(self) -> str:
        """Stable reference for operations and history."""
        return f"workspace:{self.pk}"

    @property
    def workspace(self) -> Workspace:
        """Itself, so that history can be about a workspace."""
        return self


class ApiToken(models.Model):
    """A bearer token, stored as a hash. It never exceeds its owner's role and may be narrower."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12, help_text="The first characters, to recognise it by.")
    digest = models.CharField(max_length=64, unique=True)
    workspace = models.ForeignKey(Workspace, null=True, blank=True, on_delete=models.CASCADE)
    role = models.IntegerField(choices=Role.choices, default=Role.OWNER)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class Operation(models.Model):
    """One long job. The row is the truth; only the engine (`portal.operations`) writes its state."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="operations")
    kind = models.CharField(max_length=40, choices=OperationKind.choices)
    target_ref = models.CharField(max_length=100)
    target_name = models.CharField(max_length=100)
    state = models.CharField(max_length=12, choices=OperationState.choices, default=OperationState.NOT_STARTED)
    step = models.PositiveSmallIntegerField(default=0)
    is_undoing = models.BooleanField(default=False)
    attempts = models.PositiveSmallIntegerField(default=0)
    note = models.TextField(blank=True)
    input = models.JSONField(default=dict)
    memo = models.JSONField(default=dict)
    error = models.JSONField(null=True, blank=True)
    actor = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="operations")
    is_cancel_requested = models.BooleanField(default=False)
    due_at = models.DateTimeField()
    lease = models.UUIDField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["target_ref"], condition=Q(state__in=ACTIVE_STATES), name="one_active_operation_per_target"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["state", "due_at"], name="operation_due"),
            models.Index(fields=["workspace", "-created_at"], name="operation_list"),
            models.Index(fields=["target_ref", "-created_at"], name="operation_target"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.target_name} ({self.state})"

    @property
    def name(self) -> str:
        """The name of what the job is about."""
        return self.target_name

    @property
    def ref(self) -> str:
        """Stable reference for history."""
        return f"operation:{self.pk}"

    @property
    def warnings(self) -> list[str]:
        """What people should know: what the action said, then what steps found."""
        return [*self.input.get("warnings", []), *self.memo.get("warnings", [])]

    @property
    def findings(self) -> list[dict[str, Any]]:
        """What the job's preflight found: code, level (error, warning, ok), message, fix and facts of each."""
        found: list[dict[str, Any]] = self.memo.get("findings", [])
        return found

    @property
    def cloud_ids(self) -> dict[str, str]:
        """Azure's ids of its last answer that counted, for its support: a refusal's, else the last poll's."""
        names = ("x_ms_request_id", "x_ms_correlation_request_id")
        refused = {name: str(self.error[name]) for name in names if self.error and self.error.get(name)}
        found: dict[str, str] = refused or self.memo.get("cloud_ids") or {}
        return found

    @property
    def is_active(self) -> bool:
        """Whether the job still holds its target."""
        return self.state in ACTIVE_STATES


class OperationLog(models.Model):
    """One line that a step wrote, or the start or end of a step."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="log")
    at = models.DateTimeField()
    step = models.CharField(max_length=60)
    event = models.CharField(max_length=10, default="line", help_text="started, line, done, failed or retry")
    text = models.TextField(blank=True)

    class Meta:
        ordering: ClassVar = ["id"]


class AuditEvent(models.Model):
    """One line of history. Rows are only ever added; a trigger refuses updates."""

    at = models.DateTimeField(auto_now_add=True)
    workspace = models.ForeignKey(
        Workspace, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="audit"
    )
    team_slug = models.CharField(max_length=50, blank=True)
    actor_name = models.CharField(max_length=150)
    actor_id_text = models.CharField(max_length=20, blank=True)
    action = models.CharField(max_length=60)
    target_ref = models.CharField(max_length=100)
    target_name = models.CharField(max_length=100, blank=True)
    operation_id_text = models.CharField(max_length=36, blank=True)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["workspace", "-id"], name="audit_list")]


class IdempotencyKey(models.Model):
    """The stored answer to a request that carried an Idempotency-Key, written with what the request did."""

    user = models.ForeignKey(User, on_delete=models.CASCADE)
    key = models.CharField(max_length=200)
    request_hash = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    headers = models.JSONField(default=dict)
    body = EncryptedTextField(help_text="JSON; encrypted, since the answer to a new token holds its secret.")
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["user", "key"], name="idempotency_key_once")]


class Beat(models.Model):
    """When each periodic task last ran, for /readyz."""

    name = models.CharField(max_length=60, primary_key=True)
    at = models.DateTimeField()
