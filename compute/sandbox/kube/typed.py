"""The strict reading of an applied configuration: what server-side apply refuses, in its words."""

from typing import Any

from compute.sandbox.kube.fieldset import item_key, show
from compute.sandbox.kube.patching import go_map
from compute.sandbox.kube.schema import Schema, list_keys, shape

Json = dict[str, Any]
GO_TYPES = {str: "string", bool: "bool", int: "int64", float: "float64"}


def errors(schema: Schema, definition: str, config: Json) -> list[str]:
    """Every fault of the configuration, as `.spec.replicsa: field not declared in schema`."""
    found: list[str] = []
    _check(schema, {"$ref": f"#/$defs/{definition}"}, config, "", found)
    return found


def _check(schema: Schema, ref: Json, value: Any, path: str, found: list[str]) -> None:
    node, name = schema.resolve(ref)
    kind = shape(node, name)
    if value is None or kind == "any":
        return
    if kind == "struct":
        _struct(schema, node, value, path, found)
    elif kind == "map":
        if not isinstance(value, dict):
            found.append(f"{path}: expected map, got &{{{go_map(value)}}}")
            return
        for key, item in value.items():
            _check(schema, node["additionalProperties"], item, f"{path}.{key}", found)
    elif kind == "list":
        _list(schema, node, value, path, found)
    else:
        problem = _scalar(kind, value)
        if problem:
            found.append(f"{path}: {problem}")


def _struct(schema: Schema, node: Json, value: Any, path: str, found: list[str]) -> None:
    if not isinstance(value, dict):
        found.append(f"{path}: expected map, got &{{{go_map(value)}}}")
        return
    for key, item in value.items():
        inner = node["properties"].get(key)
        if inner is None:
            found.append(f"{path}.{key}: field not declared in schema")
        else:
            _check(schema, inner, item, f"{path}.{key}", found)


def _list(schema: Schema, node: Json, value: Any, path: str, found: list[str]) -> None:
    if not isinstance(value, list):
        found.append(f"{path}: expected list, got &{{{go_map(value)}}}")
        return
    keys, seen = list_keys(node), set()
    for index, item in enumerate(value):
        here = f"{path}[{index}]"
        if keys and isinstance(item, dict):
            key, problem = _named(keys, item, index)
            if problem:
                found.append(f"{path}: {problem}")
                continue
            here = path + _label(key)
            if key in seen:
                found.append(f"{path}: duplicate entries for key {_label(key)}")
            seen.add(key)
        _check(schema, node.get("items", {}), item, here, found)


def _named(keys: list[str], item: Json, index: int) -> tuple[str, str]:
    for key in keys:
        if item.get(key) is None and key != "protocol":
            words = f'has an element that omits key field "{key}" (and doesn\'t have default value)'
            return "", f"element {index}: associative list with keys {words}"
    return item_key(keys, item), ""


def _label(key: str) -> str:
    return show((key,))


def _scalar(kind: str, value: Any) -> str:
    got = GO_TYPES.get(type(value), "map[string]interface {}" if isinstance(value, dict) else "[]interface {}")
    if kind == "string" and not isinstance(value, str):
        return f"expected string, got &value.valueUnstructured{{Value:{go_literal(value)}}}"
    if kind in ("integer", "number") and (isinstance(value, bool) or not isinstance(value, int | float)):
        return f"expected numeric (int or float), got {got}"
    if kind == "boolean" and not isinstance(value, bool):
        return f"expected boolean, got {got}"
    if kind in ("quantity", "int-or-string") and (isinstance(value, bool | dict | list)):
        return f"expected string or numeric, got {got}"
    return ""


def go_literal(value: Any) -> str:
    """A value as Go source, which is how the merge library prints what should have been a string."""
    if isinstance(value, dict):
        inner = ", ".join(f'"{key}":{go_literal(value[key])}' for key in sorted(value))
        return f"map[string]interface {{}}{{{inner}}}"
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(go_literal(item) for item in value) + "}"
    return go_map(value)
