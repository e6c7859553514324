"""Clusters that somebody else made: looked at before an attach, attached, changed and lost outside, and left clean."""

from __future__ import annotations

from typing import Any

import pytest

from tests.journeys.crash.house import House, until
from tests.journeys.on_azure.conftest import cluster, ended, found, until_drift
from tests.journeys.test_contract import Rest, ask, cluster_url

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]


def wish(name: str, **more: str) -> dict[str, str]:
    """An attach of the cluster of the same name."""
    return {"name": name, "resource_group": "slipway", "cluster_name": name, "purpose": "DevTest", **more}


def checked(rest: Rest, name: str, **more: str) -> tuple[bool, dict[str, dict[str, Any]]]:
    """Whether a preflight passes, and its findings by code."""
    told = rest.ask("compute-targets/preflight/", "POST", {"attach": wish(name, **more)}).json()
    return told["passes"], {each["code"]: each for each in told["findings"]}


def refused(rest: Rest, name: str, code: str, *words: str) -> None:
    """The preflight has the error; the attach ends with the same findings, and the target can be detached."""
    passes, findings = checked(rest, name)
    assert not passes
    assert findings[code]["level"] == "error"
    for word in words:
        assert word in findings[code]["message"] + findings[code]["fix"], findings[code]
    operation = ended(rest, rest.ask("compute-targets/attach/", "POST", wish(name)))
    assert operation["state"] == "Failed"
    assert operation["error"]["code"] == "preflight_failed"
    assert {each["code"]: each for each in operation["findings"]} == findings
    assert ended(rest, rest.ask(f"compute-targets/{name}/detach/", "POST", {}))["state"] == "Succeeded"


def test_one_that_is_not_there_is_refused(rest: Rest) -> None:
    refused(rest, "nowhere", "cluster_missing", "nowhere in slipway", "az aks list")


def test_a_stopped_one_is_refused_with_the_command_that_starts_it(house: House, rest: Rest) -> None:
    cluster(house, "asleep")
    house.admin("POST", "arm/clusters/slipway/asleep/change", {"power": "Stopped"})
    refused(rest, "asleep", "not_running", "asleep is stopped", "az aks start --resource-group slipway --name asleep")


def test_a_private_one_that_the_portal_cannot_reach_is_refused_with_the_reason(house: House, rest: Rest) -> None:
    cluster(house, "hidden", apiServerAccessProfile={"enablePrivateCluster": True})
    _, findings = checked(rest, "hidden")
    assert findings["private_cluster"]["level"] == "warning"
    refused(rest, "hidden", "unreachable", "cannot be reached")


def test_a_fastprod_attach_needs_12_vcpus(house: House, rest: Rest) -> None:
    cluster(house, "small")
    passes, findings = checked(rest, "small", purpose="FastProd")
    assert not passes
    assert "4 vCPUs" in findings["too_few_vcpus"]["message"]
    assert "at least 12" in findings["too_few_vcpus"]["message"]


def test_authorized_ranges_keep_the_portal_out_until_it_adds_its_own(house: House, rest: Rest) -> None:
    known = cluster(house, "fenced", apiServerAccessProfile={"authorizedIPRanges": ["198.51.100.0/24"]})
    refused(rest, "fenced", "unreachable", "lets in only 198.51.100.0/24", "authorize_range")
    passes, findings = checked(rest, "fenced", authorize_range="127.0.0.0/8")
    assert passes, findings
    assert "127.0.0.0/8 is added" in findings["range_to_be_added"]["message"]
    body = wish("fenced", authorize_range="127.0.0.0/8")
    operation = ended(rest, rest.ask("compute-targets/attach/", "POST", body))
    assert operation["state"] == "Succeeded", operation["error"]
    ranges = found(known, "fenced")["properties"]["apiServerAccessProfile"]["authorizedIPRanges"]
    assert ranges == ["198.51.100.0/24", "127.0.0.0/8"]
    assert ended(rest, rest.ask("compute-targets/fenced/detach/", "POST", {}))["state"] == "Succeeded"


def test_one_is_attached_once_and_a_detach_leaves_nothing_of_ours(house: House, rest: Rest) -> None:
    cluster(house, "lent")
    operation = ended(rest, rest.ask("compute-targets/attach/", "POST", wish("lent")))
    assert operation["state"] == "Succeeded", operation["error"]
    again = rest.ask("compute-targets/attach/", "POST", {**wish("lent"), "name": "twice"})
    assert again.status == 409
    assert "lent" in again.json()["detail"]
    plan = rest.ask("compute-targets/lent/detach/").json()
    assert {row["kind"] for row in plan["objects"]} >= {"ConfigMap"}
    content = rest.ask("compute-targets/lent/credentials/", "POST").json()["kubeconfig"]
    assert ended(rest, rest.ask("compute-targets/lent/detach/", "POST", {}))["state"] == "Succeeded"
    assert ours(house, content) == []


def ours(house: House, kubeconfig: str) -> list[str]:
    """Names of what is marked as the portal's in a cluster, from its own API."""
    import yaml

    config = yaml.safe_load(kubeconfig)
    server, token = config["clusters"][0]["cluster"]["server"], config["users"][0]["user"]["token"]
    names = []
    for kind in ("namespaces", "configmaps", "secrets", "serviceaccounts", "services"):
        url = f"{server}/api/v1/{kind}?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dslipway"
        answer = ask(url, ca=str(house.file("tls", "ca.pem")), Authorization=f"Bearer {token}")
        assert answer.status == 200, answer.text
        names += [item["metadata"]["name"] for item in answer.json()["items"]]
    return names


def test_what_changes_outside_shows_as_drift_and_a_lost_cluster_as_missing(house: House, rest: Rest) -> None:
    known = cluster(house, "shared", count=2)
    assert ended(rest, rest.ask("compute-targets/attach/", "POST", wish("shared")))["state"] == "Succeeded"
    house.admin("POST", "arm/clusters/slipway/shared/change", {"count": 3})
    drift = until_drift(rest, "shared", "node_count")
    assert (drift["configured"], drift["azure"]) == ("2", "3")
    assert found(known, "shared")["properties"]["agentPoolProfiles"][0]["count"] == 3
    adopted = rest.ask("compute-targets/shared/adopt/", "POST").json()
    assert (adopted["node_count"], adopted["drift"]) == (3, [])
    house.admin("DELETE", "arm/clusters/slipway/shared")
    until(lambda: rest.ask("compute-targets/shared/").json()["state"] == "Missing", 60, "it is seen to be gone")
    row = rest.ask("compute-targets/shared/").json()
    assert "shared" in row["reason"]
    again = rest.ask("compute-targets/shared/scale/", "POST", {"node_count": 2})
    assert again.status == 409
    assert ended(rest, rest.ask("compute-targets/shared/detach/", "POST", {}))["state"] == "Succeeded"


def test_an_attached_cluster_is_deleted_only_by_force_and_its_machines_go_with_it(house: House, rest: Rest) -> None:
    known = cluster(house, "messy")
    group = found(known, "messy")["properties"]["nodeResourceGroup"]
    assert ended(rest, rest.ask("compute-targets/attach/", "POST", wish("messy")))["state"] == "Succeeded"
    refusal = rest.ask("compute-targets/messy/", "DELETE")
    assert refusal.status == 409
    assert "attached" in refusal.json()["detail"]
    operation = ended(rest, rest.ask("compute-targets/messy/?force=true", "DELETE"))
    assert operation["state"] == "Succeeded", operation["error"]
    gone = ask(cluster_url(known, "messy", "slipway"), Authorization=f"Bearer {known['arm_token']}")
    assert gone.status == 404
    assert group not in str(operation["warnings"])
