"""/metrics: who gets it, what it tells, and what it costs."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from compute import certificates
from compute.models import ComputeTarget
from endpoints.models import Endpoint, Gateway
from portal import actions
from portal.models import Operation, Workspace
from portal.types import OperationKind, OperationState
from tests.endpoints.make import make_target, make_version

TOKEN = "metrics-token-of-the-test"  # noqa: S105
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(autouse=True)
def token(settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN


@pytest.fixture
def target(workspace: Workspace) -> ComputeTarget:
    made = make_target(workspace, "aks")
    add_endpoint(made, "iris")
    certificate, key = certificates.make(["a.example"], timezone.now(), days=20)
    read_at = timezone.now() - timedelta(seconds=40)
    Gateway.objects.create(compute_target=made, tls_certificate=certificate, tls_key=key, read_at=read_at)
    return made


def add_endpoint(target: ComputeTarget, name: str) -> Endpoint:
    made = Endpoint.objects.create(workspace=target.workspace, compute_target=target, name=name, kind="Endpoint")
    make_version(made, "v1", is_default=True)
    return made


def add_operation(workspace: Workspace, name: str, state: OperationState, **more: Any) -> Operation:
    now = timezone.now()
    given = {"due_at": now, "created_at": now, "target_ref": name, "target_name": name, **more}
    return Operation.objects.create(workspace=workspace, kind=OperationKind.COMPUTE_SCALE, state=state, **given)


def scrape() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = Client().get("/metrics", headers=HEADERS)
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.content.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(name: str, **labels: str) -> float:
    return scrape()[f"slipway_{name}", frozenset(labels.items())]


@pytest.mark.parametrize("header", [None, "Bearer wrong", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", "Bearer ä"])
def test_without_the_token_nothing_is_told(db: Any, header: str | None) -> None:
    answer = Client().get("/metrics", headers={"Authorization": header} if header else {})
    assert answer.status_code == 401
    assert "slipway_" not in answer.content.decode()


def test_while_no_token_is_set_there_are_no_metrics_not_even_for_an_empty_one(db: Any, settings: Any) -> None:
    settings.METRICS_TOKEN = ""
    assert [Client().get("/metrics", headers={"Authorization": h}).status_code for h in ("Bearer ", "")] == [404, 404]


def test_a_session_of_the_portal_is_no_token(client: Client, owner: Any) -> None:
    client.force_login(owner)
    assert client.get("/metrics").status_code == 401


def test_metrics_are_only_read(db: Any) -> None:
    assert Client().post("/metrics", headers=HEADERS).status_code == 405


def test_rows_are_told_by_state_and_a_state_that_nothing_is_in_is_0(target: ComputeTarget) -> None:
    assert value("compute_targets", state="Succeeded") == 1
    assert value("compute_targets", state="Missing") == 0
    assert value("endpoints", state="Transitioning") == 1
    assert value("deployments", state="Healthy") == 1
    where = {"workspace": target.workspace.slug, "endpoint": "iris", "version": "v1"}
    assert (value("replicas_wanted", **where), value("replicas_ready", **where)) == (1, 1)


def test_a_gateway_tells_the_age_of_its_numbers_and_the_days_of_its_certificate(target: ComputeTarget) -> None:
    where = {"workspace": target.workspace.slug, "compute_target": "aks"}
    assert 40 <= value("gateway_reading_age_seconds", **where) < 100
    assert 19.9 < value("gateway_certificate_days_left", **where) < 20.1


def test_operations_tell_how_long_they_took_and_how_late_the_next_step_is(workspace: Workspace) -> None:
    now = timezone.now()
    for seconds, ago in ((10, 1), (30, 1), (500, 90)):  # the last one ended too long ago to tell of now
        ended = now - timedelta(minutes=ago)
        times = {"started_at": ended - timedelta(seconds=seconds), "ended_at": ended}
        add_operation(workspace, f"done-{seconds}", OperationState.SUCCEEDED, **times)
    held = {"due_at": now - timedelta(hours=1), "leased_until": now + timedelta(minutes=1)}
    add_operation(workspace, "held", OperationState.RUNNING, **held)
    add_operation(workspace, "late", OperationState.NOT_STARTED, due_at=now - timedelta(seconds=90))
    kind = OperationKind.COMPUTE_SCALE.value
    assert value("operation_duration_seconds", kind=kind, stat="mean") == pytest.approx(20)
    assert value("operation_duration_seconds", kind=kind, stat="max") == pytest.approx(30)
    assert value("operations", kind=kind, state="Succeeded") == 3
    assert 90 <= value("operation_queue_age_seconds") < 150


def test_a_beat_that_stopped_is_seen_by_its_age(db: Any) -> None:
    actions.beat_seen(name="recover_operations")
    assert 0 <= value("beat_age_seconds", task="recover_operations") < 60


def test_the_version_is_that_of_the_project(db: Any, settings: Any) -> None:
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["project"]
    assert value("build_info", version=project["version"]) == 1


def test_a_scrape_costs_as_many_queries_with_much_as_with_little(
    target: ComputeTarget, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(9):
        scrape()
    for number in range(5):
        add_endpoint(target, f"more-{number}")
        add_operation(target.workspace, f"op-{number}", OperationState.RUNNING)
    with django_assert_num_queries(9):
        scrape()
