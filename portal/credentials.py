"""A workspace's Azure credential as people give it: checked on entry, described without anything secret. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from portal.addresses import is_loopback
from portal.problems import Forbidden, Invalid

GUID = re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
APP = ("tenant_id", "client_id")
NEEDED: dict[str, tuple[str, ...]] = {
    "default": (), "static": ("token",), "client_secret": (*APP, "client_secret"), "certificate": (*APP, "certificate"),
    "workload_identity": (), "managed_identity": (),
}  # fmt: skip
MORE: dict[str, tuple[str, ...]] = {
    "managed_identity": ("client_id",), "workload_identity": (*APP, "token_file_path"),
}  # fmt: skip
OF_THE_PORTAL = ("default", "workload_identity", "managed_identity")  # who acts is the portal, not the team
PUBLIC_AUTHORITY = "https://login.microsoftonline.com"
LONGEST = 20_000  # characters of one value; a certificate chain with its key is well below
SECRET_HINT = "A secret's value is meant, not its id."  # noqa: S105  (a sentence)


@dataclass(frozen=True)
class Cloud:
    """Where ARM and the token authority of one Azure are."""

    arm_endpoint: str
    authority_host: str


CLOUDS = {
    "AzureCloud": Cloud("", ""),
    "AzureUSGovernment": Cloud("https://management.usgovcloudapi.net", "https://login.microsoftonline.us"),
    "AzureChinaCloud": Cloud("https://management.chinacloudapi.cn", "https://login.partner.microsoftonline.cn"),
}
MICROSOFT = {PUBLIC_AUTHORITY, *(cloud.authority_host for cloud in CLOUDS.values() if cloud.authority_host)}


class InvalidCredential(Invalid):
    code, title = "invalid_credential", "This Azure credential cannot be right"


def cloud_of(arm_endpoint: str) -> str:
    """The name of the cloud with that endpoint; "Custom" for any other."""
    given = arm_endpoint.rstrip("/").lower()
    return next((name for name, cloud in CLOUDS.items() if cloud.arm_endpoint == given), "Custom")


def checked(given: Mapping[str, Any], *, arm_endpoint: str, is_superuser: bool, now: datetime | None = None) -> str:
    """The credential as text to be stored, encrypted. Raises InvalidCredential or Forbidden; never quotes a secret."""
    kind = given.get("kind")
    if kind not in NEEDED:
        raise InvalidCredential(f"The kind must be one of: {', '.join(NEEDED)}.")
    values = {name: _text(name, value) for name, value in given.items() if value not in ("", None)}
    _check_names(str(kind), values)
    for name in APP:
        if name in values and not GUID.fullmatch(values[name]):
            raise InvalidCredential(f"{name} must be a GUID, like 11111111-2222-3333-4444-555555555555.")
    _check_rights(str(kind), values, arm_endpoint, is_superuser)
    if GUID.fullmatch(values.get("client_secret", "")):
        raise InvalidCredential(f"client_secret is a GUID, the form of a secret's id. {SECRET_HINT}")
    if "certificate" in values:
        values["certificate"] = _pair(values["certificate"], now or datetime.now(UTC))
    return json.dumps(values)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidCredential(f"{name} must be text.")
    if len(value) > LONGEST:
        raise InvalidCredential(f"{name} has {len(value)} characters; {LONGEST} are the most.")
    return value.strip()


def _check_names(kind: str, values: Mapping[str, str]) -> None:
    known = ("kind", "authority_host", *NEEDED[kind], *MORE.get(kind, ()))
    missing = [name for name in NEEDED[kind] if not values.get(name)]
    if missing:
        raise InvalidCredential(f"A credential of the kind {kind} needs {', '.join(missing)} too.")
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InvalidCredential(f"A credential of the kind {kind} has no {', '.join(unknown)}.")


def _check_rights(kind: str, values: Mapping[str, str], arm_endpoint: str, is_superuser: bool) -> None:
    if "authority_host" in values:
        check_https("authority_host", values["authority_host"])
    if is_superuser:
        return
    if kind == "static" and not is_loopback(arm_endpoint):
        raise Forbidden("A static token is for an Azure on this machine; only a superuser may give one for another.")
    for name in ("authority_host", "token_file_path"):
        if name in values:
            raise Forbidden(f"Only a superuser may set {name}.")
    if kind in OF_THE_PORTAL:
        raise Forbidden(f"The kind {kind} acts as the portal itself, for all teams; only a superuser may choose it.")


def check_https(name: str, url: str) -> None:
    """Refuse an authority that is no plain https origin."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.query or parts.path.strip("/"):
        raise InvalidCredential(f"{name} must be https with a host and nothing behind it, like {PUBLIC_AUTHORITY}.")


def _pair(pem: str, now: datetime) -> str:
    """A PEM with a certificate in its time and the private key that belongs to it, without a password."""
    found = _certificates(pem)
    try:
        key = serialization.load_pem_private_key(pem.encode(), None)
    except TypeError:
        raise InvalidCredential("The private key has a password. Give it without: openssl pkey -in key.pem.") from None
    except ValueError:
        raise InvalidCredential("certificate needs the private key too: one PEM with both blocks.") from None
    wanted = _public(key.public_key())
    own = next((each for each in found if _public(each.public_key()) == wanted), None)
    if own is None:
        raise InvalidCredential("The private key belongs to another certificate than the one in the PEM.")
    if own.not_valid_after_utc <= now:
        raise InvalidCredential(
            f"The certificate expired on {own.not_valid_after_utc:%Y-%m-%d}. Give one that is valid."
        )
    if own.not_valid_before_utc > now:
        raise InvalidCredential(f"The certificate is valid only from {own.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on.")
    return pem + "\n"


def _certificates(pem: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise InvalidCredential("certificate must be a PEM with a CERTIFICATE block and its private key.") from None


def _public(key: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_bytes(serialization.Encoding.DER, form))


def described(text: str) -> dict[str, Any]:
    """What may be shown of a stored credential: kind, ids, authority; of a certificate its thumbprint and expiry."""
    given = stored(text)
    shown: dict[str, Any] = {"kind": str(given.get("kind", "default"))}
    shown |= {name: given[name] for name in (*APP, "authority_host") if given.get(name)}
    if given.get("certificate"):
        try:
            own = _certificates(given["certificate"])[0]
        except InvalidCredential:
            return shown
        shown["thumbprint"] = own.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303  (Entra's name of it)
        shown["expires_at"] = own.not_valid_after_utc.isoformat().replace("+00:00", "Z")
    return shown


def stored(text: str) -> dict[str, str]:
    """The members of a stored credential; {"kind": "default"} for none or one that cannot be read."""
    try:
        given = json.loads(text) if text else None
    except ValueError:
        given = None
    return given if isinstance(given, dict) else {"kind": "default"}


def with_authority(text: str, authority_host: str) -> str:
    """The credential with another authority; "" is the public cloud's. Kinds that use none keep it for the next."""
    given = {name: value for name, value in stored(text).items() if name != "authority_host"}
    if authority_host:
        return json.dumps({**given, "authority_host": authority_host})
    return json.dumps(given) if text else ""
