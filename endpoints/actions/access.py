"""Scoring keys and tokens. Every reveal is a line of history; no secret ever is."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from endpoints import keys, queries
from endpoints.actions import rows
from endpoints.models import Endpoint, ScoringKey, SigningKey
from endpoints.types import AuthMode, ScoringToken, Slot
from portal import audit, operations
from portal.models import Operation, User
from portal.problems import Conflict
from portal.secrets import fingerprint
from portal.types import OperationKind

KEY_LIFE = timedelta(days=30)  # of a key that signs scoring tokens


class WrongAuth(Conflict):
    code, title = "wrong_auth_mode", "This is not how callers sign in here"


def store_keys(endpoint: Endpoint, given: tuple[str, str] | None) -> None:
    """Store both keys, made if not given. Raises InvalidKey for keys that cannot be or are known to the gateway."""
    pair = given or (keys.make_key(), keys.make_key())
    keys.check_pair(*pair)
    ScoringKey.objects.filter(endpoint=endpoint).delete()  # else two keys could not change places
    for slot, value in zip(Slot, pair, strict=True):
        _store_key(endpoint, slot, value)


def _store_key(endpoint: Endpoint, slot: Slot, value: str) -> None:
    mark = fingerprint(value)
    used = ScoringKey.objects.filter(endpoint__compute_target_id=endpoint.compute_target_id, fingerprint=mark)
    if used.exclude(endpoint=endpoint, slot=slot).exists():
        raise keys.InvalidKey(f"The {slot.value} key is in use already on this compute target. Give another one.")
    ScoringKey.objects.update_or_create(endpoint=endpoint, slot=slot, defaults={"value": value, "fingerprint": mark})


@transaction.atomic
def keys_reveal(*, endpoint: Endpoint, actor: User) -> dict[str, str]:
    """Both keys in clear, and a line of history that says who saw them."""
    _needs(endpoint, AuthMode.KEY)
    audit.record(action="scoring_keys.revealed", on=endpoint, actor=actor)
    return {key.slot: key.value for key in ScoringKey.objects.filter(endpoint=endpoint)}


@transaction.atomic
def key_regenerate(*, endpoint: Endpoint, slot: Slot, actor: User) -> Operation:
    """Replace one key by a made one; the other goes on working. The old one ends when the operation succeeds."""
    return _replace_key(endpoint, slot, keys.make_key(), actor, "scoring_key.regenerated")


@transaction.atomic
def key_set(*, endpoint: Endpoint, slot: Slot, value: str, actor: User) -> Operation:
    """Replace one key by a given one. Raises InvalidKey."""
    return _replace_key(endpoint, slot, value, actor, "scoring_key.set")


def _replace_key(endpoint: Endpoint, slot: Slot, value: str, actor: User, action: str) -> Operation:
    _needs(endpoint, AuthMode.KEY)
    others = ScoringKey.objects.filter(endpoint=endpoint).exclude(slot=slot)
    other = next((key.value for key in others), "")
    pair = (value, other) if slot == Slot.PRIMARY else (other, value)
    keys.check_pair(*pair)
    op = _update(endpoint, actor)
    _store_key(endpoint, slot, value)
    audit.record(action=action, on=endpoint, actor=actor, operation=op, after={"slot": slot.value})
    return op


def _update(endpoint: Endpoint, actor: User) -> Operation:
    rows.lock(endpoint, None)
    return operations.start(kind=OperationKind.ENDPOINT_UPDATE, on=endpoint, actor=actor, endpoint_id=endpoint.pk)


def _needs(endpoint: Endpoint, mode: AuthMode) -> None:
    if endpoint.auth != mode:
        raise WrongAuth(
            f"{endpoint.name} takes {_AUTH[AuthMode(endpoint.auth)]}, not {_AUTH[mode]}. Change its auth mode first."
        )


_AUTH = {AuthMode.KEY: "keys", AuthMode.TOKEN: "tokens", AuthMode.NONE: "every caller"}


@transaction.atomic
def auth_set(*, endpoint: Endpoint, auth: AuthMode, actor: User, pair: tuple[str, str] | None = None) -> Operation:
    """Change how callers sign in. Keys are made (or taken) when there are none yet; those that exist stay."""
    before = endpoint.auth
    op = _update(endpoint, actor)
    switch(endpoint, auth, pair)
    audit.record(action="endpoint.auth_set", on=endpoint, actor=actor, operation=op, before=before, after=auth.value)
    for slot in Slot if pair else ():
        audit.record(action="scoring_key.set", on=endpoint, actor=actor, operation=op, after={"slot": slot.value})
    return op


def switch(endpoint: Endpoint, auth: AuthMode, pair: tuple[str, str] | None) -> None:
    """Write the auth mode, and keys where it needs some."""
    prepare(endpoint, auth, pair)
    Endpoint.objects.filter(pk=endpoint.pk).update(auth=auth)


def prepare(endpoint: Endpoint, auth: AuthMode, pair: tuple[str, str] | None) -> None:
    """Write what an auth mode needs, not the mode: keys, or the key that signs tokens."""
    if auth == AuthMode.TOKEN:
        signing_key_ensure()
    if auth == AuthMode.KEY and (pair or not ScoringKey.objects.filter(endpoint=endpoint).exists()):
        store_keys(endpoint, pair)


@transaction.atomic
def token_issue(*, endpoint: Endpoint, actor: User, life: timedelta = keys.DEFAULT_LIFE) -> ScoringToken:
    """A token for one endpoint, with a line of history. Raises InvalidLife beyond 24 hours."""
    _needs(endpoint, AuthMode.TOKEN)
    signing = _signing_key()
    now = timezone.now()
    token = keys.sign(
        private_pem=signing.private_pem,
        kid=signing.kid,
        audience=keys.audience_of(endpoint.pk),
        subject=actor.username,
        now=now,
        life=life,
    )
    after = {"expiry_on": token.expiry_on.isoformat()}
    audit.record(action="scoring_token.issued", on=endpoint, actor=actor, after=after)
    return token


@transaction.atomic
def try_credential(*, endpoint: Endpoint, actor: User) -> str:
    """What lets the portal score once for the actor, who does not see it; history says who tried."""
    audit.record(action="endpoint.tried", on=endpoint, actor=actor)
    if endpoint.auth == AuthMode.TOKEN:
        signing = _signing_key()
        return keys.sign(
            private_pem=signing.private_pem, kid=signing.kid, audience=keys.audience_of(endpoint.pk),
            subject=actor.username, now=timezone.now(), life=timedelta(minutes=1),
        ).access_token  # fmt: skip
    found = ScoringKey.objects.filter(endpoint=endpoint, slot=Slot.PRIMARY).first()
    return found.value if found and endpoint.auth == AuthMode.KEY else ""


def signing_key_ensure() -> SigningKey:
    """The newest signing key; the first is made when there is none."""
    found = queries.signing_keys().first()
    return found or _new_signing_key()


def _signing_key() -> SigningKey:
    """The key that signs now: the newest that every gateway has surely heard of, else the newest."""
    known = queries.signing_keys().filter(created_at__lt=timezone.now() - timedelta(minutes=1)).first()
    return known or signing_key_ensure()


def _new_signing_key() -> SigningKey:
    pair = keys.new_signing_pair()
    return SigningKey.objects.create(kid=pair.kid, private_pem=pair.private_pem, public_jwk=pair.public_jwk)


@transaction.atomic
def signing_key_rotate(*, revoke: bool = False) -> SigningKey:
    """A new signing key beside the present one; keys that no token can carry any more (25 h), or all, are retired.

    Gateways learn the new key within seconds, since their published files are compared with the rows on each reading.
    """
    before = queries.signing_keys().first()
    fresh = _new_signing_key()
    old = queries.signing_keys().exclude(pk=fresh.pk)
    if before is not None and not revoke:
        old = old.exclude(pk=before.pk).filter(created_at__lt=timezone.now() - timedelta(hours=25))
    old.update(retired_at=timezone.now())
    return fresh


def signing_key_renew() -> SigningKey | None:
    """A new signing key when the present one is older than 30 days; None when there is none or it is young."""
    present = queries.signing_keys().first()
    if present is None or present.created_at > timezone.now() - KEY_LIFE:
        return None
    return signing_key_rotate()
