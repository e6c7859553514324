"""ConfigMaps and Secrets."""

import base64
import json
from typing import Any

from compute.sandbox.kube.validation import names
from compute.sandbox.kube.validation.causes import Causes

Json = dict[str, Any]
MOST_BYTES = 1024 * 1024
FIXED = "field is immutable when `immutable` is set"
NEEDED = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def check_config_map(causes: Causes, obj: Json) -> None:
    """Keys and size."""
    text, binary = obj.get("data", {}), obj.get("binaryData", {})
    for field in ("data", "binaryData"):
        for key in sorted(obj.get(field, {})):
            for fault in names.key_faults(key):
                causes.invalid(f"{field}[{key}]", key, fault)
    for key in sorted(text):
        if key in binary:
            causes.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    total = sum(len(value.encode()) for value in text.values()) + sum(_size(value) for value in binary.values())
    if total > MOST_BYTES:
        causes.too_long("", MOST_BYTES)


def check_secret(causes: Causes, obj: Json) -> None:
    """Keys, size, and what the type needs."""
    data = obj.get("data", {})
    for key in sorted(data):
        for fault in names.key_faults(key):
            causes.invalid(f"data[{key}]", key, fault)
    if sum(_size(value) for value in data.values()) > MOST_BYTES:
        causes.too_long("data", MOST_BYTES)
    for key in NEEDED.get(obj["type"], ()):
        if key not in data:
            causes.required(f"data[{key}]")
    config = data.get(".dockerconfigjson")
    if obj["type"] == "kubernetes.io/dockerconfigjson" and config:
        try:
            json.loads(base64.b64decode(config))
        except ValueError as error:
            causes.invalid("data[.dockerconfigjson]", "<secret contents redacted>", str(error))


def _size(value: str) -> int:
    return len(value) * 3 // 4


def check_update(causes: Causes, old: Json, new: Json) -> None:
    """The type of a Secret, and everything of an immutable object."""
    if old["kind"] == "Secret" and old.get("type") != new.get("type"):
        causes.invalid("type", new.get("type"), "field is immutable")
    if not old.get("immutable"):
        return
    if not new.get("immutable"):
        causes.forbidden("immutable", FIXED)
    for field in ("data", "binaryData"):
        if old.get(field) != new.get(field):
            causes.forbidden(field, FIXED)
