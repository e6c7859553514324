"""The kubelet of every node of every pretend cluster: one worker per pod, in one process."""

from __future__ import annotations

import asyncio
import inspect
import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from compute.sandbox.clock import Clock
from compute.sandbox.faults import Faults
from compute.sandbox.kube.clusters import Clusters
from compute.sandbox.kube.errors import ApiError, bad_request, not_found
from compute.sandbox.kube.kinds import KINDS
from compute.sandbox.kube.store import Store
from compute.sandbox.kubelet import logs, memory
from compute.sandbox.kubelet.addresses import Addresses
from compute.sandbox.kubelet.api_listener import ApiListeners
from compute.sandbox.kubelet.authority import Authority
from compute.sandbox.kubelet.container import Container, Image
from compute.sandbox.kubelet.pod import Pod
from compute.sandbox.kubelet.process import Reaper
from compute.sandbox.settings import Settings

Doc = dict[str, Any]
_log = logging.getLogger(__name__)
_TOKEN_CHECK_SECONDS = 30


class Images(Protocol):
    """Who knows the images: `resolve` answers an Image, None for an unknown name, or an awaitable of those."""

    def resolve(self, name: str) -> Any: ...


class KubeletManager:
    """Starts, watches and ends the processes of pods. It must live on the main thread: pods die with that."""

    def __init__(
        self, store: Store, clock: Clock, settings: Settings, faults: Faults, clusters: Clusters, images: Any
    ) -> None:
        self.store, self.clock, self.settings, self.clusters = store, clock, settings, clusters
        self._faults, self._images = faults, images
        self.folder = Path(settings.state)
        self.reaper = Reaper()
        self.addresses = Addresses(store, settings.block)
        self.api = ApiListeners(settings.block, Authority(self.folder / "authority"))
        self.session: aiohttp.ClientSession
        self._pods: dict[str, tuple[Pod, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lost: set[tuple[str, str]] = set()

    # --- life

    async def start(self) -> None:
        """Bring back the pods that should run, then follow what changes."""
        self.session = aiohttp.ClientSession(trust_env=False)
        changes = self.store.subscribe(None, None)
        self._clean()
        for cluster in self.store.clusters_with("nodes"):
            for node in self.store.list(cluster, "nodes"):
                self._node("ADDED", cluster, node)
        for cluster in self.store.clusters_with("pods"):
            for pod in self.store.list(cluster, "pods"):
                self._pod("ADDED", cluster, pod)
        self.keep(asyncio.ensure_future(self._follow(changes)))
        self.keep(asyncio.ensure_future(memory.watch(self._limited)))
        self.keep(asyncio.ensure_future(self._rotate_tokens()))

    async def stop(self) -> None:
        """End every process; their pods come back with the next start."""
        workers = [task for _, task in self._pods.values()]
        for task in (*self._tasks, *workers):
            task.cancel()
        await asyncio.gather(*self._tasks, *workers, return_exceptions=True)
        await self.api.close()
        self.reaper.close()
        await self.session.close()

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Hold a task until it ends; a bug in it is logged."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_log_failure)

    def _clean(self) -> None:
        known = {pod["metadata"]["uid"] for c in self.store.clusters_with("pods") for pod in self.store.list(c, "pods")}
        pods = self.folder / "pods"
        pods.mkdir(parents=True, exist_ok=True)
        for folder in pods.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    # --- what changes

    async def _follow(self, changes: Any) -> None:
        async for type_, cluster, resource, obj in changes:
            if resource == "pods":
                self._pod(type_, cluster, obj)
            elif resource == "nodes":
                self._node(type_, cluster, obj)
            elif resource in ("configmaps", "secrets", "serviceaccounts"):
                self._refresh(cluster, obj["metadata"]["namespace"])
            elif resource == "namespaces" and type_ == "DELETED" and not self.clusters.exists(cluster):
                await self.api.forget(cluster)

    def _pod(self, type_: str, cluster: str, doc: Doc) -> None:
        uid = doc["metadata"]["uid"]
        known = self._pods.get(uid)
        if type_ == "DELETED":
            if known is not None:
                known[0].removed()
        elif known is not None:
            known[0].observe(doc)
        elif self._ours(cluster, doc):
            self._begin(cluster, doc)

    def _ours(self, cluster: str, doc: Doc) -> bool:
        node = doc["spec"].get("nodeName")
        return bool(node) and (cluster, node) not in self._lost

    def _begin(self, cluster: str, doc: Doc) -> None:
        pod = Pod(self, cluster, doc)
        task = asyncio.ensure_future(pod.run())
        self._pods[pod.uid] = (pod, task)

        def over(ended: asyncio.Task[None]) -> None:
            self._pods.pop(pod.uid, None)
            _log_failure(ended)

        task.add_done_callback(over)

    def _node(self, type_: str, cluster: str, node: Doc) -> None:
        name = node["metadata"]["name"]
        ready = next((c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready"), "True")
        if type_ != "DELETED" and ready != "True":
            if (cluster, name) not in self._lost:
                self._lost.add((cluster, name))
                self._lose(cluster, name)
        elif (cluster, name) in self._lost:
            self._lost.discard((cluster, name))
            for pod in self.store.list(cluster, "pods", where=lambda pod: bool(pod["spec"].get("nodeName") == name)):
                self._pod("ADDED", cluster, pod)

    def _lose(self, cluster: str, node: str) -> None:
        """A lost machine's programs are gone, and nobody there reports it."""
        for pod, task in list(self._pods.values()):
            if pod.cluster == cluster and pod.doc["spec"].get("nodeName") == node:
                del self._pods[pod.uid]
                task.cancel()

    def _refresh(self, cluster: str, namespace: str) -> None:
        for pod, _ in self._pods.values():
            if (pod.cluster, pod.namespace) == (cluster, namespace):
                pod.refresh()

    async def _rotate_tokens(self) -> None:
        while True:
            await self.clock.sleep(_TOKEN_CHECK_SECONDS)
            now = self.clock.now()
            for pod, _ in list(self._pods.values()):
                if pod.token_due(now):
                    pod.refresh()

    def _limited(self) -> list[tuple[Container, float]]:
        return [entry for pod, _ in self._pods.values() for entry in pod.memory()]

    # --- what pods ask

    def fault(self, fault: str, pod: Pod, **more: str) -> Doc | None:
        """The fault of that name if it is set for this pod; it counts down."""
        where = {"cluster": pod.cluster, "namespace": pod.namespace, "pod": pod.name}
        return self._faults.take(fault, **where, **more)

    def login(self, name: str) -> tuple[str, str] | None:
        """What the registry of an image asks for, None for a public one."""
        found: tuple[str, str] | None = self._images.login(name)
        return found

    async def image(self, name: str) -> Image | None:
        """The image of that name, or None when this cluster does not know it."""
        found = self._images.resolve(name)
        if inspect.isawaitable(found):
            found = await found
        image: Image | None = found
        return image

    def event(self, cluster: str, doc: Doc, type_: str, reason: str, message: str, container: str = "") -> None:
        """Record an Event of the kubelet about a pod, or one of its containers."""
        inits = [each["name"] for each in doc["spec"].get("initContainers") or []]
        path = f"spec.{'initContainers' if container in inits else 'containers'}{{{container}}}" if container else ""
        self.store.event(cluster, doc, type_, reason, message, "kubelet", path)

    # --- what the API asks

    def processes(self) -> list[Doc]:
        """Every pod that runs here: cluster, namespace, name, ip and its pids."""
        return [
            {
                "cluster": pod.cluster, "namespace": pod.namespace, "name": pod.name, "ip": pod.ip,
                "pids": [pid for container in (*pod.inits, *pod.mains) for pid in container.pids()],
            }
            for pod, _ in self._pods.values()
        ]  # fmt: skip

    def read_log(
        self,
        cluster: str,
        namespace: str,
        pod: str,
        container: str,
        *,
        previous: bool = False,
        tail_lines: int | None = None,
        follow: bool = False,
        timestamps: bool = False,
        since_seconds: int | None = None,
        limit_bytes: int | None = None,
    ) -> AsyncIterator[bytes]:
        """The log of a container; ApiError (404 no such pod, 400 not started or no earlier run) at once."""
        found = self._container(cluster, namespace, pod, container)
        # Between two runs the last one is both the present log and the previous one.
        attempt = found.record.restarts - (1 if previous and "waiting" not in found.record.state else 0)
        path = found.host.folder / "logs" / container / f"{attempt}.log"
        if "waiting" in found.record.state and found.record.restarts and not previous and not path.exists():
            path = path.with_name(f"{attempt - 1}.log")
        if not path.exists():
            raise self._no_log(found, pod, container, previous=previous)
        live = found.log if found.log is not None and found.log.path == path and not found.log.closed else None
        wanted = logs.Wanted(tail_lines, follow, timestamps, since_seconds, limit_bytes)
        return logs.read(path, live, wanted)

    def _container(self, cluster: str, namespace: str, pod: str, container: str) -> Container:
        for worker, _ in self._pods.values():
            if (worker.cluster, worker.namespace, worker.name) == (cluster, namespace, pod):
                for found in (*worker.mains, *worker.inits):
                    if found.name == container:
                        return found
                raise bad_request(f"container {container} is not valid for pod {pod}")
        if self.store.get(cluster, "pods", namespace, pod) is None:
            raise not_found(KINDS["pods"], pod)
        raise bad_request(f'container "{container}" in pod "{pod}" is waiting to start: ContainerCreating')

    def _no_log(self, found: Container, pod: str, container: str, *, previous: bool) -> ApiError:
        if previous:
            return bad_request(f'previous terminated container "{container}" in pod "{pod}" not found')
        reason = (found.record.state.get("waiting") or {}).get("reason", "ContainerCreating")
        why = "trying and failing to pull image" if "ImagePull" in reason else reason
        return bad_request(f'container "{container}" in pod "{pod}" is waiting to start: {why}')


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("a task of the kubelet ended by an error", exc_info=task.exception())
