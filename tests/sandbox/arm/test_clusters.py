import base64
import signal
import time

import pytest
import requests
import yaml
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from cloud import GROUP, body


def wait(cloud, answer) -> list[str]:
    seen = []
    for _ in range(200):
        seen.append(cloud.ask("GET", answer.headers["Azure-AsyncOperation"]).json()["status"])
        if seen[-1] in ("Succeeded", "Failed", "Canceled"):
            return list(dict.fromkeys(seen))
        time.sleep(0.05)
    raise AssertionError(seen)


@pytest.mark.parametrize("secure", [False, True])
def test_azures_own_client_creates_scales_and_deletes(cloud, secure):
    client = cloud.client(secure=secure)
    made = client.managed_clusters.begin_create_or_update(GROUP, "one", body()).result().as_dict()
    assert made["properties"]["provisioningState"] == "Succeeded"
    pool = client.agent_pools.get(GROUP, "one", "nodepool1")
    pool.properties.count = 3
    assert client.agent_pools.begin_create_or_update(GROUP, "one", "nodepool1", pool).result().properties.count == 3
    config = yaml.safe_load(client.managed_clusters.list_cluster_user_credentials(GROUP, "one").kubeconfigs[0].value)
    assert config["clusters"][0]["cluster"]["server"].startswith(f"https://127.0.0.1:{cloud.https}/clusters/")
    client.managed_clusters.begin_stop(GROUP, "one").result()
    client.managed_clusters.begin_start(GROUP, "one").result()
    client.managed_clusters.begin_delete(GROUP, "one").result()
    assert list(client.managed_clusters.list()) == []


def test_a_create_shows_several_phases_behind_a_long_signed_address(cloud):
    answer = cloud.ask("PUT", cloud.cluster("one"), body())
    url = answer.headers["Azure-AsyncOperation"]
    assert answer.status_code == 201
    assert 2800 < len(url) < 3700
    assert cloud.ask("GET", url[:-3] + "xyz").status_code == 403
    assert 4 <= len(wait(cloud, answer)) - 1 <= 6


def test_one_change_at_a_time_and_an_abort_frees_the_cluster(cloud):
    answer = cloud.ask("PUT", cloud.cluster("one"), body())
    refused = cloud.ask("PUT", cloud.cluster("one"), body(3))
    assert (refused.status_code, refused.json()["code"]) == (409, "OperationNotAllowed")
    assert cloud.ask("POST", cloud.cluster("one/abort")).status_code == 204
    assert wait(cloud, answer) == ["Canceled"]
    assert wait(cloud, cloud.ask("PUT", cloud.cluster("one"), body()))[-1] == "Succeeded"


def test_a_killed_sandbox_goes_on_with_the_create(cloud):
    answer = cloud.ask("PUT", cloud.cluster("one"), body())
    cloud.stop(signal.SIGKILL)
    cloud.start()
    assert wait(cloud, answer)[-1] == "Succeeded"
    value = cloud.ask("POST", cloud.cluster("one/listClusterAdminCredential")).json()["kubeconfigs"][0]["value"]
    assert b"clusterAdmin" in base64.b64decode(value)


BAD = [
    (body(size="Standard_Nope"), "BadRequest", "not allowed in your subscription"),
    (body(size="Standard_NP10s"), "BadRequest", "FPGA"),
    (body(size="Standard_A1_v2"), "SystemPoolSkuTooLow", "Nodepool name: nodepool1"),
    (body(0), "InvalidParameter", "1 to 1000"),
    (body(kubernetesVersion="1.20"), "K8sVersionNotSupported", "1.33.5"),
    (body(1000), "ErrCode_InsufficientVCPUQuota", "regional vcpu quota 2000, requested quota 4000"),
    (body(400), "ErrCode_InsufficientVCPUQuota", "standardDv2Family"),
    (body(networkProfile={"serviceCidr": "10.0.0.0/33"}), "InvalidParameter", "no range"),
    (body(networkProfile={"dnsServiceIP": "10.9.0.10"}), "InvalidParameter", "within serviceCidr"),
    (body(dnsPrefix="-"), "InvalidParameter", "dnsPrefix"),
    (
        body(agentPoolProfiles=[{"name": "Bad", "vmSize": "Standard_D3_v2", "mode": "System"}]),
        "InvalidParameter",
        "Bad",
    ),
    (body(agentPoolProfiles=[{"name": "a", "vmSize": "Standard_D3_v2", "mode": "User"}]), "BadRequest", "System"),
]


def test_bad_bodies_are_refused_in_the_providers_shape_and_change_nothing(cloud):
    for asked, code, words in BAD:
        answer = cloud.ask("PUT", cloud.cluster("one"), asked)
        assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text[:300]
        assert words in answer.json()["message"]
    assert cloud.ask("GET", cloud.cluster()).json()["value"] == []


def test_a_put_replaces_and_a_cluster_needs_an_identity(cloud):
    asked = body(1)
    del asked["identity"]
    answer = cloud.ask("PUT", cloud.cluster("one"), asked)
    assert (answer.status_code, answer.json()["target"]) == (400, "servicePrincipalProfile")
    made = cloud.made("one", body(1, apiServerAccessProfile={"authorizedIPRanges": ["127.0.0.1/32"]}))["properties"]
    assert made["identityProfile"]["kubeletidentity"]["resourceId"].endswith("/one-agentpool")
    assert made["networkProfile"]["loadBalancerProfile"]["managedOutboundIPs"] == {"count": 1}
    assert "apiServerAccessProfile" not in cloud.made("one", body(1))["properties"]


def test_the_front_door_wraps_its_refusals(cloud):
    for answer, status, code in [
        (cloud.ask("GET", cloud.cluster("none")), 404, "ResourceNotFound"),
        (cloud.ask("GET", cloud.cluster("none"), token="wrong"), 401, "InvalidAuthenticationToken"),
        (cloud.ask("GET", cloud.cluster("none").replace("/rg/", "/other/")), 404, "ResourceGroupNotFound"),
        (cloud.ask("GET", cloud.cluster("none") + "?api-version="), 400, "MissingApiVersionParameter"),
    ]:
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert cloud.ask("GET", "/sandbox/state").status_code == 401


def test_faults_strike_as_often_as_they_are_told(cloud):
    cloud.fault("arm.throttle", count=1, retry_after=7)
    answer = cloud.ask("GET", cloud.cluster())
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    cloud.fault("arm.unavailable", count=1)
    assert cloud.ask("GET", cloud.cluster()).status_code == 503
    cloud.fault("arm.drop", count=1, when="after", method="PUT")
    with pytest.raises(requests.ConnectionError):
        cloud.ask("PUT", cloud.cluster("one"), body())
    assert cloud.ask("GET", cloud.cluster("one")).status_code == 200
    cloud.fault("arm.drop", count=1, when="before", method="PUT")
    with pytest.raises(requests.ConnectionError):
        cloud.ask("PUT", cloud.cluster("two"), body())
    assert cloud.ask("GET", cloud.cluster("two")).status_code == 404
    cloud.fault("arm.quota", count=1)
    assert cloud.ask("PUT", cloud.cluster("three"), body()).json()["code"] == "ErrCode_InsufficientVCPUQuota"


def test_the_sdk_sees_late_failures_and_busy_clusters_as_azure_shows_them(cloud):
    client = cloud.client()
    cloud.fault("arm.late_failure", count=1, code="QuotaExceeded")
    poller = client.managed_clusters.begin_create_or_update(GROUP, "one", body())
    with pytest.raises(ResourceExistsError):
        client.managed_clusters.begin_delete(GROUP, "one").result()
    with pytest.raises(HttpResponseError) as failure:
        poller.result()
    assert failure.value.error.code == "QuotaExceeded"


def test_the_clock_ends_a_create_early_and_a_stuck_one_stays(cloud):
    cloud.fault("arm.stuck", count=1, cluster="stuck")
    stuck, free = (cloud.ask("PUT", cloud.cluster(name), body()) for name in ("stuck", "free"))
    assert cloud.ask("POST", "/sandbox/clock", {"advance": 3600}, token="admin-token").status_code == 200
    assert wait(cloud, free)[-1] == "Succeeded"
    assert cloud.ask("GET", stuck.headers["Azure-AsyncOperation"]).json()["status"] not in ("Succeeded", "Failed")
