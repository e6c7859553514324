"""A kubeconfig is data: take server, CA, token and client certificate, all inline, and refuse the rest."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import yaml

from portal.problems import Invalid

USER_FORBIDDEN = (
    "auth-provider",
    "tokenFile",
    "client-certificate",
    "client-key",
    "username",
    "password",
    "as",
)
CLUSTER_FORBIDDEN = ("proxy-url", "certificate-authority", "insecure-skip-tls-verify")
AKS_SERVER = "6dae42f8-4368-4678-94ff-3960e28e3630"  # whom kubelogin asks a token for
MOST_BYTES = 262_144


class BadKubeconfig(Invalid):
    code, title = "bad_kubeconfig", "The kubeconfig cannot be used"


@dataclass(frozen=True)
class Access:
    """How to reach one cluster. Never printed: `repr` hides what is secret."""

    server: str
    ca: str
    token: str = ""
    certificate: bytes = b""
    key: bytes = b""
    tls_name: str = ""
    by_entra: bool = False  # the token is to come from Microsoft Entra

    def __repr__(self) -> str:
        return f"Access({self.server})"


def parse(content: bytes) -> Access:
    """What the kubeconfig's current context says. Raises BadKubeconfig with the key that is in the way."""
    document = _load(content)
    context = _named(document, "contexts", str(document.get("current-context", "")), "context")
    cluster = _named(document, "clusters", str(context.get("cluster", "")), "cluster")
    user = _named(document, "users", str(context.get("user", "")), "user")
    _refuse(cluster, CLUSTER_FORBIDDEN)
    _refuse(user, USER_FORBIDDEN)
    by_entra = _names_kubelogin(user)
    token, certificate, key = ("", b"", b"") if by_entra else _credential(user)
    server = cluster.get("server")
    if not isinstance(server, str) or not server:
        raise BadKubeconfig("The kubeconfig names no server.")
    ca = _data(cluster, "certificate-authority-data").decode("ascii", "replace")
    return Access(server, ca, token, certificate, key, str(cluster.get("tls-server-name") or ""), by_entra)


def _load(content: bytes) -> dict[str, Any]:
    if len(content) > MOST_BYTES:
        raise BadKubeconfig(f"The kubeconfig has {len(content)} bytes; at most {MOST_BYTES} are read.")
    if b"&" in content and b"*" in content:
        raise BadKubeconfig("The kubeconfig uses YAML anchors. Give it written out.")
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise BadKubeconfig("The kubeconfig is not YAML.") from None
    if not isinstance(document, dict):
        raise BadKubeconfig("The kubeconfig is not a YAML object.")
    return document


def _named(document: dict[str, Any], group: str, name: str, inner: str) -> dict[str, Any]:
    items = document.get(group)
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict) and str(item.get("name")) == name and isinstance(item.get(inner), dict):
            found: dict[str, Any] = item[inner]
            return found
    raise BadKubeconfig(f"The kubeconfig has no entry {name or '(empty)'} in {group}.")


def _refuse(entry: dict[str, Any], forbidden: tuple[str, ...]) -> None:
    present = [name for name in forbidden if entry.get(name)]
    if present:
        raise BadKubeconfig(
            f"The kubeconfig has {', '.join(present)}. The portal runs no program and reads no file for it: "
            "give the server, its CA and a token or certificate inline."
        )


def _names_kubelogin(user: dict[str, Any]) -> bool:
    """Whether the user signs in as AKS's Entra clusters say, by kubelogin: understood, never run. Refuses the rest."""
    program = user.get("exec")
    if not program:
        return False
    words = [str(word) for word in program.get("args") or []] if isinstance(program, dict) else []
    if (
        isinstance(program, dict)
        and program.get("command") == "kubelogin"
        and _after(words, "--server-id") == AKS_SERVER
    ):
        return True
    raise BadKubeconfig(
        "The kubeconfig has exec, which is not kubelogin for AKS. The portal runs no program for it: "
        "give the server, its CA and a token or certificate inline."
    )


def _after(words: list[str], name: str) -> str:
    """The value of an option, given as two words or with =."""
    for at, word in enumerate(words):
        if word == name:
            return words[at + 1] if at + 1 < len(words) else ""
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return ""


def _credential(user: dict[str, Any]) -> tuple[str, bytes, bytes]:
    if user.get("token"):
        return str(user["token"]), b"", b""
    if user.get("client-certificate-data") and user.get("client-key-data"):
        return "", _data(user, "client-certificate-data"), _data(user, "client-key-data")
    raise BadKubeconfig("The kubeconfig has neither a token nor a client certificate with its key.")


def _data(entry: dict[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(str(entry.get(name) or ""), validate=True)
    except (binascii.Error, ValueError):
        raise BadKubeconfig(f"{name} of the kubeconfig is not base64.") from None
