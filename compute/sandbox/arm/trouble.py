"""What goes wrong at the front door when it is asked to: slow, throttled, unavailable, dropped, an old token."""

import asyncio
import math
from typing import Any

from aiohttp import web

from compute.sandbox.arm.errors import ArmError, gateway
from compute.sandbox.faults import Faults

Json = dict[str, Any]
_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr></body></html>"
_WORDS = {500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout"}


class Plain(Exception):
    """An answer that is no JSON of ours."""

    def __init__(self, response: web.Response) -> None:
        super().__init__("a plain answer")
        self.response = response


def describe(request: web.Request, names: dict[str, str]) -> Json:
    """What faults may ask of a request: method, access, target, cluster, pool, group."""
    path = request.path.lower()
    kinds = (("/operation", "operation"), ("microsoft.network", "network"), ("microsoft.compute", "compute"))
    target = next((kind for text, kind in kinds if text in path), "")
    if not target:
        target = next((name for name in ("pool", "cluster", "group") if name in names), "")
    access = "read" if request.method in ("GET", "HEAD") else "write"
    more = {name: names.get(name, "") for name in ("cluster", "pool", "group")}
    return {"method": request.method, "access": access, "target": target, **more}


async def strike(faults: Faults, match: Json) -> None:
    """Wait, or raise what the faults of the front door say."""
    slow = faults.take("arm.slow", **match)
    if slow:
        await asyncio.sleep(float(slow.get("seconds", 2)))
    throttle = faults.take("arm.throttle", **match)
    if throttle:
        raise _throttled(throttle, match["access"])
    given = faults.take("arm.answer", **match)
    if given:
        headers = {str(name): str(value) for name, value in (given.get("headers") or {}).items()}
        raise Plain(web.json_response(given.get("json"), status=int(given.get("status", 400)), headers=headers))
    down = faults.take("arm.unavailable", **match)
    if down:
        _unavailable(down)
    if match["target"] == "operation" and faults.take("arm.operation_gone", **match):
        raise gateway(404, "NotFound", "The operation was not found.")


def throttle(seconds: float, access: str) -> None:
    """429 when a request came `seconds` too early for the principal's bucket."""
    if seconds > 0:
        raise _throttled({"retry_after": math.ceil(seconds)}, access)


def _throttled(fault: Json, access: str) -> ArmError:
    wait = fault.get("retry_after", 1)
    code = str(fault.get("code", "SubscriptionRequestsThrottled"))
    words = f"Number of {access} requests for subscription exceeded the limit. Please try again later."
    if wait is None:
        return gateway(429, code, words)
    return gateway(429, code, f"{words[:-6]}after '{wait}' seconds.", **{"Retry-After": str(wait)})


def _unavailable(fault: Json) -> None:
    status, body = int(fault.get("status", 503)), fault.get("body", "json")
    wait = {"Retry-After": str(fault["retry_after"])} if fault.get("retry_after") is not None else {}
    if body == "html":
        page = _PAGE.format(f"{status} {_WORDS.get(status, 'Error')}")
        raise Plain(web.Response(status=status, text=page, content_type="text/html", headers=wait))
    if body == "empty":
        raise Plain(web.Response(status=status, headers=wait))
    raise gateway(status, str(fault.get("code", "ServerBusy")), "The service is busy. Try again later.", **wait)
