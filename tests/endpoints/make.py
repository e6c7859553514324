"""Rows for the tests of endpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rest_framework.test import APIClient

from compute.models import ComputeTarget
from compute.types import ComputeState
from deployments.models import Deployment, Environment
from endpoints.models import Endpoint, EndpointVersion
from endpoints.types import EndpointState
from portal.models import Operation, Workspace
from portal.types import OperationState

SCRIPT = "def init():\n    pass\n\n\ndef run(data):\n    return data\n"


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


def make_environment(workspace: Workspace) -> Environment:
    """The environment sk:1, built."""
    given = {"spec": {"python": "3.11", "pip": []}, "content_hash": "0" * 64, "state": "Succeeded", "image": "sk"}
    return Environment.objects.get_or_create(workspace=workspace, name="sk", version=1, defaults=given)[0]


def make_version(endpoint: Endpoint, name: str, *, is_default: bool = False, **config: Any) -> EndpointVersion:
    """A version with a deployment that has a ready replica; the gateway does not know it yet."""
    workspace = endpoint.workspace
    deployment = Deployment.objects.create(
        workspace=workspace,
        compute_target=endpoint.compute_target,
        name=f"{endpoint.name}-{name}",
        namespace="ws-a",
        state="Healthy",
        revision=1,
        ready_replicas=1,
    )
    deployment.revisions.create(
        number=1, environment=make_environment(workspace), entry_script="score.py", config=config
    )
    return EndpointVersion.objects.create(endpoint=endpoint, name=name, deployment=deployment, is_default=is_default)


def deployment_body() -> dict[str, Any]:
    """The least that a request has to say about what to run."""
    return {"environment": "sk:1", "entry_script": "score.py", "code": {"files": {"score.py": SCRIPT}}}


def finish(endpoint: Endpoint) -> Endpoint:
    """As if the running operation had ended well: replicas ready, routes in force."""
    Operation.objects.filter(target_ref=endpoint.ref).update(state=OperationState.SUCCEEDED)
    EndpointVersion.objects.filter(endpoint=endpoint).update(is_loaded=True, is_routed=True)
    Deployment.objects.filter(endpoint_version__endpoint=endpoint).update(state="Healthy", ready_replicas=1)
    Endpoint.objects.filter(pk=endpoint.pk).update(state=EndpointState.HEALTHY)
    endpoint.refresh_from_db()
    return endpoint


class Caller:
    """A client of one workspace that speaks JSON."""

    def __init__(self, client: APIClient, workspace: Workspace) -> None:
        self.client, self.root = client, f"/api/v1/workspaces/{workspace.slug}/"

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        return lambda path, body=None, **more: getattr(self.client, verb)(self.root + path, body, format="json", **more)
