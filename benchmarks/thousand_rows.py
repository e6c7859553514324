"""Rows for benchmarks.thousand: operations FIRST to LAST, which the Azure at an address has accepted and works on."""

from __future__ import annotations

import sys

import django
from django.utils import timezone

SIGNATURE = "&t=638000000000000000&c=" + "MIIHpTCCBo2gAwIB" * 210 + "&s=" + "x" * 340 + "&h=abc"


def main(url: str, first: int, last: int) -> None:
    """Make them in the first workspace, whose Azure is that address from now on."""
    django.setup()
    from compute.models import ComputeTarget
    from compute.types import ComputeState
    from portal.models import Operation, Workspace
    from portal.operations.plans import plan_of
    from portal.types import OperationKind, OperationState

    workspace = Workspace.objects.get(slug="main")
    workspace.arm_endpoint = url
    workspace.save()
    targets = ComputeTarget.objects.bulk_create(
        ComputeTarget(
            workspace=workspace, name=f"held-{number}", state=ComputeState.CREATING, region="westeurope",
            subscription_id=workspace.subscription_id, resource_group="rg", cluster_name=f"held-{number}",
            vm_size="Standard_D4s_v3", node_count=3,
        )
        for number in range(first, last)
    )  # fmt: skip
    kind, now = OperationKind.COMPUTE_CREATE, timezone.now()
    step = [each.name for each in plan_of(kind).steps].index("await_created")
    base = f"{url}/subscriptions/{workspace.subscription_id}/providers/Microsoft.ContainerService"
    Operation.objects.bulk_create(
        Operation(
            workspace=workspace, kind=kind, target_ref=target.ref, target_name=target.name, due_at=now, created_at=now,
            state=OperationState.RUNNING, started_at=now, step=step, input={"target_id": target.pk},
            memo={
                "accepted": True, "polls": 0, "first_pause": None,
                "operation_url": f"{base}/locations/westeurope/operations/{target.pk}?api-version=1{SIGNATURE}",
            },
        )
        for target in targets
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
