"""Writes of clusters that are known by a kubeconfig only: attach, newer kubeconfig. No socket is opened here."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from compute import options, sizes
from compute.actions import targets
from compute.models import ComputeTarget
from compute.types import ComputeState, GivenCluster, Platform, Purpose
from portal import audit, operations
from portal.models import Operation, User, Workspace
from portal.problems import Conflict
from portal.types import OperationKind


class AzureGivesIt(Conflict):
    code, title = "azure_gives_kubeconfig", "Azure gives the kubeconfig"


@transaction.atomic
def compute_target_attach_given(
    *, workspace: Workspace, name: str, actor: User, given: GivenCluster, purpose: str = Purpose.FAST_PROD,
    region: str = "", gateway_service: str = "", gateway_address: str = "",
    config: dict[str, Any] | None = None,
) -> Operation:  # fmt: skip
    """Start to attach any Kubernetes cluster by its kubeconfig, which is kept encrypted and never shown again.

    `region` is a free label, the workspace's by default; `gateway_service` and `gateway_address` are for clusters whose
    load balancers get no address; `config` has tls. Raises NameTaken or AlreadyAttached (409), BadName, BadOption or
    BadCertificate (422). What the cluster has to say comes in the operation.
    """
    options.check_name(name)
    gateway = options.gateway_of({"gateway_service": gateway_service, "gateway_address": gateway_address})
    checked = options.parse_given(config or {})
    place = region.strip() or targets.region_of(workspace.region)
    targets.check_server_free(workspace, given)
    targets.check_free(workspace, name, place)
    target = targets.insert(
        workspace=workspace, name=name, region=place, purpose=Purpose(purpose), is_attached=True,
        platform=Platform.KUBERNETES, state=ComputeState.CREATING, cluster_name=given.name, server=given.server,
        access=given.kept, access_ends_at=given.ends, created_by=actor,
        config={**checked.values, **({"gateway": gateway} if gateway else {})},
        tls_certificate=checked.tls_certificate, tls_key=checked.tls_key,
    )  # fmt: skip
    op = operations.start(
        kind=OperationKind.COMPUTE_ATTACH, on=target, actor=actor, target_id=target.pk,
        warnings=[sizes.NOT_FOR_PRODUCTION] if purpose == Purpose.DEV_TEST else [],
    )  # fmt: skip
    audit.record(action="compute_target.attached", on=target, actor=actor, operation=op, after=_told(target))
    return op


@transaction.atomic
def compute_target_replace_kubeconfig(*, target: ComputeTarget, actor: User, given: GivenCluster) -> Operation:
    """Start to use a newer kubeconfig of the same cluster; it is looked at first, and the old one stays until then.

    Raises AzureGivesIt, AlreadyAttached or Busy (409).
    """
    if target.is_azure:
        raise AzureGivesIt(f"{target.name} is an AKS cluster: Azure hands out its kubeconfig, so none is kept.")
    targets.refuse_if_busy(target)
    targets.check_server_free(target.workspace, given, but=target)
    ComputeTarget.objects.filter(pk=target.pk).update(access_next=given.kept)
    ends = given.ends.isoformat() if given.ends else ""
    op = operations.start(
        kind=OperationKind.COMPUTE_KUBECONFIG, on=target, actor=actor, target_id=target.pk, server=given.server,
        ends=ends,
    )  # fmt: skip
    was = target.access_ends_at.isoformat() if target.access_ends_at else ""
    audit.record(
        action="compute_target.kubeconfig_replaced", on=target, actor=actor, operation=op,
        before={"server": target.server, "ends": was}, after={"server": given.server, "ends": ends},
    )  # fmt: skip
    return op


def _told(target: ComputeTarget) -> dict[str, Any]:
    fields = ("platform", "server", "region", "cluster_name", "purpose", "config")
    return {name: getattr(target, name) for name in fields}
