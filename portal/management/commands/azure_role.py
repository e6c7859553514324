"""`manage.py azure_role`: the least that the portal's identity needs in Azure, as a custom role definition."""

from __future__ import annotations

import json
from typing import Any

from django.core.management import BaseCommand, CommandParser

from compute import rights

PARTS = ("subscription", "group")


class Command(BaseCommand):
    """Prints JSON for `az role definition create --role-definition @file`."""

    help = "Print a custom role: of what is needed on the subscription, or on the resource group."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Which of the two roles, and where it may be given."""
        parser.add_argument("part", choices=PARTS)
        parser.add_argument("--subscription", required=True)
        parser.add_argument("--resource-group", required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        """One JSON object."""
        roles = rights.custom_roles(options["subscription"], options["resource_group"])
        self.stdout.write(json.dumps(roles[PARTS.index(options["part"])], indent=2))
