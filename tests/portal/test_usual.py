"""How long steps usually take: our own history, else the documents."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from portal import operations, queries
from portal.models import Operation, OperationLog, User, Workspace
from portal.types import OperationKind, OperationState
from tests import factories, page_rows

KIND = OperationKind.COMPUTE_SCALE


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def target(workspace: Workspace) -> Any:
    return page_rows.target(workspace)


def ran(target: Any, owner: User, seconds: float, state: OperationState = OperationState.SUCCEEDED) -> Operation:
    """An operation whose long step took that many seconds, after one that was begun in vain."""
    op = page_rows.operation(target, KIND, state, owner)
    op.log.all().delete()
    now = timezone.now()
    rows = [("started", -900.0), ("failed", -800.0), ("started", 0.0), ("done", seconds)]
    for event, at in rows if state == OperationState.SUCCEEDED else rows[:3]:
        OperationLog.objects.create(operation=op, at=now + timedelta(seconds=at), step="await_scaled", event=event)
    return op


def test_with_fewer_than_five_ended_well_the_documented_time_counts_and_says_so(target: Any, owner: User) -> None:
    for seconds in (10, 20, 30, 40):
        ran(target, owner, seconds)
    assert operations.usual_times(KIND)["await_scaled"] == operations.Usual(180, 240)


def test_from_five_on_the_median_and_the_ninth_tenth_of_our_own_count(
    target: Any, owner: User, django_assert_num_queries: Any
) -> None:
    for seconds in (10, 20, 30, 40, 50, 60):
        ran(target, owner, seconds)
    ran(target, owner, 9999, OperationState.FAILED)
    with django_assert_num_queries(1):
        found = operations.usual_times(KIND)["await_scaled"]
    assert (found.low, found.high, found.samples) == (35, 55, 6)
    with django_assert_num_queries(0):
        operations.usual_times(KIND)


def test_the_form_of_a_cluster_says_how_long_it_usually_takes(
    client: Client, workspace: Workspace, owner: User
) -> None:
    client.force_login(owner)
    assert b"It usually takes 4 to 12 min, and" in client.get("/w/lab/new/compute/").content


def page(client: Client, op: Operation) -> str:
    return client.get(f"/w/lab/operations/{op.pk}/").content.decode()


def test_a_running_step_shows_its_usual_time_and_when_it_takes_longer(
    client: Client, workspace: Workspace, target: Any, owner: User
) -> None:
    client.force_login(owner)
    op = page_rows.operation(target, KIND, OperationState.RUNNING, owner, step=1)
    op.log.all().delete()
    line = OperationLog.objects.create(operation=op, at=timezone.now(), step="await_scaled", event="started")
    text = page(client, op)
    assert "usually 3 to 4 min in Azure" in text
    assert "usually 3 to 4 min to go" in text
    OperationLog.objects.filter(pk=line.pk).update(at=timezone.now() - timedelta(seconds=300))
    assert "<b>longer than usual:</b> 3 to 4 min in Azure" in page(client, op)
    assert queries.operation_left(op=op, steps=queries.operation_steps(op=op)) == (0, 0)


def test_rest_has_the_usual_time_of_each_step(workspace: Workspace, target: Any, owner: User) -> None:
    op = page_rows.operation(target, KIND, OperationState.RUNNING, owner)
    steps = factories.client(owner).get(f"/api/v1/workspaces/lab/operations/{op.pk}/").json()["steps"]
    found = {each["name"]: each["usual"] for each in steps}
    assert found["await_scaled"] == {"low": 180.0, "high": 240.0, "samples": 0}
    assert found["submit_scale"] is None


@pytest.mark.parametrize(("role", "may"), [("operator", True), ("contributor", False), ("reader", False)])
def test_the_drawer_has_cancel_and_retry_for_who_may_and_the_polled_part_has_no_form(
    client: Client, request: Any, target: Any, owner: User, role: str, may: bool
) -> None:
    client.force_login(request.getfixturevalue(role))
    for state, word in ((OperationState.RUNNING, "Cancel"), (OperationState.FAILED, "Retry from here")):
        op = page_rows.operation(target, OperationKind.POOL_ADD, state, owner)
        live = f"/w/lab/operations/{op.pk}/live/"
        assert (f"{word}</button>" in client.get(live).content.decode()) == may
        assert b"<form" not in client.get(f"{live}?poll=1").content
        Operation.objects.all().delete()


@pytest.mark.parametrize(("role", "status"), [("contributor", 403), ("operator", 202)])
def test_a_change_of_node_pools_is_cancelled_by_operators_only(
    request: Any, target: Any, owner: User, role: str, status: int
) -> None:
    op = page_rows.operation(target, OperationKind.POOL_ADD, OperationState.RUNNING, owner)
    rest = factories.client(request.getfixturevalue(role))
    assert rest.post(f"/api/v1/workspaces/lab/operations/{op.pk}/cancel/").status_code == status
