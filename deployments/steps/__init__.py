"""What a worker does for deployments: builds in the registry, and workloads in clusters."""

from __future__ import annotations

from deployments.steps.build import abort_environment, await_environment, settle_environment, start_environment
from deployments.steps.health import observe_target
from deployments.steps.renew import due, renew
from deployments.steps.workload import (
    DeploymentFailed,
    apply_workload,
    await_replicas,
    put_back,
    remove_from,
    remove_workload,
    restore_workload,
    rolled,
    settle_deployment,
)
from portal import operations
from portal.types import OperationKind

__all__ = [
    "DeploymentFailed", "abort_environment", "apply_workload", "await_environment", "await_replicas", "due",
    "observe_target", "put_back", "remove_from", "remove_workload", "renew", "restore_workload", "rolled",
    "settle_deployment", "start_environment",
]  # fmt: skip

operations.define(
    OperationKind.ENVIRONMENT_BUILD,
    (start_environment, 120),
    (await_environment, 1800),
    settle=settle_environment,
    abort=operations.Abort(abort_environment, 120, since=start_environment, until=await_environment),
)
