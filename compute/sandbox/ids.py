"""Identifiers that are the same at every start."""

import hashlib


def stable_uuid(*parts: str) -> str:
    """A UUID that depends on the texts only, letter case aside."""
    text = hashlib.sha256("/".join(parts).lower().encode()).hexdigest()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:32]}"


def tenant_of(subscription: str) -> str:
    """The directory that the subscription trusts."""
    return stable_uuid(subscription)
