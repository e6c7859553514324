"""`manage.py rotate_secrets`: encrypt every stored secret with a new key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from django.apps import apps
from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.db import transaction
from django.db.models import Model

from portal.launcher.home import write_private
from portal.secrets import EncryptedTextField


class Command(BaseCommand):
    """The new key goes first; the old ones stay in the file until everything is rewritten."""

    help = "Encrypt every stored secret with a new key, then forget the old keys. The portal must be stopped."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Killed at any moment, every secret still fits a key of the file."""
        path = os.environ.get("SLIPWAY_SECRET_KEYS_FILE", "")
        if not path:
            raise CommandError(
                "SLIPWAY_SECRET_KEYS_FILE is not set: keys given by value are rotated where they are kept."
            )
        new = Fernet.generate_key().decode()
        settings.SECRET_KEYS = [new, *settings.SECRET_KEYS]
        write_private(Path(path), ",".join(settings.SECRET_KEYS))
        count = rewrite()
        write_private(Path(path), new)
        self.stdout.write(f"{count} secrets are encrypted with the new key; the old keys are gone.")


def secret_fields() -> list[tuple[type[Model], str]]:
    """Every encrypted column."""
    return [
        (model, field.attname)
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, EncryptedTextField)
    ]


@transaction.atomic
def rewrite() -> int:
    """Read and write back each secret: reading takes any key, writing the first. Returns how many."""
    count = 0
    for model, name in secret_fields():
        for key, value in model._default_manager.exclude(**{name: ""}).values_list("pk", name):
            count += model._default_manager.filter(pk=key).update(**{name: value}) if value else 0
    return count
