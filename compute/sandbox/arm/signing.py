"""Signed addresses: long ones of operations, as real ARM makes them, and links for uploads and logs."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping

from compute.sandbox.db import Db

_TABLE = "arm_signing"
_CERTIFICATE_BYTES = 2250


class Signer:
    """Makes and checks signatures; the key is made once per state folder."""

    def __init__(self, db: Db) -> None:
        doc = db.all(_TABLE).get("key")
        if doc is None:
            doc = {"key": secrets.token_hex(32), "c": _text(secrets.token_bytes(_CERTIFICATE_BYTES))}
            db.put(_TABLE, "key", doc)
        self._key, self._certificate = bytes.fromhex(doc["key"]), str(doc["c"])

    def operation_query(self, path: str, ticks: int) -> str:
        """The query of an operation's address, about 3,400 characters; `path` from /subscriptions on."""
        t, c = str(ticks), self._certificate
        return f"api-version=2016-03-30&t={t}&c={c}&s={self._sign(path, t, c)}&h={self._sign('h', path, t)[:43]}"

    def is_operation(self, path: str, query: Mapping[str, str]) -> bool:
        """Whether the query is one that `operation_query` made for this path, unchanged."""
        t, c = query.get("t", ""), query.get("c", "")
        good = hmac.compare_digest(self._sign(path, t, c).encode(), query.get("s", "").encode())
        return good and hmac.compare_digest(self._sign("h", path, t)[:43].encode(), query.get("h", "").encode())

    def link_query(self, method: str, path: str, until: int) -> str:
        """The query of a link that works without a token until that second."""
        return f"se={until}&sp={method}&sig={self._sign(method, path, str(until))}"

    def is_link(self, method: str, path: str, query: Mapping[str, str], now: float) -> bool:
        """Whether a link is ours, for this method, and not over."""
        until = query.get("se", "")
        good = hmac.compare_digest(self._sign(method, path, until).encode(), query.get("sig", "").encode())
        return good and until.isdigit() and int(until) >= now

    def _sign(self, *parts: str) -> str:
        text = "\n".join(parts).lower() if len(parts) < 3 else "\n".join((parts[0].lower(), *parts[1:]))
        sign = hmac.new(self._key, text.encode(), hashlib.sha256).digest()
        # Long as a real signature is; a digest of 32 bytes and its stretch.
        return _text(sign + hashlib.shake_256(sign).digest(60))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
