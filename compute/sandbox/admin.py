"""What tests and the supervisor may ask of the pretend cloud itself, with the admin token."""

import hmac
import json
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from compute.sandbox.arm.admin import ArmAdmin
from compute.sandbox.arm.errors import ArmError
from compute.sandbox.kube.errors import ApiError

if TYPE_CHECKING:
    from compute.sandbox.app import Sandbox

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Admin:
    """The paths under /sandbox/."""

    def __init__(self, sandbox: "Sandbox", token: str) -> None:
        self._sandbox, self._token = sandbox, token

    def routes(self) -> list[web.RouteDef]:
        """The routes, each behind the token."""
        guard = self._guarded
        return [
            web.get("/sandbox/clock", guard(self.clock)),
            web.post("/sandbox/clock", guard(self.advance)),
            web.get("/sandbox/faults", guard(self.faults)),
            web.put("/sandbox/faults/{name}", guard(self.set_fault)),
            web.delete("/sandbox/faults/{name}", guard(self.clear_fault)),
            web.delete("/sandbox/faults", guard(self.clear_fault)),
            web.get("/sandbox/state", guard(self.state)),
            web.post("/sandbox/clusters/{cluster}/nodes/{node}/{state:lost|back}", guard(self.node)),
            web.put("/sandbox/images/{name:.+}", guard(self.put_image)),
            web.get("/sandbox/principals", guard(self.principals)),
            web.put("/sandbox/principals/{client_id}", guard(self.put_principal)),
            web.delete("/sandbox/principals/{client_id}", guard(self.delete_principal)),
            *ArmAdmin(self._sandbox.arm, self._sandbox.providers, self._sandbox.outside).routes(guard),
            web.route("*", "/sandbox{rest:.*}", guard(self.nothing)),
        ]

    def _guarded(self, handler: Handler) -> Handler:
        async def check(request: web.Request) -> web.Response:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(token.encode(), self._token.encode()):
                return web.json_response({"message": "The admin token is missing or wrong."}, status=401)
            try:
                return await handler(request)
            except (ValueError, KeyError, TypeError) as error:
                return web.json_response({"message": f"Bad request: {error}"}, status=400)
            except ArmError as error:
                return web.json_response({"message": error.message}, status=error.status)
            except ApiError as error:
                return web.json_response({"message": error.message}, status=error.status)

        return check

    async def nothing(self, request: web.Request) -> web.Response:
        """What is no path or method of ours: said only to who has the token."""
        return web.json_response({"message": f"There is no {request.method} {request.path}."}, status=404)

    async def clock(self, request: web.Request) -> web.Response:
        """The moment."""
        return web.json_response({"now": self._sandbox.clock.now().isoformat()})

    async def advance(self, request: web.Request) -> web.Response:
        """Move the clock: {"advance": seconds}."""
        self._sandbox.clock.advance(float((await request.json())["advance"]))
        return await self.clock(request)

    async def faults(self, request: web.Request) -> web.Response:
        """The faults that are set."""
        return web.json_response(self._sandbox.faults.all())

    async def set_fault(self, request: web.Request) -> web.Response:
        """Set a fault; the body says for whom and how often."""
        spec: Any = json.loads(await request.read() or b"{}")
        if not isinstance(spec, dict):
            raise ValueError("a fault is an object")
        self._sandbox.faults.set(request.match_info["name"], spec)
        return await self.faults(request)

    async def clear_fault(self, request: web.Request) -> web.Response:
        """Clear one fault, or all."""
        self._sandbox.faults.clear(request.match_info.get("name"))
        return await self.faults(request)

    async def put_image(self, request: web.Request) -> web.Response:
        """A copy of a known image in a registry that asks for a login: of, username, password."""
        asked: Any = json.loads(await request.read() or b"{}")
        name = request.match_info["name"]
        self._sandbox.images.put_private(name, str(asked["of"]), str(asked["username"]), str(asked["password"]))
        return web.json_response({"name": name, "of": asked["of"]})

    async def principals(self, request: web.Request) -> web.Response:
        """The service principals, without secrets, and their tenant."""
        found = self._sandbox.principals
        return web.json_response({"tenant_id": found.tenant, "value": found.all()})

    async def put_principal(self, request: web.Request) -> web.Response:
        """Register or change a service principal: secret, certificate, federated, groups, roles."""
        asked: Any = json.loads(await request.read() or b"{}")
        return web.json_response(self._sandbox.principals.put(request.match_info["client_id"], asked))

    async def delete_principal(self, request: web.Request) -> web.Response:
        """Forget a service principal."""
        self._sandbox.principals.delete(request.match_info["client_id"])
        return await self.principals(request)

    async def state(self, request: web.Request) -> web.Response:
        """Process id, clusters, and every pod with its processes."""
        rows = self._sandbox.arm.records()
        clusters = [
            {"id": row["uid"], "name": row["name"], "group": row["group"],
             "state": row["body"]["properties"]["provisioningState"]}
            for row in rows
        ]  # fmt: skip
        pods = self._sandbox.kubelet.processes()
        balancer = self._sandbox.controllers.balancer_pid()
        return web.json_response({"pid": os.getpid(), "clusters": clusters, "pods": pods, "balancer_pid": balancer})

    async def node(self, request: web.Request) -> web.Response:
        """Lose a node, or bring it back."""
        names = request.match_info
        self._sandbox.kube.set_node_ready(names["cluster"], names["node"], names["state"] == "back")
        return web.json_response({"node": names["node"], "state": names["state"]})
