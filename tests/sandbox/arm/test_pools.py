import time

import pytest
from cloud import GROUP, body


def test_pools_come_scale_down_stop_and_go(cloud):
    client = cloud.client()
    client.managed_clusters.begin_create_or_update(GROUP, "one", body(3)).result()
    client.managed_clusters.begin_create_or_update(GROUP, "one", body(1)).result()
    pool = {"properties": {"count": 2, "vmSize": "standard_ds2_v2", "mode": "User", "availabilityZones": ["1", "2"]}}
    made = client.agent_pools.begin_create_or_update(GROUP, "one", "extra", pool).result()
    assert made.properties.vm_size == "Standard_DS2_v2"
    made.properties.power_state = {"code": "Stopped"}
    stopped = client.agent_pools.begin_create_or_update(GROUP, "one", "extra", made).result()
    assert stopped.properties.count == 0
    stopped.properties.power_state = {"code": "Running"}
    back = client.agent_pools.begin_create_or_update(GROUP, "one", "extra", stopped).result()
    assert back.properties.count == 2
    client.agent_pools.begin_delete(GROUP, "one", "extra").result()
    assert [row.name for row in client.agent_pools.list(GROUP, "one")] == ["nodepool1"]


def test_the_last_system_pool_stays(cloud):
    client = cloud.client()
    client.managed_clusters.begin_create_or_update(GROUP, "one", body(1)).result()
    answer = cloud.ask("DELETE", cloud.cluster("one/agentPools/nodepool1"))
    assert (answer.status_code, answer.json()["subcode"]) == (400, "MustHaveOneSystemPool")


def test_the_state_names_clusters_and_a_term_signal_ends_it_cleanly(cloud):
    cloud.ask("PUT", cloud.cluster("one"), body(1))
    state = cloud.ask("GET", "/sandbox/state", token="admin-token").json()
    assert (state["pid"], state["clusters"][0]["name"]) == (cloud.process.pid, "one")
    began = time.monotonic()
    assert cloud.stop() == 0
    assert time.monotonic() - began < 8


def test_a_pool_without_a_size_gets_one_and_says_where_its_version_may_go(town):
    asked = body(1, kubernetesVersion="1.32.8", oidcIssuerProfile={"enabled": True})
    del asked["properties"]["agentPoolProfiles"][0]["vmSize"]
    assert town.made("sizeless", asked)["properties"]["agentPoolProfiles"][0]["vmSize"] == "Standard_DS2_v2"
    issuer = town.ask("GET", town.cluster("sizeless")).json()["properties"]["oidcIssuerProfile"]["issuerURL"]
    assert issuer.startswith("https://westeurope.oic.prod-aks.azure.com/")
    asked["properties"]["kubernetesVersion"] = "1.32.9"
    asked["properties"]["agentPoolProfiles"][0]["orchestratorVersion"] = "1.32.8"
    town.made("sizeless", asked)
    answer = town.ask("GET", town.cluster("sizeless/agentPools/nodepool1/upgradeProfiles/default")).json()
    assert [row["kubernetesVersion"] for row in answer["properties"]["upgrades"]] == ["1.32.9"]


def pool(town, name, extra, **properties):
    """The answer to a PUT of a pool."""
    return town.ask("PUT", town.cluster(f"{name}/agentPools/{extra}"), {"properties": properties})


def refused(answer, code="InvalidParameter"):
    """The words of a refusal of that code."""
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    return answer.json()["message"]


@pytest.fixture(scope="module")
def pools(town):
    town.made("pools", body(1))
    assert town.wait(pool(town, "pools", "extra", count=1, vmSize="Standard_D2s_v3", osDiskSizeGB=64))
    return "pools"


@pytest.mark.parametrize("name", ["Extra", "ex-tra", "1extra", "a" * 13])
def test_a_pools_name_has_1_to_12_lower_case_letters_and_digits(town, pools, name):
    assert "is invalid" in refused(pool(town, pools, name, count=1, vmSize="Standard_D2s_v3"))


WRONG = [
    ({"count": 0, "mode": "System"}, "a number from 1 to 1000"),
    ({"count": 1001}, "from 0 to 1000"),
    ({"minCount": 1}, "enableAutoScaling is off"),
    ({"enableAutoScaling": True, "minCount": 3, "maxCount": 2}, "is not within minCount 3 and maxCount 2"),
    ({"enableAutoScaling": True, "minCount": 2, "maxCount": 3}, "count 1 of pool new is not within"),
    ({"enableAutoScaling": True, "minCount": 0, "maxCount": 0, "count": 0}, "maxCount of pool new is 0"),
    ({"enableAutoScaling": True, "minCount": 0, "maxCount": 2, "mode": "System"}, "minCount of pool new is 0"),
    ({"nodeLabels": {"kubernetes.azure.com/mode": "x"}}, "reserved prefix"),
    ({"nodeTaints": ["gpu"]}, "is not key=value:Effect"),
    ({"nodeTaints": ["sku=gpu:NoSchedule"], "mode": "System"}, "only CriticalAddonsOnly=true:NoSchedule is allowed"),
    ({"scaleSetPriority": "Spot", "mode": "System"}, "may not be of spot machines"),
]


@pytest.mark.parametrize(("properties", "words"), WRONG, ids=[words for _, words in WRONG])
def test_a_pool_that_the_service_would_refuse_is_refused(town, pools, properties, words):
    given = {"count": 1, "vmSize": "Standard_D2s_v3", **properties}
    assert words in refused(pool(town, pools, "new", **given))


def test_a_system_pool_needs_2_vcpus_also_one_that_was_a_user_pool(town, pools):
    small = {"count": 1, "vmSize": "Standard_B1ms"}
    assert refused(pool(town, pools, "small", **small, mode="System"), "SystemPoolSkuTooLow")
    town.wait(pool(town, pools, "small", **small))
    assert refused(pool(town, pools, "small", **small, mode="System"), "SystemPoolSkuTooLow")
    town.wait(town.ask("DELETE", town.cluster(f"{pools}/agentPools/small")))


FIXED = [
    {"vmSize": "Standard_D3_v2"}, {"osDiskSizeGB": 128}, {"maxPods": 50}, {"availabilityZones": ["1"]},
    {"osDiskType": "Ephemeral"}, {"scaleSetPriority": "Spot"},
]  # fmt: skip


@pytest.mark.parametrize("change", FIXED, ids=[next(iter(each)) for each in FIXED])
def test_what_a_pool_is_made_with_stays(town, pools, change):
    given = {"count": 1, "vmSize": "Standard_D2s_v3", **change}
    assert next(iter(change)) in refused(pool(town, pools, "extra", **given), "PropertyChangeNotAllowed")


def test_what_a_put_leaves_out_of_a_pool_stays(town, pools):
    town.wait(pool(town, pools, "extra", count=2))
    found = town.ask("GET", town.cluster(f"{pools}/agentPools/extra")).json()["properties"]
    assert (found["count"], found["osDiskSizeGB"], found["vmSize"]) == (2, 64, "Standard_D2s_v3")


def test_while_a_pool_changes_every_other_change_of_the_cluster_is_409(town, pools):
    running = pool(town, pools, "extra", count=3)
    states = {row["name"]: row["properties"]["provisioningState"] for row in listed(town, pools)}
    answers = [
        pool(town, pools, "other", count=1, vmSize="Standard_D2s_v3"), pool(town, pools, "nodepool1", count=2),
        town.ask("DELETE", town.cluster(f"{pools}/agentPools/extra")), town.ask("DELETE", town.cluster(pools)),
    ]  # fmt: skip
    assert town.wait(running)["status"] == "Succeeded"
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(409, "OperationNotAllowed")}
    assert states == {"nodepool1": "Succeeded", "extra": "Scaling"}


def listed(town, name):
    return town.ask("GET", town.cluster(f"{name}/agentPools")).json()["value"]


def test_a_failure_of_one_pool_is_not_one_of_the_others(town, pools):
    town.fault("arm.late_failure", cluster=pools, count=1)
    assert town.wait(pool(town, pools, "extra", count=2))["status"] == "Failed"
    states = {row["name"]: row["properties"]["provisioningState"] for row in listed(town, pools)}
    assert states == {"nodepool1": "Succeeded", "extra": "Failed"}
    assert town.wait(pool(town, pools, "extra", count=1))["status"] == "Succeeded"


def test_a_pool_that_is_absent_is_404_and_a_delete_asks_for_the_right_etag(town, pools):
    absent = town.ask("DELETE", town.cluster(f"{pools}/agentPools/nothing"))
    assert (absent.status_code, absent.json()["subcode"]) == (404, "GetAgentPool_NotFound")
    stale = town.ask("DELETE", town.cluster(f"{pools}/agentPools/extra"), **{"If-Match": '"old"'})
    assert stale.status_code == 412


def test_a_pool_is_written_back_only_as_it_was_read(town, pools):
    read = town.ask("GET", town.cluster(f"{pools}/agentPools/extra")).json()["properties"]
    given = {"count": 2, "vmSize": read["vmSize"]}
    assert town.wait(pool(town, pools, "extra", **given))["status"] == "Succeeded"
    where = town.cluster(f"{pools}/agentPools/extra")
    stale = town.ask("PUT", where, {"properties": given}, **{"If-Match": f'"{read["eTag"]}"'})
    assert stale.status_code == 412
