"""What the portal has in a cluster for one target: listed before a detach, swept and verified at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from compute import queries
from compute.cluster import Cluster
from compute.models import ComputeTarget
from compute.names import MANAGED, SELECTOR, gateway_namespace, workspace_namespace
from compute.steps.inside import NAMESPACE, note_name, old_note_name
from compute.steps.reaching import reached
from compute.steps.waiting import patient, target_of
from compute.types import ComputeState
from portal.models import Operation
from portal.problems import Problem, Retryable
from portal.types import Wait

KINDS = (
    "Deployment", "Service", "ConfigMap", "Secret", "ServiceAccount", "Role", "RoleBinding", "PodDisruptionBudget",
    "NetworkPolicy", "ScaledObject", "TriggerAuthentication",
)  # fmt: skip
OURS = (*KINDS, "ResourceQuota")
THEIRS = (*KINDS, "Pod", "StatefulSet", "DaemonSet", "Job", "CronJob", "PersistentVolumeClaim", "Ingress")
EVERYWHERE = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}  # Kubernetes' own in each namespace
LOOKS, SHOWN = 60, 10


class LeftBehind(Problem):
    status, code, title = 409, "left_behind", "Something of the portal is still in the cluster"


@dataclass(frozen=True)
class Thing:
    """One Kubernetes object; `namespace` is "" for a namespace itself."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    def as_dict(self) -> dict[str, str]:
        """The JSON form."""
        return {"kind": self.kind, "namespace": self.namespace, "name": self.name}


@dataclass(frozen=True)
class Marks:
    """How one target's objects are known: namespaces, numbers of its deployments, notes, and its gateway's labels."""

    gateway: str
    home: str
    workloads: frozenset[str]
    deployments: frozenset[str]
    notes: tuple[str, str]
    owner: tuple[str, str]

    @property
    def namespaces(self) -> frozenset[str]:
        """Every namespace that the portal may have made for the target."""
        return self.workloads | {self.gateway}


@dataclass
class Inventory:
    """What is ours, and the namespaces that stay because of what others have in them: {namespace: their objects}."""

    ours: list[Thing] = field(default_factory=list)
    kept: dict[str, list[Thing]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        kept = [
            {"namespace": name, "because_of": [str(thing) for thing in things[:SHOWN]]}
            for name, things in sorted(self.kept.items())
        ]
        return {"objects": [thing.as_dict() for thing in self.ours], "kept": kept}


def inventory(cluster: Cluster, target: ComputeTarget) -> Inventory:
    """Look through the cluster for what belongs to this target, and only to it."""
    mine, found = marks(target), Inventory()
    for kind in OURS:
        for item in cluster.observe(kind, selector=SELECTOR):
            if _is_ours(item, mine):
                found.ours.append(_thing(kind, item))
    managed = {item["metadata"]["name"] for item in cluster.observe("Namespace", selector=SELECTOR)}
    for name in sorted(managed & mine.namespaces):
        theirs = _theirs(cluster, name, set(found.ours))
        if theirs:
            found.kept[name] = theirs
        else:
            found.ours.append(Thing("Namespace", "", name))
    return found


def marks(target: ComputeTarget) -> Marks:
    """How this target's objects are known; asks the database once, however many objects there are."""
    rows: Any = getattr(target, "deployments", None)
    given = list(rows.values_list("pk", "namespace")) if rows is not None else []
    home = workspace_namespace(target.workspace.slug, target.workspace_id)
    return Marks(
        gateway=gateway_namespace(target.pk, target.workspace.slug), home=home,
        workloads=frozenset({home, *(namespace for _, namespace in given)}),
        deployments=frozenset(str(pk) for pk, _ in given), notes=(note_name(target), old_note_name(target)),
        owner=(str(target.pk), target.workspace.slug),
    )  # fmt: skip


def _is_ours(item: dict[str, Any], mine: Marks) -> bool:
    meta = item["metadata"]
    labels, namespace = meta.get("labels") or {}, meta.get("namespace", "")
    if namespace in (mine.gateway, mine.home):
        return True
    if namespace == NAMESPACE:
        return meta["name"] in mine.notes
    if labels.get("slipway.dev/gateway"):
        return (labels["slipway.dev/gateway"], labels.get("slipway.dev/workspace")) == mine.owner
    if item["kind"] == "ResourceQuota":  # a workspace has a cluster once, so that its quotas go with that
        return namespace in mine.workloads and labels.get("slipway.dev/workspace") == mine.owner[1]
    return namespace in mine.workloads and str(labels.get("slipway.dev/deployment") or "") in mine.deployments


def _theirs(cluster: Cluster, namespace: str, ours: set[Thing]) -> list[Thing]:
    """What is in a namespace and not ours; pods that belong to something follow it."""
    found = []
    for kind in THEIRS:
        for item in cluster.observe(kind, namespace=namespace):
            thing, meta = _thing(kind, item), item["metadata"]
            is_followed = (kind == "Pod" and (meta.get("labels") or {}).items() >= MANAGED.items()) or (
                item.get("type") == "kubernetes.io/service-account-token"
            )
            if thing not in ours and not is_followed and (kind, thing.name) not in EVERYWHERE:
                found.append(thing)
    return found


def _thing(kind: str, item: dict[str, Any]) -> Thing:
    return Thing(kind, item["metadata"].get("namespace", ""), item["metadata"]["name"])


def detach_plan(target: ComputeTarget) -> dict[str, Any]:
    """What a detach would take out of the cluster: objects, namespaces that stay, and `unseen` when nobody can say."""
    if target.state == ComputeState.MISSING:
        return {**Inventory().as_dict(), "unseen": f"The cluster {target.cluster_name} is gone."}
    try:
        return {**inventory(queries.open_cluster(target), target).as_dict(), "unseen": ""}
    except (Problem, Retryable) as trouble:
        return {**Inventory().as_dict(), "unseen": trouble.detail}


@patient
def verify_detached(op: Operation) -> Wait | None:
    """Remove what is still there and look again until nothing of ours is. Raises LeftBehind with the list."""
    target = target_of(op)
    found = reached(op, target, lambda cluster: _swept(cluster, target))
    if found is None:
        return None
    op.memo["kept"] = found.as_dict()["kept"]
    if not found.ours:
        _tell_kept(op, found)
        return None
    looks = op.memo["looks"] = op.memo.get("looks", 0) + 1
    words = ", ".join(str(thing) for thing in found.ours[:SHOWN])
    if looks < LOOKS:
        return Wait(1, f"Waiting for {len(found.ours)} objects to go: {words}")
    op.memo["looks"] = 0
    raise LeftBehind(
        f"{len(found.ours)} objects of the portal are still in {target.cluster_name}: {words}. Retry, or delete them.",
        left=[thing.as_dict() for thing in found.ours],
    )


def _tell_kept(op: Operation, found: Inventory) -> None:
    told = [
        f"The namespace {name} stays: {', '.join(str(thing) for thing in things[:SHOWN])} of others is in it."
        for name, things in sorted(found.kept.items())
    ]
    op.memo["warnings"] = [*op.memo.get("warnings", []), *told]


def _swept(cluster: Cluster, target: ComputeTarget) -> Inventory:
    """What was there, after asking for all of it to go."""
    found = inventory(cluster, target)
    for thing in found.ours:
        cluster.remove(thing.kind, namespace=thing.namespace, name=thing.name)
    return inventory(cluster, target) if found.ours else found
