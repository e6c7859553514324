"""How objects go: grace of pods, finalizers, owners and dependents."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from compute.sandbox.kube.copying import clone
from compute.sandbox.kube.errors import conflict
from compute.sandbox.kube.kinds import KINDS, Kind
from compute.sandbox.kube.times import stamp

if TYPE_CHECKING:
    from compute.sandbox.kube.store import Store

Json = dict[str, Any]
FOREGROUND = "foregroundDeletion"


def uid_mismatch(asked: str, real: str) -> str:
    """The words of a failed uid precondition."""
    return f"Precondition failed: UID in precondition: {asked}, UID in object meta: {real}"


def check_preconditions(kind: Kind, obj: Json, wanted: Json | None) -> None:
    """409 when a precondition names another uid or resourceVersion."""
    meta = obj["metadata"]
    wanted = wanted or {}
    if wanted.get("uid", meta["uid"]) != meta["uid"]:
        raise conflict(kind, meta["name"], uid_mismatch(wanted["uid"], meta["uid"]))
    version = wanted.get("resourceVersion", meta["resourceVersion"])
    if version != meta["resourceVersion"]:
        why = (
            f"Precondition failed: ResourceVersion in precondition: {version}, "
            f"ResourceVersion in object meta: {meta['resourceVersion']}"
        )
        raise conflict(kind, meta["name"], why)


def delete(store: "Store", cluster: str, resource: str, old: Json, grace: int | None, propagation: str) -> Json:
    """Apply the rules; returns the object as it is afterwards (or was last)."""
    meta = old["metadata"]
    last = clone(old)
    uid = meta["uid"]
    if propagation == "Orphan":
        _cut_loose(store, cluster, uid)
    held = _holds(store, cluster, old, propagation)
    seconds = _grace(resource, old, grace)
    if resource == "namespaces":
        return _terminate_namespace(store, cluster, old)
    if not held and seconds == 0:
        store.remove(cluster, resource, meta.get("namespace"), meta["name"])
        return last
    new = _marked(store, old, seconds, held)
    after = store.write_deleting(cluster, resource, old, new)
    if FOREGROUND in held:
        for kind, child in store.dependents(cluster, uid):
            _delete_child(store, cluster, kind, child)
        finish(store, cluster, resource, meta.get("namespace"), meta["name"])
    return after


def finish_owners(store: "Store", cluster: str, gone: Json) -> None:
    """After a dependent went: end owners that waited for it in a foreground deletion."""
    for owner in gone["metadata"].get("ownerReferences", []):
        kind = next((kind for kind in KINDS.values() if kind.kind == owner["kind"]), None)
        if kind is not None:
            namespace = gone["metadata"].get("namespace") if kind.namespaced else None
            finish(store, cluster, kind.resource, namespace, owner["name"])


def finish(store: "Store", cluster: str, resource: str, namespace: str | None, name: str) -> None:
    """Remove an object in foreground deletion that has no dependents any more."""
    obj = store.get(cluster, resource, namespace, name)
    if obj is None or not obj["metadata"].get("deletionTimestamp"):
        return
    finalizers = obj["metadata"].get("finalizers", [])
    if FOREGROUND in finalizers and not store.dependents(cluster, obj["metadata"]["uid"]):
        obj["metadata"]["finalizers"] = [item for item in finalizers if item != FOREGROUND]
        store.update(cluster, resource, obj)


def _delete_child(store: "Store", cluster: str, resource: str, child: Json) -> None:
    meta = child["metadata"]
    if not meta.get("deletionTimestamp"):
        store.delete(cluster, resource, meta.get("namespace"), meta["name"], propagation="Foreground")


def _cut_loose(store: "Store", cluster: str, uid: str) -> None:
    for resource, child in store.dependents(cluster, uid):
        owners = [owner for owner in child["metadata"]["ownerReferences"] if owner["uid"] != uid]
        child["metadata"]["ownerReferences"] = owners
        if not owners:
            del child["metadata"]["ownerReferences"]
        store.update(cluster, resource, child)


def _holds(store: "Store", cluster: str, obj: Json, propagation: str) -> list[str]:
    finalizers = list(obj["metadata"].get("finalizers", []))
    waits = propagation == "Foreground" and store.dependents(cluster, obj["metadata"]["uid"])
    if waits and FOREGROUND not in finalizers:
        finalizers.append(FOREGROUND)
    return finalizers


def _grace(resource: str, obj: Json, asked: int | None) -> int:
    """Seconds a pod keeps to end itself; 0 for whatever has no process to end."""
    if resource != "pods":
        return 0
    done = obj.get("status", {}).get("phase") in ("Succeeded", "Failed")
    if done or not obj.get("spec", {}).get("nodeName"):
        return 0
    wanted = obj["spec"].get("terminationGracePeriodSeconds", 30) if asked is None else asked
    running_out = obj["metadata"].get("deletionGracePeriodSeconds")
    return wanted if running_out is None else min(wanted, int(running_out))


def _marked(store: "Store", old: Json, seconds: int, finalizers: list[str]) -> Json:
    new = clone(old)
    meta = new["metadata"]
    if finalizers:
        meta["finalizers"] = finalizers
    if "deletionTimestamp" in meta and seconds == meta.get("deletionGracePeriodSeconds"):
        return new
    if "generation" in meta and "deletionTimestamp" not in meta:
        meta["generation"] += 1
    meta["deletionTimestamp"] = stamp(store.clock.now() + timedelta(seconds=seconds))
    meta["deletionGracePeriodSeconds"] = seconds
    return new


def _terminate_namespace(store: "Store", cluster: str, old: Json) -> Json:
    new = clone(old)
    new["metadata"].setdefault("deletionTimestamp", stamp(store.clock.now()))
    new.setdefault("status", {})["phase"] = "Terminating"
    return store.write_deleting(cluster, "namespaces", old, new)
