"""A workspace on a small Azure, with people of every role."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from compute import queries
from compute.arm import budget
from compute.models import ComputeTarget
from portal import actions as portal
from portal import operations
from portal.models import Membership, Operation, User, Workspace
from portal.types import ACTIVE_STATES, Role
from tests import kept
from tests.compute.azure import GROUP, SUB, TOKEN, Azure


@pytest.fixture
def azure(settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    queries._open.clear()
    return Azure()


@pytest.fixture
def people(db) -> dict[str, User]:
    names = ("owner", "operator", "contributor", "reader", "stranger", "other")
    kept.once("people", lambda: [User.objects.create(username=name) for name in names])
    return {row.username: row for row in User.objects.filter(username__in=names)}


@pytest.fixture
def home(azure, people) -> Any:
    def make() -> None:
        team = portal.team_create(slug="acme", name="Acme", owner=people["owner"])
        for name in ("operator", "contributor", "reader"):
            Membership.objects.create(team=team, user=people[name], role=Role[name.upper()])
        workspace_of(team, "lab", people["owner"], azure)

    kept.once("home", make)
    return Workspace.objects.select_related("team").get(slug="lab")


@pytest.fixture
def elsewhere(azure, people) -> Any:
    team = portal.team_create(slug="rivals", name="Rivals", owner=people["other"])
    return workspace_of(team, "rivals", people["other"], azure)


def workspace_of(team: Any, slug: str, owner: User, azure: Azure) -> Any:
    credential = json.dumps({"kind": "static", "token": TOKEN})
    return portal.workspace_create(
        team=team, slug=slug, name=slug, subscription_id=SUB, resource_group=GROUP, region="westeurope", actor=owner,
        arm_endpoint=azure.url, arm_credential=credential,
    )  # fmt: skip


@pytest.fixture
def call(people, home):
    """call("operator", "post", "compute-targets/", {...}) -> response."""

    def run(who: str, method: str, path: str, body: Any = None, slug: str = "lab") -> Any:
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {portal.token_create(user=people[who], name='t')[1]}")
        url = f"/api/v1/workspaces/{slug}/{path}"
        return getattr(client, method)(url, body, format="json") if body is not None else getattr(client, method)(url)

    return run


@pytest.fixture
def created(call, azure, run_all):
    """created("prod-1") -> a target whose create has ended, and whose cluster Azure has; no change is noted."""

    def run(name: str, **more: Any) -> ComputeTarget:
        def make() -> None:
            assert call("operator", "post", "compute-targets/", {"name": name, **more}).status_code == 202
            run_all()

        kept.once(f"{name} {more} {[sku['name'] for sku in azure.skus]}", make, azure)
        azure.changes.clear()
        return ComputeTarget.objects.get(name=name)

    return run


@pytest.fixture
def run_all():
    """Run every active operation to its end in this process; waits are skipped. Returns the waits asked for."""

    def run(most: int = 200) -> list[float]:
        waits: list[float] = []
        for _ in range(most):
            found = list(Operation.objects.filter(state__in=ACTIVE_STATES))
            if not found:
                return waits
            for op in found:
                waits.append(step_once(op))
        raise AssertionError(f"still active: {[(op.kind, op.step, op.note, op.memo) for op in found]}")

    return run


def step_once(op: Operation) -> float:
    """Run one step of an operation now, however long it or all have to hold; the seconds that it then waits."""
    budget._alone.forget()
    Operation.objects.filter(pk=op.pk).update(due_at=timezone.now())
    operations.advance(str(op.pk))
    op.refresh_from_db()
    return (op.due_at - timezone.now()).total_seconds()
