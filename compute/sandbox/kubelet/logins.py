"""Pull secrets: which logins a Secret has for the registry of an image."""

from __future__ import annotations

import base64
import json
from typing import Any

_HUB, _HUB_KEYS = "docker.io", ("https://index.docker.io/v1/", "docker.io", "index.docker.io")


def logins(secret: dict[str, Any], image: str) -> list[tuple[str, str]]:
    """Users and passwords. A Secret of another type, or one that cannot be read, has none."""
    if secret.get("type") != "kubernetes.io/dockerconfigjson":
        return []
    first, slash, _ = image.partition("/")
    server = first if slash and ("." in first or ":" in first or first == "localhost") else _HUB
    keys = _HUB_KEYS if server == _HUB else (server, f"https://{server}", f"https://{server}/")
    try:
        auths = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))["auths"]
        return [_pair(auths[key]) for key in keys if key in auths]
    except (KeyError, ValueError, TypeError):
        return []


def _pair(entry: dict[str, str]) -> tuple[str, str]:
    if entry.get("auth"):
        user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        return user, password
    return entry.get("username", ""), entry.get("password", "")
