"""`manage.py rotate_signing_key`: sign scoring tokens with a new key from now on."""

from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand


class Command(BaseCommand):
    """Beat does the same each month."""

    help = "Sign scoring tokens with a new key. Tokens of the old one are taken until they end, at most 24 hours."

    def add_arguments(self, parser: Any) -> None:
        """One switch."""
        parser.add_argument("--revoke", action="store_true", help="Refuse the tokens of all older keys at once.")

    def handle(self, *args: Any, **options: Any) -> None:
        """It signs after a minute, or at once when the older ones are refused."""
        from endpoints import actions

        fresh = actions.signing_key_rotate(revoke=options["revoke"])
        self.stdout.write(f"The signing key {fresh.kid} is made. Gateways know it within seconds.")
