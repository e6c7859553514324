"""Every read of compute targets, with the permission check, and the ways to their cluster and to Azure."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import structlog
from django.core.cache import cache
from django.db.models import Count, Q, QuerySet

from compute import options, power, sizes
from compute.models import ComputeTarget, Installation, NodePool
from compute.types import RESTING, ClusterView, ComputeState, GivenCluster, Platform, Usage, VmSize
from portal import outbound
from portal import queries as portal
from portal.models import Operation, User, Workspace
from portal.problems import Conflict, Invalid, NotFound, Problem, Retryable
from portal.secrets import fingerprint
from portal.types import ACTIVE_STATES, OperationKind, OperationState, Role

if TYPE_CHECKING:
    from compute.arm import Arm, ArmAccess
    from compute.cluster import Cluster

log = structlog.get_logger(__name__)
KUBECONFIG_SECONDS = 300
SIZES_SECONDS = 3600
VERSIONS_SECONDS = 3600
FIRST_POOL = "nodepool1"  # what the portal calls the first pool of a cluster that it makes
_open: dict[int, tuple[float, tuple[str, ...], Cluster]] = {}


class ClusterMissing(Conflict):
    code, title = "cluster_missing", "The cluster is gone"


class ClusterStopped(Conflict):
    code, title = "cluster_stopped", "The cluster is stopped"


class KubeconfigKept(Conflict):
    code, title = "kubeconfig_not_shown", "The kubeconfig is not shown"


class ServerUnknown(Invalid):
    code, title = "server_unknown", "The server's name is not known"


def compute_target(*, actor: User, workspace: str, name: str, needs: Role) -> ComputeTarget:
    """One compute target by its name in the workspace with that slug."""
    home = portal.workspace(actor=actor, slug=workspace, needs=needs)
    found = _rows(home).filter(name__iexact=name).first()
    if found is None:
        raise NotFound(f"There is no compute target {name} in {home.name}.")
    return found


def compute_targets(*, workspace: Workspace) -> QuerySet[ComputeTarget]:
    """The compute targets of a workspace that the caller has already been let into, by name."""
    return _rows(workspace).prefetch_related("pools").order_by("name", "pk")


def targets_to_watch() -> list[int]:
    """Ids of the targets that drift checks look at, the one not seen for longest first: those that nothing works on."""
    rows = ComputeTarget.objects.filter(state__in=RESTING).order_by("observed_at", "pk")
    return list(rows.values_list("pk", flat=True))


def state_counts() -> dict[str, int]:
    """State -> compute targets of all workspaces, for who runs the portal."""
    return dict(ComputeTarget.objects.values_list("state").annotate(Count("pk")).order_by("state"))


def on_target(*, target: ComputeTarget) -> list[str]:
    """Names of the services and endpoints that run on a target, sorted."""
    rows: Any = getattr(target, "endpoints", None)
    return sorted(rows.values_list("name", flat=True)) if rows is not None else []


def workload_drift(*, target: ComputeTarget) -> dict[str, Any]:
    """What others changed of what the portal runs on a target: of its gateway, and {service or endpoint: rows}."""
    gateway: Any = getattr(target, "gateway", None)
    found: Any = getattr(target, "deployments", None)
    drifted = found.exclude(drift=[]).order_by("pk") if found is not None else ()
    rows: dict[str, list[Any]] = {}
    for name, drift in drifted.values_list("endpoint_version__endpoint__name", "drift") if drifted else ():
        rows.setdefault(name or "", []).extend(drift)
    return {"gateway": gateway.drift if gateway else [], "endpoints": rows}


def _rows(workspace: Workspace) -> QuerySet[ComputeTarget]:
    return ComputeTarget.objects.select_related("workspace__team", "created_by").filter(workspace=workspace)


def arm_of(workspace: Workspace, subscription_id: str = "") -> Arm:
    """Azure as the workspace reaches it; opens no connection. Another subscription for attached clusters."""
    return _arm(_access(workspace, subscription_id), workspace.resource_group)


def _access(workspace: Workspace, subscription_id: str) -> ArmAccess:
    from compute.arm import ArmAccess

    return ArmAccess(
        workspace.arm_endpoint, subscription_id or workspace.subscription_id, workspace.arm_credential,
        workspace.arm_ca_file,
    )  # fmt: skip


@lru_cache(maxsize=64)
def _arm(access: ArmAccess, group: str) -> Arm:
    from compute.arm import Arm

    return Arm(access, registry_group=group)


def open_cluster(target: ComputeTarget) -> Cluster:
    """The target's Kubernetes cluster. An AKS kubeconfig comes from Azure, lives in memory for 5 minutes, and is
    fetched anew when the cluster answers 401; one that was given is the one that is kept. Raises ClusterMissing (409)
    when Azure has no such cluster, and ClusterStopped (409) without asking when it was seen to be stopped.
    """
    refuse_if_stopped(target, "it answers when it runs")
    key = (target.cluster_id, target.workspace.arm_endpoint, target.server, fingerprint(target.access))
    found = _open.get(target.pk)
    if found and found[0] > time.monotonic() and found[1] == key:
        return found[2]
    forget_cluster(target)
    cluster = _connect(target, is_lasting=True)
    _open[target.pk] = (time.monotonic() + KUBECONFIG_SECONDS, key, cluster)
    return cluster


def _connect(target: ComputeTarget, *, is_lasting: bool) -> Cluster:
    from compute.cluster import connect, connect_kept

    if not target.is_azure:
        return connect_kept(target.access)
    renew = (lambda: kubeconfig(target)) if is_lasting else None
    return connect(kubeconfig(target), renew=renew, entra=lambda: entra_token(target))


def given_cluster(kubeconfig: str) -> GivenCluster:
    """What a kubeconfig that a person gave says, its server's address checked. Raises BadKubeconfig, AddressRefused or
    ServerUnknown (422).
    """
    from compute.cluster import given

    found = given.read(kubeconfig.encode(), datetime.now(UTC))
    try:
        outbound.place(found.server)
    except Retryable as trouble:
        raise ServerUnknown(trouble.detail) from None
    return found


def refuse_if_stopped(target: ComputeTarget, then: str) -> None:
    """Say so before anything waits for a cluster that does not answer; `then` is what a start helps. Raises
    ClusterStopped (409).
    """
    if power.is_stopped(target) and target.state != ComputeState.MISSING:
        raise ClusterStopped(f"{target.name} is stopped; {then}. Start it first.")


def is_changeable(target: ComputeTarget) -> bool:
    """Whether a cluster is there whose count, power or bounds can change: also one of which a change was cancelled."""
    if not target.node_count:
        return False
    if target.state == ComputeState.CANCELED:
        return was_made(target)
    return target.state in (ComputeState.SUCCEEDED, ComputeState.FAILED)


def was_made(target: ComputeTarget) -> bool:
    """Whether its create or attach has ended well, whatever came later."""
    kinds = (OperationKind.COMPUTE_CREATE, OperationKind.COMPUTE_ATTACH)
    rows = Operation.objects.filter(target_ref=target.ref, kind__in=kinds, state=OperationState.SUCCEEDED)
    return bool(rows.exists())


def connect_anew(target: ComputeTarget) -> Cluster:
    """A connection of one's own to a target that may not be saved yet; nothing is kept. Asks no database."""
    return _connect(target, is_lasting=False)


def entra_token(target: ComputeTarget) -> str:
    """A token of the workspace's credential for a cluster with Entra sign-in. Raises ArmDenied or Retryable."""
    from compute.arm.entra import cluster_token

    return cluster_token(_access(target.workspace, target.subscription_id))


def installation() -> str:
    """The random key of this portal, made once: what its notes in clusters carry."""
    found, _ = Installation.objects.get_or_create(pk=1, defaults={"key": secrets.token_hex(16)})
    return found.key


def attachments(*, target: ComputeTarget) -> list[ComputeTarget]:
    """The rows of other workspaces, of any team, that have the same cluster: not for showing as they are."""
    rows = ComputeTarget.objects.select_related("workspace").filter(_same_cluster(target))
    return list(rows.exclude(workspace=target.workspace))


def twin(*, target: ComputeTarget) -> ComputeTarget | None:
    """The other row of the same workspace that was seen to be the same cluster, whichever way it was attached."""
    if not target.cluster_uid:
        return None
    rows = ComputeTarget.objects.filter(cluster_uid=target.cluster_uid, workspace=target.workspace)
    return rows.exclude(pk=target.pk).first()


def _same_cluster(target: ComputeTarget) -> Q:
    """By identity where it was seen, else by what the cluster is called in Azure, or by its server."""
    same = Q(cluster_uid=target.cluster_uid) if target.cluster_uid else Q(pk__in=[])
    if not target.is_azure:
        return same | Q(server=target.server)
    return same | Q(
        platform=Platform.AKS, subscription_id__iexact=target.subscription_id,
        resource_group__iexact=target.resource_group, cluster_name__iexact=target.cluster_name,
    )  # fmt: skip


def forget_cluster(target: ComputeTarget) -> None:
    """Drop the open connections of a target that is gone or has another kubeconfig now."""
    _open.pop(target.pk, None)


def kubeconfig(target: ComputeTarget) -> bytes:
    """A kubeconfig of the target, fetched from Azure now; a secret: whoever hands it on has to audit it."""
    from compute.arm import ArmNotFound

    arm = arm_of(target.workspace, target.subscription_id)
    try:
        return arm.credentials(target.resource_group, target.cluster_name)
    except ArmNotFound:
        raise ClusterMissing(
            f"Azure has no cluster {target.cluster_name} in {target.resource_group}: {target.name} is missing."
        ) from None


def credentials(*, target: ComputeTarget) -> bytes:
    """A kubeconfig for a person, fetched now. Raises a Problem with 502 when Azure does not answer, and KubeconfigKept
    (409) for one that was given: it is never shown again.
    """
    if not target.is_azure:
        raise KubeconfigKept(
            f"The kubeconfig of {target.name} was given to the portal, which keeps it and never shows it. Whoever made "
            "the cluster has it."
        )
    try:
        return kubeconfig(target)
    except Retryable as trouble:
        raise _unavailable(trouble) from None


def vm_sizes(workspace: Workspace, region: str = "") -> list[VmSize]:
    """The VM sizes of a region with bundled prices: Azure's live list, or the bundled table where it cannot be had."""
    region = region or workspace.region
    key = f"vm-sizes:{workspace.pk}:{region}"
    names = cache.get(key)
    if names is None:
        live = _live_sizes(workspace, region)
        names = [(s.name, s.vcpus, s.memory_gb, s.gpus, s.family) for s in live]
        cache.set(key, names, SIZES_SECONDS if names else 60)
    if not names:
        return [size for size in sizes.bundled() if region not in sizes.REGIONS or region in size.usd_hour]
    prices = {size.name.lower(): size.usd_hour for size in sizes.bundled()}
    return [replace(VmSize(*name), usd_hour=prices.get(name[0].lower(), {})) for name in names]


def _live_sizes(workspace: Workspace, region: str) -> list[VmSize]:
    try:
        return arm_of(workspace).sizes(region)
    except (Problem, Retryable) as trouble:
        log.info("live_sizes_unavailable", region=region, reason=trouble.detail)
        return []


def size_known(*, workspace: Workspace, name: str, region: str) -> VmSize:
    """One size by name: from the live list if we have it at hand, else from the bundled table. Opens no socket."""
    names = cache.get(f"vm-sizes:{workspace.pk}:{region}")
    if names:
        return sizes.find(name, [VmSize(*each) for each in names])
    return sizes.find(name)


def pools(*, target: ComputeTarget, without: str = "") -> tuple[VmSize, list[sizes.Pool]]:
    """The size of the target's own pool, and the further pools, `without` one, with the fewest nodes that they are to
    have.
    """
    rows = list(target.pools.all())
    there = [row for row in rows if row.observed and row.state != ComputeState.MISSING and row.name != without]
    others = [(size_of(row), least_of(row)) for row in there]
    known = {first_pool(target), *(row.name for row in rows)}
    for name, size, count in target.observed.get("pools") or []:
        if name in known:
            continue
        try:
            others.append((sizes.find(size), int(count)))
        except (sizes.UnknownSize, sizes.FpgaSize):
            log.info("pool_of_unknown_size", target=target.ref, pool=name, size=size)
    return VmSize(target.vm_size, max(target.vcpus, 1), target.memory_gb, target.gpus, ""), others


def size_of(pool: NodePool) -> VmSize:
    """The size of a further pool, as it was when the pool came."""
    return VmSize(pool.vm_size, max(pool.vcpus, 1), pool.memory_gb, pool.gpus, "")


def least_of(pool: NodePool) -> int:
    """The fewest nodes that a pool is to have: what its autoscaler keeps, else its count."""
    return pool.count if pool.min_count is None else pool.min_count


def least_own(target: ComputeTarget) -> int:
    """The fewest nodes that the target's own pool is to have."""
    bounds = power.bounds_in_force(target)
    return bounds["min_count"] if bounds else target.node_count


def first_pool(target: ComputeTarget) -> str:
    """The name of the system pool that is the target itself; empty where Azure, which has pools, does not know it."""
    return str(target.observed.get("pool") or FIRST_POOL) if target.is_azure else ""


def node_pools(*, target: ComputeTarget) -> QuerySet[NodePool]:
    """The further node pools of a target that the caller has already been let into, by name."""
    return NodePool.objects.select_related("target__workspace").filter(target=target).order_by("name")


def pool_names(*, workspace: Workspace) -> list[str]:
    """The names of all further node pools of a workspace that the caller has already been let into."""
    rows = NodePool.objects.filter(target__workspace=workspace).order_by("name")
    return list(rows.values_list("name", flat=True).distinct())


def node_pool(*, target: ComputeTarget, name: str) -> NodePool:
    """One further node pool of a target that the caller has already been let into."""
    found = node_pools(target=target).filter(name=name).first()
    if found is None and not target.is_azure:
        raise NotFound(f"{target.name} has no node pools: Azure does not know it.")
    if found is None:
        known = ", ".join([first_pool(target), *target.pools.values_list("name", flat=True)])
        raise NotFound(f"{target.name} has no further node pool {name}. It has: {known}.")
    return found


def changed_since(target: ComputeTarget, moment: datetime) -> bool:
    """Whether an operation on the target runs, or ended since then: what was seen before may be old."""
    rows = Operation.objects.filter(target_ref=target.ref)
    return bool(rows.filter(Q(state__in=ACTIVE_STATES) | Q(ended_at__gte=moment)).exists())


def usages(workspace: Workspace, region: str = "") -> list[Usage]:
    """The vCPU quotas of a region; a Problem with 502 when Azure does not answer."""
    try:
        return arm_of(workspace).usages(region or workspace.region)
    except Retryable as trouble:
        raise _unavailable(trouble) from None


def versions(workspace: Workspace, region: str = "") -> list[str]:
    """The Kubernetes versions that AKS offers in a region, oldest first; empty when Azure does not say."""
    region = region or workspace.region
    key = f"aks-versions:{workspace.pk}:{region}"
    found: list[str] | None = cache.get(key)
    if found is None:
        try:
            found = [version.name for version in arm_of(workspace).versions(region)]
        except (Problem, Retryable):
            found = []
        cache.set(key, found, VERSIONS_SECONDS if found else 60)
    return found


def check_version(workspace: Workspace, version: str, region: str = "") -> None:
    """Refuse a Kubernetes version that AKS does not offer in a region; empty is Azure's default. Raises BadOption."""
    if version:
        options.check_version(version)
        options.check_supported(version, versions(workspace, region))


def clusters(workspace: Workspace) -> Iterable[ClusterView]:
    """The clusters of the subscription that could be attached, by name; a Problem with 502 when Azure is silent."""
    try:
        return sorted(arm_of(workspace).clusters(), key=lambda view: view.name.lower())
    except Retryable as trouble:
        raise _unavailable(trouble) from None


class AzureUnavailable(Problem):
    status, code, title = 502, "azure_unavailable", "Azure does not answer"


def _unavailable(trouble: Retryable) -> Problem:
    when = f"in {math.ceil(trouble.after)} s" if trouble.after and trouble.after > 1 else "in a moment"
    return AzureUnavailable(f"{trouble.detail} Try again {when}.")
