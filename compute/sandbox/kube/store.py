"""The objects of all pretend clusters: in memory, written through to the database, with a stream of changes.

Everything is synchronous and meant for the one event loop of the process. Copies go in and out: nobody holds the
stored object itself. Rules that a person's request must pass (validation, admission, rights) live in the API.
"""

import builtins
import secrets
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, Protocol

from compute.sandbox.kube import deletion, events
from compute.sandbox.kube.changes import Change, Hub, Subscription
from compute.sandbox.kube.copying import clone
from compute.sandbox.kube.errors import ApiError, already_exists, conflict, not_found
from compute.sandbox.kube.kinds import KINDS
from compute.sandbox.kube.times import stamp

__all__ = ["ApiError", "Store", "Subscription", "stamp"]

Json = dict[str, Any]
Propagation = Literal["Background", "Foreground", "Orphan"]
TABLE = "kube_objects"
META = "kube_meta"
BLOCK = 1000
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


class Database(Protocol):
    """What the store asks of its key/document database."""

    def put(self, table: str, key: str, doc: Json) -> None: ...
    def delete(self, table: str, key: str) -> None: ...
    def all(self, table: str) -> dict[str, Json]: ...


class Now(Protocol):
    """What the store asks of the clock."""

    def now(self) -> datetime: ...


def random_suffix(length: int = 5) -> str:
    """The tail of a generated name, in the alphabet that Kubernetes uses."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


class Store:
    """All objects by cluster, plural resource, namespace and name. Refusals are `ApiError`."""

    def __init__(self, db: Database, clock: Now) -> None:
        self._db = db
        self.clock = clock
        self._objects: dict[tuple[str, str], dict[tuple[str, str], Json]] = {}
        start = db.all(META).get("version", {"value": 0})["value"]
        self._version = self._ceiling = int(start)
        for key, doc in db.all(TABLE).items():
            cluster, resource, namespace, name = key.split("/", 3)
            self._objects.setdefault((cluster, resource), {})[(namespace, name)] = doc
        self._hub = Hub(self._version)

    # --- reading

    @property
    def version(self) -> int:
        """The newest resourceVersion."""
        return self._version

    def get(self, cluster: str, resource: str, namespace: str | None, name: str) -> Json | None:
        """A copy of the object, or None."""
        found = self._objects.get((cluster, resource), {}).get((namespace or "", name))
        return clone(found) if found is not None else None

    def list(
        self, cluster: str, resource: str, namespace: str | None = None, where: Callable[[Json], bool] | None = None
    ) -> "builtins.list[Json]":
        """Copies of the objects, by namespace and name. `where` sees the stored object and must not edit it."""
        rows = self._objects.get((cluster, resource), {})
        keys = sorted(key for key in rows if namespace is None or key[0] == namespace)
        return [clone(rows[key]) for key in keys if where is None or where(rows[key])]

    def count(self, cluster: str, resource: str) -> int:
        """How many objects of that kind a cluster holds."""
        return len(self._objects.get((cluster, resource), {}))

    def clusters_with(self, resource: str) -> "builtins.list[str]":
        """The clusters that hold at least one object of that kind."""
        return sorted(cluster for (cluster, kind), rows in self._objects.items() if kind == resource and rows)

    def subscribe(self, cluster: str | None, resource: str | None) -> Subscription:
        """Every change from now on, of one or all clusters and kinds. Nothing earlier is replayed."""
        return self._hub.listen(cluster, resource)

    def watch(self, cluster: str, resource: str, namespace: str | None, since_rv: int) -> Subscription:
        """What changed after `since_rv`, then what comes. `ApiError` 410 when that is too long ago."""
        return self._hub.resume(cluster, resource, namespace, since_rv)

    # --- writing

    def create(self, cluster: str, resource: str, obj: Json) -> Json:
        """Store a new object; sets uid, creationTimestamp, resourceVersion, generation. 409 when the name is taken."""
        obj = clone(obj)
        kind = KINDS[resource]
        meta = obj.setdefault("metadata", {})
        obj.setdefault("apiVersion", kind.api_version)
        obj.setdefault("kind", kind.kind)
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"][:58] + random_suffix()
        if self._stored(cluster, resource, meta.get("namespace"), meta["name"]) is not None:
            raise already_exists(kind, meta["name"])
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = stamp(self.clock.now())
        if kind.has_generation:
            meta["generation"] = 1
        return self._write("ADDED", cluster, resource, obj, None)

    def update(self, cluster: str, resource: str, obj: Json) -> Json:
        """Replace all but the status. A resourceVersion in `obj` must be the stored one (409 Conflict).

        A write that changes nothing keeps the resourceVersion; a changed spec raises the generation. An object in
        deletion whose last finalizer goes is removed.
        """
        obj = clone(obj)
        old = self._current(cluster, resource, obj)
        meta, was = obj["metadata"], old["metadata"]
        for field in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
            meta.pop(field, None)
            if field in was:
                meta[field] = was[field]
        if KINDS[resource].has_status:
            obj.pop("status", None)
            if "status" in old:
                obj["status"] = clone(old["status"])
        if _raises_generation(resource, old, obj):
            meta["generation"] = int(was.get("generation", 0)) + 1
        return self._replace(cluster, resource, old, obj)

    def update_status(self, cluster: str, resource: str, obj: Json) -> Json:
        """Take only `.status` of `obj` (and managedFields); the rest stays as stored. 409 for a stale version."""
        old = self._current(cluster, resource, obj)
        new = clone(old)
        new["status"] = clone(obj.get("status", {}))
        if "managedFields" in obj["metadata"]:
            new["metadata"]["managedFields"] = clone(obj["metadata"]["managedFields"])
        return self._replace(cluster, resource, old, new)

    def mutate(
        self,
        cluster: str,
        resource: str,
        namespace: str | None,
        name: str,
        fn: Callable[[Json], None],
        *,
        subresource: Literal["status"] | None = None,
    ) -> Json | None:
        """Read, let `fn` edit the copy, write. None when the object is gone."""
        obj = self.get(cluster, resource, namespace, name)
        if obj is None:
            return None
        fn(obj)
        obj["metadata"].pop("resourceVersion", None)
        return (self.update_status if subresource == "status" else self.update)(cluster, resource, obj)

    def delete(
        self,
        cluster: str,
        resource: str,
        namespace: str | None,
        name: str,
        *,
        grace_seconds: int | None = None,
        propagation: Propagation = "Background",
        preconditions: Json | None = None,
    ) -> Json:
        """Begin or do the deletion and return the object as it then is. 404 when there is none.

        A scheduled pod only gets its deletionTimestamp: the kubelet ends it and calls `remove`. A namespace turns
        Terminating until its controller calls `remove`. Finalizers hold an object. Foreground deletes the dependents
        first and Orphan cuts them loose, both without help from a controller; Background leaves them to the collector.
        """
        old = self._stored(cluster, resource, namespace, name)
        if old is None:
            raise not_found(KINDS[resource], name)
        deletion.check_preconditions(KINDS[resource], old, preconditions)
        return deletion.delete(self, cluster, resource, old, grace_seconds, propagation)

    def remove(self, cluster: str, resource: str, namespace: str | None, name: str) -> None:
        """Take the object away for good, whatever holds it. Nothing happens when it is gone."""
        rows = self._objects.get((cluster, resource), {})
        old = rows.pop((namespace or "", name), None)
        if old is None:
            return
        self._db.delete(TABLE, f"{cluster}/{resource}/{namespace or ''}/{name}")
        last = clone(old)
        last["metadata"]["resourceVersion"] = str(self._next())
        self._hub.publish(Change(self._version, "DELETED", cluster, resource, last, old))
        deletion.finish_owners(self, cluster, old)

    def write_deleting(self, cluster: str, resource: str, old: Json, new: Json) -> Json:
        """Store deletion marks as they are; only for the deletion rules."""
        return self._replace(cluster, resource, old, new)

    def dependents(self, cluster: str, uid: str) -> "builtins.list[tuple[str, Json]]":
        """`(resource, copy)` of every object that names that uid as an owner."""
        found = []
        for (where, resource), rows in self._objects.items():
            if where == cluster:
                owned = (row for row in rows.values() if uid in owner_uids(row))
                found += [(resource, clone(row)) for row in owned]
        return found

    def forget_cluster(self, cluster: str) -> None:
        """Remove every object of a cluster; listeners see each go."""
        for (where, resource), rows in list(self._objects.items()):
            if where == cluster:
                for namespace, name in list(rows):
                    self.remove(cluster, resource, namespace, name)

    def event(
        self, cluster: str, involved_obj: Json, type_: str, reason: str, message: str, component: str,
        field_path: str = "",
    ) -> None:  # fmt: skip
        """Record an Event about an object or a part of it; the same one again only counts up. The oldest go."""
        events.record(self, cluster, involved_obj, (type_, reason, message, component), field_path)

    # --- inside

    def _stored(self, cluster: str, resource: str, namespace: str | None, name: str) -> Json | None:
        return self._objects.get((cluster, resource), {}).get((namespace or "", name))

    def _current(self, cluster: str, resource: str, obj: Json) -> Json:
        meta = obj["metadata"]
        old = self._stored(cluster, resource, meta.get("namespace"), meta["name"])
        if old is None:
            raise not_found(KINDS[resource], meta["name"])
        if meta.get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
            raise conflict(KINDS[resource], meta["name"], deletion.uid_mismatch(meta["uid"], old["metadata"]["uid"]))
        if meta.get("resourceVersion", old["metadata"]["resourceVersion"]) != old["metadata"]["resourceVersion"]:
            raise conflict(KINDS[resource], meta["name"])
        return old

    def _replace(self, cluster: str, resource: str, old: Json, new: Json) -> Json:
        meta = new["metadata"]
        meta["resourceVersion"] = old["metadata"]["resourceVersion"]
        if new == old:
            return clone(old)
        stored = self._write("MODIFIED", cluster, resource, new, old)
        if meta.get("deletionTimestamp") and old["metadata"].get("finalizers") and not meta.get("finalizers"):
            self.remove(cluster, resource, meta.get("namespace"), meta["name"])
        return stored

    def _write(self, type_: str, cluster: str, resource: str, obj: Json, old: Json | None) -> Json:
        meta = obj["metadata"]
        meta["resourceVersion"] = str(self._next())
        key = (meta.get("namespace") or "", meta["name"])
        self._db.put(TABLE, f"{cluster}/{resource}/{key[0]}/{key[1]}", obj)
        self._objects.setdefault((cluster, resource), {})[key] = obj
        self._hub.publish(Change(self._version, type_, cluster, resource, obj, old))
        return clone(obj)

    def _next(self) -> int:
        # The counter is saved in blocks: after a crash it goes on above every number that was given out.
        self._version += 1
        if self._version > self._ceiling:
            self._ceiling = self._version + BLOCK
            self._db.put(META, "version", {"value": self._ceiling})
        return self._version


def owner_uids(obj: Json) -> "builtins.list[str]":
    """The uids of the owners that an object names."""
    return [owner["uid"] for owner in obj["metadata"].get("ownerReferences", [])]


def _raises_generation(resource: str, old: Json, new: Json) -> bool:
    if not KINDS[resource].has_generation:
        return False
    if resource == "deployments":
        # As the real server: an annotation counts, a label does not.
        if old["metadata"].get("annotations", {}) != new["metadata"].get("annotations", {}):
            return True
        return bool(old.get("spec") != new.get("spec"))
    skip = ("metadata", "status")
    return {k: v for k, v in old.items() if k not in skip} != {k: v for k, v in new.items() if k not in skip}
