"""The registry's doors: source uploads, runs, logs."""

import asyncio
import contextlib
import logging
import re
import uuid
from pathlib import Path
from typing import Any

from aiohttp import web

from compute.sandbox.arm import machines
from compute.sandbox.arm.door import Call, Door, answer
from compute.sandbox.arm.errors import absent, gateway
from compute.sandbox.arm.groups import Groups
from compute.sandbox.arm.signing import Signer
from compute.sandbox.clock import Clock
from compute.sandbox.db import Db
from compute.sandbox.registry import context
from compute.sandbox.registry.builder import Builder, BuildFailed
from compute.sandbox.registry.images import Images
from compute.sandbox.settings import Settings

Json = dict[str, Any]
NAME = "slipwaysandbox"
KIND = "Microsoft.ContainerRegistry/registries"
_ALL = "/subscriptions/{sub}/resourceGroups/{group}/providers/" + KIND
_ONE = _ALL + "/{registry}"
_TABLE = "registry_runs"
_ENDED = ("Succeeded", "Failed", "Canceled", "Timeout")
_LINK_SECONDS = 3600
_MOST_LOG = 16 * 1024 * 1024
_IMAGE = re.compile(r"([a-z0-9]+(?:[._/-]+[a-z0-9]+)*):([\w][\w.-]{0,127})")
_log = logging.getLogger(__name__)


class Registry:
    """One registry in the first resource group. Runs are rows; one is built at a time."""

    def __init__(
        self, settings: Settings, db: Db, clock: Clock, groups: Groups, signer: Signer, images: Images
    ) -> None:
        self._settings, self._db, self._clock, self._groups = settings, db, clock, groups
        self._signer, self._images = signer, images
        self._folder = settings.state / "registry"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._runs: dict[str, Json] = db.all(_TABLE)
        self._builder = Builder(settings, images.folder)
        self._turn = asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Build again what was under way."""
        for run in self._runs.values():
            if run["status"] not in _ENDED:
                self._work(run)

    async def stop(self) -> None:
        """Leave the runs as they are."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        self._builder.kill()
        await asyncio.gather(*tasks, return_exceptions=True)

    def register(self, door: Door) -> None:
        """Add the ARM paths."""
        door.add("GET", _ALL, self.registries)
        door.add("GET", _ONE, self.registry)
        door.add("POST", _ONE + "/listBuildSourceUploadUrl", self.upload_url)
        door.add("POST", _ONE + "/scheduleRun", self.schedule)
        door.add("GET", _ONE + "/runs", self.runs)
        door.add("GET", _ONE + "/runs/{run}", self.run)
        door.add("POST", _ONE + "/runs/{run}/listLogSasUrl", self.log_url)
        door.add("POST", _ONE + "/runs/{run}/cancel", self.cancel)

    def routes(self) -> list[web.RouteDef]:
        """The signed links, which need no token."""
        return [web.put("/registry/sources/{name}", self.upload), web.get("/registry/logs/{name}", self.read_log)]

    # --- ARM

    def _check(self, call: Call) -> str:
        group = self._groups.get(call.names["group"])["name"]
        name = call.names.get("registry", NAME)
        if name.lower() != NAME or group.lower() != self._settings.resource_groups[0].lower():
            raise absent(KIND, name, group)
        return f"/subscriptions/{self._settings.subscription}/resourceGroups/{group}/providers/{KIND}/{NAME}"

    def _doc(self, path: str) -> Json:
        return {
            "id": path, "name": NAME, "type": KIND, "location": self._settings.region,
            "sku": {"name": "Standard", "tier": "Standard"},
            "properties": {"loginServer": f"{NAME}.azurecr.io", "provisioningState": "Succeeded"},
        }  # fmt: skip

    async def registries(self, call: Call) -> web.Response:
        """The registries of a group."""
        group = self._groups.get(call.names["group"])["name"]
        mine = group.lower() == self._settings.resource_groups[0].lower()
        return answer({"value": [self._doc(self._check(call))] if mine else []})

    async def registry(self, call: Call) -> web.Response:
        """The registry."""
        return answer(self._doc(self._check(call)))

    async def upload_url(self, call: Call) -> web.Response:
        """Where a context may be put."""
        self._check(call)
        name = f"{uuid.uuid4().hex}.tar.gz"
        return answer(
            {"uploadUrl": self._link(call, "PUT", f"/registry/sources/{name}"), "relativePath": f"source/{name}"}
        )

    def _link(self, call: Call, method: str, path: str) -> str:
        until = int(self._clock.time()) + _LINK_SECONDS
        return f"{call.base}{path}?{self._signer.link_query(method, path, until)}"

    async def schedule(self, call: Call) -> web.Response:
        """Queue a build."""
        path, body = self._check(call), await call.json()
        if body.get("type") != "DockerBuildRequest":
            words = f"The run type {body.get('type')!r} is not supported here; use DockerBuildRequest."
            raise gateway(400, "InvalidRunRequest", words)
        source = re.fullmatch(r"source/([0-9a-f]{32}\.tar\.gz)", str(body.get("sourceLocation", "")))
        if source is None or not (self._folder / source.group(1)).exists():
            raise gateway(400, "InvalidSourceLocation", "sourceLocation names no uploaded context.")
        names = body.get("imageNames")
        if not isinstance(names, list) or not names or not all(_IMAGE.fullmatch(str(name)) for name in names):
            raise gateway(400, "InvalidImageName", "imageNames must name at least one repository:tag in lower case.")
        run_id = f"sw{len(self._runs) + 1}"
        run = {
            "id": run_id, "path": f"{path}/runs/{run_id}", "status": "Queued",
            "source": source.group(1), "images": names,
            "dockerfile": str(body.get("dockerFilePath") or "Dockerfile"), "timeout": int(body.get("timeout") or 3600),
            "created": self._clock.time(), "started": None, "ended": None, "digest": "", "error": "",
        }  # fmt: skip
        self._save(run)
        call.effective = True
        self._work(run)
        return answer(self._view(run))

    async def runs(self, call: Call) -> web.Response:
        """All runs, newest first."""
        self._check(call)
        return answer({"value": [self._view(run) for run in reversed(self._runs.values())]})

    async def run(self, call: Call) -> web.Response:
        """One run."""
        return answer(self._view(self._find(call)))

    async def log_url(self, call: Call) -> web.Response:
        """Where the log can be read."""
        return answer({"logLink": self._link(call, "GET", f"/registry/logs/{self._find(call)['id']}")})

    async def cancel(self, call: Call) -> web.Response:
        """End a run that has not ended."""
        run = self._find(call)
        if run["status"] not in _ENDED:
            call.effective = True
            task = self._tasks.get(run["id"])
            self._end(run, "Canceled", "The run was canceled.")
            if task is not None:
                task.cancel()
        return answer(None, 200)

    def _find(self, call: Call) -> Json:
        self._check(call)
        run = self._runs.get(call.names["run"].lower())
        if run is None:
            raise absent(KIND + "/runs", call.names["run"], call.names["group"])
        return run

    def _view(self, run: Json) -> Json:
        def when(key: str) -> Json:
            words = {"created": "createTime", "started": "startTime", "ended": "finishTime"}
            return {words[key]: machines.stamp(run[key])} if run[key] else {}

        images = [
            {"registry": f"{NAME}.azurecr.io", "repository": name.rpartition(":")[0], "tag": name.rpartition(":")[2],
             "digest": run["digest"]}
            for name in run["images"]
        ]  # fmt: skip
        properties = {
            "runId": run["id"], "status": run["status"], "runType": "QuickBuild", "provisioningState": "Succeeded",
            "platform": {"os": "linux", "architecture": "amd64"}, **when("created"), **when("started"), **when("ended"),
            **({"outputImages": images} if run["digest"] else {}),
            **({"runErrorMessage": run["error"]} if run["error"] else {}),
        }  # fmt: skip
        return {"id": run["path"], "name": run["id"], "type": KIND + "/runs", "properties": properties}

    # --- signed links

    async def upload(self, request: web.Request) -> web.Response:
        """Take a context, once, at most 8 MB."""
        name = request.match_info["name"]
        if not self._allowed(request) or not re.fullmatch(r"[0-9a-f]{32}\.tar\.gz", name):
            return web.Response(status=403)
        path, partial = self._folder / name, self._folder / f"{name}.part"
        size = 0
        with partial.open("wb") as file:
            async for part in request.content.iter_chunked(65536):
                size += len(part)
                if size > context.MOST_BYTES:
                    partial.unlink()
                    return web.Response(status=413)
                file.write(part)
        partial.replace(path)
        return web.Response(status=201)

    async def read_log(self, request: web.Request) -> web.StreamResponse:
        """A log, in ranges if asked."""
        path = self._log_path(request.match_info["name"])
        if not self._allowed(request):
            return web.Response(status=403)
        if not path.exists():
            return web.Response(status=404)
        run = self._runs.get(path.stem, {})
        over = {"x-ms-meta-complete": "successful"} if run.get("status") in _ENDED else {}
        headers = {"Content-Type": "text/plain; charset=utf-8", "x-ms-blob-type": "AppendBlob", **over}
        return web.FileResponse(path, headers=headers)

    def _allowed(self, request: web.Request) -> bool:
        return self._signer.is_link(request.method, request.path, request.query, self._clock.time())

    def _log_path(self, run: str) -> Path:
        return self._folder / f"{run}.log"

    # --- building

    def _save(self, run: Json) -> None:
        self._runs[run["id"]] = run
        self._db.put(_TABLE, run["id"], run)

    def _end(self, run: Json, status: str, error: str = "", digest: str = "") -> None:
        run.update(status=status, error=error, digest=digest, ended=self._clock.time())
        self._save(run)

    def _work(self, run: Json) -> None:
        task = asyncio.get_running_loop().create_task(self._build(run))
        self._tasks[run["id"]] = task
        task.add_done_callback(lambda _: self._tasks.pop(run["id"], None))

    async def _build(self, run: Json) -> None:
        async with self._turn:
            run.update(status="Running", started=self._clock.time())
            self._save(run)
            with self._log_path(run["id"]).open("wb", buffering=0) as file:

                def say(data: bytes) -> None:
                    if file.tell() < _MOST_LOG:
                        file.write(data)

                try:
                    async with asyncio.timeout(run["timeout"]):
                        await self._attempt(run, say)
                except TimeoutError:
                    self._fail(run, say, "Timeout", f"The build took more than {run['timeout']} seconds.")
                except (context.Refused, BuildFailed) as error:
                    self._fail(run, say, "Failed", str(error))
                except Exception as error:
                    _log.exception("a build ended by an error")
                    self._fail(run, say, "Failed", f"The build failed inside the registry ({type(error).__name__}).")
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        self._builder.kill()

    async def _attempt(self, run: Json, say: Any) -> None:
        wanted = context.read((self._folder / run["source"]).read_bytes(), run["dockerfile"])
        digest = await self._builder.build(wanted, say)
        for name in run["images"]:
            repository, _, tag = name.rpartition(":")
            self._images.add(f"{NAME}.azurecr.io/{repository}", tag, wanted.key, digest)
        say(f"Built {', '.join(run['images'])} with digest {digest}\n".encode())
        self._end(run, "Succeeded", digest=digest)

    def _fail(self, run: Json, say: Any, status: str, words: str) -> None:
        say(f"{words}\n".encode())
        self._end(run, status, words)
