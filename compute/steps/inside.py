"""What steps and drift checks look at and leave inside a cluster: its nodes, and a note of whose it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import IntegrityError, transaction
from django.utils import timezone

from compute import fit, hardening, inside_rights, power, queries
from compute.attach_checks import Note
from compute.cluster import Cluster, Refused, Unauthorized
from compute.models import ComputeTarget
from compute.names import MANAGED, SELECTOR
from compute.steps.waiting import AttachRefused, patient, target_of
from compute.types import ClusterView, Inside
from portal.models import Operation
from portal.types import Wait

NAMESPACE = "slipway-system"
NOTE_PREFIX = "owner-"
HOME_OF_KUBERNETES = "kube-system"  # its uid is the cluster's: no two clusters have the same
SIDE_BY_SIDE = 4  # connections
Seen = TypeVar("Seen")


def observed_nodes(cluster: Cluster) -> list[dict[str, Any]]:
    """The nodes with what is free on them."""
    return with_room(cluster, cluster.observe("Node"))


def with_room(cluster: Cluster, found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Nodes of the API with what is free on them."""
    return fit.nodes(found, cluster.observe("Pod"))


def store_observed(target: ComputeTarget, view: ClusterView | None, nodes: list[dict[str, Any]] | None) -> None:
    """Write what was seen; what was not looked at this time stays."""
    seen = dict(target.observed)
    if view is not None:
        own = view.own_pool
        seen |= {
            "provisioning_state": view.provisioning_state, "power_state": view.power_state,
            "kubernetes_version": view.kubernetes_version, "node_count": view.node_count, "pool": view.pool,
            "pools": [list(pool) for pool in view.pools], "pool_taints": list(own.taints) if own else [],
            "min_count": own.min_count if own else None, "max_count": own.max_count if own else None,
        }  # fmt: skip
    if nodes is not None:
        seen |= {"nodes": nodes, "nodes_ready": sum(1 for node in nodes if node["ready"])}
    ComputeTarget.objects.filter(pk=target.pk).update(observed=seen, observed_at=timezone.now())
    target.observed = seen


@patient
def await_nodes(op: Operation) -> Wait | None:
    """Wait until exactly the wanted nodes of the pool are there and ready."""
    target = target_of(op)
    nodes = observed_nodes(queries.open_cluster(target))
    store_observed(target, None, nodes)
    pool = target.observed.get("pool")
    ours = [node for node in nodes if node["pool"] == pool] or nodes
    ready = sum(1 for node in ours if node["ready"])
    bounds = power.bounds_wanted(target)
    wanted = target.node_count if bounds is None else bounds["min_count"]  # how many on top is Azure's matter
    if ready < wanted or (len(ours) > wanted and bounds is None):
        return Wait(
            1, f"{ready} of {wanted} nodes are ready" if ready < wanted else f"{len(ours) - wanted} nodes leave"
        )
    return None


@patient
def claim_cluster(op: Operation) -> Wait | None:
    """Leave a note in the cluster that says which workspace of which portal uses it, and as what."""
    target = target_of(op)
    cluster = queries.open_cluster(target)
    identify(target, cluster)
    meta = {"name": note_name(target), "namespace": NAMESPACE, "labels": MANAGED}
    data = {
        "workspace": target.workspace.slug, "compute_target": target.name, "id": str(target.pk),
        "installation": queries.installation(),
    }  # fmt: skip
    cluster.apply(
        [
            hardening.namespace(NAMESPACE, {}),
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data},
        ]
    )
    return None


def notes(cluster: Cluster) -> list[Note]:
    """The notes in a cluster: ours and other portals'."""
    rows = cluster.observe("ConfigMap", namespace=NAMESPACE, selector=SELECTOR)
    facts = [row.get("data") or {} for row in rows if str(row["metadata"]["name"]).startswith(NOTE_PREFIX)]
    names = ("installation", "workspace", "compute_target", "id")
    return [Note(*(str(each.get(name) or "") for name in names)) for each in facts]


def missing_rights(cluster: Cluster) -> list[str]:
    """What the portal needs to do in a cluster and may not, e.g. "create and patch secrets"."""
    if cluster.may("*", "*", group="*"):
        return []
    asks = list(inside_rights.asks())
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        answers = list(pool.map(lambda ask: cluster.may(ask[0], ask[2], group=ask[1]), asks))
    return inside_rights.words(ask for ask, may in zip(asks, answers, strict=True) if not may)


def identity(cluster: Cluster) -> str:
    """What tells a cluster from every other one, whatever it is called; empty where it does not say."""
    found = cluster.observe("Namespace", name=HOME_OF_KUBERNETES)
    return str((found[0].get("metadata") or {}).get("uid") or "") if found else ""


def look(cluster: Cluster) -> Inside:
    """What a cluster shows of itself before anything is put there; what may not be read stays empty."""
    version, missing = cluster.version(), missing_rights(cluster)
    found: list[dict[str, Any]] = _if_permitted(lambda: cluster.observe("Node"), [])
    return Inside(
        version=version, uid=_if_permitted(lambda: identity(cluster), ""), missing=tuple(missing), nodes=tuple(found),
        notes=tuple(_if_permitted(lambda: notes(cluster), [])),
    )  # fmt: skip


def _if_permitted(read: Callable[[], Seen], otherwise: Seen) -> Seen:
    try:
        return read()
    except Unauthorized:
        raise
    except Refused:
        return otherwise


def identify(target: ComputeTarget, cluster: Cluster) -> None:
    """Store which cluster it is, once. Raises AttachRefused when the workspace has it under another name already."""
    uid = "" if target.cluster_uid else identity(cluster)
    if not uid:
        return
    try:
        with transaction.atomic():
            ComputeTarget.objects.filter(pk=target.pk).update(cluster_uid=uid)
    except IntegrityError:
        raise AttachRefused(f"The workspace has the cluster of {target.name} already, under another name.") from None
    target.cluster_uid = uid


def unclaim(cluster: Cluster, target: ComputeTarget) -> None:
    """Take our note away, and with the last note the namespace and what belongs to no namespace."""
    for name in (note_name(target), old_note_name(target)):
        cluster.remove("ConfigMap", namespace=NAMESPACE, name=name)
    if not cluster.observe("ConfigMap", namespace=NAMESPACE, selector=SELECTOR):
        cluster.remove("Namespace", namespace="", name=NAMESPACE)
        for name in hardening.PRIORITIES:
            cluster.remove("PriorityClass", namespace="", name=name)


def note_name(target: ComputeTarget) -> str:
    """The name of our note; two portals or workspaces have two."""
    return f"{NOTE_PREFIX}{queries.installation()[:8]}-{target.workspace.slug}-{target.pk}".replace("_", "-").lower()[
        :63
    ]


def old_note_name(target: ComputeTarget) -> str:
    """What the note was called before it told of the portal."""
    return f"{NOTE_PREFIX}{target.workspace.slug}-{target.pk}".replace("_", "-").lower()[:63]
