"""Secrets at rest."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from portal import secrets
from portal.models import Workspace


def test_a_secret_is_ciphertext_in_the_database(workspace: Workspace) -> None:
    Workspace.objects.filter(pk=workspace.pk).update(arm_credential="marker-secret")
    with connection.cursor() as cursor:
        cursor.execute("SELECT arm_credential FROM portal_workspace")
        assert "marker" not in cursor.fetchone()[0]
    workspace.refresh_from_db()
    assert workspace.arm_credential == "marker-secret"


def test_keys_rotate_and_a_wrong_key_fails_instead_of_answering_ciphertext(settings: Any) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.SECRET_KEYS = [old]
    stored = secrets.encrypt("s3cret")
    settings.SECRET_KEYS = [new, old]
    rotated = secrets.rotate(stored)
    settings.SECRET_KEYS = [new]
    assert secrets.decrypt(rotated) == "s3cret"
    with pytest.raises(ImproperlyConfigured):
        secrets.decrypt(stored)
