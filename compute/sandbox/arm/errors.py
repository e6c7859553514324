"""Refusals in Azure's two shapes: wrapped by the front door, unwrapped by the AKS provider."""

import json
from typing import Any

from aiohttp import web

Json = dict[str, Any]


class ArmError(Exception):
    """A refusal. `wrapped` tells the shape: True as the front door sends it, False as the AKS provider does."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        wrapped: bool = False,
        target: str = "",
        subcode: str = "",
        headers: dict[str, str] | None = None,
        details: list[Json] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.wrapped = status, code, message, wrapped
        self.target, self.subcode, self.headers = target, subcode, headers or {}
        self.details = details

    def body(self) -> Json:
        """The JSON of the answer."""
        target = {"target": self.target} if self.target else {}
        if self.wrapped:
            details = {"details": self.details} if self.details else {}
            return {"error": {"code": self.code, "message": self.message, **target, **details}}
        return {"code": self.code, "details": self.details, "message": self.message, "subcode": self.subcode, **target}

    def response(self) -> web.Response:
        """The HTTP answer."""
        more = {"x-ms-failure-cause": "gateway"} if self.wrapped else {}
        return web.Response(
            status=self.status,
            body=json.dumps(self.body()).encode(),
            content_type="application/json",
            headers={**more, **self.headers},
        )


def gateway(status: int, code: str, message: str, **headers: str) -> ArmError:
    """A refusal of the front door."""
    return ArmError(status, code, message, wrapped=True, headers=headers)


def invalid(message: str, target: str = "", code: str = "InvalidParameter", subcode: str = "") -> ArmError:
    """A 400 of the AKS provider."""
    return ArmError(400, code, message, target=target, subcode=subcode)


def absent(kind: str, name: str, group: str) -> ArmError:
    """404 of the front door for a resource."""
    words = f"The Resource '{kind}/{name}' under resource group '{group}' was not found."
    return gateway(404, "ResourceNotFound", words)
