"""What tests may ask of the pretend ARM beside ARM itself: what others do in the subscription."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from compute.sandbox.arm.outside import Outside
from compute.sandbox.arm.providers import Providers
from compute.sandbox.arm.service import Service

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.Response]]
Guard = Callable[[Handler], Handler]


class ArmAdmin:
    """The paths under /sandbox/arm/."""

    def __init__(self, service: Service, providers: Providers, outside: Outside) -> None:
        self._service, self._providers, self._outside = service, providers, outside

    def routes(self, guard: Guard) -> list[web.RouteDef]:
        """The routes, each behind the guard."""
        return [
            web.put("/sandbox/arm/providers/{space}", guard(self.provider)),
            web.put("/sandbox/arm/skus/{region}/{size}", guard(self.sku)),
            web.put("/sandbox/arm/quotas/{region}/{family}", guard(self.quota)),
            web.put("/sandbox/arm/networks/{group}/{vnet}", guard(self.network)),
            web.put("/sandbox/arm/networks/{group}/{vnet}/{subnet}", guard(self.subnet)),
            web.post("/sandbox/arm/clusters/{group}/{name}/upgrade", guard(self.upgrade)),
            web.post("/sandbox/arm/clusters/{group}/{name}/change", guard(self.change)),
            web.delete("/sandbox/arm/clusters/{group}/{name}", guard(self.delete)),
            web.delete("/sandbox/arm/groups/{group}", guard(self.delete_group)),
        ]

    async def provider(self, request: web.Request) -> web.Response:
        """Take a provider's registration, or give it: {"state": "NotRegistered"}."""
        space = request.match_info["space"]
        self._providers.set(space, str((await body(request))["state"]))
        return web.json_response({"namespace": space, "state": self._providers.state(space)})

    async def sku(self, request: web.Request) -> web.Response:
        """Bar a size or zones of it: {"barred", "zones", "barred_zones"}."""
        names = request.match_info
        return web.json_response(self._service.offers.set_sku(names["region"], names["size"], await body(request)))

    async def quota(self, request: web.Request) -> web.Response:
        """Set what a family (or `cores`) may have and what others use: {"limit", "used"}."""
        names = request.match_info
        return web.json_response(self._service.offers.set_quota(names["region"], names["family"], await body(request)))

    async def network(self, request: web.Request) -> web.Response:
        """Make a network, as ARM's body says; subnets may have `used`, the addresses that others hold."""
        group = self._service.groups.get(request.match_info["group"])["name"]
        networks, vnet = self._service.networks, request.match_info["vnet"]
        return web.json_response(networks.put(group, vnet, await body(request), used=True))

    async def subnet(self, request: web.Request) -> web.Response:
        """Make or change a subnet: {"addressPrefix", "used", "delegations"}."""
        group = self._service.groups.get(request.match_info["group"])["name"]
        networks, names = self._service.networks, request.match_info
        asked = await body(request)
        return web.json_response(networks.put_subnet(group, names["vnet"], names["subnet"], asked, used=True))

    async def upgrade(self, request: web.Request) -> web.Response:
        """Azure upgrades the cluster: {"seconds", "version"}."""
        names, asked = request.match_info, await body(request)
        seconds, version = float(asked.get("seconds", 10)), str(asked.get("version", ""))
        return web.json_response(self._outside.upgrade(names["group"], names["name"], seconds, version))

    async def change(self, request: web.Request) -> web.Response:
        """Somebody changes the cluster: {"count", "pool", "version", "tags", "power"}."""
        names = request.match_info
        return web.json_response(self._outside.change(names["group"], names["name"], await body(request)))

    async def delete(self, request: web.Request) -> web.Response:
        """Somebody deletes the cluster."""
        return web.json_response(self._outside.delete(request.match_info["group"], request.match_info["name"]))

    async def delete_group(self, request: web.Request) -> web.Response:
        """Somebody deletes the group."""
        self._outside.delete_group(request.match_info["group"])
        return web.json_response({})


async def body(request: web.Request) -> Json:
    """The object that was sent. ValueError for anything else."""
    found = json.loads(await request.read() or b"{}")
    if not isinstance(found, dict):
        raise ValueError("the body must be an object")
    return found
