"""The sandbox as one process: two listeners, the state, and everything that works in the background."""

import ssl

from aiohttp import web

from compute.sandbox.admin import Admin
from compute.sandbox.arm.door import Door
from compute.sandbox.arm.reads import Groups
from compute.sandbox.arm.routes import Routes
from compute.sandbox.arm.service import Service
from compute.sandbox.arm.signing import Signer
from compute.sandbox.clock import Clock
from compute.sandbox.controllers.manager import ControllerManager
from compute.sandbox.db import Db
from compute.sandbox.faults import Faults
from compute.sandbox.kube import api
from compute.sandbox.kube.clusters import Clusters
from compute.sandbox.kube.store import Store
from compute.sandbox.kubelet.manager import KubeletManager
from compute.sandbox.registry.images import Images
from compute.sandbox.registry.service import Registry
from compute.sandbox.requestlog import RequestLog
from compute.sandbox.settings import Settings

_MOST_BYTES = 8 * 1024 * 1024


class Sandbox:
    """All parts, wired. Make it inside a running event loop on the main thread."""

    def __init__(self, settings: Settings) -> None:
        settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.settings = settings
        self.db = Db(settings.state / "sandbox.db")
        self.clock, self.faults = Clock(self.db), Faults(self.db)
        self.kube_log = RequestLog(settings.state, "kube", self.clock)
        self.arm_log = RequestLog(settings.state, "arm", self.clock)
        self.store = Store(self.db, self.clock)
        self.kube = Clusters(self.store, settings, self.db)
        self.images = Images(settings, self.db)
        self.controllers = ControllerManager(self.store, self.clock, settings, self.faults, self.kube)
        self.kubelet = KubeletManager(self.store, self.clock, settings, self.faults, self.kube, self.images)
        self.arm = Service(settings, self.db, self.clock, self.faults, self.kube)
        signer = Signer(self.db)
        groups = Groups(settings.subscription, settings.resource_groups, settings.region, self.db)
        self._registry = Registry(settings, self.db, self.clock, groups, signer, self.images)
        self._door = Door(_secret(settings.arm_token_file), settings.subscription, self.faults, self.arm_log)
        Routes(self.arm, groups, signer).register(self._door)
        self._registry.register(self._door)
        self._runners: list[web.AppRunner] = []

    async def start(self) -> None:
        """Begin; OSError when a port is taken."""
        self.images.prepare()
        self.kubelet.api.serve(api.routes(self))
        await self.controllers.start()
        await self.kubelet.start()
        await self.arm.start()
        await self._registry.start()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.settings.tls_cert, self.settings.tls_key)
        await self._listen(self.settings.https_port, context, with_kube=True)
        await self._listen(self.settings.http_port, None, with_kube=False)

    async def stop(self) -> None:
        """End everything; the state stays."""
        for runner in self._runners:
            await runner.cleanup()
        await self._registry.stop()
        await self.arm.stop()
        await self.controllers.stop()
        await self.kubelet.stop()
        self.db.close()

    async def _listen(self, port: int, context: ssl.SSLContext | None, *, with_kube: bool) -> None:
        app = web.Application(client_max_size=_MOST_BYTES)
        app.add_routes(Admin(self, _secret(self.settings.admin_token_file)).routes())
        app.add_routes(self._registry.routes())
        app.router.add_route("*", "/subscriptions{tail:.*}", self._door.handle)
        if with_kube:
            app.add_routes(api.routes(self))
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()


def _secret(path: object) -> str:
    with open(str(path), encoding="ascii") as file:
        text = file.read().strip()
    if not text:
        raise ValueError(f"The token file {path} is empty.")
    return text
