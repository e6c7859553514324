"""A kubeconfig that a person gave: checked to the last byte, and what is kept of it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from compute.cluster.kubeconfig import INLINE, NO_PROGRAM, Access, BadKubeconfig, credential, current, data
from compute.types import GivenCluster

LONGEST_SERVER, LONGEST_TOKEN, LONGEST_NAME = 300, 16_384, 63
TOKEN = re.compile(r"[!-~]+")  # it becomes a header: nothing that could end one
NAME = re.compile(r"[^\w.:@/-]+")
TLS_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?")
FORM = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def read(content: bytes, now: datetime) -> GivenCluster:
    """What a kubeconfig given by a person says. Raises BadKubeconfig; the server's address is still to be checked."""
    entry = current(content)
    if entry.user.get("exec"):
        raise BadKubeconfig(f"The kubeconfig has exec: {NO_PROGRAM}. {INLINE}")
    server = _server(entry.cluster.get("server"))
    ca = _ca(data(entry.cluster, "certificate-authority-data"), now)
    token, certificate, key = credential(entry.user)
    ends = _token_end(token, now) if token else _certificate_end(certificate, key, now)
    name = _tls_name(str(entry.cluster.get("tls-server-name") or ""))
    access = Access(server, ca, token, certificate, key, name)
    told = NAME.sub("-", entry.name)[:LONGEST_NAME] or "kubernetes"
    return GivenCluster(server=server, name=told, kept=keep(access), ends=ends)


def keep(access: Access) -> str:
    """What is stored of an access, encrypted by the column that takes it."""
    facts = {"server": access.server, "ca": access.ca, "tls_name": access.tls_name, "token": access.token}
    pair = {"certificate": access.certificate.decode("latin-1"), "key": access.key.decode("latin-1")}
    return json.dumps({name: value for name, value in (facts | pair).items() if value})


def kept(text: str) -> Access:
    """The access that was stored."""
    facts = json.loads(text)
    certificate, key = (str(facts.get(name, "")).encode("latin-1") for name in ("certificate", "key"))
    return Access(facts["server"], facts["ca"], facts.get("token", ""), certificate, key, facts.get("tls_name", ""))


def _server(given: Any) -> str:
    if not isinstance(given, str) or not given:
        raise BadKubeconfig("The kubeconfig names no server.")
    if len(given) > LONGEST_SERVER or not TOKEN.fullmatch(given) or "\\" in given:
        raise BadKubeconfig(f"The kubeconfig's server is no plain address of at most {LONGEST_SERVER} characters.")
    try:
        parts = urlsplit(given)
        _ = parts.port
    except ValueError:
        raise BadKubeconfig("The kubeconfig's server is no address.") from None
    if parts.scheme != "https" or not parts.hostname:
        raise BadKubeconfig(f"The kubeconfig's server is given with {parts.scheme or 'no scheme'}; give https.")
    if "@" in parts.netloc:
        raise BadKubeconfig("The kubeconfig's server must not contain a user name or password.")
    if parts.query or parts.fragment or given.endswith(("?", "#")):
        raise BadKubeconfig("The kubeconfig's server must have no query and no fragment.")
    steps = parts.path.rstrip("/").split("/")[1:]
    if "%" in parts.path or any(step in ("", ".", "..") for step in steps):
        raise BadKubeconfig("The path of the kubeconfig's server must be plain: no '..', '//' or '%' in it.")
    return given.rstrip("/")


def _ca(content: bytes, now: datetime) -> str:
    if not content:
        raise BadKubeconfig(
            "The kubeconfig has no certificate-authority-data. Give the CA of the server inline: without it nobody "
            "could tell the server from another one."
        )
    try:
        found = x509.load_pem_x509_certificates(content)
        text = content.decode("ascii")
    except ValueError:
        raise BadKubeconfig("certificate-authority-data of the kubeconfig holds no certificate in PEM.") from None
    if all(each.not_valid_after_utc <= now for each in found):
        raise BadKubeconfig(f"The CA of the kubeconfig ended on {found[0].not_valid_after_utc:%Y-%m-%d}.")
    return text


def _tls_name(name: str) -> str:
    if name and not TLS_NAME.fullmatch(name):
        raise BadKubeconfig("tls-server-name of the kubeconfig is no host name.")
    return name


def _token_end(token: str, now: datetime) -> datetime | None:
    """When a token ends, where it says so (a JWT); others are taken as they are."""
    if len(token) > LONGEST_TOKEN or not TOKEN.fullmatch(token):
        raise BadKubeconfig(f"The kubeconfig's token is no plain text of at most {LONGEST_TOKEN} characters.")
    parts = token.split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))) if len(parts) == 3 else {}
        ends = datetime.fromtimestamp(int(claims["exp"]), UTC)
    except (binascii.Error, ValueError, KeyError, TypeError, OverflowError, OSError):
        return None
    return _still(ends, "token", now)


def _certificate_end(certificate: bytes, key: bytes, now: datetime) -> datetime:
    """When a client certificate ends. Raises BadKubeconfig also when its key is another's."""
    try:
        own = x509.load_pem_x509_certificates(certificate)[0]
    except (ValueError, IndexError):
        raise BadKubeconfig("client-certificate-data of the kubeconfig holds no certificate in PEM.") from None
    try:
        private = load_pem_private_key(key, None)
    except TypeError:
        raise BadKubeconfig("The client key of the kubeconfig has a password. Give it without.") from None
    except ValueError:
        raise BadKubeconfig("client-key-data of the kubeconfig holds no key in PEM.") from None
    if private.public_key().public_bytes(*FORM) != own.public_key().public_bytes(*FORM):
        raise BadKubeconfig("The client certificate and key of the kubeconfig do not fit.")
    if own.not_valid_before_utc > now:
        since = f"{own.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        raise BadKubeconfig(f"The client certificate of the kubeconfig is valid only from {since} on.")
    return _still(own.not_valid_after_utc, "client certificate", now)


def _still(ends: datetime, what: str, now: datetime) -> datetime:
    if ends <= now:
        raise BadKubeconfig(f"The {what} of the kubeconfig ended on {ends:%Y-%m-%d %H:%M} UTC. Give a newer one.")
    return ends
