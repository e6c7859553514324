"""Kubeconfigs to be given: a good one, and changes of it."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TOKEN = "token-of-the-cluster"  # noqa: S105
SERVER = "https://93.184.216.34:6443"


@lru_cache
def pair(days: int = 365, since: int = -400, seed: int = 0) -> tuple[bytes, bytes]:
    """A certificate that is valid from `since` to `days` days from now, and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {seed}")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now + timedelta(days=since))
        .not_valid_after(now + timedelta(days=days)).sign(key, hashes.SHA256())
    )  # fmt: skip
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), plain


def encoded(content: bytes) -> str:
    """As a kubeconfig has it."""
    return base64.b64encode(content).decode()


def jwt(ends: datetime) -> str:
    """A token that says when it ends."""
    parts = ({"alg": "none"}, {"exp": int(ends.timestamp())})
    head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return f"{head}.{body}.c2lnbmVk"


def document() -> dict[str, Any]:
    """A good kubeconfig."""
    cluster = {"server": SERVER, "certificate-authority-data": encoded(pair()[0])}
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "edge", "cluster": cluster}], "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "c", "context": {"cluster": "edge", "user": "u"}}],
    }  # fmt: skip


def text(change: Callable[[dict[str, Any], dict[str, Any]], Any] = lambda cluster, user: None) -> str:
    """The good one after `change(cluster, user)`."""
    made = copy.deepcopy(document())
    change(made["clusters"][0]["cluster"], made["users"][0]["user"])
    return json.dumps(made)


def of_server(server: Any) -> str:
    """The good one with another server."""
    return text(lambda cluster, user: cluster.update({"server": server}))


def by_certificate(certificate: bytes, key: bytes) -> str:
    """The good one with a client certificate in place of the token."""
    data = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}
    return text(lambda cluster, user: (user.clear(), user.update(data)))
