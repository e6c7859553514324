"""`manage.py prepare`: tables and first rows."""

from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand, CommandError, call_command
from django.db import DatabaseError

from portal.launcher import first


class Command(BaseCommand):
    """Run by the launcher before anything starts."""

    help = "Bring the database up to date and make the first admin, team, workspace and token."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Twice is as good as once."""
        try:
            call_command("migrate", interactive=False, verbosity=0)
            first.make()
        except DatabaseError as error:
            raise CommandError(f"{type(error).__name__}: {error}".strip()) from None
