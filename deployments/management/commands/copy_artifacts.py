"""`manage.py copy_artifacts FOLDER`: bring models and code from a folder to the storage that is set now."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from deployments import artifacts
from deployments.models import Artifact


class Command(BaseCommand):
    """Copies what the database knows; what is there is left. May be run again."""

    help = "Copy models and code from the folder in which they lay to the artifact storage that is set now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The folder."""
        parser.add_argument("folder", type=Path, help="what SLIPWAY_ARTIFACTS named, e.g. /data/artifacts")

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        """Copy each, checked by its hash; name what is missing. Raises CommandError when something is."""
        missing = []
        for digest in Artifact.objects.order_by("digest").values_list("digest", flat=True).distinct():
            try:
                with (folder / artifacts.path_of(digest)).open("rb") as stream:
                    _, size = artifacts.store(stream, digest)
                self.stdout.write(f"{digest}: {size} bytes")
            except FileNotFoundError:
                if not artifacts.storage().exists(artifacts.path_of(digest)):
                    missing.append(digest)
        if missing:
            places = f"neither in {folder} nor in the storage"
            raise CommandError(f"{len(missing)} artifacts are {places}, the first is {missing[0]}.")
