"""Words of endpoints: kinds, ways to authenticate, states, and the values that pure modules work on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import models


class EndpointKind(models.TextChoices):
    """A service has one version and no split; an endpoint has one to six."""

    SERVICE = "Service", "Service"
    VERSIONED = "Endpoint", "Endpoint"


class AuthMode(models.TextChoices):
    """What a caller must show to score."""

    KEY = "Key"
    TOKEN = "Token"  # noqa: S105  (a word, not a secret)
    NONE = "None"


class EndpointState(models.TextChoices):
    """States of a service or endpoint (domain.md, "States of a service or version")."""

    TRANSITIONING = "Transitioning"
    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"
    FAILED = "Failed"
    UNSCHEDULABLE = "Unschedulable"
    DELETING = "Deleting"


class GatewayState(models.TextChoices):
    """Whether the gateway of a compute target answers."""

    ABSENT = "Absent"
    STARTING = "Starting"
    READY = "Ready"


class Slot(models.TextChoices):
    """The two scoring keys; both work at once."""

    PRIMARY = "primary"
    SECONDARY = "secondary"


@dataclass(frozen=True)
class Version:
    """One version as the split sees it. `order` counts up with age: the oldest has the lowest."""

    name: str
    percentile: Decimal
    is_default: bool = False
    is_control: bool = False
    serves: bool = True
    order: int = 0


@dataclass(frozen=True)
class VersionChange:
    """What somebody wants of one version; None leaves it as it is."""

    traffic_percentile: Decimal | None = None
    is_default: bool | None = None
    is_control: bool | None = None


@dataclass(frozen=True)
class ScoringToken:
    """A token for one service or endpoint, as SDK v1 names its members."""

    access_token: str
    token_type: str
    expiry_on: datetime
    refresh_after: datetime
