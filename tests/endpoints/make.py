"""Rows for the tests of endpoints."""

from __future__ import annotations

from typing import Any

from compute.models import ComputeTarget
from deployments.models import Deployment, Environment
from endpoints.models import Endpoint, EndpointVersion

from portal.models import Operation, Workspace
from portal.types import OperationState


def make_target(workspace: Workspace, name: str) -> ComputeTarget:
    return ComputeTarget.objects.create(workspace=workspace, name=name)


def make_environment(workspace: Workspace) -> None:
    Environment.objects.create(name="sk", version=1)


def deployment_body() -> dict[str, Any]:
    return {"environment": "sk:1", "entry_script": "score.py"}


def finish(endpoint: Endpoint) -> Endpoint:
    """As if the running operation had ended well: replicas ready, routes in force."""
    Operation.objects.filter(target_ref=endpoint.ref).update(state=OperationState.SUCCEEDED)
    EndpointVersion.objects.filter(endpoint=endpoint).update(is_loaded=True, is_routed=True)
    Deployment.objects.filter(endpoint_version__endpoint=endpoint).update(state="Healthy", ready_replicas=1)
    Endpoint.objects.filter(pk=endpoint.pk).update(state="Healthy")
    endpoint.refresh_from_db()
    return endpoint
