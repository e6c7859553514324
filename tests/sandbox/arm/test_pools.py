import time

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
