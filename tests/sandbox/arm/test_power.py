"""Start, stop and abort as AKS does them: refused where it refuses, and the power state that an abort leaves."""

import time

import pytest
from cloud import GROUP, body


def wait(cloud, answer):
    """The last status of an operation."""
    url = answer.headers["Azure-AsyncOperation"]
    while True:
        status = cloud.ask("GET", url).json()["status"]
        if status in ("Succeeded", "Failed", "Canceled"):
            return status
        time.sleep(0.05)


def states(cloud):
    properties = cloud.ask("GET", cloud.cluster("one")).json()["properties"]
    return properties["provisioningState"], properties["powerState"]["code"]


@pytest.fixture
def one(cloud):
    cloud.client().managed_clusters.begin_create_or_update(GROUP, "one", body(2)).result()
    return cloud


def test_what_is_so_already_is_refused_with_azures_words(one):
    answer = one.ask("POST", one.cluster("one/start"))
    assert (answer.status_code, answer.json()["code"]) == (400, "BadRequest")
    assert answer.json()["message"].endswith("Power State(Running), starting cannot be performed")
    assert wait(one, one.ask("POST", one.cluster("one/stop"))) == "Succeeded"
    again = one.ask("POST", one.cluster("one/stop"))
    assert again.json()["message"].endswith("Power State(Stopped), stopping cannot be performed")


def test_a_stopped_cluster_takes_no_change_until_it_runs(one):
    assert wait(one, one.ask("POST", one.cluster("one/stop"))) == "Succeeded"
    pool = {"properties": {"count": 3, "vmSize": "Standard_DS2_v2", "mode": "System"}}
    for path, change in (("one", body(3)), ("one/agentPools/nodepool1", pool)):
        refused = one.ask("PUT", one.cluster(path), change)
        assert (refused.status_code, "Power State(Stopped)" in refused.json()["message"]) == (400, True)
    assert wait(one, one.ask("POST", one.cluster("one/start"))) == "Succeeded"
    assert states(one) == ("Succeeded", "Running")


@pytest.mark.parametrize(("verb", "power"), [("stop", "Running"), ("start", "Stopped")])
def test_an_aborted_power_change_leaves_canceled_and_the_power_state_before(one, verb, power):
    if verb == "start":
        assert wait(one, one.ask("POST", one.cluster("one/stop"))) == "Succeeded"
    begun = one.ask("POST", one.cluster(f"one/{verb}"))
    assert one.ask("POST", one.cluster("one/abort")).status_code == 204
    assert (wait(one, begun), states(one)) == ("Canceled", ("Canceled", power))
    assert wait(one, one.ask("POST", one.cluster(f"one/{verb}"))) == "Succeeded"


def test_an_abort_of_a_pool_leaves_alone_what_runs_on_the_cluster(one):
    begun = one.ask("POST", one.cluster("one/stop"))
    assert one.ask("POST", one.cluster("one/agentPools/nodepool1/abort")).status_code == 204
    assert one.ask("POST", one.cluster("one/agentPools/none/abort")).status_code == 404
    assert wait(one, begun) == "Succeeded"


def test_an_abort_of_a_pool_cancels_what_runs_on_it(one):
    pool = one.ask("GET", one.cluster("one/agentPools/nodepool1")).json()
    pool["properties"]["count"] = 3
    begun = one.ask("PUT", one.cluster("one/agentPools/nodepool1"), pool)
    assert one.ask("POST", one.cluster("one/agentPools/nodepool1/abort")).status_code == 204
    assert wait(one, begun) == "Canceled"


def test_a_start_needs_the_quota_that_others_took_meanwhile(one):
    assert wait(one, one.ask("POST", one.cluster("one/stop"))) == "Succeeded"
    one.fault("arm.quota", count=1)
    left = one.ask("POST", one.cluster("one/start"))
    assert (left.status_code, left.json()["code"]) == (400, "ErrCode_InsufficientVCPUQuota")
    assert states(one) == ("Succeeded", "Stopped")
    assert wait(one, one.ask("POST", one.cluster("one/start"))) == "Succeeded"


def test_an_autoscaler_that_is_switched_off_loses_its_bounds(one):
    where = one.cluster("one/agentPools/nodepool1")
    pool = one.ask("GET", where).json()
    pool["properties"] |= {"enableAutoScaling": True, "minCount": 2, "maxCount": 4}
    assert wait(one, one.ask("PUT", where, pool)) == "Succeeded"
    off = {"properties": {"vmSize": pool["properties"]["vmSize"], "mode": "System", "enableAutoScaling": False}}
    bad = {"properties": {**off["properties"], "minCount": 2}}
    assert one.ask("PUT", where, bad).status_code == 400
    assert wait(one, one.ask("PUT", where, off)) == "Succeeded"
    now = one.ask("GET", where).json()["properties"]
    assert (now["enableAutoScaling"], now.get("minCount"), now.get("maxCount")) == (False, None, None)
