"""Proof without a secret: a JWT signed by the app's certificate, or by an issuer that the app trusts."""

import base64
import hashlib
import time
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from compute.sandbox.entra.errors import EntraError, client_error

Json = dict[str, Any]
KIND = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_SKEW = 300


def check(principal: Json, assertion: str, audiences: set[str]) -> None:
    """Refuse an assertion that does not prove the principal. `audiences`: the names of this authority."""
    try:
        header, claims = jwt.get_unverified_header(assertion), _unverified(assertion)
    except jwt.InvalidTokenError:
        raise client_error(50027, "JWT token is invalid or malformed.") from None
    if claims.get("iss") == principal["client_id"]:
        _by_certificate(principal, assertion, header, audiences)
        return
    _federated(principal, assertion, header, claims)


def _by_certificate(principal: Json, assertion: str, header: Json, audiences: set[str]) -> None:
    certificate = next((pem for pem in principal["certificates"] if _is_named(pem, header)), None)
    if certificate is None:
        words = "The certificate with identifier used to sign the client assertion is not registered on application."
        raise client_error(700027, f"{words} [Reason - The key was not found.]")
    key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    claims = _verified(assertion, key, ["RS256", "PS256"])
    if claims.get("sub") != principal["client_id"]:
        raise client_error(700021, "Client assertion application identifier doesn't match 'client_id' parameter.")
    named = claims.get("aud")
    if not audiences & {str(name).lower() for name in (named if isinstance(named, list) else [named])}:
        raise client_error(700023, "Client assertion audience claim does not match Realm issuer.")
    _check_times(claims)


def _federated(principal: Json, assertion: str, header: Json, claims: Json) -> None:
    row = next(
        (row for row in principal["federated"]
         if row["issuer"] == claims.get("iss") and row["subject"] == claims.get("sub")), None,
    )  # fmt: skip
    if row is None:
        words = "No matching federated identity record found for presented assertion"
        raise client_error(700213, f"{words} subject '{claims.get('sub')}' issuer '{claims.get('iss')}'.")
    named = claims.get("aud")
    if row["audience"] not in (named if isinstance(named, list) else [named]):
        words = f"No matching federated identity record found for presented assertion audience '{named}'."
        raise client_error(700212, words)
    key = serialization.load_pem_public_key(row["key"].encode())
    _check_times(_verified(assertion, key, ["RS256", "ES256"]))


def _unverified(assertion: str) -> Json:
    return jwt.decode(assertion, options={"verify_signature": False})


def _verified(assertion: str, key: Any, algorithms: list[str]) -> Json:
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
    try:
        return jwt.decode(assertion, key, algorithms=algorithms, options=options)
    except jwt.InvalidTokenError:
        raise _signature() from None


def _signature() -> EntraError:
    return client_error(700027, "Client assertion failed signature validation.")


def _check_times(claims: Json) -> None:
    """Clients sign by the machine's time, not by the sandbox's clock."""
    now, exp, nbf = time.time(), claims.get("exp"), claims.get("nbf", 0)
    if not isinstance(exp, int | float) or exp < now - _SKEW or nbf > now + _SKEW:
        raise client_error(700024, "Client assertion is not within its valid time range.")


def _is_named(pem: str, header: Json) -> bool:
    der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(serialization.Encoding.DER)
    names = {_text(hashlib.sha1(der).digest()), _text(hashlib.sha256(der).digest())}  # noqa: S324 - x5t is SHA-1
    return any(str(header.get(key, "")).rstrip("=") in names for key in ("x5t", "x5t#S256"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
