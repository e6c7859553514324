"""The sandbox as one process: two listeners, the state, and everything that works in the background."""

import ssl

from aiohttp import web

from compute.sandbox.admin import Admin
from compute.sandbox.arm.access import Access
from compute.sandbox.arm.account import Account
from compute.sandbox.arm.door import Door
from compute.sandbox.arm.groups import Groups, Removal
from compute.sandbox.arm.limits import Limits
from compute.sandbox.arm.network_routes import NetworkRoutes
from compute.sandbox.arm.networks import Networks
from compute.sandbox.arm.outside import Outside
from compute.sandbox.arm.providers import Providers
from compute.sandbox.arm.roles import Roles
from compute.sandbox.arm.routes import Routes
from compute.sandbox.arm.service import Service
from compute.sandbox.arm.signing import Signer
from compute.sandbox.blob.gate import BlobGate
from compute.sandbox.blob.service import BlobService
from compute.sandbox.blob.store import BlobStore
from compute.sandbox.clock import Clock
from compute.sandbox.controllers.manager import ControllerManager
from compute.sandbox.db import Db
from compute.sandbox.entra.assignments import Assignments
from compute.sandbox.entra.authority import Authority
from compute.sandbox.entra.gate import Gate
from compute.sandbox.entra.principals import Principals
from compute.sandbox.entra.tokens import Tokens
from compute.sandbox.faults import Faults
from compute.sandbox.ids import tenant_of
from compute.sandbox.kube import api
from compute.sandbox.kube.clusters import Clusters
from compute.sandbox.kube.store import Store
from compute.sandbox.kubelet.manager import KubeletManager
from compute.sandbox.registry.images import Images
from compute.sandbox.registry.service import Registry
from compute.sandbox.requestlog import RequestLog
from compute.sandbox.settings import Settings

_MOST_BYTES = 8 * 1024 * 1024
ACCOUNT = "slipwaysandbox"
"""The name of the storage account."""


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
        groups = Groups(settings.subscription, settings.resource_groups, settings.region, self.db)
        self.networks = Networks(settings.subscription, groups, self.db)
        self.arm = Service(settings, self.db, self.clock, self.faults, self.kube, groups, self.networks)
        self._removal = Removal(groups, self.arm.clear_group)
        self.outside = Outside(self.arm, groups, self._removal)
        signer = Signer(self.db)
        self._registry = Registry(settings, self.db, self.clock, groups, signer, self.images)
        self.providers = Providers(self.db, self.clock)
        self.principals = Principals(self.db, tenant_of(settings.subscription))
        tokens = Tokens(self.db, self.clock, self.principals)
        self._authority = Authority(
            self.principals, tokens, self.clock, self.faults, settings.token_seconds, _own_names(settings)
        )
        login = f"https://127.0.0.1:{settings.https_port}/{self.principals.tenant}"
        gate = Gate(_secret(settings.arm_token_file), tokens, self.clock, self._authority.arm_audiences, login)
        limits = Limits(factor=settings.request_factor)
        self._door = Door(gate, settings.subscription, self.faults, self.arm_log, self.providers, limits)
        self._access = Access(self.arm, tokens)
        self.kube.entra = self._access.user
        Routes(self.arm, signer, self._access).register(self._door)
        Account(self.arm, self._removal, self.providers).register(self._door)
        Roles(Assignments(self.db, self.principals), settings.subscription).register(self._door)
        NetworkRoutes(self.networks, groups).register(self._door)
        self._registry.register(self._door)
        self._blobs = self._blob_service(tokens) if settings.blob_key_file else None
        self._runners: list[web.AppRunner] = []

    def _blob_service(self, tokens: Tokens) -> BlobService:
        key, home = _secret(self.settings.blob_key_file), self.settings
        group = f"/subscriptions/{home.subscription}/resourceGroups/{home.resource_groups[0]}"
        scope = f"{group}/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}"
        gate = BlobGate(ACCOUNT, key, scope, tokens, self.principals, self.clock)
        return BlobService(ACCOUNT, gate, BlobStore(home.state / "blobs", self.db, self.clock), self.faults)

    async def start(self) -> None:
        """Begin; OSError when a port is taken."""
        self.images.prepare()
        self.kubelet.api.serve(api.routes(self))
        await self.controllers.start()
        await self.kubelet.start()
        await self.arm.start()
        self._removal.start()
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
        await self._removal.stop()
        await self.arm.stop()
        await self.controllers.stop()
        await self.kubelet.stop()
        self.db.close()

    async def _listen(self, port: int, context: ssl.SSLContext | None, *, with_kube: bool) -> None:
        app = web.Application(client_max_size=_MOST_BYTES, middlewares=[self._access.border])
        app.add_routes(Admin(self, _secret(self.settings.admin_token_file)).routes())
        app.add_routes(self._registry.routes())
        app.add_routes(self._blobs.routes() if self._blobs else [])
        app.router.add_route("*", "/subscriptions{tail:.*}", self._door.handle)
        if with_kube:
            app.add_routes(api.routes(self))
            app.add_routes(self._authority.routes())
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()


def _own_names(settings: Settings) -> frozenset[str]:
    ports = {"https": settings.https_port, "http": settings.http_port}
    hosts = ("127.0.0.1", "localhost")
    return frozenset(f"{scheme}://{host}:{port}" for scheme, port in ports.items() for host in hosts)


def _secret(path: object) -> str:
    with open(str(path), encoding="ascii") as file:
        text = file.read().strip()
    if not text:
        raise ValueError(f"The token file {path} is empty.")
    return text
