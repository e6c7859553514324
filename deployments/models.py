"""Tables of deployments: artifacts, models, environments, and what runs where."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from compute.models import ComputeTarget
from deployments.types import ArtifactKind, DeploymentState, EnvironmentState, Scaler
from portal.models import User, Workspace
from portal.secrets import EncryptedTextField


class Artifact(models.Model):
    """A blob that a workspace may read; the bytes lie under their SHA-256 in the artifact storage."""

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="artifacts")
    digest = models.CharField(max_length=64)
    size = models.BigIntegerField(help_text="Bytes.")
    kind = models.CharField(max_length=5, choices=ArtifactKind.choices)
    is_archive = models.BooleanField(default=False, help_text="A tar, to be unpacked.")
    files = models.JSONField(default=list, help_text="[{path, size, sha256}]")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["workspace", "digest"], name="artifact_once")]


class RegisteredModel(models.Model):
    """A registered artifact, versioned 1, 2, 3 … under a name."""

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="models")
    name = models.CharField(max_length=255)
    version = models.PositiveIntegerField()
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="models")
    files = models.JSONField(default=list, help_text="[{path, size, sha256}]")
    size = models.BigIntegerField(help_text="Bytes of all files.")
    framework = models.CharField(max_length=60, blank=True)
    framework_version = models.CharField(max_length=60, blank=True)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict)
    properties = models.JSONField(default=dict)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["workspace", "name", "version"], name="model_once")]
        indexes: ClassVar = [models.Index(fields=["workspace", "-created_at"], name="model_list")]

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def ref(self) -> str:
        """Stable reference for operations and history."""
        return f"model:{self.pk}"


class Environment(models.Model):
    """What a scoring script needs to run; built once per content hash."""

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="environments")
    name = models.CharField(max_length=255)
    version = models.PositiveIntegerField()
    spec = models.JSONField(help_text='{"python", "pip": […]}, {"conda": text} or {"image": name}')
    content_hash = models.CharField(max_length=64)
    state = models.CharField(max_length=9, choices=EnvironmentState.choices, default=EnvironmentState.NOT_BUILT)
    image = models.CharField(max_length=500, blank=True)
    same_as = models.CharField(max_length=300, blank=True, help_text="What was built before of the same content.")
    run_id = models.CharField(max_length=100, blank=True, help_text="Of the newest build in the registry.")
    log = models.TextField(blank=True, help_text="The end of the newest build's log.")
    reason = models.TextField(blank=True)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "name", "version"], name="environment_once")
        ]
        indexes: ClassVar = [models.Index(fields=["workspace", "content_hash"], name="environment_hash")]

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def ref(self) -> str:
        """Stable reference for operations and history."""
        return f"environment:{self.pk}"


class RunRules(models.Model):
    """What the Owners of a workspace decide about all that runs in it."""

    workspace = models.OneToOneField(Workspace, on_delete=models.CASCADE, related_name="run_rules")
    outgoing = models.CharField(max_length=10, default="https", help_text="What replicas may call: outgoing.MODES.")
    allowed = models.JSONField(default=list, help_text='Exceptions, e.g. ["10.1.0.0/16:5432"].')
    quota = models.JSONField(default=dict, help_text='Of each namespace, e.g. {"cpu": 8, "gpus": 0}.')

    def __str__(self) -> str:
        return f"rules of {self.workspace_id}"


class RegistryLogin(models.Model):
    """What images of one container registry are pulled with."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="registry_logins")
    server = models.CharField(max_length=253)
    username = models.CharField(max_length=256)
    password = EncryptedTextField()
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["workspace", "server"], name="registry_once")]

    def __str__(self) -> str:
        return self.server


class Deployment(models.Model):
    """Replicas of one inference configuration on one compute target."""

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="deployments")
    compute_target = models.ForeignKey(ComputeTarget, on_delete=models.PROTECT, related_name="deployments")
    name = models.CharField(max_length=100)
    namespace = models.CharField(max_length=63)
    state = models.CharField(max_length=13, choices=DeploymentState.choices, default=DeploymentState.TRANSITIONING)
    reason = models.TextField(blank=True)
    evidence = models.TextField(blank=True, help_text="What proves the reason: the end of a log, or events.")
    fix = models.TextField(blank=True, help_text="What to do about the reason.")
    is_reason_observed = models.BooleanField(default=False, help_text="Seen while it ran; it goes when all is well.")
    revision = models.PositiveIntegerField(default=0, help_text="The number that is wanted now.")
    serving_revision = models.PositiveIntegerField(default=0, help_text="The newest number that was ready; 0: none.")
    wanted_replicas = models.PositiveIntegerField(default=1)
    ready_replicas = models.PositiveIntegerField(default=0)
    scaler = models.CharField(max_length=6, choices=Scaler.choices, blank=True, default=Scaler.FIXED)
    scaler_note = models.TextField(blank=True, help_text="Why the portal scales though the cluster has KEDA.")
    scaler_mark = models.CharField(max_length=64, blank=True, help_text="The hash of what KEDA was given.")
    fetch_token_digest = models.CharField(max_length=64, blank=True)
    collect_token_digest = models.CharField(max_length=64, blank=True, help_text="Of the right to add collected data.")
    around = models.CharField(max_length=64, blank=True, help_text="Of what the workspace decides, as it was applied.")
    files_mark = models.CharField(max_length=64, blank=True, help_text="Of what the addresses in its Secret are made.")
    files_until = models.DateTimeField(null=True, blank=True, help_text="When the addresses in its Secret end.")
    observed_at = models.DateTimeField(null=True, blank=True)
    applied = models.JSONField(default=dict, help_text="Kubernetes object -> its mark after our last apply.")
    drift = models.JSONField(default=list, help_text="What others changed in the cluster since then.")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name

    @property
    def ref(self) -> str:
        """Stable reference for operations and history."""
        return f"deployment:{self.pk}"


class Revision(models.Model):
    """What a deployment ran from one change to the next. Never changed."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="revisions")
    code = models.ForeignKey(Artifact, null=True, on_delete=models.PROTECT, related_name="revisions")
    entry_script = models.CharField(max_length=255)
    config = models.JSONField(default=dict, help_text="Deployment configuration, keys in camelCase.")
    node_pool = models.CharField(  # noqa: DJ001 - "" is any pool, null is not known
        max_length=12, null=True, blank=True,
        help_text="The pool that replicas are bound to, chosen once; null: from before it was stored.",
    )  # fmt: skip
    comment = models.CharField(max_length=255, blank=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    # Last, since the name hides the module for what follows in this class.
    models = models.ManyToManyField(RegisteredModel, related_name="revisions")

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["deployment", "number"], name="revision_once")]


class Collecting(models.Model):
    """How the collection of a deployment's requests goes. `lost` counts lines since `since`, while it goes wrong."""

    deployment = models.OneToOneField(Deployment, on_delete=models.CASCADE, related_name="collecting")
    is_on = models.BooleanField(default=False)
    told_at = models.DateTimeField(null=True, blank=True, help_text="When a replica last said a word.")
    since = models.DateTimeField(null=True, blank=True)
    troubled_at = models.DateTimeField(null=True, blank=True, help_text="When something was last lost or late.")
    lost = models.PositiveBigIntegerField(default=0)
    reason = models.TextField(blank=True)


class CollectingReplica(models.Model):
    """What one replica has brought: the number of its last part, and how many lines it has told as dropped."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="collecting_replicas")
    name = models.CharField(max_length=253)
    sequence = models.PositiveBigIntegerField(default=0)
    dropped = models.PositiveBigIntegerField(default=0)
    told_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["deployment", "name"], name="collecting_replica_once")]


class CollectedDay(models.Model):
    """Requests of one version on one day (UTC). It outlives its deployment, hence the names."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="collected_days")
    source = models.BigIntegerField(help_text="The number of the deployment that it is from.")
    service = models.CharField(max_length=100)
    version = models.CharField(max_length=32, blank=True)
    day = models.DateField()
    lines = models.PositiveBigIntegerField(default=0)
    size = models.PositiveBigIntegerField(default=0, help_text="Bytes.")
    lost = models.PositiveBigIntegerField(default=0, help_text="Lines that were scored and are not here.")
    last_at = models.DateTimeField(null=True, blank=True)
    forgotten_at = models.DateTimeField(null=True, blank=True, help_text="Deleted; its parts go within two minutes.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["source", "day"], condition=Q(forgotten_at__isnull=True), name="collected_day_once"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["workspace", "-day", "-id"], name="collected_list"),
            models.Index(fields=["forgotten_at"], name="collected_forgotten"),
        ]

    def __str__(self) -> str:
        return f"{self.service} {self.version} {self.day}".replace("  ", " ")

    @property
    def name(self) -> str:
        """What history calls it."""
        return str(self)

    @property
    def ref(self) -> str:
        """Stable reference for history."""
        return f"collected:{self.pk}"


class CollectedPart(models.Model):
    """Lines that lie together in the store."""

    day = models.ForeignKey(CollectedDay, on_delete=models.CASCADE, related_name="parts")
    path = models.CharField(max_length=600, unique=True)
    lines = models.PositiveBigIntegerField()
    size = models.PositiveBigIntegerField()
    at = models.DateTimeField(help_text="When the first of it came.")
    replaced_at = models.DateTimeField(null=True, blank=True, help_text="Its lines are in a larger part now.")
