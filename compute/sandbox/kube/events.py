"""Events: one object per (about what, type, reason, message, component), counted up when it happens again."""

import hashlib
from typing import TYPE_CHECKING, Any

from compute.sandbox.kube.copying import clone
from compute.sandbox.kube.times import stamp

if TYPE_CHECKING:
    from compute.sandbox.kube.store import Store

Json = dict[str, Any]
CAP = 1000


def record(store: "Store", cluster: str, about: Json, words: tuple[str, str, str, str]) -> None:
    """Write or count up the Event. `words` are type, reason, message and component."""
    now = stamp(store.clock.now())
    meta = about["metadata"]
    namespace = meta.get("namespace") or "default"
    digest = hashlib.sha256("\0".join((meta.get("uid", ""), *words)).encode()).hexdigest()[:16]
    name = f"{meta['name']}.{digest}"
    old = store.get(cluster, "events", namespace, name)
    if old is not None:
        new = clone(old)
        new["count"] = int(old.get("count", 1)) + 1
        new["lastTimestamp"] = now
        store.update(cluster, "events", new)
        return
    store.create(cluster, "events", _event(about, namespace, name, now, words))
    _trim(store, cluster)


def _event(about: Json, namespace: str, name: str, now: str, words: tuple[str, str, str, str]) -> Json:
    type_, reason, message, component = words
    meta = about["metadata"]
    involved = {"kind": about["kind"], "apiVersion": about["apiVersion"], "name": meta["name"]}
    for field in ("namespace", "uid", "resourceVersion"):
        if meta.get(field):
            involved[field] = meta[field]
    return {
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": involved,
        "type": type_,
        "reason": reason,
        "message": message[:1024],
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": "",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "eventTime": None,
        "count": 1,
    }


def _trim(store: "Store", cluster: str) -> None:
    rows = store.list(cluster, "events") if store.count(cluster, "events") > CAP else []
    rows.sort(key=lambda row: str(row["lastTimestamp"]))
    for row in rows[: len(rows) - CAP * 9 // 10] if rows else []:
        store.remove(cluster, "events", row["metadata"]["namespace"], row["metadata"]["name"])
