"""One home for all crash journeys: a cluster, and an endpoint with two versions that answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.crash import house as houses
from tests.journeys.crash.house import CLUSTER, Caller, House

LATER = Path(__file__).with_name("later.py")


@pytest.fixture(scope="package")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A running home; `main` answers with v1, and v2 stands beside it. Its portal can be put into the future."""
    made = House(tmp_path_factory.mktemp("crash") / "home")
    made.env |= {"GUNICORN_CMD_ARGS": f"--config {LATER}", "CELERY_LOADER": "tests.journeys.crash.later:Loader"}
    try:
        made.run("up", "--detach")
        houses.furnish(made)
        yield made
    finally:
        made.run("down")


@pytest.fixture(scope="package")
def caller(house: House) -> Caller:
    """Who scores at `main`."""
    api = house.api()
    key = api.call("POST", "endpoints/main/keys/")["primary"]
    return Caller(api.get("endpoints/main/")["scoring_uri"], key)


@pytest.fixture
def cluster() -> str:
    """The compute target that everything is on."""
    return CLUSTER
