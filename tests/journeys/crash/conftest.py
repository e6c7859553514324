"""One home for all crash journeys: a cluster, and an endpoint with two versions that answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.journeys.crash import house as houses
from tests.journeys.crash.house import CLUSTER, Caller, House


@pytest.fixture(scope="package")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A running home; the endpoint `main` answers with v1, and v2 stands beside it."""
    made = House(tmp_path_factory.mktemp("crash") / "home")
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
