"""What is signed: the strings of Shared Key, of a service SAS and of a user delegation SAS. Pure."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping

_SIGNED_HEADERS = (
    "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
    "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
)  # fmt: skip
_OVERRIDES = ("rscc", "rscd", "rsce", "rscl", "rsct")
FIRST_SAS = "2020-12-06"
"""The service version from which on the strings have the form that stands here."""


def sign(key: str, text: str) -> str:
    """HMAC-SHA256 by a base64 key, as base64."""
    return base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()


def is_base64(text: str) -> bool:
    """Whether it is base64 of something."""
    try:
        return bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False


def shared_key(
    account: str, method: str, raw_path: str, query: Iterable[tuple[str, str]], headers: Mapping[str, str]
) -> str:
    """The string to sign for `Authorization: SharedKey`."""
    low = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    if low.get("content-length") == "0":
        low["content-length"] = ""
    ours = sorted((name for name in low if name.startswith("x-ms-")), key=lambda name: (name.replace("-", ""), name))
    found: dict[str, list[str]] = {}
    for name, value in query:
        found.setdefault(name.lower(), []).append(value)
    lines = [method, *(low.get(name, "") for name in _SIGNED_HEADERS), *(f"{name}:{low[name]}" for name in ours)]
    lines.append(f"/{account}{raw_path}")
    return "\n".join([*lines, *(f"{name}:{','.join(sorted(found[name]))}" for name in sorted(found))])


def service_sas(account: str, path: str, given: Mapping[str, str]) -> str:
    """The string to sign of a SAS by the account's key; `path` is /container or /container/blob, decoded."""
    names = ("si", "sip", "spr", "sv", "sr", "snapshot", "ses", *_OVERRIDES)
    return "\n".join([*_base(account, path, given), *(given.get(name, "") for name in names)])


def delegated_sas(account: str, path: str, given: Mapping[str, str]) -> str:
    """The string to sign of a SAS by a user delegation key. Later versions sign more fields."""
    version = given.get("sv", "")
    names = ["skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid"]
    names += ["skdutid", "sduoid"] if version >= "2025-07-05" else []
    names += ["sip", "spr", "sv", "sr", "snapshot", "ses"]
    more = ["", ""] if version >= "2026-02-06" else []  # headers and parameters that callers must send: none here
    tail = [given.get(name, "") for name in _OVERRIDES]
    return "\n".join([*_base(account, path, given), *(given.get(name, "") for name in names), *more, *tail])


def _base(account: str, path: str, given: Mapping[str, str]) -> list[str]:
    return [given.get("sp", ""), given.get("st", ""), given.get("se", ""), f"/blob/{account}{path}"]


def delegation_key(account_key: str, parts: Iterable[str]) -> str:
    """The key that a principal signs with, made anew from what its SAS tells (oid, tenant, start, expiry, version)."""
    return sign(account_key, "user delegation\n" + "\n".join(parts))
