"""Words that every app shares: roles, operation kinds and states, and what a step may answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from django.db import models


class Role(models.IntegerChoices):
    """What a member may do; each role includes those below it (domain.md, "Who may do what")."""

    READER = 10, "Reader"
    CONTRIBUTOR = 20, "Contributor"
    OPERATOR = 30, "Operator"
    OWNER = 40, "Owner"


class OperationState(models.TextChoices):
    """States of a long job, in the SDK's words, and RolledBack of our own."""

    NOT_STARTED = "NotStarted"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    TIMED_OUT = "TimedOut"
    ROLLED_BACK = "RolledBack"


ACTIVE_STATES = (OperationState.NOT_STARTED, OperationState.RUNNING)


class OperationKind(models.TextChoices):
    """What a long job does. Its steps are found by grepping the name: `operations.define(OperationKind.X, …)`."""

    COMPUTE_CREATE = "compute.create"
    COMPUTE_ATTACH = "compute.attach"
    COMPUTE_KUBECONFIG = "compute.kubeconfig"
    COMPUTE_SCALE = "compute.scale"
    COMPUTE_START = "compute.start"
    COMPUTE_STOP = "compute.stop"
    COMPUTE_AUTOSCALER = "compute.autoscaler"
    COMPUTE_DETACH = "compute.detach"
    COMPUTE_DELETE = "compute.delete"
    POOL_ADD = "pool.add"
    POOL_SCALE = "pool.scale"
    POOL_REMOVE = "pool.remove"
    GATEWAY_UPDATE = "gateway.update"
    ENVIRONMENT_BUILD = "environment.build"
    SERVICE_CREATE = "service.create"
    SERVICE_UPDATE = "service.update"
    SERVICE_DELETE = "service.delete"
    ENDPOINT_CREATE = "endpoint.create"
    ENDPOINT_UPDATE = "endpoint.update"
    ENDPOINT_DELETE = "endpoint.delete"
    ENDPOINT_PUT_BACK = "endpoint.put_back"
    GATEWAY_PUT_BACK = "gateway.put_back"
    VERSION_CREATE = "version.create"
    VERSION_UPDATE = "version.update"
    VERSION_DELETE = "version.delete"


@dataclass(frozen=True)
class Wait:
    """A step's answer "not yet": run me again after `seconds`; `note` is what people read meanwhile."""

    seconds: float
    note: str = ""


class Target(Protocol):
    """What an operation or an audit line is about."""

    @property
    def name(self) -> Any: ...

    @property
    def workspace(self) -> Any: ...

    @property
    def ref(self) -> str: ...
