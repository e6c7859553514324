"""Container registries that ask for a login: which one an image is of, and what the kubelet pulls with. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping

from portal.problems import Invalid

HUB, HUB_KEY = "docker.io", "https://index.docker.io/v1/"
SERVER = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:\d{1,5})?")
LONGEST = 253
MOST_USER, MOST_PASSWORD = 256, 8192


class InvalidLogin(Invalid):
    code, title = "invalid_registry_login", "This is no login for a registry"


def checked(server: str, username: str, password: str) -> str:
    """The server in one form. Raises InvalidLogin, which never quotes the password."""
    name = server.strip().lower()
    if not SERVER.fullmatch(name) or len(name) > LONGEST or ("." not in name and ":" not in name):
        raise InvalidLogin(f"{server!r} is no registry: give its name, without https:// and path, e.g. r.example.com.")
    for what, value, most in (("username", username, MOST_USER), ("password", password, MOST_PASSWORD)):
        if not value or len(value) > most or not value.isprintable():
            raise InvalidLogin(f"{what} has {len(value)} characters: give 1 to {most}, on one line.")
    if ":" in username:
        raise InvalidLogin("username has a ':', which ends a name in a login.")
    return HUB if name in ("index.docker.io", "registry-1.docker.io") else name


def server_of(image: str) -> str:
    """The registry that an image is pulled from."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else HUB


def docker_config(logins: Mapping[str, tuple[str, str]], images: Iterable[str]) -> str:
    """The logins, by server, that these images need, as a pull secret has them. Others stay out."""
    wanted = sorted({server_of(image) for image in images} & set(logins))
    found = {HUB_KEY if server == HUB else server: _entry(*logins[server]) for server in wanted}
    return json.dumps({"auths": found}, sort_keys=True)


def _entry(username: str, password: str) -> dict[str, str]:
    both = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"username": username, "password": password, "auth": both}
