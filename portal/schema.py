"""OpenAPI: our problem document beside every answer, and the page that shows it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
    },
}
MEANINGS = {
    400: "The request has the wrong shape",
    401: "Not signed in",
    403: "The role is too low",
    404: "Not found",
    405: "Method not allowed",
    409: "Something else is in the way",
    412: "Changed meanwhile",
    415: "Wrong media type",
    422: "Against a rule",
    429: "Too many requests",
}


class ProblemSchema(AutoSchema):
    """Adds the problem answers to each operation."""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """The operation with its error answers."""
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if operation is not None:
            for status, meaning in MEANINGS.items():
                operation["responses"].setdefault(
                    str(status),
                    {"description": meaning, "content": {"application/problem+json": {"schema": PROBLEM}}},
                )
        return operation


@dataclass(frozen=True)
class Call:
    """One call of the REST API in a list for people."""

    method: str
    path: str
    says: str


@cache
def calls() -> tuple[Call, ...]:
    """Every call in the order of the document; the same in the whole life of a process."""
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    paths: dict[str, dict[str, dict[str, Any]]] = generator.get_schema(None, public=True)["paths"]  # type: ignore[no-untyped-call]
    return tuple(
        Call(method.upper(), path, str(operation.get("description", "")).split("\n")[0])
        for path, methods in paths.items()
        for method, operation in methods.items()
    )
