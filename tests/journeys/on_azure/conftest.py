"""One home for the journeys of this folder: the pretend Azure is quick, and each test has clusters of its own."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from tests.journeys.crash.house import House, until
from tests.journeys.test_contract import Answer, Rest, ask, cluster_url, follow


@pytest.fixture(scope="package")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("azure") / "home")
    made.env |= {"SANDBOX_CREATE_SECONDS": "2"}
    try:
        made.run("up", "--detach")
        yield made
    finally:
        made.run("down")


@pytest.fixture
def rest(house: House) -> Rest:
    return Rest(known_of(house))


def ended(rest: Rest, answer: Answer) -> dict[str, Any]:
    """The operation that an answer accepted, at its end."""
    assert answer.status == 202, answer.text
    follow(rest, answer.headers["Location"])
    return dict(rest.ask(urllib.parse.urlsplit(answer.headers["Location"]).path).json())


def known_of(house: House) -> dict[str, Any]:
    """What credentials.json holds."""
    return dict(json.loads(house.file("credentials.json").read_text()))


def cluster(house: House, name: str, count: int = 1, **properties: Any) -> dict[str, Any]:
    """A cluster that somebody makes in Azure itself; what credentials.json holds."""
    known = known_of(house)
    pool = {"name": "theirs", "count": count, "vmSize": "Standard_D4s_v3", "mode": "System", "osType": "Linux"}
    body = {
        "location": "westeurope", "identity": {"type": "SystemAssigned"},
        "properties": {"dnsPrefix": name, "agentPoolProfiles": [pool], **properties},
    }  # fmt: skip
    answer = ask(cluster_url(known, name, "slipway"), "PUT", body, Authorization=f"Bearer {known['arm_token']}")
    assert answer.status == 201, answer.text
    until(lambda: found(known, name)["properties"]["provisioningState"] == "Succeeded", 30, f"{name} is made")
    return known


def found(known: dict[str, Any], name: str) -> dict[str, Any]:
    """A cluster as Azure shows it."""
    return dict(ask(cluster_url(known, name, "slipway"), Authorization=f"Bearer {known['arm_token']}").json())


def until_drift(rest: Rest, name: str, code: str) -> dict[str, Any]:
    """The difference that the watch has found, once it has."""

    def seen() -> dict[str, Any] | None:
        rows = rest.ask(f"compute-targets/{name}/").json()["drift"]
        return next((row for row in rows if row["code"] == code), None)

    return dict(until(seen, 60, f"{name} has drifted by {code}"))


def furnished(house: House, rest: Rest) -> None:
    """A model and an environment that is built; once in the home."""
    if rest.ask("environments/bare/1/").status == 200:
        return
    house.api().upload("models/", {"name": "namer", "paths": "name.txt"}, ("name.txt", b"one"))
    assert rest.ask("environments/", "POST", {"name": "bare", "pip": ["joblib"]}).status == 201
    assert ended(rest, rest.ask("environments/bare/1/build/", "POST"))["state"] == "Succeeded"
