"""Blobs by SHA-256 on Django's storage API, and signed URLs to them. Memory never grows with a file."""

from __future__ import annotations

import hashlib
import hmac
import tempfile
import time
from datetime import datetime
from typing import IO, Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage, storages

from deployments.archives import CHUNK, Hashed
from portal.problems import Invalid, NotFound

URL_SECONDS = 600


class Mismatch(Invalid):
    code, title = "digest_mismatch", "The bytes are not those that were announced"


def storage() -> Storage:
    """Where artifacts lie: a folder, or what the setting STORAGES["artifacts"] names."""
    return storages["artifacts"]


def path_of(digest: str) -> str:
    """The blob's name in the storage."""
    return f"{digest[:2]}/{digest}"


def store(stream: Any, expect_sha256: str | None = None) -> tuple[str, int]:
    """Keep all that the stream gives; answers its SHA-256 and bytes. Equal bytes are kept once.

    The blob appears only when it is whole. Raises Mismatch when the hash is not the expected one.
    """
    hashed = Hashed(stream)
    with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as kept:
        while data := hashed.read(CHUNK):
            kept.write(data)
        digest = hashed.hexdigest()
        if expect_sha256 and not hmac.compare_digest(expect_sha256, digest):
            raise Mismatch(f"The SHA-256 of the {hashed.size} bytes is {digest}, not {expect_sha256}.")
        kept.seek(0)
        _save(digest, hashed.size, kept)
    return digest, hashed.size


def _save(digest: str, size: int, stream: IO[bytes]) -> None:
    place, name = storage(), path_of(digest)
    if place.exists(name):
        if place.size(name) == size:
            return
        place.delete(name)  # a process died while it wrote: nobody was told of that blob
    saved = place.save(name, File(stream))
    if saved != name:  # another process stored the same bytes meanwhile
        place.delete(saved)


def open_blob(digest: str) -> IO[bytes]:
    """The bytes of a blob. Raises NotFound when the storage has lost it."""
    try:
        opened: IO[bytes] = storage().open(path_of(digest))
        return opened
    except FileNotFoundError:
        raise NotFound(f"The artifact {digest[:12]}… is not in the storage.") from None


def remove(digest: str) -> None:
    """Forget a blob; missing is fine."""
    storage().delete(path_of(digest))


def sign(method: str, digest: str, expires: int) -> str:
    """A signature that lets anyone do `method` with this one blob until `expires` (Unix seconds)."""
    message = f"{method}\n{digest}\n{expires}".encode()
    return hmac.new(_key(), message, hashlib.sha256).hexdigest()


def verify(method: str, digest: str, expires: str, signature: str) -> bool:
    """Whether a signature is ours, for this method and blob, and not over."""
    if not (expires.isascii() and expires.isdigit()) or len(expires) > 12 or not signature.isascii():
        return False
    right = hmac.compare_digest(sign(method, digest, int(expires)), signature)
    return right and int(expires) > time.time()


def signed_url(digest: str) -> str:
    """Where a cluster reads a blob during the next 10 minutes."""
    expires = int(time.time()) + URL_SECONDS
    query = f"expires={expires}&signature={sign('GET', digest, expires)}"
    return f"{settings.URL_FOR_CLUSTERS.rstrip('/')}/api/v1/blobs/{digest}?{query}"


def is_direct() -> bool:
    """Whether clusters can read from the storage without the portal."""
    return hasattr(storage(), "signed_url")


def places() -> tuple[str, ...]:
    """Where clusters read from without the portal."""
    place: Any = storage()
    return (str(place.endpoint),) if is_direct() else ()


def direct_url(digest: str, until: datetime) -> str:
    """Where a cluster reads a blob until then without the portal. Raises StorageAway."""
    place: Any = storage()
    return str(place.signed_url(path_of(digest), until))


def _key() -> bytes:
    """A key of its own, derived so that no other signature of the portal fits here."""
    return hmac.new(settings.SECRET_KEY.encode(), b"slipway signed blob urls 1", hashlib.sha256).digest()
