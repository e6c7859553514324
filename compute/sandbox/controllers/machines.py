"""Nodes that are lost, drained or gone, and what becomes of their pods."""

from __future__ import annotations

from collections.abc import Iterable

from compute.sandbox.controllers import disruption, fit
from compute.sandbox.controllers.base import Context, Controller, Doc, Key, condition, is_over, key_of, moment
from compute.sandbox.kube.errors import ApiError
from compute.sandbox.kube.store import Store
from compute.sandbox.kube.times import stamp

_UNREACHABLE = "node.kubernetes.io/unreachable"
_DRAIN_SECONDS = 120.0
_ASK_AGAIN_SECONDS = 1.0


class DrainRefused(Exception):
    """A node could not be emptied in time; the text names the pods that stayed and why."""


class Machines(Controller):
    """Marks lost nodes, evicts their pods when their time is over, and removes pods of nodes that are gone."""

    resource = "nodes"
    component = "node-controller"

    def keys(self, type_: str, cluster: str, resource: str, obj: Doc) -> Iterable[Key]:
        """The node, or the node of a changed pod."""
        if resource == "pods":
            name = obj["spec"].get("nodeName")
            return [Key(cluster, "", name)] if name and type_ != "DELETED" else []
        return super().keys(type_, cluster, resource, obj)

    def everything(self, cluster: str) -> Iterable[Key]:
        """All nodes, and those that pods believe in."""
        named = {pod["spec"]["nodeName"] for pod in self.store.list(cluster, "pods") if pod["spec"].get("nodeName")}
        known = {key_of(cluster, node).name for node in self.store.list(cluster, "nodes")}
        return [Key(cluster, "", name) for name in sorted(named | known)]

    def reconcile(self, key: Key) -> float | None:
        """Taint or clear the node and deal with its pods."""
        node = self.store.get(key.cluster, "nodes", None, key.name)
        pods = self._pods(key)
        if node is None:
            for pod in pods:
                self.store.remove(key.cluster, "pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
            return None
        ready = condition(node, "Ready")
        if ready is None or not _is_lost(node):
            self._taint(key, node, lost=False)
            return None
        self._taint(key, node, lost=True)
        for pod in pods:
            self._not_ready(key.cluster, pod)
        waits = [self._evict_in(key.cluster, pod, ready) for pod in pods]
        return min((seconds for seconds in waits if seconds is not None), default=None)

    def _pods(self, key: Key) -> list[Doc]:
        return self.store.list(key.cluster, "pods", where=lambda pod: bool(pod["spec"].get("nodeName") == key.name))

    def _taint(self, key: Key, node: Doc, *, lost: bool) -> None:
        has = any(row["key"] == _UNREACHABLE for row in node["spec"].get("taints") or [])
        if has == lost:
            return
        now = stamp(self.clock.now())
        added = [{"key": _UNREACHABLE, "effect": effect, "timeAdded": now} for effect in ("NoSchedule", "NoExecute")]

        def edit(doc: Doc) -> None:
            others = [row for row in doc["spec"].get("taints") or [] if row["key"] != _UNREACHABLE]
            doc["spec"]["taints"] = [*others, *(added if lost else [])]
            if not doc["spec"]["taints"]:
                del doc["spec"]["taints"]

        self.store.mutate(key.cluster, "nodes", None, key.name, edit)
        if lost:
            self.event(key.cluster, node, "Normal", "NodeNotReady", f"Node {key.name} status is now: NodeNotReady")

    def _not_ready(self, cluster: str, pod: Doc) -> None:
        ready = condition(pod, "Ready")
        if ready is None or ready["status"] == "False" or is_over(pod):
            return
        now = stamp(self.clock.now())

        def edit(doc: Doc) -> None:
            for row in doc["status"]["conditions"]:
                if row["type"] == "Ready":
                    row |= {"status": "False", "reason": "NodeNotReady", "lastTransitionTime": now}

        meta = pod["metadata"]
        self.store.mutate(cluster, "pods", meta["namespace"], meta["name"], edit, subresource="status")
        self.event(cluster, pod, "Warning", "NodeNotReady", "Node is not ready")

    def _evict_in(self, cluster: str, pod: Doc, ready: Doc) -> float | None:
        """Seconds until a lost node's pod is given up; None when never, or now done."""
        if pod["metadata"].get("deletionTimestamp"):
            return None
        taint = {"key": _UNREACHABLE, "effect": "NoExecute"}
        rows = [row for row in pod["spec"].get("tolerations") or [] if fit.covers(row, taint)]
        seconds = [row["tolerationSeconds"] for row in rows if "tolerationSeconds" in row]
        if rows and not seconds:
            return None
        left = min(seconds, default=0) - (self.clock.now() - moment(ready["lastTransitionTime"])).total_seconds()
        if left > 0:
            return float(left)
        meta = pod["metadata"]
        self._mark(cluster, pod)
        text = f"Marking for deletion Pod {meta['namespace']}/{meta['name']}"
        self.store.event(cluster, pod, "Normal", "TaintManagerEviction", text, "taint-eviction-controller")
        self.store.delete(cluster, "pods", meta["namespace"], meta["name"])
        return None

    def _mark(self, cluster: str, pod: Doc) -> None:
        """Say in its status who takes it away."""
        text = "Taint manager: deleting due to NoExecute taint"
        row = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": text}
        row["lastTransitionTime"] = stamp(self.clock.now())

        def edit(doc: Doc) -> None:
            rows = doc.setdefault("status", {}).get("conditions") or []
            doc["status"]["conditions"] = [*(each for each in rows if each["type"] != "DisruptionTarget"), row]

        meta = pod["metadata"]
        self.store.mutate(cluster, "pods", meta["namespace"], meta["name"], edit, subresource="status")


async def drain(context: Context, cluster: str, node: str, ignore_budgets: bool) -> None:
    """Evict every pod of a node and return when they are gone; DrainRefused after two minutes.

    With `ignore_budgets` pods are ended in good order, whatever their disruption budgets say.
    """
    store, until = context.store, context.clock.time() + _DRAIN_SECONDS
    why: dict[str, str] = {}
    while True:
        left = store.list(cluster, "pods", where=lambda pod: bool(pod["spec"].get("nodeName") == node))
        if not left or store.get(cluster, "nodes", None, node) is None:
            return
        lost = _is_lost(store.get(cluster, "nodes", None, node))
        for pod in left:
            if lost:
                # Nobody is there to end it in good order.
                store.remove(cluster, "pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
            elif pod["metadata"].get("deletionTimestamp"):
                continue
            elif ignore_budgets:
                store.delete(cluster, "pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
            else:
                _evict(store, cluster, pod, why)
        if context.clock.time() >= until:
            named = "; ".join(f"{name}: {reason}" for name, reason in sorted(why.items()))
            raise DrainRefused(
                f"node {node} was not empty after {_DRAIN_SECONDS:g} s. {named or 'Pods are still ending'}"
            )
        await context.clock.sleep(_ASK_AGAIN_SECONDS if why else 0.2)


def _is_lost(node: Doc | None) -> bool:
    ready = condition(node, "Ready") if node else None
    return ready is not None and ready["status"] != "True"


def _evict(store: Store, cluster: str, pod: Doc, why: dict[str, str]) -> None:
    """Ask a pod to go; `why` keeps what its budget answers."""
    meta = pod["metadata"]
    try:
        disruption.evict(store, cluster, meta["namespace"], meta["name"])
    except ApiError as error:
        causes = (error.details or {}).get("causes") or [{}]
        why[f"{meta['namespace']}/{meta['name']}"] = causes[0].get("message", error.message)
