"""Events: one object per (about what, type, reason, message, component), counted up when it happens again."""

import hashlib
from typing import TYPE_CHECKING, Any

from compute.sandbox.kube.copying import clone
from compute.sandbox.kube.times import stamp, stamp_micro

if TYPE_CHECKING:
    from compute.sandbox.kube.store import Store

Json = dict[str, Any]
CAP = 1000
NEWER = {"default-scheduler": {"Scheduled": "Binding", "FailedScheduling": "Scheduling"}}
"""Components that write events of events.k8s.io, and their actions: eventTime and series instead of times and count."""


def record(store: "Store", cluster: str, about: Json, words: tuple[str, str, str, str], field_path: str = "") -> None:
    """Write or count up the Event. `words` are type, reason, message and component; `field_path`: of what part."""
    moment = store.clock.now()
    now, meta = stamp(moment), about["metadata"]
    namespace = meta.get("namespace") or "default"
    digest = hashlib.sha256("\0".join((meta.get("uid", ""), *words, field_path)).encode()).hexdigest()[:16]
    name = f"{meta['name']}.{digest}"
    old = store.get(cluster, "events", namespace, name)
    if old is not None:
        store.update(cluster, "events", _again(old, now, stamp_micro(moment)))
        return
    fresh = _event(about, namespace, name, now, words)
    if field_path:
        fresh["involvedObject"]["fieldPath"] = field_path
    store.create(cluster, "events", _newer(fresh, stamp_micro(moment)) if words[3] in NEWER else fresh)
    _trim(store, cluster)


def _again(old: Json, now: str, exact: str) -> Json:
    new = clone(old)
    if old["eventTime"]:
        new["series"] = {"count": int((old.get("series") or {}).get("count", 1)) + 1, "lastObservedTime": exact}
    else:
        new |= {"count": int(old.get("count", 1)) + 1, "lastTimestamp": now}
    return new


def _newer(event: Json, exact: str) -> Json:
    component = event["reportingComponent"]
    action = NEWER[component].get(event["reason"], event["reason"])
    times = {"eventTime": exact, "firstTimestamp": None, "lastTimestamp": None}
    kept = {name: value for name, value in event.items() if name != "count"}
    return {**kept, **times, "source": {}, "action": action, "reportingInstance": f"{component}-sandbox"}


def last_seen(event: Json) -> str:
    """When it was seen last, in either form."""
    return str((event.get("series") or {}).get("lastObservedTime") or event["lastTimestamp"] or event["eventTime"])


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
    rows.sort(key=last_seen)
    for row in rows[: len(rows) - CAP * 9 // 10] if rows else []:
        store.remove(cluster, "events", row["metadata"]["namespace"], row["metadata"]["name"])
