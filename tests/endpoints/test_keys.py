"""Scoring keys and tokens."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from endpoints import keys

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_made_keys_have_32_characters_and_differ() -> None:
    made = {keys.make_key() for _ in range(100)}
    assert len(made) == 100
    assert {len(key) for key in made} == {32}


@pytest.mark.parametrize(
    ("primary", "secondary", "words"),
    [
        ("a" * 15, "b" * 16, "primary key has 15 characters"),
        ("a" * 16, "b" * 257, "secondary key has 257"),
        ("a" * 16, "a" * 16, "are the same"),
        ("a" * 15 + " ", "b" * 16, "spaces"),
        ("a" * 16, "é" * 16, "beyond ASCII"),
    ],
)
def test_keys_have_at_least_16_characters_and_are_different(primary: str, secondary: str, words: str) -> None:
    with pytest.raises(keys.InvalidKey, match=words) as refused:
        keys.check_pair(primary, secondary)
    assert "aaa" not in refused.value.detail


def test_a_pair_of_made_keys_is_allowed() -> None:
    keys.check_pair(keys.make_key(), keys.make_key())


def test_equal_keys_are_the_same_and_others_are_not() -> None:
    assert keys.same("abc", "abc")
    assert not keys.same("abc", "abd")


def signed(pair: keys.SigningPair, **more: timedelta):  # type: ignore[no-untyped-def]
    life = more.get("life", keys.DEFAULT_LIFE)
    return keys.sign(
        private_pem=pair.private_pem, kid=pair.kid, audience=keys.audience_of(7), subject="u", now=NOW, life=life
    )


def test_a_token_is_verified_by_the_published_key_and_bound_to_one_service() -> None:
    pair = keys.new_signing_pair()
    token = signed(pair)
    (published,) = json.loads(keys.jwks([pair.public_jwk]))["keys"]
    key = jwt.PyJWK(published).key
    options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    claims = jwt.decode(
        token.access_token,
        key,
        algorithms=["EdDSA"],
        audience="slipway:endpoint:7",
        issuer=keys.ISSUER,
        options=options,
    )
    assert claims["exp"] - claims["iat"] == 3600
    assert jwt.get_unverified_header(token.access_token)["kid"] == published["kid"]
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token.access_token, key, algorithms=["EdDSA"], audience="slipway:endpoint:8", options=options)


def test_a_token_lives_1_hour_by_default_and_says_when_to_refresh() -> None:
    token = signed(keys.new_signing_pair())
    assert token.token_type == "Bearer"
    assert token.expiry_on == NOW + timedelta(hours=1)
    assert NOW < token.refresh_after < token.expiry_on


@pytest.mark.parametrize("life", [timedelta(0), timedelta(hours=-1), timedelta(hours=24, seconds=1)])
def test_a_token_lives_at_most_24_hours(life: timedelta) -> None:
    with pytest.raises(keys.InvalidLife, match="at most 24 hours"):
        signed(keys.new_signing_pair(), life=life)


def test_the_key_set_holds_public_keys_only_in_a_stable_order() -> None:
    one, two = keys.new_signing_pair(), keys.new_signing_pair()
    text = keys.jwks([one.public_jwk, two.public_jwk])
    assert text == keys.jwks([two.public_jwk, one.public_jwk])
    assert all(set(key) == {"crv", "kty", "x", "kid", "alg", "use"} for key in json.loads(text)["keys"])
