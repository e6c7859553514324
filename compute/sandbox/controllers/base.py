"""What every controller is: changes in, keys queued once, one key reconciled at a time."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from compute.sandbox.clock import Clock
from compute.sandbox.faults import Faults
from compute.sandbox.kube.clusters import Clusters
from compute.sandbox.kube.errors import ApiError
from compute.sandbox.kube.store import Store
from compute.sandbox.settings import Settings

Doc = dict[str, Any]
_log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0


class Key(NamedTuple):
    """One object to look at."""

    cluster: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Context:
    """What controllers share."""

    store: Store
    clock: Clock
    settings: Settings
    faults: Faults
    clusters: Clusters


class Controller(ABC):
    """Brings one kind of object to what its spec says. Subclasses fill in `resource`, `keys` and `reconcile`."""

    resource: str
    component: str
    always = False
    """Whether it also works on clusters that are stopped or gone."""

    def __init__(self, context: Context) -> None:
        self.store, self.clock = context.store, context.clock
        self.settings, self.faults, self.clusters = context.settings, context.faults, context.clusters
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._later: dict[Key, asyncio.Task[None]] = {}

    def keys(self, type_: str, cluster: str, resource: str, obj: Doc) -> Iterable[Key]:
        """The objects to look at after a change: by default the changed one, if it is of this kind."""
        return [key_of(cluster, obj)] if resource == self.resource else []

    @abstractmethod
    def reconcile(self, key: Key) -> float | None:
        """Bring it one step on; seconds until it wants to be looked at without a change, or None."""

    def everything(self, cluster: str) -> Iterable[Key]:
        """All objects of this kind in a cluster."""
        return [key_of(cluster, obj) for obj in self.store.list(cluster, self.resource)]

    def enqueue(self, keys: Iterable[Key]) -> None:
        """Look at these soon; a key that waits already is looked at once."""
        for key in keys:
            if key not in self._queued:
                self._queued.add(key)
                self._queue.put_nowait(key)

    async def run(self) -> None:
        """Work on the queue for ever."""
        while True:
            key = await self._queue.get()
            self._queued.discard(key)
            if self.always or self.clusters.is_running(key.cluster):
                self._once(key)
            # Others (the API, the kubelet) get their turn between two objects.
            await asyncio.sleep(0)

    def close(self) -> None:
        """Drop what was to be looked at later."""
        for task in self._later.values():
            task.cancel()

    def event(self, cluster: str, obj: Doc, type_: str, reason: str, message: str) -> None:
        """Record an Event of this controller."""
        self.store.event(cluster, obj, type_, reason, message, self.component)

    def _once(self, key: Key) -> None:
        try:
            seconds = self.reconcile(key)
        except ApiError as error:
            _log.info("%s %s: %s", type(self).__name__, key, error.message)
            seconds = _RETRY_SECONDS
        except Exception:
            # One broken object must not stop the controller for all others.
            _log.exception("%s failed on %s", type(self).__name__, key)
            seconds = _RETRY_SECONDS
        if seconds is not None:
            self._look_again(key, seconds)

    def _look_again(self, key: Key, seconds: float) -> None:
        if key in self._later:
            self._later[key].cancel()

        async def wait() -> None:
            await self.clock.sleep(seconds)
            self._later.pop(key, None)
            self.enqueue([key])

        self._later[key] = asyncio.ensure_future(wait())


def key_of(cluster: str, obj: Doc) -> Key:
    """The key of an object."""
    return Key(cluster, obj["metadata"].get("namespace") or "", obj["metadata"]["name"])


def controller_of(obj: Doc, kind: str) -> Doc | None:
    """The owner reference to the object's controller, if that is of this kind."""
    for owner in obj["metadata"].get("ownerReferences") or []:
        if owner.get("controller") and owner["kind"] == kind:
            return dict(owner)
    return None


def owner_reference(owner: Doc) -> Doc:
    """The reference that makes `owner` the controller of a new object."""
    return {
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip


def condition(obj: Doc, kind: str) -> Doc | None:
    """A condition of the object's status."""
    rows = (obj.get("status") or {}).get("conditions") or []
    return next((row for row in rows if row["type"] == kind), None)


def is_ready(pod: Doc) -> bool:
    """Whether the pod's Ready condition is true."""
    found = condition(pod, "Ready")
    return found is not None and found["status"] == "True"


def is_over(pod: Doc) -> bool:
    """Whether all of the pod's containers ended for good."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_deleting(obj: Doc) -> bool:
    """Whether its deletion began."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def is_active(pod: Doc) -> bool:
    """Whether the pod counts as a replica."""
    return not is_over(pod) and not is_deleting(pod)


def moment(text: str) -> datetime:
    """A time of the API as a datetime."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def matches(selector: Doc | None, labels: dict[str, str]) -> bool:
    """Whether a LabelSelector picks an object with these labels; None picks nothing, {} everything."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(name) != value for name, value in wanted.items()):
        return False
    return all(_expression(rule, labels) for rule in selector.get("matchExpressions") or [])


def _expression(rule: Doc, labels: dict[str, str]) -> bool:
    key, operator, values = rule["key"], rule["operator"], rule.get("values") or []
    if operator == "In":
        return bool(labels.get(key) in values)
    if operator == "NotIn":
        return bool(labels.get(key) not in values)
    return bool((key in labels) == (operator == "Exists"))
