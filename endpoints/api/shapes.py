"""The shapes of requests and answers about services and endpoints."""

from __future__ import annotations

from rest_framework import serializers

from endpoints.types import AuthMode, EndpointKind, EndpointState, Slot
from portal.http import Shape


class CodeIn(Shape):
    """The source folder: its files as text, or the digest of an uploaded one."""

    files = serializers.DictField(child=serializers.CharField(trim_whitespace=False, allow_blank=True), required=False)
    digest = serializers.RegexField(r"^[0-9a-f]{64}$", required=False)


class DeployIn(Shape):
    """What to run: models, code and environment, and how (the deployment configuration of domain.md)."""

    models = serializers.ListField(child=serializers.CharField(), required=False, help_text='e.g. ["iris:1"]')
    environment = serializers.CharField(required=False, help_text="e.g. sklearn:1")
    entry_script = serializers.CharField(required=False, help_text="Path of the script in the source folder.")
    code = CodeIn(required=False)
    deployment_config = serializers.JSONField(required=False)
    comment = serializers.CharField(required=False, allow_blank=True, max_length=255)


class ServiceIn(DeployIn):
    """A new service."""

    name = serializers.CharField()
    compute_target = serializers.CharField()
    description = serializers.CharField(required=False, allow_blank=True, default="")
    tags = serializers.DictField(child=serializers.CharField(allow_blank=True), required=False, default=dict)
    properties = serializers.DictField(child=serializers.CharField(allow_blank=True), required=False, default=dict)


class EndpointIn(ServiceIn):
    """A new endpoint with its first version, which becomes the default."""

    version = serializers.CharField(default="v1")
    traffic_percentile = serializers.DecimalField(None, None, required=False)
    is_control = serializers.BooleanField(required=False, allow_null=True, default=None)


class ChangeIn(DeployIn):
    """What to change of a service, endpoint or version; what is left out stays."""

    description = serializers.CharField(required=False, allow_blank=True)
    tags = serializers.DictField(child=serializers.CharField(allow_blank=True), required=False)
    properties = serializers.DictField(child=serializers.CharField(allow_blank=True), required=False)
    auth = serializers.ChoiceField(choices=AuthMode.choices, required=False)


class VersionIn(DeployIn):
    """A new version of an endpoint."""

    version = serializers.CharField()
    traffic_percentile = serializers.DecimalField(None, None, required=False)
    is_default = serializers.BooleanField(required=False, allow_null=True, default=None)
    is_control = serializers.BooleanField(required=False, allow_null=True, default=None)
    generation = serializers.IntegerField(required=False)


class VersionTrafficIn(Shape):
    """What to change of one version's part in the split."""

    traffic_percentile = serializers.DecimalField(None, None, required=False)
    is_default = serializers.BooleanField(required=False, allow_null=True, default=None)
    is_control = serializers.BooleanField(required=False, allow_null=True, default=None)


class TrafficIn(Shape):
    """A change of the split, and the generation that it starts from."""

    generation = serializers.IntegerField()
    versions = serializers.DictField(child=VersionTrafficIn(), allow_empty=False)


class SlotIn(Shape):
    """Which of the two keys, and a value if it shall not be made."""

    slot = serializers.ChoiceField(choices=Slot.choices)
    value = serializers.CharField(required=False, trim_whitespace=False)


class ScoringTokenIn(Shape):
    """How long a token shall live."""

    hours = serializers.FloatField(default=1.0)


class RollbackIn(Shape):
    """Which revision to go back to; of which version, where there are several."""

    revision = serializers.IntegerField(min_value=1)


class ScoreIn(Shape):
    """A body for the model, as JSON, and a version to force."""

    body = serializers.JSONField()
    version = serializers.CharField(required=False)


class CollectionOut(Shape):
    """How the collection of a version's requests goes; `warning` is empty while all is well."""

    is_on = serializers.BooleanField()
    lost = serializers.IntegerField(help_text="Lines, since `since`.")
    since = serializers.DateTimeField(allow_null=True)
    warning = serializers.CharField(allow_blank=True)


class VersionOut(Shape):
    """One version with its three shares in percent."""

    traffic_percentile = serializers.FloatField()
    is_default = serializers.BooleanField()
    is_control = serializers.BooleanField()
    type = serializers.ChoiceField(choices=["control", "treatment"])
    configured_share = serializers.FloatField()
    effective_share = serializers.FloatField()
    observed_share = serializers.FloatField()
    observed_requests = serializers.IntegerField()
    observed_failed = serializers.IntegerField()
    p50_ms = serializers.FloatField(allow_null=True)
    p95_ms = serializers.FloatField(allow_null=True)
    state = serializers.CharField()
    reason = serializers.CharField()
    evidence = serializers.CharField(help_text="What proves the reason: the end of a log, or events.")
    fix = serializers.CharField(help_text="What to do about the reason.")
    note = serializers.CharField()
    revision = serializers.IntegerField()
    scaler = serializers.CharField(
        allow_null=True, help_text="portal or KEDA: who sets the replicas; null: a fixed count."
    )
    scaler_note = serializers.CharField(help_text="Why it is not KEDA though the cluster has it, or what KEDA says.")
    wanted_replicas = serializers.IntegerField()
    ready_replicas = serializers.IntegerField()
    data_collection = CollectionOut(allow_null=True, help_text="Null where it was never on.")


class ChangedOut(Shape):
    """One object that is not as the portal applied it; `code` is deleted, changed, replicas, revision, certificate
    or files."""

    code = serializers.CharField()
    object = serializers.CharField()
    message = serializers.CharField()
    since = serializers.DateTimeField()


class VersionChangedOut(ChangedOut):
    """The same of one version."""

    version = serializers.CharField()


class EndpointOut(Shape):
    """A service or endpoint."""

    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=EndpointKind.choices)
    compute_target = serializers.CharField()
    state = serializers.ChoiceField(choices=EndpointState.choices)
    reason = serializers.CharField()
    auth = serializers.ChoiceField(choices=AuthMode.choices)
    generation = serializers.IntegerField()
    scoring_uri = serializers.CharField()
    swagger_uri = serializers.CharField()
    description = serializers.CharField()
    tags = serializers.DictField(child=serializers.CharField())
    properties = serializers.DictField(child=serializers.CharField())
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    drift = VersionChangedOut(many=True, help_text="What others changed in the cluster.")
    versions = serializers.DictField(child=VersionOut())
    default_version = serializers.CharField(allow_null=True)
    successors = serializers.DictField(
        child=serializers.CharField(), help_text="Version -> the default once it is deleted."
    )


class EndpointRowOut(Shape):
    """A service or endpoint in a list."""

    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=EndpointKind.choices)
    compute_target = serializers.CharField()
    state = serializers.ChoiceField(choices=EndpointState.choices)
    reason = serializers.CharField()
    auth = serializers.ChoiceField(choices=AuthMode.choices)
    scoring_uri = serializers.CharField()
    generation = serializers.IntegerField()
    versions = serializers.DictField(child=serializers.FloatField(), help_text="Version -> effective share in percent.")
    created_at = serializers.DateTimeField()


class KeysOut(Shape):
    """Both scoring keys."""

    primary = serializers.CharField()
    secondary = serializers.CharField()


class ScoringTokenOut(Shape):
    """A scoring token."""

    access_token = serializers.CharField()
    token_type = serializers.CharField()
    expiry_on = serializers.DateTimeField()
    refresh_after = serializers.DateTimeField()


class EndpointAcceptedOut(Shape):
    """Where to follow long work."""

    operation = serializers.UUIDField()
    state = serializers.CharField()
    kind = serializers.CharField()
    target = serializers.CharField()
    url = serializers.CharField()
    warnings = serializers.ListField(child=serializers.CharField(), help_text="What to know: flags that moved, …")


class LogOut(Shape):
    """The last lines of one container."""

    version = serializers.CharField()
    replica = serializers.CharField()
    container = serializers.CharField()
    text = serializers.CharField()


class EventOut(Shape):
    """One thing that the cluster says about a replica."""

    at = serializers.CharField()
    version = serializers.CharField()
    object = serializers.CharField()
    type = serializers.CharField()
    reason = serializers.CharField()
    message = serializers.CharField()
    count = serializers.IntegerField()


class ScoreOut(Shape):
    """What the model answered."""

    status = serializers.IntegerField()
    version = serializers.CharField()
    milliseconds = serializers.FloatField()
    body = serializers.CharField()
