"""The keys that sign scoring tokens: renewed each month, revoked by a command."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from endpoints import actions, queries
from endpoints.models import SigningKey
from endpoints.tasks import renew_signing_keys

pytestmark = pytest.mark.django_db


def kids() -> set[str]:
    return {key.kid for key in queries.signing_keys()}


def age(key: SigningKey, days: int) -> None:
    SigningKey.objects.filter(pk=key.pk).update(created_at=timezone.now() - timedelta(days=days))


def test_a_key_older_than_30_days_gets_a_successor_and_is_still_taken() -> None:
    old = actions.signing_key_rotate()
    renew_signing_keys()
    assert kids() == {old.kid}
    age(old, 31)
    renew_signing_keys()
    assert len(kids()) == 2
    assert old.kid in kids()


def test_without_token_endpoints_no_key_is_made() -> None:
    renew_signing_keys()
    assert not kids()


def test_a_key_that_no_token_can_carry_any_more_is_retired() -> None:
    oldest = actions.signing_key_rotate()
    age(oldest, 60)
    age(actions.signing_key_rotate(), 31)
    renew_signing_keys()
    assert oldest.kid not in kids()
    assert len(kids()) == 2


def test_revoking_leaves_only_the_new_key() -> None:
    old = actions.signing_key_rotate()
    call_command("rotate_signing_key", "--revoke", stdout=StringIO())
    assert len(kids()) == 1
    assert old.kid not in kids()
