"""The protobuf bodies that kubectl sends for a few kinds (`create secret`, `auth can-i`, `drain`, …), read as JSON.

Only request bodies, and only the messages below: answers are JSON, which every client takes.
"""

import base64
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
MAGIC = b"k8s\x00"


@dataclass(frozen=True)
class Field:
    """One field: its JSON name and how to read it: str, bytes, int, bool, time or the name of a message."""

    name: str
    kind: str = "str"
    repeated: bool = False
    mapped: bool = False


def _f(name: str, kind: str = "str") -> Field:
    return Field(name, kind)


def _many(name: str, kind: str = "str") -> Field:
    return Field(name, kind, repeated=True)


def _map(name: str, kind: str = "str") -> Field:
    return Field(name, kind, mapped=True)


MESSAGES: dict[str, dict[int, Field]] = {
    "Unknown": {1: _f("typeMeta", "TypeMeta"), 2: _f("raw", "raw")},
    "TypeMeta": {1: _f("apiVersion"), 2: _f("kind")},
    "ObjectMeta": {
        1: _f("name"), 2: _f("generateName"), 3: _f("namespace"), 5: _f("uid"), 6: _f("resourceVersion"),
        7: _f("generation", "int"), 8: _f("creationTimestamp", "time"), 11: _map("labels"), 12: _map("annotations"),
        14: _many("finalizers"),
    },
    "Secret": {
        1: _f("metadata", "ObjectMeta"), 2: _map("data", "bytes"), 3: _f("type"), 4: _map("stringData"),
        5: _f("immutable", "bool"),
    },
    "ConfigMap": {
        1: _f("metadata", "ObjectMeta"), 2: _map("data"), 3: _map("binaryData", "bytes"), 4: _f("immutable", "bool"),
    },
    "Namespace": {1: _f("metadata", "ObjectMeta"), 2: _f("spec", "NamespaceSpec"), 3: _f("status", "NamespaceStatus")},
    "NamespaceSpec": {1: _many("finalizers")},
    "NamespaceStatus": {1: _f("phase")},
    "ServiceAccount": {
        1: _f("metadata", "ObjectMeta"), 2: _many("secrets", "ObjectReference"),
        3: _many("imagePullSecrets", "LocalObjectReference"), 4: _f("automountServiceAccountToken", "bool"),
    },
    "ObjectReference": {1: _f("kind"), 2: _f("namespace"), 3: _f("name"), 4: _f("uid"), 5: _f("apiVersion")},
    "LocalObjectReference": {1: _f("name")},
    "SelfSubjectAccessReview": {1: _f("metadata", "ObjectMeta"), 2: _f("spec", "SelfSubjectAccessReviewSpec")},
    "SelfSubjectAccessReviewSpec": {
        1: _f("resourceAttributes", "ResourceAttributes"), 2: _f("nonResourceAttributes", "NonResourceAttributes"),
    },
    "ResourceAttributes": {
        1: _f("namespace"), 2: _f("verb"), 3: _f("group"), 4: _f("version"), 5: _f("resource"), 6: _f("subresource"),
        7: _f("name"),
    },
    "NonResourceAttributes": {1: _f("path"), 2: _f("verb")},
    "TokenRequest": {1: _f("metadata", "ObjectMeta"), 2: _f("spec", "TokenRequestSpec")},
    "TokenRequestSpec": {
        1: _many("audiences"), 3: _f("boundObjectRef", "BoundObjectReference"), 4: _f("expirationSeconds", "int"),
    },
    "BoundObjectReference": {1: _f("kind"), 2: _f("apiVersion"), 3: _f("name"), 4: _f("uid")},
    "Eviction": {1: _f("metadata", "ObjectMeta"), 2: _f("deleteOptions", "DeleteOptions")},
    "DeleteOptions": {
        1: _f("gracePeriodSeconds", "int"), 2: _f("preconditions", "Preconditions"), 3: _f("orphanDependents", "bool"),
        4: _f("propagationPolicy"), 5: _many("dryRun"),
    },
    "Preconditions": {1: _f("uid"), 2: _f("resourceVersion")},
}  # fmt: skip


class Unreadable(ValueError):
    """Not protobuf of one of the kinds above."""


def read(data: bytes) -> Json:
    """The object in a Kubernetes protobuf body. `Unreadable` for another kind or broken bytes."""
    if not data.startswith(MAGIC):
        raise Unreadable("no protobuf envelope")
    try:
        outer = _message("Unknown", data[len(MAGIC) :])
        about = outer.get("typeMeta", {})
        if about.get("kind") not in MESSAGES:
            raise Unreadable(f"kind {about.get('kind')}")
        return {**about, **_message(about["kind"], outer.get("raw", b""))}
    except (IndexError, UnicodeDecodeError) as error:
        raise Unreadable(str(error)) from error


def _message(name: str, data: bytes) -> Json:
    out: Json = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        raw, at = _payload(data, at, key & 7)
        field = MESSAGES[name].get(key >> 3)
        if field is not None:
            _put(out, field, raw)
    return out


def _put(out: Json, field: Field, raw: Any) -> None:
    if field.mapped:
        key, value = _entry(field, raw)
        out.setdefault(field.name, {})[key] = value
    elif field.repeated:
        out.setdefault(field.name, []).append(_value(field.kind, raw))
    else:
        value = _value(field.kind, raw)
        if value not in ("", None):
            out[field.name] = value


def _entry(field: Field, data: bytes) -> tuple[str, Any]:
    key, value, at = "", _value(field.kind, b""), 0
    while at < len(data):
        tag, at = _varint(data, at)
        raw, at = _payload(data, at, tag & 7)
        if tag >> 3 == 1:
            key = raw.decode()
        else:
            value = _value(field.kind, raw)
    return key, value


def _value(kind: str, raw: Any) -> Any:
    if kind in ("int", "raw"):
        return raw
    if kind == "bool":
        return bool(raw)
    if kind == "bytes":
        return base64.b64encode(raw).decode()
    if kind == "time":
        return None
    return _message(kind, raw) if kind in MESSAGES else raw.decode()


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def _payload(data: bytes, at: int, wire: int) -> tuple[Any, int]:
    if wire == 0:
        value, at = _varint(data, at)
        return (value - 2**64 if value >= 2**63 else value), at
    if wire == 2:
        size, at = _varint(data, at)
        if at + size > len(data):
            raise Unreadable("cut off")
        return data[at : at + size], at + size
    if wire in (1, 5):
        size = 8 if wire == 1 else 4
        return data[at : at + size], at + size
    raise Unreadable(f"wire type {wire}")
