"""The HTTP door: who asks, for what, and how refusals are written."""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from compute.sandbox.kube import discovery, openapi, rbac, reading, subresources, writing
from compute.sandbox.kube.call import Call, Host, Target, parse_path
from compute.sandbox.kube.errors import ApiError
from compute.sandbox.kube.users import User

Json = dict[str, Any]
Handler = Callable[[Call], Awaitable[web.StreamResponse]]
logger = logging.getLogger(__name__)

COLLECTION: dict[str, tuple[str, Handler]] = {
    "GET": ("list", reading.list_or_watch),
    "POST": ("create", writing.create),
    "DELETE": ("deletecollection", writing.delete_collection),
}
OBJECT: dict[str, tuple[str, Handler]] = {
    "GET": ("get", reading.get),
    "PUT": ("update", writing.update),
    "PATCH": ("patch", writing.patch),
    "DELETE": ("delete", writing.delete),
}
SUB: dict[str, Handler] = {
    "scale": subresources.scale,
    "status": subresources.status,
    "log": subresources.log,
    "proxy": subresources.proxy,
    "eviction": subresources.eviction,
    "token": subresources.token,
}
SUB_VERBS = {"GET": "get", "PUT": "update", "PATCH": "patch", "POST": "create"}


def routes(sandbox: Host) -> list[web.RouteDef]:
    """The API of every cluster, below `/clusters/{cluster}/`."""
    door = _Door(sandbox)
    return [
        web.route("*", "/clusters/{cluster}/{tail:.*}", door.handle),
        web.route("*", "/clusters/{cluster}", door.handle),
    ]


class _Door:
    def __init__(self, host: Host) -> None:
        self._host = host

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request to a cluster."""
        cluster, user = request.match_info["cluster"], None
        effective = False
        response: web.StreamResponse
        try:
            user = self._user(request, cluster)
            target = parse_path(request.match_info.get("tail", ""))
            if target is None:
                response = self._outside(request, cluster)
            else:
                call = Call(self._host, request, cluster, user, target, [])
                response = await _dispatch(call)
                effective = call.effective
        except ApiError as error:
            response = _status(error)
        except web.HTTPException:
            raise
        except Exception:
            logger.exception("The API failed on %s %s", request.method, request.path)
            response = _status(ApiError(500, "InternalError", "Internal error occurred: see the sandbox's log"))
        self._note(request, response, user, effective)
        return response

    def _user(self, request: web.Request, cluster: str) -> User:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        user = self._host.kube.token_user(cluster, token.strip()) if kind.lower() == "bearer" else None
        if user is None:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        if not self._host.kube.is_running(cluster):
            raise ApiError(503, "ServiceUnavailable", "the server is currently unable to handle the request")
        fault = self._fault("kube.unavailable", request, cluster)
        if fault is not None:
            raise ApiError(int(fault.get("status", 503)), "ServiceUnavailable", "the server was asked to fail")
        return user

    def _fault(self, name: str, request: web.Request, cluster: str) -> Json | None:
        faults = getattr(self._host, "faults", None)
        found: Json | None = faults.take(name, cluster=cluster, method=request.method) if faults else None
        return found

    def _note(self, request: web.Request, response: web.StreamResponse, user: User | None, effective: bool) -> None:
        log = getattr(self._host, "kube_log", None)
        if log is not None and user is not None:
            log.add(request.method, request.path, response.status, effective=effective, user=user.name)

    def _outside(self, request: web.Request, cluster: str) -> web.Response:
        """Discovery, documents and health: what is not an object."""
        if request.method != "GET":
            return _missing()
        tail = request.match_info.get("tail", "").strip("/")
        version = self._host.kube.version(cluster)
        if tail in ("readyz", "livez", "healthz"):
            return web.Response(text="ok")
        body = _document(request, tail, version)
        return web.json_response(body) if body is not None else _missing()


def _document(request: web.Request, tail: str, version: str) -> Json | None:
    parts = tail.split("/")
    simple: dict[str, Callable[[], Json]] = {
        "version": lambda: discovery.version(version),
        "api": lambda: discovery.core_versions(request.host),
        "apis": discovery.group_list,
        "openapi/v2": lambda: openapi.swagger(version),
        "openapi/v3": lambda: openapi.index(request.path.rstrip("/").removesuffix("/openapi/v3")),
    }
    if tail in simple:
        return simple[tail]()
    if tail.startswith("openapi/v3/"):
        return openapi.document(version, tail.removeprefix("openapi/v3/"))
    if parts[0] == "api" and len(parts) == 2:
        return discovery.resource_list("", parts[1])
    if parts[0] == "apis" and len(parts) == 3:
        return discovery.resource_list(parts[1], parts[2])
    if parts[0] == "apis" and len(parts) == 2:
        found = next((pair for pair in discovery.groups() if pair[0] == parts[1]), None)
        return {"kind": "APIGroup", "apiVersion": "v1", **discovery.group(*found)} if found else None
    return None


async def _dispatch(call: Call) -> web.StreamResponse:
    method, target = call.request.method, call.target
    if target.subresource:
        verb, handler = SUB_VERBS.get(method, ""), SUB[target.subresource]
        known = verb in target.kind.subresources[target.subresource]
    elif target.kind.resource == "selfsubjectaccessreviews":
        verb, handler, known = "create", subresources.review, method == "POST" and target.name is None
    else:
        verb, found = (OBJECT if target.name else COLLECTION).get(method, ("", None))
        handler, known = found or reading.get, verb in target.kind.verbs
    if verb == "list" and call.flag("watch"):
        verb = "watch"
    if not known or (verb == "create" and target.kind.namespaced and target.namespace is None):
        text = "the server does not allow this method on the requested resource"
        raise ApiError(405, "MethodNotAllowed", text, _details(target))
    rbac.check(call.store, call.cluster, call.user, verb, target)
    return await handler(call)


def _details(target: Target) -> Json:
    details = {"group": target.kind.group, "kind": target.kind.resource, "name": target.name}
    return {key: value for key, value in details.items() if value}


def _missing() -> web.Response:
    # An unknown path is not a Status but plain text, as in a real server.
    return web.Response(status=404, text="404 page not found\n")


def _status(error: ApiError) -> web.Response:
    headers = {"Retry-After": "1"} if error.status in (429, 503) else None
    return web.Response(
        status=error.status, text=json.dumps(error.body()), content_type="application/json", headers=headers
    )
