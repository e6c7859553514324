"""Create a cluster in Azure."""

from __future__ import annotations

from compute.arm import OWNER_TAG
from compute.models import ComputeTarget
from compute.steps.inside import store_observed
from compute.steps.waiting import (
    AzureFailed,
    accept,
    arm_for,
    ending,
    mark,
    owner_mark,
    patient,
    pause,
    settled_view,
    submit,
    target_of,
    view_of,
    watched,
)
from compute.types import ClusterSpec, ComputeState
from portal.models import Operation
from portal.types import Wait


class ClusterNameTaken(AzureFailed):
    status, code, title = 409, "azure_name_taken", "Azure has a cluster of that name"


@patient
def submit_create(op: Operation) -> Wait | None:
    """PUT the cluster unless Azure has it, or makes it, already: a lost answer never leads to a second PUT."""
    if op.memo.get("accepted"):
        return None
    target = target_of(op)
    mark(target, ComputeState.CREATING)
    arm = arm_for(target)
    view = view_of(target, arm)
    if view is not None and view.tags.get(OWNER_TAG) != owner_mark(target):
        raise ClusterNameTaken(
            f"{target.resource_group} has a cluster {target.cluster_name} that this portal did not make. "
            "Attach it, or choose another name."
        )
    if view is not None and view.provisioning_state.lower() not in ("failed", "canceled"):
        accept(op, None)
        return None
    if view is None and not arm.resource_group(target.resource_group):
        raise AzureFailed(f"There is no resource group {target.resource_group} in the workspace's subscription.")
    submit(op, lambda: arm.put_cluster(spec_of(target)))
    return None


@patient
def await_created(op: Operation) -> Wait | None:
    """Follow Azure until the cluster is there."""
    target = target_of(op)
    arm = arm_for(target)
    wait = watched(op, target, arm, submit_create)
    if wait is not None:
        return wait
    view = settled_view(op, target, arm)
    if view is not None and not view.is_settled:
        return pause(op, None, f"Azure: {view.provisioning_state}")
    store_observed(target, view, None)
    return None


def spec_of(target: ComputeTarget) -> ClusterSpec:
    """The cluster that the row wants."""
    return ClusterSpec(
        resource_group=target.resource_group, name=target.cluster_name, region=target.region, vm_size=target.vm_size,
        node_count=target.node_count, kubernetes_version=target.kubernetes_version, options=target.config,
        tags={**target.tags, OWNER_TAG: owner_mark(target)},
    )  # fmt: skip


def settle_created(op: Operation) -> None:
    """Write the end of a create or attach into the row."""
    state, reason = ending(op)
    ComputeTarget.objects.filter(pk=op.input["target_id"]).update(state=state, reason=reason)
