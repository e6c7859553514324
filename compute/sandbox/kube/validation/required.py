"""Fields that the published schema says are required and that no rule by hand asked for."""

from typing import Any

from compute.sandbox.kube.schema import Schema, shape
from compute.sandbox.kube.validation.causes import Causes

Json = dict[str, Any]
# An empty string is a value there, and reading drops empty strings.
MAY_BE_EMPTY = ("value", "containers", "template", "selector", "subjects")
SKIPPED = ("metadata", "status", "apiVersion", "kind")


def check(causes: Causes, schema: Schema, definition: str, obj: Json) -> None:
    """Add a `Required value` for each one that is missing below the top."""
    node = schema.definitions[definition]
    _struct(causes, schema, node, {key: item for key, item in obj.items() if key not in SKIPPED}, "")


def _struct(causes: Causes, schema: Schema, node: Json, value: Json, path: str) -> None:
    for name in node.get("required", []):
        here = f"{path}.{name}" if path else name
        if name not in value and name not in MAY_BE_EMPTY and not causes.has(here):
            causes.required(here)
    for name, item in value.items():
        inner = node.get("properties", {}).get(name)
        if inner is not None:
            _value(causes, schema, inner, item, f"{path}.{name}" if path else name)


def _value(causes: Causes, schema: Schema, ref: Json, value: Any, path: str) -> None:
    node, name = schema.resolve(ref)
    kind = shape(node, name)
    if kind == "struct" and isinstance(value, dict):
        _struct(causes, schema, node, value, path)
    elif kind == "list" and isinstance(value, list):
        for index, item in enumerate(value):
            _value(causes, schema, node.get("items", {}), item, f"{path}[{index}]")
