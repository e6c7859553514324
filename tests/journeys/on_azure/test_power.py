"""Power and autoscaler on a real home: what serves stops and comes back; a cancelled job ends in Azure too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.journeys.crash.house import House, score, target, until, what
from tests.journeys.on_azure.conftest import ended, found, furnished, known_of, until_drift
from tests.journeys.test_contract import Rest

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]


def shown(rest: Rest, name: str) -> dict[str, Any]:
    """The compute target."""
    return dict(rest.ask(f"compute-targets/{name}/").json())


def profile(house: House, row: dict[str, Any]) -> dict[str, Any]:
    """The cluster's own pool in Azure."""
    return dict(found(known_of(house), row["cluster_name"])["properties"]["agentPoolProfiles"][0])


def test_a_stopped_cluster_says_so_costs_nothing_and_serves_again_after_its_start(house: House, rest: Rest) -> None:
    start = house.file("sandbox", "requests-arm.jsonl").stat().st_size
    assert ended(rest, rest.ask("compute-targets/", "POST", target("nightly")))["state"] == "Succeeded"
    furnished(house, rest)
    wish = {"name": "owl", "compute_target": "nightly", **what("namer:1", authEnabled=False)}
    made = ended(rest, rest.ask("services/", "POST", wish))
    assert made["state"] == "Succeeded", made["error"]
    uri = rest.ask("services/owl/").json()["scoring_uri"]
    assert score(uri) == {"model": "one"}

    refusal = rest.ask("compute-targets/nightly/stop/", "POST", {})
    assert refusal.status == 409
    assert "owl" in refusal.json()["detail"]
    assert ended(rest, rest.ask("compute-targets/nightly/stop/", "POST", {"force": True}))["state"] == "Succeeded"
    row = shown(rest, "nightly")
    assert (row["observed"]["power_state"], row["cost"]["usd_hour"]) == ("Stopped", 0)
    again = rest.ask("compute-targets/nightly/stop/", "POST", {})
    assert (again.status, "stopped" in again.json()["detail"]) == (409, True)
    for path, body in (("compute-targets/nightly/scale/", {"node_count": 2}), ("services/", {**wish, "name": "two"})):
        answer = rest.ask(path, "POST", body)
        assert answer.status == 409, answer.text
        assert "stopped" in answer.json()["detail"]
    until(lambda: "stopped" in rest.ask("services/owl/").json()["reason"], 60, "the service says that it is stopped")

    begun = ended(rest, rest.ask("compute-targets/nightly/start/", "POST", {}))
    assert begun["state"] == "Succeeded", begun["error"]
    assert score(uri) == {"model": "one"}
    assert shown(rest, "nightly")["cost"]["usd_hour"] > 0
    asked = [line["path"].rpartition("/")[2] for line in house.noted("arm", start) if line["method"] == "POST"]
    assert [each for each in asked if each in ("stop", "start")] == ["stop", "start"]
    gone = ended(rest, rest.ask("compute-targets/nightly/?force=true", "DELETE"))
    assert gone["state"] == "Succeeded", gone["error"]


def test_the_autoscaler_is_switched_on_changed_outside_and_switched_off(house: House, rest: Rest) -> None:
    assert ended(rest, rest.ask("compute-targets/", "POST", target("elastic")))["state"] == "Succeeded"
    where = "compute-targets/elastic/autoscaler/"
    bad = rest.ask(where, "POST", {"min_count": 3, "max_count": 2})
    assert bad.status == 422
    operation = ended(rest, rest.ask(where, "POST", {"min_count": 1, "max_count": 3}))
    assert operation["state"] == "Succeeded", operation["error"]
    row = shown(rest, "elastic")
    pool = profile(house, row)
    assert (pool["enableAutoScaling"], pool["minCount"], pool["maxCount"]) == (True, 1, 3)
    operation = ended(rest, rest.ask(where, "POST", {"node_count": 2}))
    assert operation["state"] == "Succeeded", operation["error"]
    pool = profile(house, row)
    assert (bool(pool.get("enableAutoScaling")), pool["count"]) == (False, 2)
    house.admin("POST", f"arm/clusters/slipway/{row['cluster_name']}/change", {"count": 3})
    assert until_drift(rest, "elastic", "node_count")["azure"] == "3"
    assert ended(rest, rest.ask("compute-targets/elastic/", "DELETE"))["state"] == "Succeeded"


def test_a_cancelled_create_is_aborted_in_azure_once_and_leaves_no_lock(house: House, rest: Rest) -> None:
    start = house.file("sandbox", "requests-arm.jsonl").stat().st_size
    house.admin("PUT", "faults/arm.stuck", {"count": 1, "kind": "create"})
    made = rest.ask("compute-targets/", "POST", target("regret"))
    until(lambda: house.noted("arm", start), 20, "Azure was asked")
    operation = made.json()["operation"]
    assert rest.ask(f"operations/{operation}/cancel/", "POST").status == 202
    assert ended(rest, made)["state"] == "Cancelled"
    row = shown(rest, "regret")
    assert row["state"] in ("Canceled", "Failed"), row
    asked = [(line["method"], line["path"].rpartition("/")[2]) for line in house.noted("arm", start)]
    assert [method for method, _ in asked] == ["PUT", "POST"]
    assert asked[1][1] == "abort"
    assert ended(rest, rest.ask("compute-targets/regret/", "DELETE"))["state"] == "Succeeded"
