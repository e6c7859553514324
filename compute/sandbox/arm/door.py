"""The front door of ARM: token, api-version, rights, faults, headers, and the way to what a path names."""

import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from compute.sandbox.arm import trouble
from compute.sandbox.arm.actions import Need, need
from compute.sandbox.arm.errors import ArmError, gateway
from compute.sandbox.arm.limits import Limits
from compute.sandbox.arm.providers import Providers
from compute.sandbox.entra.gate import HOME, Gate
from compute.sandbox.entra.rights import Caller
from compute.sandbox.faults import Faults
from compute.sandbox.requestlog import RequestLog

Json = dict[str, Any]
_HOST = re.compile(r"[A-Za-z0-9.\-\[\]:]{1,255}")
_MOST_BYTES = 4 * 1024 * 1024


class Call:
    """One request with what its path names; `effective` is for the request log."""

    def __init__(self, request: web.Request, names: dict[str, str]) -> None:
        self.request, self.names, self.effective = request, names, False
        self.caller: Caller = HOME
        self.scope = ""

    @property
    def base(self) -> str:
        """Scheme and host as the client sees them."""
        scheme = self.request.headers.get("X-Forwarded-Proto", self.request.scheme).lower()
        host = self.request.headers.get("Host", "")
        if not _HOST.fullmatch(host) or scheme not in ("http", "https"):
            raise gateway(400, "InvalidHostHeader", "The Host header is no host name.")
        return f"{scheme}://{host}"

    async def json(self) -> Json:
        """The body, an object; the front door's 400 otherwise."""
        try:
            found = json.loads(await self.request.read())
        except (ValueError, UnicodeDecodeError, RecursionError):
            raise gateway(
                400, "InvalidRequestContent", "The request content was invalid and could not be read."
            ) from None
        if not isinstance(found, dict):
            raise gateway(400, "InvalidRequestContent", "The request content must be a JSON object.")
        return found

    def check_etag(self, now: str | None) -> None:
        """412 when If-Match or If-None-Match forbid the change; `now` is the present eTag or None."""
        wanted, unwanted = self.request.headers.get("If-Match"), self.request.headers.get("If-None-Match")
        if wanted and (now is None or (wanted != "*" and wanted.strip('"') != now)):
            raise ArmError(412, "PreconditionFailed", "The resource changed: its eTag is not the one in If-Match.")
        if unwanted == "*" and now is not None:
            raise ArmError(412, "PreconditionFailed", "The resource exists already.")


Handler = Callable[[Call], Awaitable[web.Response]]


class Door:
    """All paths under /subscriptions."""

    def __init__(self, gate: Gate, subscription: str, faults: Faults, log: RequestLog, providers: Providers,
                 limits: Limits) -> None:  # fmt: skip
        self._gate, self._subscription, self._faults, self._log = gate, subscription, faults, log
        self._providers, self._limits = providers, limits
        self._routes: list[tuple[str, re.Pattern[str], Handler, Need | None]] = []

    def add(self, methods: str, path: str, handler: Handler, *, free: bool = False) -> None:
        """Serve `path` ({name} is one segment), letter case of its words aside, for methods such as "GET HEAD".

        `free`: the handler itself sees to rights. Else the caller needs the action that the path says.
        """
        pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path.replace(".", r"\.")) + "/?", re.IGNORECASE)
        for method in methods.split():
            self._routes.append((method, pattern, handler, None if free else need(method, path)))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        call = Call(request, {})
        started = time.monotonic()
        try:
            answer = await self._answer(call)
        except ArmError as refusal:
            answer = refusal.response()
        except trouble.Plain as plain:
            answer = plain.response
        who = "arm" if call.caller is HOME else call.caller.client_id
        self._log.add(request.method, request.path, answer.status, effective=call.effective, user=who)
        counted = dict([self._limits.header(call.caller.client_id, request.method)]) if answer.status != 401 else {}
        for key, value in {**self._headers(request, started), **counted}.items():
            answer.headers[key] = value
        if answer.status < 300 and self._drop(call, "after"):
            self._hang_up(request)
        return answer

    async def _answer(self, call: Call) -> web.Response:
        request = call.request
        call.caller = self._gate.caller(request.headers.get("Authorization", ""))
        handler, wanted = self._find(call)
        match = trouble.describe(request, call.names)
        if self._faults.take("arm.token_expired", **match):
            raise self._gate.expired(time.time() - 1)
        if not request.query.get("api-version"):
            words = "The api-version query parameter (?api-version=) is required for all requests."
            raise gateway(400, "MissingApiVersionParameter", words)
        if call.names.get("sub", self._subscription).lower() != self._subscription.lower():
            words = f"The subscription '{call.names['sub']}' could not be found."
            raise gateway(404, "SubscriptionNotFound", words)
        trouble.throttle(self._limits.take(call.caller.client_id, request.method), match["access"])
        if (request.content_length or 0) > _MOST_BYTES:
            raise gateway(413, "RequestContentTooLarge", f"The request has more than {_MOST_BYTES} bytes.")
        if self._drop(call, "before"):
            self._hang_up(request)
            raise web.HTTPServiceUnavailable
        await trouble.strike(self._faults, match)
        if wanted is not None:
            call.scope = wanted.scope_of(call.names)
            _permit(call.caller, wanted, call.scope)
        self._providers.check(request.path, self._subscription)
        return await handler(call)

    def _find(self, call: Call) -> tuple[Handler, Need | None]:
        request, allowed = call.request, set()
        for method, pattern, handler, wanted in self._routes:
            found = pattern.fullmatch(request.rel_url.raw_path)
            if found and method == request.method:
                call.names = {key: unquote(value) for key, value in found.groupdict().items()}
                return handler, wanted
            if found:
                allowed.add(method)
        if allowed:
            words = f"The request has the method {request.method}; allowed here: {', '.join(sorted(allowed))}."
            raise gateway(405, "HttpMethodNotAllowed", words, Allow=", ".join(sorted(allowed)))
        raise gateway(404, "InvalidResourceType", f"Nothing is served at '{request.path}'.")

    def _drop(self, call: Call, when: str) -> bool:
        if not call.names:
            return False
        match = trouble.describe(call.request, call.names)
        return self._faults.take("arm.drop", when=when, **match) is not None

    @staticmethod
    def _hang_up(request: web.Request) -> None:
        if request.transport is not None:
            request.transport.abort()

    @staticmethod
    def _headers(request: web.Request, started: float) -> dict[str, str]:
        asked = request.headers.get("x-ms-client-request-id", "")
        correlation = asked if re.fullmatch(r"[\w-]{1,64}", asked) else str(uuid.uuid4())
        return {
            "x-ms-request-id": str(uuid.uuid4()), "x-ms-correlation-request-id": correlation,
            "x-ms-client-request-id": correlation, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff",
            "Server-Timing": f"app;dur={(time.monotonic() - started) * 1000:.1f}",
        }  # fmt: skip


def _permit(caller: Caller, wanted: Need, scope: str) -> None:
    allowed = caller.may_below(wanted.action, scope) if wanted.lists else caller.may(wanted.action, scope)
    if not allowed:
        raise not_authorized(caller, wanted.action, scope)


def not_authorized(caller: Caller, action: str, scope: str) -> ArmError:
    """403 of the front door."""
    words = f"The client '{caller.client_id}' with object id '{caller.object_id}' does not have authorization to"
    more = "or the scope is invalid. If access was recently granted, please refresh your credentials."
    return gateway(403, "AuthorizationFailed", f"{words} perform action '{action}' over scope '{scope}' {more}")


def answer(body: Json | list[Json] | None, status: int = 200, **headers: str) -> web.Response:
    """A JSON answer; None for an empty one."""
    if body is None:
        return web.Response(status=status, headers=headers)
    text = json.dumps(body, separators=(",", ":")).encode()
    return web.Response(status=status, body=text, content_type="application/json", headers=headers)
