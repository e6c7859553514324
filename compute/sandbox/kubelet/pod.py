"""One pod: its address, volumes and containers, from the moment it has a node until it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compute.sandbox.kube import quantity
from compute.sandbox.kube.errors import ApiError
from compute.sandbox.kube.times import stamp
from compute.sandbox.kubelet import disk, environment, probes, pulling, volumes
from compute.sandbox.kubelet import status as statuses
from compute.sandbox.kubelet.addresses import NoAddress
from compute.sandbox.kubelet.container import Container, Image
from compute.sandbox.kubelet.environment import ConfigError
from compute.sandbox.kubelet.logins import logins
from compute.sandbox.kubelet.status import Record
from compute.sandbox.kubelet.waiting import cancel

if TYPE_CHECKING:
    from compute.sandbox.kubelet.manager import KubeletManager

Doc = dict[str, Any]
_log = logging.getLogger(__name__)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ROTATE_AT = 0.8
_RETRY_SECONDS = 5
_LEAST_GRACE = 2.0


class Pod:
    """Runs one pod of the store; the kubelet tells it what changed."""

    def __init__(self, kubelet: KubeletManager, cluster: str, doc: Doc) -> None:
        self.kubelet, self.cluster, self.doc = kubelet, cluster, doc
        self.uid: str = doc["metadata"]["uid"]
        self.name: str = doc["metadata"]["name"]
        self.namespace: str = doc["metadata"]["namespace"]
        self.folder: Path = kubelet.folder / "pods" / self.uid
        self.reaper = kubelet.reaper
        self.back_off_seconds = float(kubelet.settings.restart_backoff)
        self.ip = ""
        self._api = ("", 0)
        self._deleting = asyncio.Event()
        self._forced = asyncio.Event()
        self._changed = asyncio.Event()
        self._tokens: dict[tuple[str, int], tuple[str, datetime]] = {}
        self._verdict: tuple[str, str] | None = None
        before = doc.get("status") or {}
        known = {
            row["name"]: row for part in ("initContainerStatuses", "containerStatuses") for row in before.get(part, [])
        }
        self.inits = [self._container(spec, known, init=True) for spec in doc["spec"].get("initContainers") or []]
        self.mains = [self._container(spec, known, init=False) for spec in doc["spec"]["containers"]]
        self._ran_before = any("running" in row.get("state", {}) or row.get("lastState") for row in known.values())
        if doc["metadata"].get("deletionTimestamp"):
            self._deleting.set()

    def _container(self, spec: Doc, known: dict[str, Doc], *, init: bool) -> Container:
        policy = self.doc["spec"].get("restartPolicy", "Always")
        if init and policy == "Always":
            policy = spec.get("restartPolicy", "OnFailure")
        record = Record(spec["name"], spec["image"])
        if spec["name"] in known:
            record = self._restored(known[spec["name"]])
        elif not init and not self.doc["spec"].get("initContainers"):
            record.state = {"waiting": {"reason": "ContainerCreating"}}
        record.is_sidecar = init and statuses.is_sidecar(spec)
        return Container(self, spec, record, policy)

    def _restored(self, row: Doc) -> Record:
        """What ran when the sandbox ended was ended with it: as after a reboot of a node."""
        record = statuses.restored(row)
        if self._over():
            return record
        if record.running:
            started = record.state["running"]["startedAt"]
            record.last_state = {"terminated": {
                "exitCode": 255, "reason": "Unknown", "startedAt": started, "finishedAt": self.now(),
                "containerID": record.container_id,
            }}  # fmt: skip
        elif record.terminated:
            record.last_state = record.state
        if record.last_state:
            record.restarts += 1
        record.state = {"waiting": {"reason": "PodInitializing"}}
        return record

    # --- what the kubelet tells

    def observe(self, doc: Doc) -> None:
        """The object changed."""
        annotated = _metadata(doc) != _metadata(self.doc)
        self.doc = doc
        if doc["metadata"].get("deletionTimestamp"):
            self._deleting.set()
            if doc["metadata"].get("deletionGracePeriodSeconds") == 0:
                self._forced.set()
        elif annotated:
            self.refresh()

    def removed(self) -> None:
        """The object is gone: end at once."""
        self._deleting.set()
        self._forced.set()

    def refresh(self) -> None:
        """A ConfigMap, Secret, label or token changed: write the volumes again and retry what waited for it."""
        self._changed.set()
        for container in (*self.inits, *self.mains):
            container.changed.set()
        if self.ip:
            for volume in self.doc["spec"].get("volumes") or []:
                with contextlib.suppress(ConfigError):
                    self._write(volume)

    def token_due(self, now: datetime) -> bool:
        """Whether a projected token has used most of its life."""
        return any(now >= due for _, due in self._tokens.values())

    # --- its life

    async def run(self) -> None:
        """Until the pod is gone."""
        work: asyncio.Task[None] | None = None
        try:
            if not self._over() and not self._deleting.is_set():
                work = asyncio.ensure_future(self._keep_working())
                await self._deleted_or_put_out()
            else:
                await self._deleting.wait()
            await self._end(work)
        finally:
            if work is not None:
                work.cancel()
            for container in (*self.inits, *self.mains):
                container.close()
        await self._clear()

    def _over(self) -> bool:
        return (self.doc.get("status") or {}).get("phase") in ("Succeeded", "Failed")

    async def _deleted_or_put_out(self) -> None:
        deleted = asyncio.ensure_future(self._deleting.wait())
        ends = [asyncio.ensure_future(end) for end in (self._too_late(), self._too_full())]
        try:
            await asyncio.wait({deleted, *ends}, return_when=asyncio.FIRST_COMPLETED)
            grace = next((end.result() for end in ends if end.done()), None)
            if grace is not None and self._verdict is not None and not self._over():
                await self._stop_all(grace)
                self.publish()
            await deleted
        finally:
            await cancel([deleted, *ends])

    async def _too_late(self) -> float:
        """When its deadline is over; how long it may take to end then."""
        seconds = self.doc["spec"].get("activeDeadlineSeconds")
        await asyncio.sleep(disk.NEVER if seconds is None else float(seconds))
        self._verdict = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
        self.event("Normal", "DeadlineExceeded", self._verdict[1])
        return float(self.doc["spec"].get("terminationGracePeriodSeconds", 30))

    async def _too_full(self) -> float:
        """When it has more on its node's disk than it may; how long it may take to end then."""
        self._verdict = ("Evicted", await disk.until_exceeded(self.doc["spec"], self.folder))
        self.event("Warning", *self._verdict)
        return disk.GRACE_SECONDS

    async def _stop_all(self, grace: float) -> bool:
        """Sidecars outlive the others, and end in the reverse order of their start in what is left of the grace."""
        end = time.monotonic() + grace
        first = [each for each in (*self.inits, *self.mains) if not each.record.is_sidecar]
        await asyncio.gather(*(container.stop(grace) for container in first))
        await self._stop_sidecars(end, _LEAST_GRACE if grace else 0)
        return True

    async def _stop_sidecars(self, end: float, least: float = _LEAST_GRACE) -> None:
        for sidecar in reversed(self._sidecars()):
            await sidecar.stop(max(end - time.monotonic(), least))

    def _sidecars(self) -> list[Container]:
        return [container for container in self.inits if container.record.is_sidecar]

    async def _keep_working(self) -> None:
        """A bug or a full disk must not leave a pod without anybody who looks after it."""
        while True:
            try:
                await self._work()
                return
            except Exception as error:
                _log.exception("pod %s could not be run", self.title())
                self.event("Warning", "FailedSync", f"Error syncing pod: {error}")
            for container in (*self.inits, *self.mains):
                container.kill()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _work(self) -> None:
        if self._ran_before and self.doc["spec"].get("restartPolicy") == "Never":
            self._lost_with_node()
            return
        if not await self._ready_to_start():
            return
        self.publish()
        for container in self.inits:
            if container.record.is_sidecar:
                self._sidecar(container)
                await container.began.wait()
                continue
            await container.run()
            ended = container.record.terminated
            if self._deleting.is_set() or ended is None or ended["exitCode"] != 0:
                return
        for container in self.mains:
            if "waiting" in container.record.state:
                container.record.state = {"waiting": {"reason": "ContainerCreating"}}
        await asyncio.gather(*(container.run() for container in self.mains))
        # Nothing is beside a pod's work when that is over; a pod that is deleted ends by its own way.
        if not self._deleting.is_set():
            await self._stop_sidecars(time.monotonic() + self.doc["spec"].get("terminationGracePeriodSeconds", 30))

    def _sidecar(self, container: Container) -> None:
        task = asyncio.ensure_future(container.run())
        self.kubelet.keep(task)

    def _lost_with_node(self) -> None:
        for container in self.mains:
            container.record.state = container.record.last_state or container.record.state
        self.publish()

    async def _end(self, work: asyncio.Task[None] | None) -> None:
        if work is None:
            return
        grace = float(self.doc["metadata"].get("deletionGracePeriodSeconds", 0))
        stops = asyncio.ensure_future(self._stop_all(grace))
        forced = asyncio.ensure_future(self._forced.wait())
        await asyncio.wait({stops, forced}, return_when=asyncio.FIRST_COMPLETED)
        if not stops.done():
            for container in (*self.inits, *self.mains):
                container.kill()
            stops.cancel()
        forced.cancel()
        await asyncio.wait([work], timeout=2)

    async def _clear(self) -> None:
        current = self.kubelet.store.get(self.cluster, "pods", self.namespace, self.name)
        if current is not None and current["metadata"]["uid"] == self.uid:
            self.kubelet.store.remove(self.cluster, "pods", self.namespace, self.name)
        # Models are large, and everybody else waits for this loop.
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    # --- address and volumes

    async def _ready_to_start(self) -> bool:
        wait = 0.5
        while not self._deleting.is_set():
            self._changed.clear()
            if await self._prepare():
                return True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)
            wait = min(wait * 2, 10)
        return False

    async def _prepare(self) -> bool:
        self.publish()
        ports = [port["containerPort"] for c in self.doc["spec"]["containers"] for port in c.get("ports") or []]
        try:
            address = self._address(ports)
        except NoAddress as error:
            text = f"Failed to create pod sandbox: {error}"
            self.event("Warning", "FailedCreatePodSandBox", text)
            return False
        self.ip = address
        self.publish()
        self._api = await self.kubelet.api.address(self.cluster)
        for volume in self.doc["spec"].get("volumes") or []:
            try:
                self._write(volume)
            except ConfigError as error:
                text = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
                self.event("Warning", "FailedMount", text)
                return False
        return True

    def _address(self, ports: list[int]) -> str:
        kept = str((self.doc.get("status") or {}).get("podIP", ""))
        return kept if self.kubelet.addresses.owns(kept) else self.kubelet.addresses.take(ports)

    def _write(self, volume: Doc) -> None:
        folder = self.folder / "volumes" / volume["name"]
        if volumes.is_folder(volume):
            folder.mkdir(parents=True, exist_ok=True)
        else:
            source = volumes.Source(self.doc, self._lookup, self._token, self._allocatable())
            volumes.write(folder, volumes.content(volume, source))

    def _lookup(self, resource: str, name: str) -> Doc | None:
        return self.kubelet.store.get(self.cluster, resource, self.namespace, name)

    def _token(self, audience: str, seconds: int) -> str:
        now, known = self.kubelet.clock.now(), self._tokens.get((audience, seconds))
        if known is not None and now < known[1]:
            return known[0]
        account = self.doc["spec"].get("serviceAccountName") or "default"
        try:
            text, _ = self.kubelet.clusters.issue_token(
                self.cluster, self.namespace, account,
                seconds=seconds, audiences=[audience] if audience else None, pod=self.name,
            )  # fmt: skip
        except ApiError as error:
            raise ConfigError(f"failed to fetch token: {error.message}") from error
        self._tokens[(audience, seconds)] = (text, now + timedelta(seconds=seconds * _ROTATE_AT))
        return text

    def _node(self) -> Doc:
        return self.kubelet.store.get(self.cluster, "nodes", None, self.doc["spec"].get("nodeName", "")) or {}

    def _allocatable(self) -> dict[str, str]:
        return dict(self._node().get("status", {}).get("allocatable", {}))

    def _host_ip(self) -> str:
        rows = self._node().get("status", {}).get("addresses", [])
        return next((row["address"] for row in rows if row["type"] == "InternalIP"), "127.0.0.1")

    # --- what its containers ask

    def now(self) -> str:
        """The time as the API writes it."""
        return stamp(self.kubelet.clock.now())

    def title(self) -> str:
        """How a kubelet names the pod in messages."""
        return f"{self.name}_{self.namespace}({self.uid})"

    def event(self, type_: str, reason: str, message: str, container: str = "") -> None:
        """Record an Event about the pod or one of its containers."""
        self.kubelet.event(self.cluster, self.doc, type_, reason, message, container)

    def publish(self) -> None:
        """Write the status."""

        def edit(doc: Doc) -> None:
            if doc["metadata"]["uid"] != self.uid:
                return
            records = [[c.record for c in group] for group in (self.inits, self.mains)]
            doc["status"] = statuses.build(doc, self.now(), self.ip, self._host_ip(), *records)
            if self._verdict is not None:
                doc["status"] = statuses.put_out(doc["status"], *self._verdict, self.now())

        stored = self.kubelet.store.mutate(self.cluster, "pods", self.namespace, self.name, edit, subresource="status")
        if stored is not None and stored["metadata"]["uid"] == self.uid:
            self.doc = stored

    def variables(self, container: Doc, image: Image, home: str) -> dict[str, str]:
        """The environment of a container."""
        base = {
            "PATH": f"{image.path_bin}:{_PATH}", "HOSTNAME": self.doc["spec"].get("hostname") or self.name,
            "HOME": home, "TMPDIR": str(Path(home).parent / "tmp"), "LANG": "C.UTF-8",
            "KUBERNETES_SERVICE_HOST": self._api[0], "KUBERNETES_SERVICE_PORT": str(self._api[1]),
            "KUBERNETES_SERVICE_PORT_HTTPS": str(self._api[1]),
        }  # fmt: skip
        base |= {name: value for name, value in image.env.items() if name != "PATH"}
        return environment.build(self.doc, container, base, self._lookup, self._allocatable())

    def target(self, container: Doc, run: probes.Exec) -> probes.Target:
        """Where probes of a container go."""
        named = {port["name"]: port["containerPort"] for port in container.get("ports") or [] if "name" in port}
        return probes.Target(self.ip, named, run, self.kubelet.session)

    async def image(self, name: str) -> Image | str:
        """The known image of that name, or the words of a runtime that cannot pull it."""
        asked = self.kubelet.fault("kube.image_pull", self, image=name)
        denied = self._is_denied(name)
        found = None if asked or denied else await self.kubelet.image(name)
        return found or pulling.problem(name, str((asked or {}).get("why", "denied" if denied else "not_found")))

    def _is_denied(self, name: str) -> bool:
        """Whether the image's registry asks for a login that the pod's pull secrets do not have."""
        wanted = self.kubelet.login(name)
        secrets = [str(row.get("name")) for row in self.doc["spec"].get("imagePullSecrets") or []]
        found = [self._lookup("secrets", each) for each in secrets]
        return wanted is not None and wanted not in [pair for each in found if each for pair in logins(each, name)]

    def crash_asked(self, container: str) -> bool:
        """Whether a fault asks this container to crash now."""
        return self.kubelet.fault("kube.crash", self, container=container) is not None

    def probe_asked(self, container: str, probe: str) -> str | None:
        """What a fault lets this container's probe (startup, readiness, liveness) fail with."""
        asked = self.kubelet.fault("kube.probe", self, container=container, probe=probe)
        return None if asked is None else str(asked.get("message", "HTTP probe failed with statuscode: 503"))

    def memory(self) -> list[tuple[Container, float]]:
        """Its containers with a memory limit, and the limit in bytes."""
        found = [(container, container.memory_limit()) for container in (*self.inits, *self.mains)]
        return [(container, float(quantity.parse(limit))) for container, limit in found if limit is not None]


def _metadata(doc: Doc) -> tuple[Any, Any]:
    return doc["metadata"].get("annotations"), doc["metadata"].get("labels")
