"""Scale, detach and delete over REST against Azure at the socket."""

from __future__ import annotations

import pytest

from compute import queries
from compute.models import ComputeTarget
from endpoints.models import Endpoint
from portal import operations
from portal.models import AuditEvent, Operation
from tests.compute.conftest import step_once

ONE = "compute-targets/prod-1/"


@pytest.fixture
def target(created):
    return created("prod-1")


def test_scale_changes_the_node_count_and_never_the_size(call, azure, run_all, target):
    answer = call("operator", "post", f"{ONE}scale/", {"node_count": 5, "generation": 1})
    assert answer.status_code == 202
    assert call("reader", "get", ONE).data["state"] == "Scaling"
    run_all()
    shown = call("reader", "get", ONE).data
    assert (shown["state"], shown["node_count"], shown["generation"], shown["vm_size"]) == (
        "Succeeded", 5, 2, "Standard_D3_v2",
    )  # fmt: skip
    assert shown["observed"]["nodes_ready"] == 5
    assert [change for change in azure.changes if change[0] == "PUT"] == [
        ("PUT", f"{target.cluster_name}/agentpools/nodepool1")
    ]


def test_a_fastprod_cluster_cannot_be_scaled_below_12_vcpus(call, azure, target):
    answer = call("operator", "post", f"{ONE}scale/", {"node_count": 2})
    assert (answer.status_code, answer.data["code"]) == (422, "too_few_vcpus")
    assert "passes is 3" in answer.data["detail"]
    assert azure.changes == []


def test_scaling_by_an_old_generation_is_412_with_the_present_count(call, run_all, target):
    call("operator", "post", f"{ONE}scale/", {"node_count": 5, "generation": 1})
    run_all()
    answer = call("operator", "post", f"{ONE}scale/", {"node_count": 4, "generation": 1})
    assert (answer.status_code, answer.data["node_count"], answer.data["generation"]) == (412, 5, 2)


def test_a_second_operation_is_409_with_the_running_ones_id(call, target):
    first = call("operator", "post", f"{ONE}scale/", {"node_count": 5})
    for method, path, body in (
        ("post", f"{ONE}scale/", {"node_count": 4}), ("delete", ONE, None), ("post", f"{ONE}detach/", {}),
    ):  # fmt: skip
        answer = call("operator", method, path, body)
        assert (answer.status_code, answer.data["operation"]) == (409, first.data["operation"])


def test_scaling_that_cannot_hold_what_runs_is_warned_about_with_numbers(call, target):
    nodes = [{"cpu": 3.86, "cpu_free": 0.1, "memory_bytes": 12, "memory_free": 12} for _ in range(4)]
    ComputeTarget.objects.update(observed={"nodes": nodes}, node_count=4)
    answer = call("operator", "post", f"{ONE}scale/", {"node_count": 3})
    assert "15.0 cores; 3 of 4 nodes have 11.6" in answer.data["warnings"][0]


def test_a_scale_that_azure_refuses_leaves_the_target_as_it_was(call, azure, run_all, target):
    azure.fail("PUT", (400, {"code": "ErrCode_InsufficientVCPUQuota", "message": "family quota 12", "details": None}))
    call("operator", "post", f"{ONE}scale/", {"node_count": 9})
    run_all()
    now = ComputeTarget.objects.get()
    assert (now.state, now.node_count) == ("Succeeded", 3)
    assert "family quota 12" in now.reason


def test_azure_busy_with_the_cluster_is_waited_for(call, azure, run_all, target):
    (cluster,) = azure.clusters.values()
    cluster["properties"]["provisioningState"] = "Upgrading"
    call("operator", "post", f"{ONE}scale/", {"node_count": 4})
    op = Operation.objects.get(kind="compute.scale")
    step_once(op)
    assert "Upgrading" in op.note
    cluster["properties"]["provisioningState"] = "Succeeded"
    run_all()
    assert ComputeTarget.objects.get().node_count == 4


def test_a_scale_whose_answer_is_lost_is_not_put_twice(call, azure, run_all, target):
    azure.fail("PUT", "lost")
    call("operator", "post", f"{ONE}scale/", {"node_count": 4})
    run_all()
    assert ComputeTarget.objects.get().state == "Succeeded"
    assert len([1 for verb, _ in azure.changes if verb == "PUT"]) == 1


def test_an_autoscaler_sets_the_node_count_by_itself(call, target):
    ComputeTarget.objects.update(config={"autoscaler": {"min_count": 3, "max_count": 5}})
    answer = call("operator", "post", f"{ONE}scale/", {"node_count": 4})
    assert (answer.status_code, "3 to 5 nodes" in answer.data["detail"]) == (422, True)


@pytest.mark.parametrize("state", ["Missing", "Deleting"])
def test_a_target_that_is_not_well_cannot_be_scaled(call, target, state):
    ComputeTarget.objects.update(state=state)
    answer = call("operator", "post", f"{ONE}scale/", {"node_count": 4})
    assert (answer.status_code, answer.data["code"]) == (409, "not_scalable")


def test_delete_deletes_the_azure_cluster_and_then_the_row(call, azure, run_all, target):
    assert call("operator", "delete", ONE).status_code == 202
    assert ComputeTarget.objects.get().state == "Deleting"
    run_all()
    assert azure.clusters == {}
    assert not ComputeTarget.objects.exists()
    assert call("reader", "get", ONE).status_code == 404
    assert [change for change in azure.changes if change[0] == "DELETE"] == [("DELETE", target.cluster_name)]
    assert AuditEvent.objects.filter(action="compute_target.deleted").exists()


def test_a_delete_whose_answer_is_lost_is_not_sent_twice(call, azure, run_all, target):
    azure.fail("DELETE", "lost")
    call("operator", "delete", ONE)
    run_all()
    assert len([1 for verb, _ in azure.changes if verb == "DELETE"]) == 1
    assert not ComputeTarget.objects.exists()


def test_deleting_a_cluster_that_is_gone_already_ends_well(call, azure, run_all, target):
    azure.clusters.clear()
    call("operator", "delete", ONE)
    run_all()
    assert not ComputeTarget.objects.exists()
    assert azure.changes == [] or all(verb == "REMOVE" for verb, _ in azure.changes)


def test_a_cancelled_create_can_be_deleted_and_azures_work_is_aborted(call, azure, run_all, people):
    call("operator", "post", "compute-targets/", {"name": "prod-2"})
    op = Operation.objects.get()
    step_once(op)  # the preflight
    step_once(op)
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    assert ComputeTarget.objects.get().state == "Canceled"
    call("operator", "delete", "compute-targets/prod-2/")
    run_all()
    assert not ComputeTarget.objects.exists()
    assert [verb for verb, _ in azure.changes if verb in ("ABORT", "DELETE")] == ["ABORT", "DELETE"]


def test_detach_forgets_the_cluster_and_removes_what_the_portal_put_there(call, azure, run_all, target):
    assert any("slipway-system" in path for path in azure.objects)
    assert call("operator", "post", f"{ONE}detach/", {}).status_code == 202
    run_all()
    assert not ComputeTarget.objects.exists()
    assert len(azure.clusters) == 1
    assert azure.objects == {}


def test_detach_of_a_missing_cluster_works(call, azure, run_all, target):
    azure.clusters.clear()
    ComputeTarget.objects.update(state="Missing")
    call("operator", "post", f"{ONE}detach/", {})
    assert ComputeTarget.objects.get().state == "Missing"
    run_all()
    assert not ComputeTarget.objects.exists()


@pytest.mark.parametrize(("method", "path"), [("delete", ONE), ("post", f"{ONE}detach/")])
def test_detach_and_delete_are_refused_while_endpoints_run_there_by_their_names(call, target, method, path):
    for name in ("iris", "fraud"):
        Endpoint.objects.create(workspace=target.workspace, compute_target=target, name=name, kind="SERVICE")
    answer = call("operator", method, path, {} if method == "post" else None)
    assert (answer.status_code, answer.data["endpoints"]) == (409, ["fraud", "iris"])
    assert "fraud, iris run on prod-1" in answer.data["detail"]
    assert ComputeTarget.objects.get().state == "Succeeded"


@pytest.mark.parametrize(("method", "path"), [("delete", f"{ONE}?force=true"), ("post", f"{ONE}detach/")])
def test_forcing_deletes_the_endpoints_first_and_lists_them_beforehand(call, target, run_all, method, path):
    Endpoint.objects.create(workspace=target.workspace, compute_target=target, name="iris", kind="SERVICE")
    forced = call("operator", method, path, {"force": True} if method == "post" else None)
    assert (forced.status_code, forced.data["warnings"]) == (202, ["Deleted with it: iris."])
    run_all()
    assert not ComputeTarget.objects.exists()
    assert not Endpoint.objects.exists()


def test_delete_of_an_attached_cluster_is_refused_unless_forced(call, target):
    ComputeTarget.objects.update(is_attached=True)
    answer = call("operator", "delete", ONE)
    assert (answer.status_code, answer.data["code"]) == (409, "attached_not_deleted")
    assert call("operator", "delete", f"{ONE}?force=true").status_code == 202


@pytest.mark.parametrize("who", ["reader", "contributor"])
def test_only_operators_scale_detach_delete_and_see_kubeconfigs(call, target, who):
    assert call(who, "post", f"{ONE}scale/", {"node_count": 4}).status_code == 403
    assert call(who, "post", f"{ONE}detach/", {}).status_code == 403
    assert call(who, "delete", ONE).status_code == 403
    assert call(who, "post", f"{ONE}credentials/", {}).status_code == 403
    assert call("stranger", "delete", ONE).status_code == 404


def test_the_kubeconfig_is_fetched_anew_not_cached_and_its_reveal_is_in_the_history(call, azure, target):
    queries.open_cluster(target)  # what was fetched for this is kept
    azure.kube_token = "kube-2"
    answer = call("operator", "post", f"{ONE}credentials/", {})
    assert "kube-2" in answer.data["kubeconfig"]
    assert answer["Cache-Control"] == "no-store"
    event = AuditEvent.objects.get(action="compute_target.credentials_revealed")
    assert event.actor_name == "operator"


def test_sizes_come_live_from_azure_with_prices_of_the_bundled_table(call):
    items = call("reader", "get", "vm-sizes/").data["items"]
    assert [item["name"] for item in items] == ["Standard_D3_v2", "Standard_D2s_v3"]
    assert (items[0]["usd_hour"], items[0]["smallest_fastprod_count"]) == (pytest.approx(0.272), 3)


def test_sizes_come_from_the_bundled_table_when_azure_does_not_say(call, azure):
    azure.fail("GET", (503, b"busy"))
    items = call("reader", "get", "vm-sizes/?search=d3_v2&region=eastus").data["items"]
    assert any(item["name"] == "Standard_D3_v2" for item in items)


def test_lists_are_paged_and_filtered_by_state(call, target):
    listed = call("reader", "get", "compute-targets/?state=Succeeded&page_size=1").data
    assert [item["name"] for item in listed["items"]] == ["prod-1"]
    assert call("reader", "get", "compute-targets/?state=Failed").data["items"] == []
