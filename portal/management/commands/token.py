"""`manage.py token`: an API token for a user."""

from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser

from portal import actions, queries
from portal.models import User
from portal.problems import Problem
from portal.types import Role


class Command(BaseCommand):
    """Prints the secret, once."""

    help = "Make an API token; the secret is printed once and stored only as a hash."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """The same words as `./slipway token create`."""
        parser.add_argument("--name", default="command line")
        parser.add_argument("--user", default="admin")
        parser.add_argument("--role", default=Role.OWNER.label, choices=[role.label for role in Role])
        parser.add_argument("--workspace", default="")
        parser.add_argument("--days", type=int, default=90)

    def handle(self, *args: Any, **options: Any) -> None:
        """One sentence when the user or workspace is unknown."""
        user = User.objects.filter(username=options["user"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']}.")
        role = next(role for role in Role if role.label == options["role"])
        slug = options["workspace"]
        try:
            home = queries.workspace(actor=user, slug=slug, needs=Role.READER) if slug else None
            _, secret = actions.token_create(
                user=user, name=options["name"], role=role, workspace=home, days=options["days"]
            )
        except Problem as problem:
            raise CommandError(problem.detail) from None
        self.stdout.write(secret)
