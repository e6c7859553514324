"""Rows for benchmarks.lists, straight into the database: COUNT endpoints of two versions on one compute target."""

from __future__ import annotations

import sys

import django


def main(count: int) -> None:
    """Make them in the first workspace."""
    django.setup()
    from compute.models import ComputeTarget
    from compute.types import ComputeState
    from deployments.models import Deployment
    from endpoints.models import Endpoint, EndpointVersion
    from endpoints.types import EndpointKind
    from portal.models import Workspace

    workspace = Workspace.objects.get(slug="main")
    target = ComputeTarget.objects.create(
        workspace=workspace, name="rows", state=ComputeState.CANCELED, subscription_id=workspace.subscription_id,
        resource_group="rg", cluster_name="rows", region="westeurope", vm_size="Standard_D4s_v3", node_count=3,
    )  # fmt: skip
    endpoints = Endpoint.objects.bulk_create(
        Endpoint(workspace=workspace, compute_target=target, name=f"bench-{number}", kind=EndpointKind.VERSIONED)
        for number in range(count)
    )
    wanted = [(endpoint, name) for endpoint in endpoints for name in ("v1", "v2")]
    deployments = Deployment.objects.bulk_create(
        Deployment(workspace=workspace, compute_target=target, name=f"{endpoint.name}-{name}", namespace="rows")
        for endpoint, name in wanted
    )
    EndpointVersion.objects.bulk_create(
        EndpointVersion(
            endpoint=endpoint, name=name, deployment=deployment, is_default=name == "v1",
            traffic_percentile=80 if name == "v1" else 20,
        )
        for (endpoint, name), deployment in zip(wanted, deployments, strict=True)
    )  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]))
