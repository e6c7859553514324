"""Scoring keys and tokens: make, compare, sign. Pure: the caller gives the time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from endpoints.types import ScoringToken
from portal.problems import Problem

SHORTEST_KEY, LONGEST_KEY = 16, 256
DEFAULT_LIFE, LONGEST_LIFE = timedelta(hours=1), timedelta(hours=24)
ISSUER = "slipway-scoring"


class InvalidKey(Problem):
    status, code, title = 422, "invalid_key", "This scoring key cannot be used"


class InvalidLife(Problem):
    status, code, title = 422, "invalid_token_life", "A token cannot live that long"


def make_key() -> str:
    """A new scoring key: 32 characters, 192 random bits."""
    return secrets.token_urlsafe(24)


def check_pair(primary: str, secondary: str) -> None:
    """Refuse keys that are too short, equal, or cannot stand in a header. Never says what the key is."""
    for name, key in (("primary", primary), ("secondary", secondary)):
        if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
            raise InvalidKey(f"The {name} key has {len(key)} characters; {SHORTEST_KEY} to {LONGEST_KEY} are allowed.")
        if not all("!" <= letter <= "~" for letter in key):
            raise InvalidKey(
                f"The {name} key has spaces or characters beyond ASCII; letters, digits and signs are allowed."
            )
    if same(primary, secondary):
        raise InvalidKey("The primary and the secondary key are the same. Give two different ones.")


def same(one: str, other: str) -> bool:
    """Whether two keys are equal, in time that does not depend on where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())


@dataclass(frozen=True)
class SigningPair:
    """A private key in PEM and what verifies its signatures."""

    kid: str
    private_pem: str
    public_jwk: dict[str, str]


def new_signing_pair() -> SigningPair:
    """A new Ed25519 pair; its `kid` is the hash of the public key (RFC 7638)."""
    private = Ed25519PrivateKey.generate()
    raw = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    members = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(raw)}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    kid = _base64url(hashlib.sha256(text.encode()).digest())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return SigningPair(kid, pem, {**members, "kid": kid, "alg": "EdDSA", "use": "sig"})


def jwks(public_jwks: Sequence[dict[str, str]]) -> str:
    """The key set as JSON, in the order of the key ids, so that equal sets are equal texts."""
    ordered = sorted(public_jwks, key=lambda key: key["kid"])
    return json.dumps({"keys": ordered}, sort_keys=True, separators=(",", ":"))


def sign(*, private_pem: str, kid: str, audience: str, subject: str, now: datetime, life: timedelta) -> ScoringToken:
    """A token that only `audience` takes, for `life` (more than 0, at most 24 h). Raises InvalidLife."""
    if not timedelta(0) < life <= LONGEST_LIFE:
        hours = life.total_seconds() / 3600
        raise InvalidLife(
            f"A token lives more than 0 and at most 24 hours, not {hours:g}: it cannot be taken back singly."
        )
    expiry = now + life
    claims: dict[str, Any] = {
        "iss": ISSUER, "aud": audience, "sub": subject, "iat": int(now.timestamp()), "nbf": int(now.timestamp()),
        "exp": int(expiry.timestamp()),
    }  # fmt: skip
    token = jwt.encode(claims, private_pem, algorithm="EdDSA", headers={"kid": kid})
    return ScoringToken(token, "Bearer", expiry, now + life * 4 / 5)


def audience_of(endpoint_id: int) -> str:
    """The audience of one service or endpoint: its id, since names repeat in other workspaces."""
    return f"slipway:endpoint:{endpoint_id}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
