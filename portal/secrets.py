"""Secrets at rest: a key ring from the settings, and a text column that is encrypted by it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models


@lru_cache(maxsize=4)
def _ring(keys: tuple[str, ...]) -> MultiFernet:
    if not keys:
        raise ImproperlyConfigured("SLIPWAY_SECRET_KEYS is empty: give at least one Fernet key.")
    return MultiFernet([Fernet(key) for key in keys])


def encrypt(text: str) -> str:
    """Encrypt with the first key of the ring."""
    return _ring(tuple(settings.SECRET_KEYS)).encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """Decrypt with any key of the ring. Raises ImproperlyConfigured when no key fits: never returns ciphertext."""
    try:
        return _ring(tuple(settings.SECRET_KEYS)).decrypt(token.encode()).decode()
    except InvalidToken:
        raise ImproperlyConfigured("A stored secret fits none of the keys in SLIPWAY_SECRET_KEYS.") from None


def rotate(token: str) -> str:
    """The same secret, encrypted with the first key of the ring."""
    return _ring(tuple(settings.SECRET_KEYS)).rotate(token.encode()).decode()


def fingerprint(secret: str) -> str:
    """SHA-256 in hex of a long random secret, to look it up or compare without keeping it."""
    return hashlib.sha256(secret.encode()).hexdigest()


class EncryptedTextField(models.TextField):  # type: ignore[type-arg]
    """Text that is plain in Python and Fernet ciphertext in the database; empty stays empty."""

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> str | None:
        """Decrypt on the way out."""
        return decrypt(value) if value else value

    def get_prep_value(self, value: Any) -> Any:
        """Encrypt on the way in."""
        return encrypt(value) if value else value
