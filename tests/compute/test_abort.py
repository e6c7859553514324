"""Cancelling an operation aborts Azure's work once, and the target can be deleted or changed again."""

from __future__ import annotations

import pytest
from django.utils import timezone

from compute import steps
from compute.models import ComputeTarget
from portal import operations
from portal.models import Operation
from portal.operations import engine
from portal.types import ACTIVE_STATES
from tests.compute.conftest import step_once

ONE = "compute-targets/prod-1/"
CHANGES = {
    "scale": ({"node_count": 5}, "/agentpools/nodepool1"),
    "stop": ({}, ""),
    "autoscaler": ({"min_count": 3, "max_count": 6}, "/agentpools/nodepool1"),
}


@pytest.fixture
def target(created):
    return created("prod-1")


def until_accepted(op):
    for _ in range(5):
        step_once(op)
        if op.memo.get("accepted"):
            return op
    raise AssertionError(op.memo)


def begin(call, path, body):
    assert call("operator", "post", f"{ONE}{path}/", body).status_code == 202
    return until_accepted(Operation.objects.get(state__in=ACTIVE_STATES))


def end_work(azure, state="Succeeded"):
    """Azure has done all that it was asked for; `state` is what the cluster and its pools are in then."""
    for job in azure.operations.values():
        job |= {"done": True, "phases": []}
    for cluster in azure.clusters.values():
        cluster["properties"]["provisioningState"] = state
        for pool in cluster["properties"]["agentPoolProfiles"]:
            pool["provisioningState"] = state


def aborts(azure):
    return [path for verb, path in azure.changes if verb == "ABORT"]


def test_a_cancelled_create_is_aborted_once_and_can_be_run_again(call, azure, run_all, people):
    call("operator", "post", "compute-targets/", {"name": "prod-1"})
    op = until_accepted(Operation.objects.get())
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    op.refresh_from_db()
    now = ComputeTarget.objects.get()
    assert (op.state, now.state, aborts(azure)) == ("Cancelled", "Canceled", [now.cluster_name])
    assert now.reason.startswith("Cancelled: Azure stopped making the cluster")
    steps.watch_target(now.pk)
    now.refresh_from_db()
    assert now.state == "Canceled"
    shown = call("reader", "get", f"operations/{op.pk}/").data["steps"]
    assert [(step["name"], step["state"]) for step in shown][-1] == ("abort_work", "done")
    operations.retry(op=op, actor=people["operator"])
    run_all()
    op.refresh_from_db()
    assert (op.state, ComputeTarget.objects.get().state) == ("Succeeded", "Succeeded")
    assert [verb for verb, _ in azure.changes if verb in ("PUT", "ABORT")] == ["PUT", "ABORT", "PUT"]


@pytest.mark.parametrize("path", list(CHANGES))
def test_a_cancelled_change_is_aborted_once_and_what_was_wanted_before_is_wanted(
    path, call, azure, run_all, people, target
):
    body, where = CHANGES[path]
    op = begin(call, path, body)
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    op.refresh_from_db()
    now = ComputeTarget.objects.get()
    assert (op.state, now.state, now.node_count, now.config) == ("Cancelled", "Canceled", 3, {})
    assert "What was wanted before is wanted again" in now.reason
    assert aborts(azure) == [f"{target.cluster_name}{where}"]
    assert not Operation.objects.filter(state__in=ACTIVE_STATES).exists()
    assert call("operator", "post", f"{ONE}scale/", {"node_count": 4}).status_code == 202
    run_all()
    assert (ComputeTarget.objects.get().state, ComputeTarget.objects.get().node_count) == ("Succeeded", 4)


def test_a_cancelled_start_is_aborted_and_the_cluster_can_be_deleted(call, azure, run_all, people, target):
    call("operator", "post", f"{ONE}stop/", {})
    run_all()
    op = begin(call, "start", {})
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    now = ComputeTarget.objects.get()
    assert (now.state, now.config, aborts(azure)) == ("Canceled", {"power": "Stopped"}, [target.cluster_name])
    assert call("operator", "delete", ONE).status_code == 202
    run_all()
    assert not ComputeTarget.objects.exists()


def test_an_abort_whose_answer_is_lost_is_sent_once(call, azure, run_all, people, target):
    op = begin(call, "scale", {"node_count": 5})
    azure.fail("POST", "lost")
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    op.refresh_from_db()
    assert (op.state, len(aborts(azure))) == ("Cancelled", 1)


def test_a_cancel_after_azure_had_ended_goes_on_and_says_so(call, azure, run_all, people, target):
    op = begin(call, "scale", {"node_count": 5})
    end_work(azure)
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    op.refresh_from_db()
    now = ComputeTarget.objects.get()
    assert (op.state, now.state, now.node_count, aborts(azure)) == ("Succeeded", "Succeeded", 5, [])
    assert op.warnings == ["Cancelled too late: Azure had ended it as Succeeded."]


@pytest.mark.parametrize(("status", "code"), [(409, "OperationNotAllowed"), (403, "AuthorizationFailed")])
@pytest.mark.parametrize(("late", "state"), [(None, "Succeeded"), ({"code": "X", "message": "no room"}, "Failed")])
def test_an_abort_that_azure_refuses_ends_as_azure_ends(
    late, state, status, code, call, azure, run_all, people, target
):
    if late:
        azure.fail("late", late)
    op = begin(call, "scale", {"node_count": 5})
    refusal = {"code": code, "message": "too late to abort", "details": None, "subcode": ""}
    azure.fail("POST", (status, refusal))
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    op.refresh_from_db()
    now = ComputeTarget.objects.get()
    assert (op.state, now.state, aborts(azure)) == (state, state, [])
    assert "Azure did not stop it (too late to abort" in op.warnings[0]
    assert ("no room" in now.reason) == bool(late)


def test_what_azure_itself_does_with_the_cluster_is_not_aborted(call, azure, run_all, people, target):
    (cluster,) = azure.clusters.values()
    cluster["properties"]["provisioningState"] = "Upgrading"
    call("operator", "post", f"{ONE}scale/", {"node_count": 5})
    op = Operation.objects.get(state__in=ACTIVE_STATES)
    step_once(op)
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    op.refresh_from_db()
    now = ComputeTarget.objects.get()
    assert (op.state, now.state, now.node_count, aborts(azure)) == ("Cancelled", "Succeeded", 3, [])
    assert now.reason == "Not scaled: It ended as Cancelled."


def test_a_refused_abort_lets_the_operation_go_on_at_once(call, azure, people, target):
    op = begin(call, "scale", {"node_count": 5})
    azure.fail("POST", (403, {"error": {"code": "AuthorizationFailed", "message": "no right to abort"}}))
    operations.cancel(op=op, actor=people["operator"])
    step_once(op)
    step_once(op)
    assert (op.state, op.is_undoing, op.is_cancel_requested) == ("Running", False, False)
    words = "Cancelled too late: Azure did not stop it (no right to abort (AuthorizationFailed))."
    assert op.warnings == [words]


def test_an_upgrade_that_azure_began_after_our_work_is_not_aborted(call, azure, run_all, people, target):
    op = begin(call, "scale", {"node_count": 5})
    end_work(azure, "Upgrading")
    operations.cancel(op=op, actor=people["operator"])
    step_once(op)
    step_once(op)
    assert (op.warnings, aborts(azure)) == (["Cancelled too late: Azure had ended it as Succeeded."], [])
    end_work(azure)
    run_all()
    op.refresh_from_db()
    assert (op.state, ComputeTarget.objects.get().node_count, aborts(azure)) == ("Succeeded", 5, [])


def test_an_upgrade_is_not_aborted_when_the_cluster_had_what_was_wanted(call, azure, run_all, people, target):
    (cluster,) = azure.clusters.values()
    cluster["properties"]["provisioningState"] = "Upgrading"
    cluster["properties"]["agentPoolProfiles"][0]["count"] = 5
    op = begin(call, "scale", {"node_count": 5})
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    op.refresh_from_db()
    assert (op.state, ComputeTarget.objects.get().node_count, aborts(azure)) == ("Cancelled", 5, [])


def test_a_stop_of_others_that_ours_joined_is_not_aborted(call, azure, run_all, people, target):
    (cluster,) = azure.clusters.values()
    cluster["properties"]["provisioningState"] = "Stopping"
    op = begin(call, "stop", {})
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    op.refresh_from_db()
    assert (op.state, aborts(azure)) == ("Cancelled", [])


def test_a_url_that_azure_forgot_leaves_the_work_of_others_alone(call, azure, run_all, people, target):
    op = begin(call, "scale", {"node_count": 5})
    azure.operations.clear()
    end_work(azure, "Upgrading")
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    assert aborts(azure) == []


def test_a_cancelled_create_whose_cluster_is_gone_does_not_say_that_it_costs(call, azure, run_all, people):
    call("operator", "post", "compute-targets/", {"name": "prod-1"})
    op = until_accepted(Operation.objects.get())
    azure.clusters.clear()
    azure.operations.clear()
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    op.refresh_from_db()
    now = ComputeTarget.objects.get()
    assert (op.state, now.state) == ("Cancelled", "Canceled")
    assert now.reason == "Cancelled: Azure has no such cluster any more. Delete it, or run it again."


def test_a_pool_cancelled_while_its_put_is_unanswered_is_aborted_and_told(call, azure, run_all, people, target):
    call("operator", "post", f"{ONE}pools/", {"name": "extra", "vm_size": "Standard_D2s_v3"})
    op = Operation.objects.get(state__in=ACTIVE_STATES)
    step_once(op)
    azure.fail("PUT", "lost")
    step_once(op)
    assert not op.memo.get("accepted")
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    op.refresh_from_db()
    assert (op.state, aborts(azure)) == ("Cancelled", [f"{target.cluster_name}/agentpools/extra"])
    assert "Azure stopped" in call("reader", "get", f"{ONE}pools/extra/").data["reason"]


def test_a_pool_of_others_with_the_wanted_name_is_not_aborted(call, azure, run_all, people, target):
    call("operator", "post", f"{ONE}pools/", {"name": "extra", "vm_size": "Standard_D2s_v3"})
    op = Operation.objects.get(state__in=ACTIVE_STATES)
    step_once(op)
    azure.fail("PUT", "lost")
    step_once(op)
    (cluster,) = azure.clusters.values()
    cluster["properties"]["agentPoolProfiles"][1]["tags"] = {}
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    assert aborts(azure) == []


def test_a_lost_request_that_azure_had_carried_out_is_kept(call, azure, run_all, people, target):
    call("operator", "post", f"{ONE}scale/", {"node_count": 5})
    op = Operation.objects.get(state__in=ACTIVE_STATES)
    azure.fail("PUT", "lost")
    step_once(op)
    end_work(azure)
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    op.refresh_from_db()
    assert (op.state, ComputeTarget.objects.get().node_count, aborts(azure)) == ("Succeeded", 5, [])


def test_a_cancel_before_anything_began_asks_azure_for_nothing(call, azure, run_all, people, target):
    call("operator", "post", f"{ONE}scale/", {"node_count": 5})
    op = Operation.objects.get(state__in=ACTIVE_STATES)
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    assert (azure.changes, ComputeTarget.objects.get().node_count) == ([], 3)


def test_a_cancel_after_azures_part_keeps_what_azure_has(call, azure, run_all, people, target):
    op = begin(call, "scale", {"node_count": 5})
    while op.step < 2:
        step_once(op)
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    op.refresh_from_db()
    now = ComputeTarget.objects.get()
    assert (op.state, now.state, now.node_count, aborts(azure)) == ("Cancelled", "Succeeded", 5, [])
    assert now.reason == "Cancelled after Azure had done what was asked for."


def test_a_cancelled_change_is_well_again_when_azure_says_so(call, azure, run_all, people, target):
    op = begin(call, "stop", {})
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    (cluster,) = azure.clusters.values()
    cluster["properties"]["provisioningState"] = "Succeeded"
    steps.watch_target(target.pk)
    assert ComputeTarget.objects.get().state == "Succeeded"


def test_a_create_cancelled_while_its_put_is_unanswered_aborts_what_azure_began(call, azure, run_all, people):
    call("operator", "post", "compute-targets/", {"name": "prod-1"})
    op = Operation.objects.get()
    step_once(op)
    azure.fail("PUT", "lost")
    step_once(op)
    assert not op.memo.get("accepted")
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    op.refresh_from_db()
    assert (op.state, len(aborts(azure)), ComputeTarget.objects.get().state) == ("Cancelled", 1, "Canceled")


@pytest.mark.parametrize("path", ["pools/", "pools/extra/scale/"])
def test_a_cancelled_change_of_a_pool_is_aborted_on_that_pool(path, call, azure, run_all, people, target):
    if "scale" in path:
        call("operator", "post", f"{ONE}pools/", {"name": "extra", "vm_size": "Standard_D2s_v3"})
        run_all()
        azure.changes.clear()
        body = {"count": 3}
    else:
        body = {"name": "extra", "vm_size": "Standard_D2s_v3"}
    assert call("operator", "post", f"{ONE}{path}", body).status_code == 202
    op = until_accepted(Operation.objects.get(state__in=ACTIVE_STATES))
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    op.refresh_from_db()
    pool = call("reader", "get", f"{ONE}pools/extra/").data
    assert (op.state, pool["state"], ComputeTarget.objects.get().state) == ("Cancelled", "Canceled", "Succeeded")
    assert ("Azure stopped making the pool" if path == "pools/" else "Azure stopped it half-way.") in pool["reason"]
    assert pool["count"] == 1
    steps.watch_target(target.pk)
    assert call("reader", "get", f"{ONE}pools/extra/").data["state"] == "Canceled"
    assert aborts(azure) == [f"{target.cluster_name}/agentpools/extra"]
    assert call("operator", "delete", f"{ONE}pools/extra/").status_code == 202
    run_all()
    assert call("reader", "get", f"{ONE}pools/extra/").status_code == 404


def test_a_pool_whose_scale_was_aborted_is_scaled_by_asking_anew(call, azure, run_all, people, target):
    call("operator", "post", f"{ONE}pools/", {"name": "extra", "vm_size": "Standard_D2s_v3"})
    run_all()
    call("operator", "post", f"{ONE}pools/extra/scale/", {"count": 3})
    operations.cancel(op=until_accepted(Operation.objects.get(state__in=ACTIVE_STATES)), actor=people["operator"])
    run_all()
    assert call("operator", "post", f"{ONE}pools/extra/scale/", {"count": 2}).status_code == 202
    run_all()
    pool = call("reader", "get", f"{ONE}pools/extra/").data
    assert (pool["state"], pool["count"], pool["reason"]) == ("Succeeded", 2, "")


def test_a_pool_cancelled_after_azures_part_is_there(call, azure, run_all, people, target):
    call("operator", "post", f"{ONE}pools/", {"name": "extra", "vm_size": "Standard_D2s_v3"})
    op = Operation.objects.get(state__in=ACTIVE_STATES)
    while op.step < 3:
        step_once(op)
    operations.cancel(op=op, actor=people["operator"])
    run_all()
    pool = call("reader", "get", f"{ONE}pools/extra/").data
    assert (pool["state"], pool["reason"]) == ("Succeeded", "Cancelled after Azure had done what was asked for.")


class Killed(BaseException):
    """Nothing of ours catches this, as nothing catches SIGKILL."""


@pytest.mark.parametrize("moment", ["_run", "remember", "_go_on"])
@pytest.mark.parametrize("path", list(CHANGES))
def test_a_worker_killed_while_it_aborts_leaves_one_abort_and_no_lock(
    path, moment, call, azure, run_all, people, target, monkeypatch
):
    body, where = CHANGES[path]
    op = begin(call, path, body)
    operations.cancel(op=op, actor=people["operator"])
    step_once(op)
    home = operations if moment == "remember" else engine
    real, deaths = getattr(home, moment), []

    def deadly(*args, **kwargs):
        if not deaths:
            deaths.append(1)
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(home, moment, deadly)
    for _ in range(5):
        Operation.objects.filter(pk=op.pk).update(due_at=timezone.now(), leased_until=None)
        try:
            operations.advance(str(op.pk))
        except Killed:
            break
    Operation.objects.filter(pk=op.pk).update(leased_until=None)
    run_all()
    op.refresh_from_db()
    assert (op.state, deaths) == ("Cancelled", [1])
    assert aborts(azure) == [f"{target.cluster_name}{where}"]
    assert not Operation.objects.filter(state__in=ACTIVE_STATES).exists()
