"""Reads a request's object as the real server's typed decoder does: wrong types, unknown fields, empty values."""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from compute.sandbox.kube import quantity
from compute.sandbox.kube.schema import Schema, shape

Json = dict[str, Any]


class DecodeError(Exception):
    """The object cannot be read into its kind; the text is the decoder's."""


@dataclass
class Decoded:
    """The object without nulls, empty values and unknown fields; `unknown` are paths as `spec.replicsa`."""

    obj: Json
    unknown: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Place:
    path: str
    go_path: str
    owner: str

    def child(self, name: str, owner: str) -> "_Place":
        dot = "." if self.path else ""
        return _Place(f"{self.path}{dot}{name}", f"{self.go_path}{dot}{name}", owner)

    def item(self, index: int) -> "_Place":
        return _Place(f"{self.path}[{index}]", self.go_path, self.owner)


def decode(schema: Schema, definition: str, value: Json) -> Decoded:
    """Check and tidy `value` against a definition. `DecodeError` for a wrong type, quantity or base64."""
    out = Decoded({})
    out.obj = _Decoder(schema, out.unknown).value({"$ref": f"#/$defs/{definition}"}, value, _Place("", "", ""))
    return out


class _Decoder:
    def __init__(self, schema: Schema, unknown: list[str]) -> None:
        self._schema = schema
        self._unknown = unknown

    def value(self, ref: Json, value: Any, at: _Place) -> Any:
        node, name = self._schema.resolve(ref)
        kind = shape(node, name)
        if kind == "struct":
            return self._struct(node, name, value, at)
        if kind == "map":
            return self._map(node, value, at)
        if kind == "list":
            return self._list(node, value, at)
        return _scalar(kind, node, value, at)

    def _struct(self, node: Json, name: str, value: Any, at: _Place) -> Json:
        short = name.rsplit(".", 1)[-1]
        _expect(isinstance(value, dict), value, at, f"v1.{short}")
        out = {}
        for key, item in value.items():
            here = at.child(key, short)
            ref = node["properties"].get(key)
            if ref is None:
                self._unknown.append(here.path)
                continue
            read = None if item is None else self.value(ref, item, here)
            if read is not None and not self._is_empty(ref, read):
                out[key] = read
        return out

    def _is_empty(self, ref: Json, value: Any) -> bool:
        """What Go's omitempty leaves out; an empty struct is a value (`emptyDir: {}`)."""
        if value == "" or value == []:
            return True
        return value == {} and shape(*self._schema.resolve(ref)) == "map"

    def _map(self, node: Json, value: Any, at: _Place) -> Json:
        inner = node["additionalProperties"]
        _expect(isinstance(value, dict), value, at, f"map[string]{self._go_name(inner)}")
        return {
            key: "" if item is None else self.value(inner, item, at.child(key, at.owner)) for key, item in value.items()
        }

    def _list(self, node: Json, value: Any, at: _Place) -> list[Any]:
        inner = node.get("items", {})
        _expect(isinstance(value, list), value, at, f"[]{self._go_name(inner)}")
        return [self.value(inner, item, at.item(i)) for i, item in enumerate(value) if item is not None]

    def _go_name(self, ref: Json) -> str:
        node, name = self._schema.resolve(ref)
        kind = shape(node, name)
        if kind in ("struct", "quantity"):
            return "v1." + name.rsplit(".", 1)[-1] if kind == "struct" else "resource.Quantity"
        names = {"integer": str(node.get("format", "int64")), "boolean": "bool", "number": "float64"}
        return names.get(kind, kind)


def _scalar(kind: str, node: Json, value: Any, at: _Place) -> Any:
    if kind == "string":
        _expect(isinstance(value, str), value, at, "string")
        if node.get("format") == "byte":
            _check_base64(value)
    elif kind == "boolean":
        _expect(isinstance(value, bool), value, at, "bool")
    elif kind == "integer":
        return _integer(node, value, at)
    elif kind == "int-or-string":
        _expect(isinstance(value, str | int) and not isinstance(value, bool), value, at, "intstr.IntOrString")
    elif kind == "quantity":
        return _quantity(value, at)
    return value


def _integer(node: Json, value: Any, at: _Place) -> int:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = number and value == int(value)
    bits = 31 if node.get("format") == "int32" else 63
    fits = whole and -(2**bits) <= value < 2**bits
    type_ = node.get("format", "int64")
    _expect(number, value, at, type_)
    if not fits:
        raise DecodeError(_unmarshal(f"number {value}", at, type_))
    return int(value)


def _quantity(value: Any, at: _Place) -> str:
    _expect(isinstance(value, str | int | float) and not isinstance(value, bool), value, at, "resource.Quantity")
    try:
        quantity.parse(value)
    except ValueError as error:
        raise DecodeError(str(error)) from error
    return str(value)


def _check_base64(value: str) -> None:
    allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = value.replace("\n", "").replace("\r", "")
    try:
        base64.b64decode(body, validate=True)
    except binascii.Error as error:
        bad = next((i for i, char in enumerate(body) if char not in allowed), len(body) // 4 * 4)
        raise DecodeError(f"illegal base64 data at input byte {bad}") from error


def _expect(good: bool, value: Any, at: _Place, type_: str) -> None:
    if not good:
        raise DecodeError(_unmarshal(json_name(value), at, type_))


def _unmarshal(what: str, at: _Place, type_: str) -> str:
    if not at.go_path:
        return f"json: cannot unmarshal {what} into Go value of type {type_}"
    return f"json: cannot unmarshal {what} into Go struct field {at.owner}.{at.go_path} of type {type_}"


def json_name(value: Any) -> str:
    """What Go's decoder calls a JSON value."""
    names = {bool: "bool", str: "string", int: "number", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "null")
