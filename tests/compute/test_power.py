"""Start, stop and the autoscaler over REST against Azure at the socket."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from compute import cost, queries, steps
from compute.models import ComputeTarget
from deployments.models import Deployment
from deployments.steps import observe_target
from portal import operations
from portal.models import AuditEvent, Operation
from tests import kept, page_rows
from tests.compute.azure import usage
from tests.compute.conftest import step_once

ONE = "compute-targets/prod-1/"
POWER = ("STARTING", "STOPPING")


@pytest.fixture
def target(created):
    return created("prod-1")


@pytest.fixture
def stopped(call, azure, run_all, target):
    def make():
        assert call("operator", "post", f"{ONE}stop/", {}).status_code == 202
        run_all()

    kept.once("stopped", make, azure)
    azure.changes.clear()
    return ComputeTarget.objects.get()


def asked(azure):
    return [verb for verb, _ in azure.changes if verb in POWER]


def test_a_stopped_cluster_has_no_nodes_costs_nothing_and_is_no_drift(call, azure, run_all, target):
    answer = call("operator", "post", f"{ONE}stop/", {"generation": 1})
    assert answer.status_code == 202
    shown = call("reader", "get", ONE).data
    assert (shown["state"], shown["generation"]) == ("Updating", 2)
    run_all()
    shown = call("reader", "get", ONE).data
    assert (shown["state"], shown["power_state"], shown["reason"]) == ("Succeeded", "Stopped", "")
    assert (shown["observed"]["nodes"], shown["cost"]["usd_hour"]) == ([], 0)
    steps.watch_target(target.pk)
    shown = call("reader", "get", ONE).data
    assert (shown["state"], shown["reason"], shown["drift"]) == ("Succeeded", "", [])
    assert asked(azure) == ["STOPPING"]
    (event,) = AuditEvent.objects.filter(action="compute_target.stopped")
    assert (event.before["power_state"], event.after["power_state"]) == ("Running", "Stopped")


def test_a_started_cluster_has_its_nodes_back(call, azure, run_all, stopped):
    assert call("operator", "post", f"{ONE}start/", {}).status_code == 202
    run_all()
    shown = call("reader", "get", ONE).data
    assert (shown["state"], shown["power_state"], shown["observed"]["nodes_ready"]) == ("Succeeded", "Running", 3)
    assert shown["cost"]["usd_hour"] > 0
    assert asked(azure) == ["STARTING"]
    assert AuditEvent.objects.filter(action="compute_target.started").count() == 1


@pytest.mark.parametrize("path", ["start", "stop"])
def test_a_power_change_whose_answer_is_lost_is_asked_for_once(path, call, azure, run_all, target):
    if path == "start":
        call("operator", "post", f"{ONE}stop/", {})
        run_all()
        azure.changes.clear()
    call("operator", "post", f"{ONE}{path}/", {})
    azure.fail("POST", "lost")
    run_all()
    assert Operation.objects.latest("created_at").state == "Succeeded"
    assert len(asked(azure)) == 1


def test_what_would_stop_answering_is_named_and_has_to_be_confirmed(call, azure, run_all, target):
    page_rows.endpoint(target, "iris")
    page_rows.endpoint(target, "churn")
    answer = call("operator", "post", f"{ONE}stop/", {})
    assert (answer.status_code, answer.data["code"], answer.data["endpoints"]) == (
        409, "stops_answering", ["churn", "iris"],
    )  # fmt: skip
    assert "churn, iris stop answering while prod-1 is stopped." in answer.data["detail"]
    assert asked(azure) == []
    forced = call("operator", "post", f"{ONE}stop/", {"force": True})
    assert (forced.status_code, forced.data["warnings"]) == (
        202, ["churn, iris stop answering while prod-1 is stopped."],
    )  # fmt: skip
    run_all()
    assert asked(azure) == ["STOPPING"]


def test_other_workspaces_on_the_same_cluster_are_counted_not_named(call, target, elsewhere):
    page_rows.target(elsewhere, "secret", region="northeurope", cluster_name=target.cluster_name)
    answer = call("operator", "post", f"{ONE}stop/", {})
    assert (answer.status_code, answer.data["other_workspaces"]) == (409, 1)
    assert "another workspace has on the same cluster" in answer.data["detail"]
    assert "secret" not in str(answer.data)


def test_stopping_twice_and_starting_twice_is_refused_by_that_sentence(call, target, run_all):
    answer = call("operator", "post", f"{ONE}start/", {})
    assert (answer.status_code, answer.data["detail"]) == (409, "prod-1 is running already.")
    call("operator", "post", f"{ONE}stop/", {})
    run_all()
    answer = call("operator", "post", f"{ONE}stop/", {})
    assert (answer.status_code, answer.data["detail"]) == (409, "prod-1 is stopped already.")


@pytest.mark.parametrize(
    ("path", "body", "then"),
    [
        ("scale/", {"node_count": 5}, "it can be scaled when it runs"),
        ("autoscaler/", {"min_count": 3, "max_count": 5}, "its autoscaler can be set when it runs"),
        ("detach/", {}, "what the portal has in it can be taken out when it runs"),
    ],
)
def test_changes_of_a_stopped_cluster_are_refused_by_that_sentence(path, body, then, call, azure, stopped):
    answer = call("operator", "post", f"{ONE}{path}", body)
    assert (answer.status_code, answer.data["code"]) == (409, "cluster_stopped")
    assert answer.data["detail"] == f"prod-1 is stopped; {then}. Start it first."
    assert azure.changes == []


def test_a_node_pool_cannot_come_to_a_stopped_cluster(call, stopped):
    answer = call("operator", "post", f"{ONE}pools/", {"name": "extra"})
    assert (answer.status_code, "is stopped" in answer.data["detail"]) == (409, True)


def test_a_stopped_cluster_can_be_deleted(call, azure, run_all, stopped):
    assert call("operator", "delete", ONE).status_code == 202
    run_all()
    assert not ComputeTarget.objects.exists()
    assert azure.clusters == {}


def test_a_stopped_cluster_that_is_forced_is_detached_with_a_warning(call, azure, run_all, stopped):
    assert call("operator", "post", f"{ONE}detach/", {"force": True}).status_code == 202
    run_all()
    op = Operation.objects.latest("created_at")
    assert (op.state, ComputeTarget.objects.exists()) == ("Succeeded", False)
    assert "was not taken out: prod-1 is stopped" in op.warnings[0]


def test_what_a_stopped_cluster_served_says_that_it_is_stopped_and_heals(call, azure, run_all, target, monkeypatch):
    row = page_rows.version(page_rows.endpoint(target, "iris"), "v1", is_default=True).deployment
    call("operator", "post", f"{ONE}stop/", {"force": True})
    run_all()
    azure.asked.clear()
    observe_target(target.pk)
    row.refresh_from_db()
    assert (row.state, row.ready_replicas) == ("Unhealthy", 0)
    assert row.reason == "prod-1 is stopped: it answers again when that is started."
    assert azure.asked == []  # nobody asks an API server that is not there
    assert Deployment.objects.filter(state="Unhealthy").count() == 1


def test_a_cluster_that_somebody_stopped_in_azure_is_started_or_taken_over(call, azure, run_all, target):
    (cluster,) = azure.clusters.values()
    cluster["properties"]["powerState"] = {"code": "Stopped"}
    steps.watch_target(target.pk)
    assert call("reader", "get", ONE).data["reason"] == "The cluster is stopped."
    assert call("operator", "post", f"{ONE}adopt/").status_code == 200
    target.refresh_from_db()
    assert (target.config, target.reason) == ({"power": "Stopped"}, "")
    assert call("operator", "post", f"{ONE}start/", {}).status_code == 202
    run_all()
    assert (asked(azure), ComputeTarget.objects.get().config) == (["STARTING"], {})


def test_one_that_is_stopped_in_azure_already_is_stopped_without_asking(call, azure, run_all, target):
    (cluster,) = azure.clusters.values()
    cluster["properties"]["powerState"] = {"code": "Stopped"}
    call("operator", "post", f"{ONE}stop/", {})
    run_all()
    assert (asked(azure), Operation.objects.latest("created_at").state) == ([], "Succeeded")
    assert call("reader", "get", ONE).data["power_state"] == "Stopped"


def test_a_stop_that_azure_refuses_leaves_the_target_as_it_was(call, azure, run_all, target):
    call("operator", "post", f"{ONE}stop/", {})
    azure.fail("POST", (400, {"code": "BadRequest", "message": "spot pools cannot stop", "details": None}))
    run_all()
    now = ComputeTarget.objects.get()
    assert (now.state, now.config) == ("Succeeded", {})
    assert now.reason.startswith("Not stopped: spot pools cannot stop")


def test_a_start_that_fails_late_says_why_and_can_be_run_again(call, azure, run_all, stopped, people):
    azure.fail("late", {"code": "StartFailed", "message": "no room in the zone"})
    call("operator", "post", f"{ONE}start/", {})
    run_all()
    now = ComputeTarget.objects.get()
    assert (now.state, "no room in the zone" in now.reason, now.config) == ("Failed", True, {"power": "Stopped"})
    op = Operation.objects.latest("created_at")
    operations.retry(op=op, actor=people["operator"])
    run_all()
    now = ComputeTarget.objects.get()
    assert (now.state, now.config, asked(azure)) == ("Succeeded", {}, ["STARTING", "STARTING"])


def look(azure, provisioning, power):
    (cluster,) = azure.clusters.values()
    cluster["properties"] |= {"provisioningState": provisioning, "powerState": {"code": power}}


@pytest.mark.parametrize("provisioning", ["Failed", "Canceled"])
def test_a_failed_start_is_no_success_though_azure_shows_it_running(
    provisioning, call, azure, run_all, stopped, people
):
    azure.fail("late", {"code": "StartFailed", "message": "no room in the zone"})
    call("operator", "post", f"{ONE}start/", {})
    run_all()
    look(azure, provisioning, "Running")
    op = Operation.objects.latest("created_at")
    azure.fail("POST", (500, {"code": "InternalError", "message": "seen", "details": None, "subcode": ""}))
    operations.retry(op=op, actor=people["operator"])
    step_once(op)
    assert "seen" in op.note  # it was asked for again
    run_all()
    op.refresh_from_db()
    assert (op.state, ComputeTarget.objects.get().state) == ("Failed", "Failed")
    assert f"as {provisioning} and Running" in op.error["detail"]


def test_a_start_whose_lost_request_failed_is_no_success(call, azure, run_all, stopped):
    azure.fail("late", {"code": "StartFailed", "message": "no room in the zone"})
    azure.fail("POST", "lost")
    call("operator", "post", f"{ONE}start/", {})
    op = Operation.objects.latest("created_at")
    step_once(op)
    look(azure, "Failed", "Running")
    run_all()
    op.refresh_from_db()
    assert (op.state, ComputeTarget.objects.get().state) == ("Failed", "Failed")


def test_one_that_was_started_in_azure_since_we_looked_is_started(call, azure, run_all, stopped):
    azure.fail("GET", (200, deepcopy(next(iter(azure.clusters.values())))))  # as it was before
    look(azure, "Succeeded", "Running")
    call("operator", "post", f"{ONE}start/", {})
    run_all()
    op = Operation.objects.latest("created_at")
    assert (op.state, asked(azure), ComputeTarget.objects.get().state) == ("Succeeded", [], "Succeeded")


def test_azure_busy_with_the_cluster_is_waited_for_before_a_stop(call, azure, run_all, target):
    (cluster,) = azure.clusters.values()
    cluster["properties"]["provisioningState"] = "Upgrading"
    call("operator", "post", f"{ONE}stop/", {})
    op = Operation.objects.latest("created_at")
    step_once(op)
    assert (op.note, asked(azure)) == ("Azure is busy with the cluster: Upgrading", [])
    cluster["properties"]["provisioningState"] = "Succeeded"
    run_all()
    assert asked(azure) == ["STOPPING"]


@pytest.mark.parametrize("path", ["start", "stop", "autoscaler"])
@pytest.mark.parametrize(("who", "status"), [("contributor", 403), ("reader", 403), ("stranger", 404)])
def test_only_operators_change_power_and_the_autoscaler(path, who, status, call, target):
    assert call(who, "post", f"{ONE}{path}/", {}).status_code == status


@pytest.mark.parametrize("path", ["start", "stop", "autoscaler"])
def test_an_old_generation_is_412(path, call, azure, target):
    body = {"min_count": 3, "max_count": 5} if path == "autoscaler" else {}
    if path == "start":
        ComputeTarget.objects.update(observed={**target.observed, "power_state": "Stopped"})
    answer = call("operator", "post", f"{ONE}{path}/", {**body, "generation": 7})
    assert (answer.status_code, answer.data["generation"]) == (412, 1)
    assert azure.changes == []


@pytest.mark.parametrize("path", ["start", "stop", "autoscaler"])
def test_a_second_operation_is_409_with_the_running_ones_id(path, call, target):
    first = call("operator", "post", f"{ONE}scale/", {"node_count": 5})
    body = {"min_count": 3, "max_count": 5} if path == "autoscaler" else {}
    answer = call("operator", "post", f"{ONE}{path}/", body)
    assert (answer.status_code, answer.data["operation"]) == (409, first.data["operation"])


@pytest.mark.parametrize("state", ["Missing", "Creating"])
def test_a_target_that_is_not_there_is_neither_started_nor_stopped(state, call, target):
    ComputeTarget.objects.update(state=state)
    for path in ("start", "stop"):
        answer = call("operator", "post", f"{ONE}{path}/", {})
        assert (answer.status_code, answer.data["code"]) == (409, "power_not_now")


# --- the autoscaler


def pool_of(azure):
    (cluster,) = azure.clusters.values()
    return cluster["properties"]["agentPoolProfiles"][0]


def puts(azure):
    return [path for verb, path in azure.changes if verb == "PUT"]


def test_the_autoscaler_goes_on_changes_and_goes_off(call, azure, run_all, target):
    assert call("operator", "post", f"{ONE}autoscaler/", {"min_count": 3, "max_count": 6}).status_code == 202
    run_all()
    shown = call("reader", "get", ONE).data
    assert (shown["state"], shown["config"]["autoscaler"]) == ("Succeeded", {"min_count": 3, "max_count": 6})
    assert (pool_of(azure)["minCount"], pool_of(azure)["maxCount"], pool_of(azure)["count"]) == (3, 6, 3)
    call("operator", "post", f"{ONE}autoscaler/", {"min_count": 4, "max_count": 8})
    run_all()
    assert (pool_of(azure)["minCount"], pool_of(azure)["maxCount"], pool_of(azure)["count"]) == (4, 8, 4)
    call("operator", "post", f"{ONE}autoscaler/", {"node_count": 5})
    run_all()
    shown = call("reader", "get", ONE).data
    assert (shown["config"], shown["node_count"], shown["observed"]["nodes_ready"]) == ({}, 5, 5)
    assert (pool_of(azure)["enableAutoScaling"], pool_of(azure)["count"]) == (False, 5)
    assert puts(azure) == [f"{target.cluster_name}/agentpools/nodepool1"] * 3
    assert AuditEvent.objects.filter(action="compute_target.autoscaler_set").count() == 3
    assert asked(azure) == []


def test_a_fastprod_cluster_keeps_12_vcpus_by_its_smallest_count(call, azure, target):
    answer = call("operator", "post", f"{ONE}autoscaler/", {"min_count": 2, "max_count": 6})
    assert (answer.status_code, answer.data["code"]) == (422, "too_few_vcpus")
    assert "passes is 3" in answer.data["detail"]
    assert azure.changes == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "Give min_count and max_count to switch the autoscaler on, or node_count to switch it off."),
        ({"min_count": 3}, "need 1 ≤ min_count ≤ max_count ≤ 1000"),
        ({"min_count": 6, "max_count": 3}, "need 1 ≤ min_count ≤ max_count ≤ 1000"),
        ({"min_count": 3, "max_count": 6, "node_count": 4}, "leave node_count out"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(body, words, call, target):
    answer = call("operator", "post", f"{ONE}autoscaler/", body)
    assert (answer.status_code, words in answer.data["detail"]) == (422, True)


def test_what_is_so_already_is_refused(call, run_all, target):
    answer = call("operator", "post", f"{ONE}autoscaler/", {"node_count": 3})
    assert (answer.status_code, answer.data["detail"]) == (409, "prod-1 has that already: 3 nodes, no autoscaler.")


def test_a_quota_too_small_for_the_most_nodes_is_a_finding(call, azure, run_all, target):
    azure.usages = [usage("cores", 330, 350)]
    cache.clear()
    call("operator", "post", f"{ONE}autoscaler/", {"min_count": 3, "max_count": 100})
    run_all()
    op = Operation.objects.latest("created_at")
    (row,) = [row for row in op.findings if row["level"] != "ok"]
    assert (op.state, row["code"], row["level"]) == ("Succeeded", "quota_region_later", "warning")
    assert "97 × Standard_D3_v2 (4 vCPUs each) need 388 regional vCPUs" in row["message"]
    assert "20 are left (330 of 350 in use). No more nodes can come than fit." in row["message"]


def test_a_quota_too_small_for_the_fewest_nodes_is_refused_with_all_findings(call, azure, run_all, target):
    azure.usages = [usage("cores", 345, 350)]
    cache.clear()
    call("operator", "post", f"{ONE}autoscaler/", {"min_count": 5, "max_count": 6})
    run_all()
    op, now = Operation.objects.latest("created_at"), ComputeTarget.objects.get()
    assert (op.state, op.error["code"], now.state, now.config) == ("Failed", "preflight_failed", "Succeeded", {})
    assert puts(azure) == []


def test_bounds_whose_put_is_lost_are_not_put_twice(call, azure, run_all, target):
    azure.fail("PUT", "lost")
    call("operator", "post", f"{ONE}autoscaler/", {"min_count": 3, "max_count": 6})
    run_all()
    assert (len(puts(azure)), ComputeTarget.objects.get().state) == (1, "Succeeded")


def test_bounds_that_azure_refuses_are_not_wanted_any_more(call, azure, run_all, target):
    azure.fail("PUT", (400, {"code": "InvalidParameter", "message": "not this pool", "details": None}))
    call("operator", "post", f"{ONE}autoscaler/", {"min_count": 3, "max_count": 6})
    run_all()
    now = ComputeTarget.objects.get()
    assert (now.state, now.config, now.node_count) == ("Succeeded", {}, 3)
    assert now.reason.startswith("The autoscaler is as before: not this pool")


def test_bounds_that_others_changed_are_told_and_taken_over(call, azure, run_all, target):
    call("operator", "post", f"{ONE}autoscaler/", {"min_count": 3, "max_count": 6})
    run_all()
    pool_of(azure).update(maxCount=9)
    steps.watch_target(target.pk)
    (row,) = call("reader", "get", ONE).data["drift"]
    assert (row["code"], row["configured"], row["azure"]) == ("autoscaler", "3 to 6", "3 to 9")
    assert row["message"] == "Azure's autoscaler goes from 3 to 9 nodes; 3 to 6 is wanted."
    assert call("operator", "post", f"{ONE}adopt/").status_code == 200
    assert call("reader", "get", ONE).data["config"]["autoscaler"] == {"min_count": 3, "max_count": 9}
    steps.watch_target(target.pk)
    assert call("reader", "get", ONE).data["drift"] == []


def test_bounds_that_others_changed_are_set_back_by_asking_for_them_again(call, azure, run_all, target):
    call("operator", "post", f"{ONE}autoscaler/", {"min_count": 3, "max_count": 6})
    run_all()
    pool_of(azure).update(maxCount=9)
    steps.watch_target(target.pk)
    assert call("operator", "post", f"{ONE}autoscaler/", {"min_count": 3, "max_count": 6}).status_code == 202
    run_all()
    assert pool_of(azure)["maxCount"] == 6


def test_a_cluster_whose_autoscaler_others_switched_on_is_not_scaled_by_hand(call, azure, target):
    pool_of(azure).update(enableAutoScaling=True, minCount=3, maxCount=5)
    steps.watch_target(target.pk)
    answer = call("operator", "post", f"{ONE}scale/", {"node_count": 4})
    assert (answer.status_code, "keeps 3 to 5 nodes by itself" in answer.data["detail"]) == (422, True)


def test_a_start_waits_for_as_many_nodes_as_the_autoscaler_keeps(call, azure, run_all, target):
    call("operator", "post", f"{ONE}autoscaler/", {"min_count": 3, "max_count": 6})
    run_all()
    ComputeTarget.objects.update(node_count=6)
    call("operator", "post", f"{ONE}stop/", {})
    run_all()
    call("operator", "post", f"{ONE}start/", {})
    run_all()
    assert call("reader", "get", ONE).data["observed"]["nodes_ready"] == 3


def test_the_opened_cluster_of_a_stopped_one_is_refused_by_that_sentence(stopped):
    with pytest.raises(queries.ClusterStopped) as refused:
        queries.open_cluster(stopped)
    assert refused.value.detail == "prod-1 is stopped; it answers when it runs. Start it first."
    assert cost.of(stopped).usd_hour == 0


def test_an_expired_wait_for_a_stop_ends_as_timed_out(call, azure, target):
    call("operator", "post", f"{ONE}stop/", {})
    op = Operation.objects.latest("created_at")
    step_once(op)
    step_once(op)
    Operation.objects.filter(pk=op.pk).update(deadline_at=timezone.now() - timedelta(seconds=1))
    step_once(op)
    op.refresh_from_db()
    assert (op.state, ComputeTarget.objects.get().state) == ("TimedOut", "Failed")
