"""A failed operation is run again only where asking anew would pass, and writes nothing back that is old."""

from __future__ import annotations

import pytest

from compute.models import ComputeTarget, NodePool
from portal.models import Operation
from tests import page_rows
from tests.compute.conftest import step_once

ONE = "compute-targets/prod-1/"
NO = (400, {"code": "BadRequest", "message": "no", "details": None, "subcode": ""})


@pytest.fixture
def target(created):
    return created("prod-1")


def failed(call, azure, run_all, path, body, method="PUT"):
    azure.fail(method, NO)
    verb = "delete" if method == "DELETE" else "post"
    assert call("operator", verb, f"{ONE}{path}", body).status_code == 202
    run_all()
    op = Operation.objects.latest("created_at")
    assert op.state == "Failed", op.error
    return op


def again(call, op):
    return call("operator", "post", f"operations/{op.pk}/retry/")


def test_only_the_newest_operation_on_a_target_is_run_again(call, azure, run_all, target):
    old = failed(call, azure, run_all, "scale/", {"node_count": 4})
    call("operator", "post", f"{ONE}scale/", {"node_count": 6})
    run_all()
    answer = again(call, old)
    newest = Operation.objects.latest("created_at")
    assert (answer.status_code, answer.data["operation"]) == (409, str(newest.pk))
    assert answer.data["detail"] == (
        f"prod-1 was changed since (Compute Scale {newest.pk}): only the newest operation on it can be run "
        "again. Ask anew."
    )
    old.refresh_from_db()
    assert (old.state, ComputeTarget.objects.get().node_count) == ("Failed", 6)


def test_a_stop_is_not_run_again_over_what_was_deployed_since(call, azure, run_all, target):
    op = failed(call, azure, run_all, "stop/", {}, "POST")
    page_rows.endpoint(target, "iris")
    answer = again(call, op)
    assert (answer.status_code, answer.data["code"], answer.data["endpoints"]) == (409, "stops_answering", ["iris"])
    op.refresh_from_db()
    assert (op.state, azure.changes) == ("Failed", [])


def test_a_forced_stop_is_run_again_over_what_it_was_forced_for_and_nothing_else(call, azure, run_all, target):
    page_rows.endpoint(target, "iris")
    op = failed(call, azure, run_all, "stop/", {"force": True}, "POST")
    page_rows.endpoint(target, "rose")
    assert again(call, op).status_code == 409
    target.endpoints.filter(name="rose").delete()
    assert again(call, op).status_code == 202


def test_a_delete_is_not_run_again_over_what_was_deployed_since(call, azure, run_all, target):
    op = failed(call, azure, run_all, "", None, "DELETE")
    page_rows.endpoint(target, "iris")
    answer = again(call, op)
    assert (answer.status_code, answer.data["code"]) == (409, "compute_in_use")


def test_a_pools_removal_is_not_run_again_over_a_workspace_that_came_since(call, azure, run_all, target, elsewhere):
    call("operator", "post", f"{ONE}pools/", {"name": "extra", "vm_size": "Standard_D2s_v3"})
    run_all()
    op = failed(call, azure, run_all, "pools/extra/", None, "DELETE")
    other = ComputeTarget.objects.get(pk=target.pk)
    other.pk, other.name, other.workspace, other.is_attached = None, "theirs", elsewhere, True
    other.save()
    answer = again(call, op)
    assert (answer.status_code, answer.data["other_workspaces"]) == (409, 1)


def test_a_count_that_was_taken_over_meanwhile_is_the_one_before(call, azure, run_all, target):
    op = failed(call, azure, run_all, "scale/", {"node_count": 4})
    ComputeTarget.objects.update(node_count=6)  # as taking over what Azure has does
    azure.fail("PUT", NO)
    assert again(call, op).status_code == 202
    run_all()
    op.refresh_from_db()
    assert (op.state, ComputeTarget.objects.get().node_count) == ("Failed", 6)


def test_a_pools_count_that_was_taken_over_meanwhile_is_the_one_before(call, azure, run_all, target):
    call("operator", "post", f"{ONE}pools/", {"name": "extra", "vm_size": "Standard_D2s_v3"})
    run_all()
    op = failed(call, azure, run_all, "pools/extra/scale/", {"count": 3})
    NodePool.objects.update(count=2)
    azure.fail("PUT", NO)
    assert again(call, op).status_code == 202
    run_all()
    assert (NodePool.objects.get().count, NodePool.objects.get().state) == (2, "Succeeded")


def test_bounds_and_power_that_were_taken_over_meanwhile_are_those_before(call, azure, run_all, target):
    op = failed(call, azure, run_all, "autoscaler/", {"min_count": 3, "max_count": 6})
    ComputeTarget.objects.update(config={"autoscaler": {"min_count": 3, "max_count": 9}})
    azure.fail("PUT", NO)
    assert again(call, op).status_code == 202
    run_all()
    assert ComputeTarget.objects.get().config == {"autoscaler": {"min_count": 3, "max_count": 9}}


def test_what_is_wanted_by_the_operation_itself_is_not_what_was_before(call, azure, run_all, target):
    azure.fail("late", {"code": "X", "message": "no room"})
    call("operator", "post", f"{ONE}scale/", {"node_count": 5})
    run_all()
    op = Operation.objects.latest("created_at")
    assert (op.state, ComputeTarget.objects.get().node_count) == ("Failed", 5)
    assert again(call, op).status_code == 202
    step_once(op)
    assert op.input["node_count_before"] == 3
