"""`manage.py start_workspace`: the first admin, team and workspace of an installation without the launcher."""

from __future__ import annotations

import os
from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser
from django.db import transaction

from portal import actions
from portal.models import Team, User, Workspace
from portal.problems import Problem


class Command(BaseCommand):
    """Twice is as good as once."""

    help = (
        "Make an admin, a team and a workspace. The admin's password comes from SLIPWAY_ADMIN_PASSWORD, Azure's "
        "credential (JSON; empty: the default chain) from SLIPWAY_ARM_CREDENTIAL."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """What is not secret."""
        parser.add_argument("--user", default="admin")
        parser.add_argument("--team", default="first-team")
        parser.add_argument("--workspace", default="main")
        parser.add_argument("--subscription", required=True)
        parser.add_argument("--resource-group", required=True)
        parser.add_argument("--region", required=True)
        parser.add_argument("--arm-endpoint", default="", help="empty: the public Azure cloud")
        parser.add_argument("--registry", default="", help="container registry that builds environments")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        """One sentence when something is in the way."""
        user = User.objects.filter(username=options["user"]).first() or self._admin(options["user"])
        try:
            team = Team.objects.filter(slug=options["team"]).first() or actions.team_create(
                slug=options["team"], name=options["team"], owner=user
            )
            if Workspace.objects.filter(slug=options["workspace"]).exists():
                self.stdout.write(f"Workspace {options['workspace']} is there already.")
                return
            actions.workspace_create(
                team=team, slug=options["workspace"], name=options["workspace"], actor=user,
                subscription_id=options["subscription"], resource_group=options["resource_group"],
                region=options["region"], arm_endpoint=options["arm_endpoint"], registry=options["registry"],
                arm_credential=os.environ.get("SLIPWAY_ARM_CREDENTIAL", ""),
            )  # fmt: skip
        except Problem as problem:
            raise CommandError(problem.detail) from None
        self.stdout.write(f"Workspace {options['workspace']} is ready; sign in as {user.username}.")

    def _admin(self, name: str) -> User:
        password = os.environ.get("SLIPWAY_ADMIN_PASSWORD", "")
        if len(password) < 12:
            raise CommandError("SLIPWAY_ADMIN_PASSWORD is too short: give at least 12 characters.")
        user = User(username=name, is_staff=True, is_superuser=True)
        user.set_password(password)
        user.save()
        return user
