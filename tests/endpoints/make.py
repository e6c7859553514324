"""Rows for the tests of endpoints."""

from __future__ import annotations

from typing import Any

from compute.models import ComputeTarget
from compute.types import ComputeState
from deployments.models import Deployment, Environment
from endpoints.models import Endpoint, EndpointVersion
from endpoints.types import EndpointState
from portal.models import Operation, Workspace
from portal.types import OperationState


def make_target(workspace: Workspace, name: str, **more: Any) -> ComputeTarget:
    """A compute target that takes deployments."""
    given = {
        "state": ComputeState.SUCCEEDED,
        "purpose": "DevTest",
        "region": "westeurope",
        "cluster_name": name,
        **more,
    }
    return ComputeTarget.objects.create(workspace=workspace, name=name, **given)


def make_environment(workspace: Workspace) -> None:
    """The environment sk:1."""
    Environment.objects.create(name="sk", version=1)


def deployment_body() -> dict[str, Any]:
    """The least that a request has to say about what to run."""
    return {"environment": "sk:1", "entry_script": "score.py"}


def finish(endpoint: Endpoint) -> Endpoint:
    """As if the running operation had ended well: replicas ready, routes in force."""
    Operation.objects.filter(target_ref=endpoint.ref).update(state=OperationState.SUCCEEDED)
    EndpointVersion.objects.filter(endpoint=endpoint).update(is_loaded=True, is_routed=True)
    Deployment.objects.filter(endpoint_version__endpoint=endpoint).update(state="Healthy", ready_replicas=1)
    Endpoint.objects.filter(pk=endpoint.pk).update(state=EndpointState.HEALTHY)
    endpoint.refresh_from_db()
    return endpoint
