"""Attach an existing cluster: look at it, refuse what cannot serve, reach its API server."""

from __future__ import annotations

import ipaddress
from typing import Any

from django.db import IntegrityError, transaction

from compute import queries, sizes
from compute.arm import ArmRefused
from compute.models import ComputeTarget
from compute.steps.inside import observed_nodes, store_observed
from compute.steps.waiting import (
    AttachRefused,
    accept,
    arm_for,
    follow,
    mark,
    patient,
    settled_view,
    target_of,
    view_of,
)
from compute.types import ClusterView, ComputeState, VmSize
from portal.models import Operation
from portal.problems import Retryable
from portal.types import Wait

TRIES_TO_REACH = 4


@patient
def inspect_cluster(op: Operation) -> Wait | None:
    """Take size, count and version from Azure, or refuse the cluster with the reason."""
    target = target_of(op)
    mark(target, ComputeState.CREATING)
    arm = arm_for(target)
    try:
        view = view_of(target, arm)
    except ArmRefused as refusal:
        raise AttachRefused(f"Azure does not let the workspace read {target.cluster_name}: {refusal.detail}") from None
    if view is None:
        raise AttachRefused(f"Azure has no cluster {target.cluster_name} in {target.resource_group}.")
    check_running(view)
    parts = [(sizes.find(size), count) for _, size, count in view.pools]
    warnings = sizes.check_cores(parts=parts, purpose=target.purpose)
    check_version(view, [version.name for version in arm.versions(view.region)])
    _take(target, view, sizes.find(view.vm_size))
    op.memo["ranges"] = list(view.authorized_ip_ranges)
    op.memo["warnings"] = [warning for warning in warnings if warning not in op.input.get("warnings", [])]
    return None


def check_running(view: ClusterView) -> None:
    """Refuse a cluster that is not Succeeded, or stopped."""
    if view.provisioning_state.lower() != "succeeded":
        raise AttachRefused(
            f"{view.name} is {view.provisioning_state} in Azure. A cluster can be attached when it is Succeeded."
        )
    if view.power_state.lower() != "running":
        raise AttachRefused(f"{view.name} is {view.power_state.lower()} in Azure. Start it, then attach it.")


def check_version(view: ClusterView, offered: list[str]) -> None:
    """Refuse a Kubernetes version that AKS no longer offers in the cluster's region."""
    minor = ".".join(view.kubernetes_version.split(".")[:2])
    if offered and minor not in offered:
        raise AttachRefused(
            f"{view.name} runs Kubernetes {view.kubernetes_version}, which AKS no longer supports. "
            f"Upgrade it to one of {', '.join(offered)}."
        )


def _take(target: ComputeTarget, view: ClusterView, size: VmSize) -> None:
    fields: dict[str, Any] = {
        "region": view.region, "vm_size": size.name, "vcpus": size.vcpus, "memory_gb": size.memory_gb,
        "gpus": size.gpus, "node_count": view.node_count, "kubernetes_version": view.kubernetes_version,
        "tags": view.tags, "config": {**target.config, **({"private_cluster": True} if view.is_private else {})},
    }  # fmt: skip
    try:
        with transaction.atomic():
            ComputeTarget.objects.filter(pk=target.pk).update(**fields)
    except IntegrityError:
        raise AttachRefused(f"The name {target.name} is taken in the cluster's region ({view.region}).") from None
    store_observed(target, view, None)


@patient
def authorize_portal(op: Operation) -> Wait | None:
    """Add the portal's range to the authorized ones where that was asked for and is missing."""
    wanted, ranges = op.input.get("authorize_range"), op.memo.get("ranges") or []
    if not wanted or not ranges or covers(ranges, wanted):
        return None
    target = target_of(op)
    arm = arm_for(target)
    if not op.memo.get("accepted"):
        view = view_of(target, arm)
        if view is not None and covers(list(view.authorized_ip_ranges), wanted):
            accept(op, None)
        else:
            accept(op, arm.authorize(target.resource_group, target.cluster_name, [*ranges, wanted]))
    wait = follow(op, target, arm)
    if wait is None:
        settled_view(op, target, arm)
    return wait


def covers(ranges: list[str], wanted: str) -> bool:
    """Whether one of the ranges holds the wanted one."""
    inner = ipaddress.IPv4Network(wanted)
    return any(inner.subnet_of(ipaddress.IPv4Network(text, strict=False)) for text in ranges)


@patient
def reach_cluster(op: Operation) -> Wait | None:
    """Talk to the API server, or say why it cannot be reached."""
    target = target_of(op)
    try:
        cluster = queries.open_cluster(target)
        cluster.version()
        store_observed(target, None, observed_nodes(cluster))
    except Retryable as trouble:
        if op.memo.get("troubles", 0) + 1 < TRIES_TO_REACH:
            raise
        raise AttachRefused(unreachable(target.cluster_name, op.memo.get("ranges") or [], trouble.detail)) from None
    return None


def unreachable(name: str, ranges: list[str], detail: str) -> str:
    """Why an API server may be out of reach, and what would help."""
    if not ranges:
        return f"The API server of {name} cannot be reached from the portal. {detail}"
    return (
        f"The API server of {name} lets in only {', '.join(ranges)}. Add the portal's address there, or attach again "
        f"with authorize_range. {detail}"
    )
