"""Words of the deployments app, and what its functions hand to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    from deployments.models import Artifact, Environment, RegisteredModel


class DeploymentState(models.TextChoices):
    """States of a service or version (domain.md)."""

    TRANSITIONING = "Transitioning"
    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"
    FAILED = "Failed"
    UNSCHEDULABLE = "Unschedulable"
    DELETING = "Deleting"


class Scaler(models.TextChoices):
    """Who sets the replicas of a deployment: nobody (a fixed count), the portal's own loop, or KEDA in the cluster."""

    FIXED = "", "Fixed count"
    PORTAL = "portal", "Portal"
    KEDA = "KEDA", "KEDA"


class EnvironmentState(models.TextChoices):
    """Whether the image of an environment is there."""

    NOT_BUILT = "NotBuilt"
    BUILDING = "Building"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class ArtifactKind(models.TextChoices):
    """What an artifact is used as."""

    MODEL = "model"
    CODE = "code"
    LOG = "log"


@dataclass(frozen=True)
class DeploymentSpec:
    """What a deployment is wanted to run. `config` is the deployment configuration as JSON, keys in camelCase."""

    models: Sequence[RegisteredModel]
    environment: Environment
    entry_script: str
    code: Artifact | None
    config: dict[str, Any] = field(default_factory=dict)
    comment: str = ""


@dataclass(frozen=True)
class Entry:
    """One file of a model or of code: path inside it, bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """As stored in JSON."""
        return {"path": self.path, "size": self.size, "sha256": self.sha256}
