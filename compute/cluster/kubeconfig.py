"""A kubeconfig is data: take server, CA, token and client certificate, all inline, and refuse the rest."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import yaml

from portal.problems import Invalid

NO_PROGRAM, NO_FILE = "the portal runs no program for it", "the portal reads no file for it"
NOBODY_ELSE = "the portal acts as nobody else: give an account that has the rights itself"
NO_PASSWORD = "Kubernetes takes no passwords: give a token, or a client certificate with its key"  # noqa: S105
USER_FORBIDDEN = {
    "auth-provider": NO_PROGRAM, "tokenFile": NO_FILE, "client-certificate": NO_FILE, "client-key": NO_FILE,
    "username": NO_PASSWORD, "password": NO_PASSWORD, "as": NOBODY_ELSE, "as-uid": NOBODY_ELSE,
    "as-groups": NOBODY_ELSE, "as-user-extra": NOBODY_ELSE,
}  # fmt: skip
CLUSTER_FORBIDDEN = {
    "proxy-url": "the portal chooses its own way to the server", "certificate-authority": NO_FILE,
    "insecure-skip-tls-verify": "the portal speaks to no server that it cannot verify",
}  # fmt: skip
INLINE = "Give the server, its CA and a token or certificate inline."
AKS_SERVER = "6dae42f8-4368-4678-94ff-3960e28e3630"  # whom kubelogin asks a token for
MOST_BYTES, DEEPEST = 262_144, 30
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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


@dataclass(frozen=True)
class Entry:
    """The current context of a kubeconfig: the names, and the parts as they were given."""

    name: str
    cluster: dict[str, Any]
    user: dict[str, Any]

    def __repr__(self) -> str:
        return f"Entry({self.name})"


def parse(content: bytes) -> Access:
    """What the kubeconfig's current context says. Raises BadKubeconfig with the key that is in the way."""
    entry = current(content)
    by_entra = _names_kubelogin(entry.user)
    token, certificate, key = ("", b"", b"") if by_entra else credential(entry.user)
    server = entry.cluster.get("server")
    if not isinstance(server, str) or not server:
        raise BadKubeconfig("The kubeconfig names no server.")
    ca = data(entry.cluster, "certificate-authority-data").decode("ascii", "replace")
    return Access(server, ca, token, certificate, key, str(entry.cluster.get("tls-server-name") or ""), by_entra)


def current(content: bytes) -> Entry:
    """The parts of the current context, without anything that would read, run or hide something: whoever is named by
    another context does not matter. Raises BadKubeconfig.
    """
    document = _load(content)
    context = _named(document, "contexts", str(document.get("current-context") or ""), "context")
    name = str(context.get("cluster") or "")
    cluster = _named(document, "clusters", name, "cluster")
    user = _named(document, "users", str(context.get("user") or ""), "user")
    _refuse(cluster, CLUSTER_FORBIDDEN)
    _refuse(user, USER_FORBIDDEN)
    return Entry(name, cluster, user)


def _load(content: bytes) -> dict[str, Any]:
    if len(content) > MOST_BYTES:
        raise BadKubeconfig(f"The kubeconfig has {len(content)} bytes; at most {MOST_BYTES} are read.")
    try:
        _look_through(content)
        document = yaml.load(content, _Loader)  # noqa: S506  (a safe loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise BadKubeconfig("The kubeconfig is not YAML.") from None
    if not isinstance(document, dict):
        raise BadKubeconfig("The kubeconfig is not a YAML object.")
    return document


def _look_through(content: bytes) -> None:
    """Refuse by its events what a document could be made large or unclear with, before anything is built of it."""
    depth = documents = 0
    for event in yaml.parse(content, _Loader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise BadKubeconfig("The kubeconfig uses YAML anchors. Give it written out.")
        tag = getattr(event, "tag", None)
        if tag:
            raise BadKubeconfig(f"The kubeconfig uses a YAML tag ({str(tag)[:60]}). Give plain values.")
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1:
            raise BadKubeconfig("The kubeconfig has several YAML documents. Give one.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise BadKubeconfig(f"The kubeconfig is nested more than {DEEPEST} deep.")


def _named(document: dict[str, Any], group: str, name: str, inner: str) -> dict[str, Any]:
    items = document.get(group)
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict) and str(item.get("name")) == name and isinstance(item.get(inner), dict):
            found: dict[str, Any] = item[inner]
            return found
    raise BadKubeconfig(f"The kubeconfig has no entry {name or '(empty)'} in {group}.")


def _refuse(entry: dict[str, Any], forbidden: dict[str, str]) -> None:
    present = [name for name in forbidden if entry.get(name)]
    if present:
        raise BadKubeconfig(f"The kubeconfig has {', '.join(present)}: {forbidden[present[0]]}. {INLINE}")


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
    raise BadKubeconfig(f"The kubeconfig has exec, which is not kubelogin for AKS: {NO_PROGRAM}. {INLINE}")


def _after(words: list[str], name: str) -> str:
    """The value of an option, given as two words or with =."""
    for at, word in enumerate(words):
        if word == name:
            return words[at + 1] if at + 1 < len(words) else ""
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return ""


def credential(user: dict[str, Any]) -> tuple[str, bytes, bytes]:
    """Token, or client certificate with key. Raises BadKubeconfig."""
    if user.get("token"):
        return str(user["token"]), b"", b""
    if user.get("client-certificate-data") and user.get("client-key-data"):
        return "", data(user, "client-certificate-data"), data(user, "client-key-data")
    raise BadKubeconfig("The kubeconfig has neither a token nor a client certificate with its key.")


def data(entry: dict[str, Any], name: str) -> bytes:
    """The bytes of a member in base64, empty where there is none. Raises BadKubeconfig."""
    try:
        return base64.b64decode(str(entry.get(name) or ""), validate=True)
    except (binascii.Error, ValueError):
        raise BadKubeconfig(f"{name} of the kubeconfig is not base64.") from None
