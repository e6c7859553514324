"""The address at which a cluster's own pods reach its API: https at the root path, as in a real cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from compute.sandbox.kubelet.authority import Authority

_PREFIX = "/clusters/{cluster}"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiListeners:
    """One https listener per cluster on the first address of the block, begun when the cluster's first pod needs it."""

    def __init__(self, block: str, authority: Authority) -> None:
        self._ip = f"{block}.1"
        self.authority = authority
        self._routes: list[web.RouteDef] = []
        self._middlewares: list[Handler] = []
        self._running: dict[str, tuple[web.AppRunner, int]] = {}
        self._lock = asyncio.Lock()

    def serve(self, routes: Iterable[web.RouteDef], middlewares: Iterable[Handler] = ()) -> None:
        """The routes of the API, as they are mounted under /clusters/{cluster} on the home's listener."""
        self._routes, self._middlewares = list(routes), list(middlewares)

    async def address(self, cluster: str) -> tuple[str, int]:
        """Host and port of a cluster's API for its pods."""
        async with self._lock:
            if cluster not in self._running:
                self._running[cluster] = await self._start(cluster)
        return self._ip, self._running[cluster][1]

    async def forget(self, cluster: str) -> None:
        """The cluster is gone: stop listening for it."""
        if cluster in self._running:
            runner, _ = self._running.pop(cluster)
            await runner.cleanup()

    async def close(self) -> None:
        """Stop all."""
        for cluster in list(self._running):
            with contextlib.suppress(OSError):
                await self.forget(cluster)

    async def _start(self, cluster: str) -> tuple[web.AppRunner, int]:
        app = web.Application(middlewares=self._middlewares)  # type: ignore[arg-type]
        for route in self._routes:
            path = route.path.removeprefix(_PREFIX) or "/"
            web.RouteDef(route.method, path, _bound(route.handler, cluster), route.kwargs).register(app.router)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        context = await asyncio.to_thread(self.authority.context, self._ip)
        site = web.TCPSite(runner, self._ip, 0, ssl_context=context)
        await site.start()
        return runner, int(runner.addresses[0][1])


def _bound(handler: Handler, cluster: str) -> Handler:
    async def serve(request: web.Request) -> web.StreamResponse:
        request.match_info["cluster"] = cluster
        return await handler(request)

    return serve
