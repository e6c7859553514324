"""Every write of compute targets: create, attach, scale, detach, delete. No socket is opened here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from compute import fit, options, platforms, power, queries, sizes
from compute.models import ComputeTarget
from compute.types import ComputeState, GivenCluster, Purpose, VmSize
from portal import audit, operations
from portal.models import Operation, User, Workspace
from portal.operations.start import busy
from portal.problems import Conflict, Invalid, Stale
from portal.types import OperationKind

ADOPTED = ("node_count", "autoscaler", "power_state")
SCALABLE = (ComputeState.SUCCEEDED, ComputeState.FAILED)


class NameTaken(Conflict):
    code, title = "compute_name_taken", "The name is taken"


class AlreadyAttached(Conflict):
    code, title = "already_attached", "The cluster is attached already"


class InUse(Conflict):
    code, title = "compute_in_use", "Something runs on the compute target"


class NotScalable(Conflict):
    code, title = "not_scalable", "The compute target cannot be scaled now"


class AttachedNotDeleted(Conflict):
    code, title = "attached_not_deleted", "The cluster was attached, not created here"


class NoDrift(Conflict):
    code, title = "no_drift", "Azure has what is wanted"


class AutoscalerOwnsNodes(Invalid):
    code, title = "autoscaler_owns_nodes", "The cluster's autoscaler sets the node count"


@transaction.atomic
def compute_target_create(
    *, workspace: Workspace, name: str, actor: User, vm_size: str = sizes.DEFAULT_SIZE, node_count: int | None = None,
    purpose: str = Purpose.FAST_PROD, region: str = "", resource_group: str = "", kubernetes_version: str = "",
    config: dict[str, Any] | None = None, tags: dict[str, str] | None = None,
) -> Operation:  # fmt: skip
    """Start to create an AKS cluster. Warnings for people are in `input["warnings"]` of the operation.

    Raises NameTaken (409), or Invalid (422) for a rule of sizes, purpose or settings.
    """
    options.check_name(name)
    options.check_version(kubernetes_version)
    options.check_tags(tags or {})
    region = region_of(region or workspace.region)
    size = queries.size_known(workspace=workspace, name=vm_size, region=region)
    count = sizes.DEFAULT_COUNT[Purpose(purpose)] if node_count is None else node_count
    checked = options.parse(config or {})
    warnings = check_nodes(size, count, purpose, checked.values.get("autoscaler"))
    check_free(workspace, name, region)
    target = insert(
        workspace=workspace, name=name, region=region, purpose=purpose, state=ComputeState.CREATING,
        subscription_id=workspace.subscription_id, resource_group=resource_group or workspace.resource_group,
        cluster_name=f"{name}-new", vm_size=size.name, vcpus=size.vcpus, memory_gb=size.memory_gb, gpus=size.gpus,
        node_count=count, kubernetes_version=kubernetes_version, config=checked.values, tags=tags or {},
        tls_certificate=checked.tls_certificate, tls_key=checked.tls_key, created_by=actor,
    )  # fmt: skip
    target.cluster_name = f"{name.rstrip('-')}-{target.pk}"
    target.save(update_fields=["cluster_name"])
    op = operations.start(
        kind=OperationKind.COMPUTE_CREATE, on=target, actor=actor, target_id=target.pk,
        warnings=[*warnings, *checked.warnings],
    )  # fmt: skip
    audit.record(action="compute_target.created", on=target, actor=actor, operation=op, after=told_of(target))
    return op


@transaction.atomic
def compute_target_attach(
    *, workspace: Workspace, name: str, actor: User, cluster_id: str = "", resource_group: str = "",
    cluster_name: str = "", purpose: str = Purpose.FAST_PROD, authorize_range: str = "",
    config: dict[str, Any] | None = None,
) -> Operation:  # fmt: skip
    """Start to attach an existing cluster, given by resource id or by resource group and name.

    `authorize_range` is the portal's address range, to be added to the cluster's authorized ranges where it is missing.
    `config` has load_balancer and tls. Raises NameTaken or AlreadyAttached (409), Invalid (422). What Azure has to say
    comes in the operation.
    """
    options.check_name(name)
    checked = options.parse(config or {}, options.ATTACHED)
    wanted = options.check_range(authorize_range)
    subscription, group, azure_name = which_cluster(workspace, cluster_id, resource_group, cluster_name)
    check_not_attached(workspace, subscription, group, azure_name)
    check_free(workspace, name, region_of(workspace.region))
    target = insert(
        workspace=workspace, name=name, region=region_of(workspace.region), purpose=Purpose(purpose), is_attached=True,
        state=ComputeState.CREATING, subscription_id=subscription, resource_group=group, cluster_name=azure_name,
        config=checked.values, tls_certificate=checked.tls_certificate, tls_key=checked.tls_key, created_by=actor,
    )  # fmt: skip
    op = operations.start(
        kind=OperationKind.COMPUTE_ATTACH, on=target, actor=actor, target_id=target.pk, authorize_range=wanted,
        warnings=[*([sizes.NOT_FOR_PRODUCTION] if purpose == Purpose.DEV_TEST else []), *checked.warnings],
    )  # fmt: skip
    audit.record(action="compute_target.attached", on=target, actor=actor, operation=op, after=told_of(target))
    return op


@transaction.atomic
def compute_target_scale(
    *, target: ComputeTarget, node_count: int, actor: User, generation: int | None = None
) -> Operation:
    """Start to change the node count. Raises Stale (412), Busy, NotScalable or NotInAzure (409), TooFewCores (422)."""
    platforms.refuse_without_azure(target, "its nodes cannot be counted out here")
    bounds = power.bounds_in_force(target)
    if bounds:
        raise AutoscalerOwnsNodes(
            f"The autoscaler of {target.name} keeps {power.words(bounds)} nodes by itself. Change its bounds, or "
            "switch it off with the node count that is wanted."
        )
    size, others = queries.pools(target=target)
    warnings = sizes.check_count(size=size, count=node_count, purpose=target.purpose, others=others)
    nodes = target.observed.get("nodes") or []
    warnings += fit.scale_warnings(fit.of_pool(nodes, queries.first_pool(target)) or nodes, node_count)
    refuse_if_busy(target)
    queries.refuse_if_stopped(target, "it can be scaled when it runs")
    if not queries.is_changeable(target):
        raise NotScalable(f"{target.name} is {target.state}; it can be scaled when it is Succeeded.")
    _take_generation(target, generation, node_count)
    op = operations.start(
        kind=OperationKind.COMPUTE_SCALE, on=target, actor=actor, target_id=target.pk, node_count=node_count,
        node_count_before=target.node_count, state_before=target.state, warnings=warnings,
    )  # fmt: skip
    audit.record(
        action="compute_target.scaled", on=target, actor=actor, operation=op, before={"node_count": target.node_count},
        after={"node_count": node_count},
    )  # fmt: skip
    return op


@transaction.atomic
def compute_target_detach(*, target: ComputeTarget, actor: User, force: bool = False) -> Operation:
    """Start to forget a cluster and to remove from it what the portal installed; Azure's cluster stays.

    Raises InUse (409) with the names of what runs on it, unless forced: then those are deleted first. ClusterStopped
    (409) likewise: forced, what the portal has in a stopped cluster stays there.
    """
    if not force:
        refuse_if_busy(target)
        queries.refuse_if_stopped(target, "what the portal has in it can be taken out when it runs")
    return _remove(target, OperationKind.COMPUTE_DETACH, ComputeState.DETACHING, actor, force)


@transaction.atomic
def compute_target_delete(*, target: ComputeTarget, actor: User, force: bool = False) -> Operation:
    """Start to delete the cluster in Azure too.

    Raises AttachedNotDeleted (409) for an attached cluster and InUse (409) while something runs, unless forced;
    NotInAzure (409).
    """
    platforms.refuse_without_azure(target, "it can only be detached here, not deleted")
    if target.is_attached and not force:
        raise AttachedNotDeleted(
            f"{target.name} was attached: detach it, or force the deletion of {target.cluster_name} in Azure."
        )
    return _remove(target, OperationKind.COMPUTE_DELETE, ComputeState.DELETING, actor, force)


@transaction.atomic
def compute_target_adopt(*, target: ComputeTarget, actor: User) -> None:
    """Take the node count, the autoscaler's bounds and the power state that Azure was seen to have as the wanted ones.

    Raises NoDrift or Busy (409), TooFewCores (422): what was too few to ask for is too few to take over.
    """
    platforms.refuse_without_azure(target, "there is nothing to take over from it")
    refuse_if_busy(target)
    drift = target.observed.get("drift") or []
    found = {row["code"]: row for row in drift if row["code"] in ADOPTED and "pool" not in row}
    if not found:
        raise NoDrift(f"Azure has what {target.name} wants: {target.node_count} nodes, {power.wanted(target)}.")
    before, after = _adopted(target, found)
    rest = [row for row in drift if row not in found.values()]
    changed = ComputeTarget.objects.filter(pk=target.pk, generation=target.generation).update(
        generation=F("generation") + 1, node_count=after["node_count"], config=after["config"],
        observed={**target.observed, "drift": rest}, reason=" ".join(row["message"] for row in rest),
    )  # fmt: skip
    if not changed:
        raise Stale(f"{target.name} was changed meanwhile. Look again.")
    changes = [name for name in before if before[name] != after[name]]
    audit.record(
        action="compute_target.count_adopted", on=target, actor=actor,
        before={name: before[name] for name in changes}, after={name: after[name] for name in changes},
    )  # fmt: skip


def _adopted(target: ComputeTarget, found: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Count and settings as they were wanted, and as they will be. Raises TooFewCores."""
    before = {"node_count": target.node_count, "config": target.config}
    count, bounds = target.node_count, power.bounds_wanted(target)
    if "node_count" in found:
        count = int(found["node_count"]["azure"])
    if "autoscaler" in found:
        bounds, count = power.bounds_seen(target), int(target.observed.get("node_count") or count)
        target.config = power.config_of(target, bounds)
    if "power_state" in found:
        target.config = power.config_with(target, power.seen(target))
    if {"node_count", "autoscaler"} & set(found):
        size, others = queries.pools(target=target)
        least = bounds["min_count"] if bounds else count
        sizes.check_count(size=size, count=least, purpose=target.purpose, others=others)
    return before, {"node_count": count, "config": target.config}


@transaction.atomic
def compute_target_reveal(*, target: ComputeTarget, actor: User) -> None:
    """Write down that somebody was given the cluster's kubeconfig."""
    audit.record(action="compute_target.credentials_revealed", on=target, actor=actor)


def check_unused(target: ComputeTarget, known: Collection[str] = ()) -> None:
    """Whether more runs on the target than is `known`. Raises InUse (409) with the names."""
    names = queries.on_target(target=target)
    if not set(names) <= set(known):
        raise InUse(
            f"{', '.join(names)} {'runs' if len(names) == 1 else 'run'} on {target.name}. "
            "Delete them first, or force: then they are deleted with it.",
            endpoints=names,
        )


def _remove(target: ComputeTarget, kind: OperationKind, state: ComputeState, actor: User, force: bool) -> Operation:
    refuse_if_busy(target)
    names = queries.on_target(target=target)
    if not force:
        check_unused(target)
    if target.state != ComputeState.MISSING:  # the steps skip what a missing cluster cannot do
        ComputeTarget.objects.filter(pk=target.pk).update(state=state, reason="")
    op = operations.start(
        kind=kind, on=target, actor=actor, target_id=target.pk, force=force, state_before=target.state, endpoints=names,
        warnings=[f"Deleted with it: {', '.join(names)}."] if names else [],
    )  # fmt: skip
    verb = "detached" if kind == OperationKind.COMPUTE_DETACH else "deleted"
    audit.record(
        action=f"compute_target.{verb}", on=target, actor=actor, operation=op,
        before={**told_of(target), "endpoints": names, "force": force},
    )  # fmt: skip
    return op


def refuse_if_busy(target: ComputeTarget) -> None:
    """Say busy before anything about states, which only mirror what is running."""
    if operations.active_on(target.ref):
        raise busy(target.ref, target.name)


def check_nodes(size: VmSize, count: int, purpose: str, bounds: dict[str, int] | None) -> list[str]:
    """Check a node count against the purpose and the autoscaler's bounds; warnings. Raises Invalid (422)."""
    warnings = sizes.check_count(size=size, count=count, purpose=purpose)
    if bounds:
        low, high = bounds["min_count"], bounds["max_count"]
        if not low <= count <= high:
            raise options.BadOption(f"node_count {count} has to lie between the autoscaler's {low} and {high}.")
        sizes.check_count(size=size, count=low, purpose=purpose)
    return warnings


def check_free(workspace: Workspace, name: str, region: str) -> None:
    """Say a clash at once; another team's target is not described."""
    own = ComputeTarget.objects.filter(workspace=workspace, name__iexact=name).first()
    if own is not None:
        raise NameTaken(f"{workspace.name} has a compute target {own.name} already; it is {own.state}.")
    if ComputeTarget.objects.filter(region=region, name__iexact=name).exists():
        raise NameTaken(f"The name {name} is taken in this region ({region}). Choose another one.")


def check_not_attached(workspace: Workspace, subscription: str, group: str, azure_name: str) -> None:
    """Once per workspace. Raises AlreadyAttached (409) with the existing name."""
    found = ComputeTarget.objects.filter(
        workspace=workspace, subscription_id__iexact=subscription, resource_group__iexact=group,
        cluster_name__iexact=azure_name,
    ).first()  # fmt: skip
    if found is not None:
        raise AlreadyAttached(
            f"The cluster {azure_name} is in {workspace.name} already, as {found.name}. "
            "To change its settings, detach that one first.",
            existing=found.name,
        )


def check_server_free(workspace: Workspace, given: GivenCluster, *, but: ComputeTarget | None = None) -> None:
    """Once per workspace, by the server's address. Raises AlreadyAttached (409) with the existing name."""
    rows = ComputeTarget.objects.filter(workspace=workspace, server=given.server)
    found = rows.exclude(pk=but.pk).first() if but else rows.first()
    if found is not None:
        raise AlreadyAttached(
            f"The cluster at {given.server} is in {workspace.name} already, as {found.name}.", existing=found.name
        )


def which_cluster(workspace: Workspace, cluster_id: str, group: str, name: str) -> tuple[str, str, str]:
    """Subscription, resource group and name of the cluster that is meant. Raises Invalid (422)."""
    if cluster_id and (group or name):
        raise Invalid("Give either cluster_id, or resource_group and cluster_name.")
    if cluster_id:
        return options.parse_cluster_id(cluster_id)
    if not name:
        raise Invalid("Say which cluster: cluster_id, or resource_group and cluster_name.")
    return workspace.subscription_id, group or workspace.resource_group, name


def insert(**fields: Any) -> ComputeTarget:
    try:
        with transaction.atomic():
            return ComputeTarget.objects.create(**fields)
    except IntegrityError:
        raise NameTaken(f"The name {fields['name']} is taken in this region ({fields['region']}).") from None


def _take_generation(target: ComputeTarget, generation: int | None, node_count: int) -> None:
    wanted = target.generation if generation is None else generation
    changed = ComputeTarget.objects.filter(pk=target.pk, generation=wanted).update(
        generation=F("generation") + 1, node_count=node_count, state=ComputeState.SCALING, reason=""
    )
    if not changed:
        now = ComputeTarget.objects.get(pk=target.pk)
        raise Stale(
            f"{target.name} was changed meanwhile: it has {now.node_count} nodes now. Look again, then scale.",
            generation=now.generation, node_count=now.node_count,
        )  # fmt: skip


def region_of(text: str) -> str:
    """A region as ARM writes it: "West Europe" is westeurope."""
    return text.lower().replace(" ", "")


def told_of(target: ComputeTarget) -> dict[str, Any]:
    fields = ("vm_size", "node_count", "region", "resource_group", "cluster_name", "purpose", "config")
    return {name: getattr(target, name) for name in fields}
