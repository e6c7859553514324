"""Tables of endpoints: what is reachable, by which versions, with which keys, through which gateway."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from compute.models import ComputeTarget
from deployments.models import Deployment
from endpoints.types import AuthMode, EndpointKind, EndpointState, GatewayState, Slot, Version
from portal.models import User, Workspace
from portal.secrets import EncryptedTextField


class Endpoint(models.Model):
    """A named scoring URI: a service (one version, no split) or an endpoint (one to six versions)."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="endpoints")
    compute_target = models.ForeignKey(ComputeTarget, on_delete=models.PROTECT, related_name="endpoints")
    name = models.CharField(max_length=32)
    kind = models.CharField(max_length=8, choices=EndpointKind.choices)
    auth = models.CharField(max_length=5, choices=AuthMode.choices, default=AuthMode.KEY)
    generation = models.PositiveIntegerField(default=1, help_text="Counts changes of split, keys and versions.")
    state = models.CharField(max_length=14, choices=EndpointState.choices, default=EndpointState.TRANSITIONING)
    reason = models.TextField(blank=True)
    scoring_uri = models.CharField(max_length=300, blank=True)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict)
    properties = models.JSONField(default=dict)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["workspace", "name"], name="endpoint_once")]

    def __str__(self) -> str:
        return self.name

    @property
    def ref(self) -> str:
        """Stable reference for operations and history."""
        return f"endpoint:{self.pk}"


class EndpointVersion(models.Model):
    """One deployment behind an endpoint. `is_loaded`: Envoy knows its replicas; `is_routed`: requests may go there."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="versions")
    name = models.CharField(max_length=32)
    deployment = models.OneToOneField(Deployment, on_delete=models.PROTECT, related_name="endpoint_version")
    traffic_percentile = models.DecimalField(max_digits=5, decimal_places=2, default=0)
    is_default = models.BooleanField(default=False)
    is_control = models.BooleanField(default=False)
    is_loaded = models.BooleanField(default=False)
    is_routed = models.BooleanField(default=False)
    color = models.PositiveSmallIntegerField(default=0, help_text="Which of the six colours pages draw it in.")
    expected_ms = models.PositiveIntegerField(default=20, help_text="Measured time of a score, for the queue's length.")
    hosts = models.PositiveIntegerField(null=True, blank=True, help_text="Ready replicas that the gateway sees.")
    busy_at = models.DateTimeField(null=True, blank=True, help_text="When the load last asked for all its replicas.")
    scaled_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["endpoint", "name"], name="endpoint_version_once"),
            models.UniqueConstraint(fields=["endpoint"], condition=Q(is_default=True), name="one_default_per_endpoint"),
            models.UniqueConstraint(fields=["endpoint"], condition=Q(is_control=True), name="one_control_per_endpoint"),
            models.CheckConstraint(
                condition=Q(traffic_percentile__gte=0, traffic_percentile__lte=100), name="percentile_0_to_100"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def serves(self) -> bool:
        """Whether a replica is ready, of this revision or the one that it replaces."""
        ready = self.deployment.ready_replicas if self.hosts is None else self.hosts
        return self.is_routed and ready > 0

    @property
    def order(self) -> int:
        """Age: the oldest version has the lowest."""
        return self.pk

    def traffic(self) -> Version:
        """The version as the split sees it."""
        return Version(
            self.name, self.traffic_percentile, self.is_default, self.is_control, serves=self.serves, order=self.order
        )


class ScoringKey(models.Model):
    """One of the two keys of an endpoint; the fingerprint finds a key that another one uses."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="keys")
    slot = models.CharField(max_length=9, choices=Slot.choices)
    value = EncryptedTextField()
    fingerprint = models.CharField(max_length=64, db_index=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["endpoint", "slot"], name="scoring_key_once")]


class SigningKey(models.Model):
    """Signs scoring tokens. Gateways take tokens of every row that is not retired; the newest signs."""

    kid = models.CharField(max_length=64, unique=True)
    private_pem = EncryptedTextField()
    public_jwk = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)
    retired_at = models.DateTimeField(null=True, blank=True)


class Gateway(models.Model):
    """The Envoy of one compute target. `revision` counts publishes; the lease lets one publisher in at a time."""

    compute_target = models.OneToOneField(ComputeTarget, on_delete=models.CASCADE, related_name="gateway")
    state = models.CharField(max_length=8, choices=GatewayState.choices, default=GatewayState.ABSENT)
    revision = models.PositiveIntegerField(default=0)
    published = models.JSONField(default=dict, help_text="File -> version that is out.")
    pushed_at = models.DateTimeField(null=True, blank=True)
    installed = models.CharField(max_length=64, blank=True, help_text="The hash of the objects that were applied.")
    lease = models.UUIDField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    address = models.CharField(max_length=100, blank=True)
    http_port = models.PositiveIntegerField(default=80)
    https_port = models.PositiveIntegerField(default=443)
    probe_secret = EncryptedTextField()
    tls_certificate = models.TextField()
    tls_key = EncryptedTextField()
    tls_names = models.JSONField(default=list)
    tls_ends_at = models.DateTimeField(null=True, blank=True, help_text="Of the certificate that callers are shown.")
    tls_note = models.TextField(blank=True, help_text="What people should know of its end.")
    tls_told = models.JSONField(default=dict, help_text="Fingerprint and level of the last note.")
    tls_seen = models.JSONField(default=dict, help_text="Fingerprint that every pod's Envoy showed last, and when.")
    tls_trouble = models.TextField(blank=True, help_text="Why it could not be made anew.")
    signature = models.CharField(max_length=64, blank=True, help_text="Of the rows that were last compared.")
    read_at = models.DateTimeField(null=True, blank=True, help_text="When its numbers were last read.")
    readings = models.JSONField(default=dict, help_text="Pod uid -> the counters at the last reading.")
    applied = models.JSONField(default=dict, help_text="Object -> its mark after our last apply.")
    drift = models.JSONField(default=list, help_text="What others changed in the cluster since then.")

    @property
    def certificate(self) -> str:
        """The chain that callers are to be shown: the own one, else that which the portal made."""
        return self.compute_target.tls_certificate or self.tls_certificate


class TrafficSample(models.Model):
    """What one version answered in ten seconds, from the gateway's own counters."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="samples")
    version = models.CharField(max_length=32)
    at = models.DateTimeField(help_text="The start of the ten seconds.")
    codes = models.JSONField(default=dict, help_text="Status -> answers.")
    seconds = models.FloatField(default=0, help_text="The sum of the answers' times.")
    buckets = models.JSONField(default=dict, help_text="Bound in microseconds -> answers within it.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["endpoint", "version", "at"], name="traffic_sample_once")
        ]
        indexes: ClassVar = [models.Index(fields=["at"], name="traffic_sample_age")]
