"""The stream of changes: a ring for watches that resume, and queues for those who listen."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from compute.sandbox.kube.copying import clone
from compute.sandbox.kube.errors import expired

Json = dict[str, Any]
RING = 4000


@dataclass(frozen=True)
class Change:
    """One write. `previous` is the object before it (None for ADDED), so that selectors see both sides."""

    version: int
    type: str
    cluster: str
    resource: str
    obj: Json
    previous: Json | None


class Subscription:
    """An async iterator of `(type, cluster, resource, obj)`; never loses a change; ends after `close()`."""

    def __init__(self, hub: "Hub", cluster: str | None, resource: str | None, namespace: str | None) -> None:
        self._hub = hub
        self._cluster = cluster
        self._resource = resource
        self._namespace = namespace
        self._queue: asyncio.Queue[Change | None] = asyncio.Queue()

    def wants(self, change: Change) -> bool:
        """Whether the change is in the asked cluster, resource and namespace."""
        return (
            self._cluster in (None, change.cluster)
            and self._resource in (None, change.resource)
            and (self._namespace is None or change.obj["metadata"].get("namespace") == self._namespace)
        )

    def offer(self, change: Change) -> None:
        """Queue the change if it is wanted."""
        if self.wants(change):
            self._queue.put_nowait(change)

    async def next_change(self) -> Change | None:
        """The next change (share it, do not edit its objects), or None once closed."""
        return await self._queue.get()

    def close(self) -> None:
        """Stop listening; a waiting iterator ends."""
        self._hub.forget(self)
        self._queue.put_nowait(None)

    def __aiter__(self) -> AsyncIterator[tuple[str, str, str, Json]]:
        return self

    async def __anext__(self) -> tuple[str, str, str, Json]:
        change = await self.next_change()
        if change is None:
            raise StopAsyncIteration
        return change.type, change.cluster, change.resource, clone(change.obj)


class Hub:
    """Holds the last changes and hands each new one to its listeners."""

    def __init__(self, version: int) -> None:
        self._ring: deque[Change] = deque(maxlen=RING)
        self._listeners: list[Subscription] = []
        self._start = version

    def publish(self, change: Change) -> None:
        """Record a change and give it to every listener."""
        if len(self._ring) == RING:
            self._start = self._ring[0].version
        self._ring.append(change)
        for listener in list(self._listeners):
            listener.offer(change)

    def forget(self, listener: Subscription) -> None:
        """Drop a listener; twice does no harm."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def listen(self, cluster: str | None, resource: str | None, namespace: str | None = None) -> Subscription:
        """A listener of what comes from now on."""
        listener = Subscription(self, cluster, resource, namespace)
        self._listeners.append(listener)
        return listener

    def resume(self, cluster: str, resource: str, namespace: str | None, since: int) -> Subscription:
        """A listener that first gets what came after `since`; `ApiError` 410 if that is no longer known."""
        if since < self._start:
            raise expired(self._start, since)
        listener = self.listen(cluster, resource, namespace)
        for change in self._ring:
            if change.version > since:
                listener.offer(change)
        return listener
