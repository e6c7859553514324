"""One home for the journeys of this folder: it runs, and the demo has left its endpoint in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from tests.journeys.crash.house import House


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """SQLite in a file: in memory, shared by the threads of a live server, it refuses at once what a file waits for."""
    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.db")


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A running home after `demo --keep`."""
    made = House(tmp_path_factory.mktemp("told") / "home")
    try:
        made.run("up", "--detach")
        made.run("demo", "--keep")
        yield made
    finally:
        made.run("down")
