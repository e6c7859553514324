"""Drift: what Azure is really like."""

from __future__ import annotations

import pytest

from compute import queries, steps
from compute.models import ComputeTarget
from portal.models import AuditEvent, Operation


@pytest.fixture
def target(created):
    return created("prod-1")


def look(target):
    steps.watch_target(target.pk)
    target.refresh_from_db()
    return target


def test_a_cluster_deleted_outside_is_missing_and_one_that_comes_back_is_well(azure, target):
    kept = dict(azure.clusters)
    azure.clusters.clear()
    assert look(target).state == "Missing"
    assert target.observed["nodes"] == []
    azure.clusters.update(kept)
    assert look(target).state == "Succeeded"


def test_creating_a_missing_target_anew_is_refused_until_it_is_detached(azure, target, call, run_all):
    azure.clusters.clear()
    look(target)
    answer = call("operator", "post", "compute-targets/", {"name": "prod-1"})
    assert (answer.status_code, "it is Missing" in answer.data["detail"]) == (409, True)
    call("operator", "post", "compute-targets/prod-1/detach/", {})
    run_all()
    assert call("operator", "post", "compute-targets/", {"name": "prod-1"}).status_code == 202


def test_a_failed_cluster_that_azure_repaired_is_succeeded_again(azure, target):
    ComputeTarget.objects.update(state="Failed", reason="node 3 did not start")
    assert (look(target).state, target.reason) == ("Succeeded", "")


def test_nodes_that_differ_from_what_is_wanted_are_told_with_numbers(azure, target):
    (cluster,) = azure.clusters.values()
    cluster["properties"]["agentPoolProfiles"][0]["count"] = 2
    assert look(target).reason == "Azure has 2 nodes; 3 are wanted."
    assert target.observed["nodes_ready"] == 2


def test_a_count_that_azures_autoscaler_set_is_no_drift(azure, target):
    (cluster,) = azure.clusters.values()
    cluster["properties"]["agentPoolProfiles"][0] |= {
        "count": 5,
        "enableAutoScaling": True,
        "minCount": 3,
        "maxCount": 6,
    }
    assert look(target).reason == "The autoscaler is on in Azure; here it is off."
    ComputeTarget.objects.update(config={"autoscaler": {"min_count": 3, "max_count": 6}})
    assert look(target).reason == ""


def test_a_stopped_cluster_is_told(azure, target):
    (cluster,) = azure.clusters.values()
    cluster["properties"]["powerState"] = {"code": "Stopped"}
    assert look(target).reason == "The cluster is stopped."


def test_azure_out_of_reach_changes_nothing(azure, target):
    azure.fail("GET", (503, b""))
    azure.clusters.clear()
    assert look(target).state == "Succeeded"


def test_a_silent_api_server_keeps_what_was_seen_before(azure, target):
    azure.fail("kube", (503, b""), (503, b""))
    assert look(target).observed["nodes_ready"] == 3


def test_nothing_is_looked_at_while_an_operation_runs(azure, target, call):
    call("operator", "post", "compute-targets/prod-1/scale/", {"node_count": 4})
    azure.clusters.clear()
    assert look(target).state == "Scaling"
    assert Operation.objects.filter(state="NotStarted").count() == 1


def test_a_resource_group_deleted_outside_is_told_apart_from_its_cluster(azure, target):
    kept = dict(azure.clusters)
    azure.clusters.clear()
    assert look(target).reason == f"The cluster {target.cluster_name} was deleted outside the portal."
    azure.groups.clear()
    assert look(target).reason.startswith("The resource group rg was deleted outside the portal, and the cluster")
    azure.groups.add("rg")
    azure.clusters.update(kept)
    assert (look(target).state, target.reason) == ("Succeeded", "")


def test_each_difference_tells_configured_and_azures_value_and_since_when(azure, target, call):
    (cluster,) = azure.clusters.values()
    cluster["properties"] |= {"currentKubernetesVersion": "1.34.1"}
    cluster["properties"]["agentPoolProfiles"][0]["count"] = 5
    ComputeTarget.objects.update(kubernetes_version="1.33")
    look(target)
    first = call("reader", "get", "compute-targets/prod-1/").data["drift"]
    assert [(row["code"], row["configured"], row["azure"]) for row in first] == [
        ("node_count", "3", "5"), ("kubernetes_version", "1.33", "1.34.1"),
    ]  # fmt: skip
    assert all(row["since"] for row in first)
    ComputeTarget.objects.update(observed={**target.observed, "drift": [{**row, "since": "then"} for row in first]})
    look(target)
    assert {row["since"] for row in target.observed["drift"]} == {"then"}
    assert (target.node_count, azure.clusters[target.cluster_name]["properties"]["agentPoolProfiles"][0]["count"]) == (
        3, 5,
    )  # fmt: skip


def test_azures_count_is_taken_over_when_asked_and_written_to_the_history(azure, target, call):
    url = "compute-targets/prod-1/adopt/"
    assert call("operator", "post", url, {}).data["code"] == "no_drift"
    (cluster,) = azure.clusters.values()
    cluster["properties"]["agentPoolProfiles"][0]["count"] = 5
    look(target)
    assert call("contributor", "post", url, {}).status_code == 403
    answer = call("operator", "post", url, {})
    assert (answer.status_code, answer.data["node_count"], answer.data["drift"]) == (200, 5, [])
    row = AuditEvent.objects.get(action="compute_target.count_adopted")
    assert (row.before, row.after) == ({"node_count": 3}, {"node_count": 5})
    assert (look(target).reason, target.node_count) == ("", 5)


def test_a_count_below_12_vcpus_is_not_taken_over_for_a_fastprod_cluster(azure, target, call):
    url = "compute-targets/prod-1/adopt/"
    (cluster,) = azure.clusters.values()
    cluster["properties"]["agentPoolProfiles"][0]["count"] = 2
    look(target)
    answer = call("operator", "post", url, {})
    assert (answer.status_code, answer.data["code"]) == (422, "too_few_vcpus")
    assert "The smallest count of Standard_D3_v2 that passes is 3" in answer.data["detail"]
    assert (look(target).node_count, target.generation) == (3, 1)
    assert not AuditEvent.objects.filter(action="compute_target.count_adopted").exists()
    ComputeTarget.objects.update(purpose="DevTest")
    assert call("operator", "post", url, {}).data["node_count"] == 2


def test_no_look_is_queued_for_a_target_that_an_operation_works_on(call, azure, run_all):
    assert call("operator", "post", "compute-targets/", {"name": "one"}).status_code == 202
    assert queries.targets_to_watch() == []
    run_all()
    assert queries.targets_to_watch() == [ComputeTarget.objects.get().pk]
