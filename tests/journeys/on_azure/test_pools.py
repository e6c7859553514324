"""Further node pools on a real home: added, deployed to, changed outside, scaled and removed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.journeys.crash.house import House, target, until, what
from tests.journeys.on_azure.conftest import ended, found, furnished, known_of, until_drift
from tests.journeys.test_contract import Rest

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
GPU = {"name": "gpu1", "vm_size": "Standard_NC4as_T4_v3", "count": 1, "taints": ["sku=gpu:NoSchedule"]}


def nodes(rest: Rest, name: str, pool: str) -> list[str]:
    """Nodes of a pool that were seen."""
    seen = rest.ask(f"compute-targets/{name}/").json()["observed"]["nodes"]
    return [node["name"] for node in seen if node["pool"] == pool]


def pools_in_azure(house: House, row: dict[str, Any]) -> dict[str, int]:
    """Names and counts."""
    profiles = found(known_of(house), row["cluster_name"])["properties"]["agentPoolProfiles"]
    return {each["name"]: each["count"] for each in profiles}


def test_a_pool_is_added_deployed_to_changed_outside_scaled_and_removed(house: House, rest: Rest) -> None:
    start = house.file("sandbox", "requests-arm.jsonl").stat().st_size
    assert ended(rest, rest.ask("compute-targets/", "POST", target("pooled")))["state"] == "Succeeded"
    furnished(house, rest)
    where = "compute-targets/pooled/pools/"
    added = ended(rest, rest.ask(where, "POST", GPU))
    assert added["state"] == "Succeeded", added["error"]
    row = rest.ask("compute-targets/pooled/").json()
    assert pools_in_azure(house, row) == {"nodepool1": 1, "gpu1": 1}
    assert len(nodes(rest, "pooled", "gpu1")) == 1

    wish = {"name": "vision", "compute_target": "pooled", **what("namer:1", nodePool="gpu1")}
    made = ended(rest, rest.ask("services/", "POST", wish))
    assert made["state"] == "Succeeded", made["error"]
    refusal = rest.ask(f"{where}gpu1/", "DELETE")
    assert refusal.status == 409
    assert "vision needs the node pool gpu1" in refusal.json()["detail"]
    lost = rest.ask("services/", "POST", {**wish, "name": "lost", **what("namer:1", nodePool="gpu9")})
    assert lost.status == 422
    assert "pooled has no node pool gpu9" in lost.json()["detail"]

    house.admin("POST", f"arm/clusters/slipway/{row['cluster_name']}/change", {"pool": "gpu1", "count": 2})
    drift = until_drift(rest, "pooled", "pool_count")
    assert (drift["configured"], drift["azure"]) == ("1", "2")
    assert pools_in_azure(house, row)["gpu1"] == 2
    back = ended(rest, rest.ask(f"{where}gpu1/scale/", "POST", {"count": 1}))
    assert back["state"] == "Succeeded", back["error"]
    assert pools_in_azure(house, row)["gpu1"] == 1

    assert ended(rest, rest.ask("services/vision/", "DELETE"))["state"] == "Succeeded"
    assert ended(rest, rest.ask(f"{where}gpu1/", "DELETE"))["state"] == "Succeeded"
    assert pools_in_azure(house, row) == {"nodepool1": 1}
    assert ended(rest, rest.ask("compute-targets/pooled/", "DELETE"))["state"] == "Succeeded"
    asked = [(line["method"], line["path"].rpartition("/")[2]) for line in house.noted("arm", start)]
    pool_changes = [each for each in asked if each[1] == "gpu1"]
    assert pool_changes == [("PUT", "gpu1"), ("PUT", "gpu1"), ("DELETE", "gpu1")]


def test_a_pool_that_azure_cannot_make_leaves_no_lock_and_can_be_removed(house: House, rest: Rest) -> None:
    assert ended(rest, rest.ask("compute-targets/", "POST", target("poor")))["state"] == "Succeeded"
    house.admin("PUT", "faults/arm.late_failure", {"count": 1, "kind": "pool", "code": "Odd", "message": "No racks."})
    added = ended(rest, rest.ask("compute-targets/poor/pools/", "POST", {"name": "extra", "count": 1}))
    assert added["state"] == "Failed"
    assert "No racks." in added["error"]["detail"]
    pool = rest.ask("compute-targets/poor/pools/extra/").json()
    assert (pool["state"], "No racks." in pool["reason"]) == ("Failed", True)
    few = rest.ask("compute-targets/poor/pools/", "POST", {"name": "Bad_Name"})
    assert few.status == 422
    assert ended(rest, rest.ask("compute-targets/poor/pools/extra/", "DELETE"))["state"] == "Succeeded"
    until(lambda: rest.ask("compute-targets/poor/").json()["state"] == "Succeeded", 10, "it is free")
    assert ended(rest, rest.ask("compute-targets/poor/", "DELETE"))["state"] == "Succeeded"
