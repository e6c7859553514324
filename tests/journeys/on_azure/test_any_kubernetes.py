"""A cluster of which the portal has the kubeconfig and nothing else: attached, deployed to, scored, left clean."""

from __future__ import annotations

import base64

import pytest

from tests.journeys.crash.house import House, score, until, what
from tests.journeys.on_azure.conftest import cluster, ended, furnished, known_of
from tests.journeys.on_azure.test_attach import ours
from tests.journeys.test_contract import Rest, ask, cluster_url

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]


def kubeconfig(house: House, name: str, whose: str) -> str:
    """A kubeconfig that somebody fetched by hand."""
    known = known_of(house)
    url = cluster_url(known, name, "slipway", f"/listCluster{whose}Credential")
    answer = ask(url, "POST", {}, Authorization=f"Bearer {known['arm_token']}")
    assert answer.status == 200, answer.text
    return base64.b64decode(answer.json()["kubeconfigs"][0]["value"]).decode()


def test_a_cluster_is_attached_by_its_kubeconfig_serves_and_is_left_with_nothing_of_ours(
    house: House, rest: Rest
) -> None:
    cluster(house, "edge")
    text = kubeconfig(house, "edge", "User")
    start = house.file("sandbox", "requests-arm.jsonl").stat().st_size
    body = {"name": "edge", "kubeconfig": text, "purpose": "DevTest", "region": "plant 4"}
    checked = rest.ask("compute-targets/preflight/", "POST", {"attach": body}).json()
    assert checked["passes"], checked
    operation = ended(rest, rest.ask("compute-targets/attach/", "POST", body))
    assert operation["state"] == "Succeeded", operation["error"]
    row = rest.ask("compute-targets/edge/").json()
    assert (row["platform"], row["node_count"], row["cluster_id"]) == ("Kubernetes", 1, "")
    furnished(house, rest)
    wish = {"name": "plant", "compute_target": "edge", **what("namer:1", authEnabled=False)}
    made = ended(rest, rest.ask("services/", "POST", wish))
    assert made["state"] == "Succeeded", made["error"]
    uri = rest.ask("services/plant/").json()["scoring_uri"]
    assert score(uri) == {"model": "one"}

    newer = ended(
        rest, rest.ask("compute-targets/edge/kubeconfig/", "PUT", {"kubeconfig": kubeconfig(house, "edge", "Admin")})
    )
    assert newer["state"] == "Succeeded", newer["error"]
    assert score(uri) == {"model": "one"}
    refused = rest.ask("compute-targets/edge/scale/", "POST", {"node_count": 2})
    assert (refused.status, refused.json()["code"]) == (409, "not_in_azure")
    twice = {"name": "twice", "resource_group": "slipway", "cluster_name": "edge", "purpose": "DevTest"}
    told = rest.ask("compute-targets/preflight/", "POST", {"attach": twice}).json()
    assert "already_attached" in {each["code"] for each in told["findings"]}

    assert ended(rest, rest.ask("compute-targets/edge/detach/", "POST", {"force": True}))["state"] == "Succeeded"
    assert rest.ask("compute-targets/edge/").status == 404
    assert ours(house, text) == []
    asked = [line["path"] for line in house.noted("arm", start) if "/edge" in line["path"]]
    assert [path for path in asked if not path.endswith("Credential")] == []  # those are ours, by hand
    until(lambda: rest.ask("services/plant/").status == 404, 10, "the service is forgotten")
