"""One home for the journeys of this folder: it runs, and the demo has left its endpoint in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.journeys.crash.house import House


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A running home after `demo --keep`."""
    made = House(tmp_path_factory.mktemp("told") / "home", measured=True)
    try:
        made.run("up", "--detach")
        made.run("demo", "--keep")
        yield made
    finally:
        made.run("down")
