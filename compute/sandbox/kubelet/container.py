"""One container of a pod: image, environment, process, probes, restarts, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

from compute.sandbox.kubelet import confine, environment, layout, logs, probes
from compute.sandbox.kubelet.environment import ConfigError
from compute.sandbox.kubelet.process import Process, Reaper, find_program
from compute.sandbox.kubelet.status import Record
from compute.sandbox.kubelet.waiting import BackOff, cancel, first

Doc = dict[str, Any]
_LEAST_GRACE = 2.0


class Image(Protocol):
    """What the kubelet needs of a known image."""

    path_bin: Path
    digest: str
    env: dict[str, str]


class Host(Protocol):
    """The pod around a container."""

    doc: Doc
    ip: str
    folder: Path
    reaper: Reaper
    back_off_seconds: float

    def now(self) -> str: ...
    def title(self) -> str: ...
    def event(self, type_: str, reason: str, message: str, container: str = "") -> None: ...
    def publish(self) -> None: ...
    def variables(self, container: Doc, image: Image, home: str) -> dict[str, str]: ...
    def target(self, container: Doc, run: probes.Exec) -> probes.Target: ...
    async def image(self, name: str) -> Image | str: ...
    def crash_asked(self, container: str) -> bool: ...
    def probe_asked(self, container: str, probe: str) -> str | None: ...


class Container:
    """Runs one container of `host` until it is over for good or stopped."""

    def __init__(self, host: Host, spec: Doc, record: Record, policy: str) -> None:
        self.host, self.spec, self.record, self._policy = host, spec, record, policy
        self.name: str = spec["name"]
        self.stopping = asyncio.Event()
        self.changed = asyncio.Event()
        self.began = asyncio.Event()
        self.log: logs.LogFile | None = None
        self._process: Process | None = None
        self._extra: set[Process] = set()
        self._spec: confine.Spec = {}
        self._oom = False
        self._ending: asyncio.Task[None] | None = None
        self._back_off = BackOff(host.back_off_seconds)

    # --- the life of a container

    async def run(self) -> None:
        """Run, and run again as the restart policy says."""
        while not self.stopping.is_set():
            image = await self._pull()
            prepared = await self._prepare(image) if image is not None else None
            if image is None or prepared is None:
                return
            began = time.monotonic()
            code = await self._attempt(image, prepared)
            if self.stopping.is_set() or not self._again(code):
                return
            await self._wait_to_restart(time.monotonic() - began)
            self.record.restarts += 1

    def pids(self) -> list[int]:
        """The sessions that belong to it now."""
        return [process.pid for process in (self._process, *self._extra) if process is not None and not process.ended]

    def memory_limit(self) -> str | None:
        """Its memory limit as written."""
        limit = ((self.spec.get("resources") or {}).get("limits") or {}).get("memory")
        return str(limit) if limit is not None else None

    def out_of_memory(self) -> None:
        """It uses more than its limit: kill it as the kernel would."""
        self._oom = True
        self.kill()

    def kill(self) -> None:
        """End everything of it at once."""
        for process in (self._process, *self._extra):
            if process is not None:
                process.kill()

    def close(self) -> None:
        """The kubelet stops: end everything without a word."""
        if self._ending is not None:
            self._ending.cancel()
        self.kill()

    async def stop(self, grace: float) -> None:
        """End it for good: preStop, SIGTERM, and SIGKILL after `grace` seconds."""
        self.stopping.set()
        if self._process is None or self._process.ended:
            return
        if self._ending is not None and not self._ending.done():
            await asyncio.wait([self._ending], timeout=grace)
            self._process.kill()
        else:
            await self._end(self._process, grace, f"Stopping container {self.name}")

    def _again(self, code: int) -> bool:
        return self._policy == "Always" or (self._policy == "OnFailure" and code != 0)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    def _waiting(self, reason: str, message: str) -> None:
        self.record.state = {"waiting": {"reason": reason, "message": message}}
        self.host.publish()

    async def _wait_to_restart(self, ran: float) -> None:
        seconds = self._back_off.take(ran)
        if not seconds:
            return
        where = f"container={self.name} pod={self.host.title()}"
        self.record.last_state = self.record.state
        self._waiting("CrashLoopBackOff", f"back-off {seconds:g}s restarting failed {where}")
        message = f"Back-off restarting failed container {self.name} in pod {self.host.title()}"
        self.host.event("Warning", "BackOff", message, self.name)
        await self._pause(seconds)

    # --- before it runs

    async def _pull(self) -> Image | None:
        name, waits = self.spec["image"], BackOff(self.host.back_off_seconds)
        waits.take(0)
        while not self.stopping.is_set():
            found = await self.host.image(name)
            if not isinstance(found, str):
                self.host.event("Normal", "Pulled", f'Container image "{name}" already present on machine', self.name)
                self.record.image_id = f"{name.split('@')[0].rsplit(':', 1)[0]}@{found.digest}"
                return found
            await self._pull_failed(name, found, waits.take(0))
        return None

    async def _pull_failed(self, name: str, problem: str, seconds: float) -> None:
        self.host.event("Normal", "Pulling", f'Pulling image "{name}"', self.name)
        self.host.event("Warning", "Failed", f'Failed to pull image "{name}": {problem}', self.name)
        self.host.event("Warning", "Failed", "Error: ErrImagePull", self.name)
        self._waiting("ErrImagePull", problem)
        await self._pause(min(seconds, 1))
        if self.stopping.is_set():
            return
        self.host.event("Normal", "BackOff", f'Back-off pulling image "{name}"', self.name)
        self.host.event("Warning", "Failed", "Error: ImagePullBackOff", self.name)
        self._waiting("ImagePullBackOff", f'Back-off pulling image "{name}": ErrImagePull: {problem}')
        await self._pause(seconds)

    async def _prepare(self, image: Image) -> dict[str, str] | None:
        while not self.stopping.is_set():
            self.changed.clear()
            try:
                place = layout.Place(self.host.folder, self.spec, self.host.doc)
                place.make()
                return self.host.variables(self.spec, image, str(place.home))
            except ConfigError as error:
                self.host.event("Warning", "Failed", f"Error: {error}", self.name)
                self._waiting("CreateContainerConfigError", str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(first(self.stopping, self.changed), 10)
        return None

    # --- while it runs

    async def _attempt(self, image: Image, env: dict[str, str]) -> int:
        place = layout.Place(self.host.folder, self.spec, self.host.doc)
        self._keep_two_logs(place)
        argv = environment.arguments(self.spec, env)
        program = find_program(argv[0], env["PATH"], place.cwd) if argv else None
        if program is None:
            missing = f'exec: "{argv[0]}": executable file not found in $PATH' if argv else "no command specified"
            return self._cannot_start(missing)
        self.log = logs.LogFile(place.log(self.record.restarts))
        self._spec = {
            "argv": argv, "env": env, "cwd": str(place.cwd),
            "read": [*layout.image_roots(image.path_bin), *place.readable()], "write": place.writable(),
        }  # fmt: skip
        if self.record.terminated:
            self.record.last_state = self.record.state
        self.host.event("Normal", "Created", f"Created container: {self.name}", self.name)
        self._oom = False
        try:
            # A HOME of its own choosing may be shared with programs that are not the pod's.
            home = str(place.home) if env.get("HOME") == str(place.home) else ""
            self._process = Process.start(self._spec, self.log.write, self.host.reaper, home)
        except OSError as error:
            return self._cannot_start(f'exec: "{argv[0]}": {error.strerror}')
        return await self._watch(self._process, self.log)

    async def _watch(self, process: Process, log: logs.LogFile) -> int:
        started = self.host.now()
        self.record.container_id = f"containerd://{uuid.uuid4().hex}{uuid.uuid4().hex}"
        self.record.state = {"running": {"startedAt": started}}
        self.record.started = "startupProbe" not in self.spec
        self.record.ready = self.record.started and "readinessProbe" not in self.spec
        self.host.event("Normal", "Started", f"Started container {self.name}", self.name)
        self.host.publish()
        if self.record.started:
            self.began.set()
        if self.host.crash_asked(self.name):
            process.kill()
        tasks = [asyncio.ensure_future(work) for work in self._probing(process)]
        try:
            code = await process.wait()
        finally:
            await cancel(tasks)
            process.kill()
            log.close()
        self._finish(code, started, log)
        return code

    def _finish(self, code: int, started: str, log: logs.LogFile) -> None:
        reason = "OOMKilled" if self._oom else "Completed" if code == 0 else "Error"
        ended: Doc = {
            "exitCode": code, "reason": reason, "startedAt": started, "finishedAt": self.host.now(),
            "containerID": self.record.container_id,
        }  # fmt: skip
        if code != 0 and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            ended["message"] = logs.tail(log.path, 80, 2048)
        self.record.state = {"terminated": ended}
        self.record.ready = self.record.started = False
        self.host.publish()

    def _cannot_start(self, why: str) -> int:
        text = (
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create "
            f"failed: unable to start container process: {why}"
        )
        self.host.event("Warning", "Failed", f"Error: {text}", self.name)
        now = self.host.now()
        ended = {"exitCode": 128, "reason": "StartError", "message": text, "startedAt": now, "finishedAt": now}
        if self.record.terminated:
            self.record.last_state = self.record.state
        self.record.state = {"terminated": ended}
        self.host.publish()
        return 128

    def _keep_two_logs(self, place: layout.Place) -> None:
        for old in (place.log(self.record.restarts - 2), logs.rotated(place.log(self.record.restarts - 2))):
            old.unlink(missing_ok=True)

    # --- probes and hooks

    def _probing(self, process: Process) -> list[Coroutine[Any, Any, None]]:
        target = self.host.target(self.spec, self._exec)
        work: list[Coroutine[Any, Any, None]] = [self._probe_all(process, target)]
        if "postStart" in (self.spec.get("lifecycle") or {}):
            work.append(self._post_start(process))
        return work

    async def _probe_all(self, process: Process, target: probes.Target) -> None:
        if "startupProbe" in self.spec:
            await self._startup(process, target)
        kinds = [kind for kind in ("readiness", "liveness") if f"{kind}Probe" in self.spec]
        await asyncio.gather(*(self._probe(kind, process, target) for kind in kinds))

    async def _startup(self, process: Process, target: probes.Target) -> None:
        passed = asyncio.Event()
        work = asyncio.ensure_future(self._probe("startup", process, target, passed))
        try:
            await passed.wait()
        finally:
            await cancel([work])
        self.record.started = True
        self.record.ready = "readinessProbe" not in self.spec
        self.began.set()
        self.host.publish()

    async def _probe(
        self, kind: str, process: Process, target: probes.Target, passed: asyncio.Event | None = None
    ) -> None:
        probe: Doc = self.spec[f"{kind}Probe"]

        def verdict(good: bool, _: str) -> None:
            if kind == "readiness":
                self._set_ready(good)
            elif good and passed is not None:
                passed.set()
            elif not good:
                self._restart(process, kind, probe)

        def failed(problem: str) -> None:
            self.host.event("Warning", "Unhealthy", f"{kind.capitalize()} probe failed: {problem}", self.name)

        await probes.repeat(probe, target, verdict, failed, lambda: self.host.probe_asked(self.name, kind))

    def _set_ready(self, ready: bool) -> None:
        if self.record.ready != ready:
            self.record.ready = ready
            self.host.publish()

    def _restart(self, process: Process, kind: str, probe: Doc) -> None:
        if self.stopping.is_set() or (self._ending is not None and not self._ending.done()):
            return
        grace = probe.get("terminationGracePeriodSeconds")
        grace = self.host.doc["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace
        message = f"Container {self.name} failed {kind} probe, will be restarted"
        self._ending = asyncio.ensure_future(self._end(process, float(grace), message))

    async def _end(self, process: Process, grace: float, message: str) -> None:
        began = time.monotonic()
        self.host.event("Normal", "Killing", message, self.name)
        hook = (self.spec.get("lifecycle") or {}).get("preStop")
        if hook and grace > 0:
            await self._hook("PreStop", hook, grace, process)
        if grace > 0 and not process.ended:
            process.terminate()
            left = max(grace - (time.monotonic() - began), _LEAST_GRACE if hook else 0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), left)
        process.kill()
        await process.wait()

    async def _post_start(self, process: Process) -> None:
        if not await self._hook("PostStart", self.spec["lifecycle"]["postStart"], 3600, process):
            self._restart(process, "postStart hook of the", {})

    async def _hook(self, kind: str, hook: Doc, seconds: float, process: Process) -> bool:
        """Run a lifecycle hook at most that long, and not longer than the container lives."""
        done = asyncio.ensure_future(self._hook_once(hook, seconds))
        over = asyncio.ensure_future(process.wait())
        await asyncio.wait([done, over], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        problem = done.result() if done.done() else None
        await cancel([done, over])
        if problem:
            self.host.event("Warning", f"Failed{kind}Hook", f"{kind}Hook failed: {problem}", self.name)
        return problem is None

    async def _hook_once(self, hook: Doc, seconds: float) -> str | None:
        if "sleep" in hook:
            await asyncio.sleep(float(hook["sleep"]["seconds"]))
            return None
        action = {**hook, "timeoutSeconds": seconds}
        return await probes.check(action, self.host.target(self.spec, self._exec))

    async def _exec(self, command: list[str], seconds: float) -> tuple[int, str]:
        """Run a command beside the container's process, as confined as it is."""
        output: list[bytes] = []
        process = Process.start({**self._spec, "argv": command, "env": _without_home(self._spec["env"])},
                                output.append, self.host.reaper)  # fmt: skip
        self._extra.add(process)
        try:
            code = await asyncio.wait_for(process.wait(), seconds)
        finally:
            process.kill()
            self._extra.discard(process)
        return code, b"".join(output)[-4096:].decode(errors="replace")


def _without_home(env: dict[str, str]) -> dict[str, str]:
    # Processes are found by HOME when the container ends; ending this one must not end that.
    return {name: value for name, value in env.items() if name != "HOME"}
