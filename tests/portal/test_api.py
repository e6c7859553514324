"""The shared REST doors: who gets in, what they see, and how refusals look."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from portal import actions, operations
from portal.models import ApiToken, AuditEvent, IdempotencyKey, Operation
from portal.problems import Conflict
from portal.types import OperationKind, Role
from tests.factories import client, member, team, user
from tests.factories import workspace as make_workspace

API = "/api/v1/workspaces/lab/"


def start(workspace: Any, actor: Any, kind: OperationKind = OperationKind.ENVIRONMENT_BUILD) -> Operation:
    from django.db import transaction

    with transaction.atomic():
        return operations.start(kind=kind, on=workspace, actor=actor)


def test_without_a_credential_the_answer_is_401_with_a_problem(db: Any) -> None:
    answer = APIClient().get("/api/v1/workspaces/")
    assert answer.status_code == 401
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "change", [{"revoked_at": timezone.now()}, {"expires_at": timezone.now() - timedelta(hours=1)}]
)
def test_a_revoked_or_expired_token_is_401(workspace: Any, owner: Any, change: dict[str, Any]) -> None:
    rest = client(owner)
    ApiToken.objects.update(**change)
    assert rest.get(API).status_code == 401


def test_a_token_is_stored_as_a_hash_and_its_use_is_noted(workspace: Any, owner: Any) -> None:
    token, secret = actions.token_create(user=owner, name="ci")
    rest = APIClient()
    rest.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    assert rest.get(API).status_code == 200
    token.refresh_from_db()
    assert token.last_used_at is not None
    assert secret not in str(ApiToken.objects.values().get())
    assert secret not in str(list(AuditEvent.objects.values()))


def test_another_teams_workspace_does_not_exist(workspace: Any, stranger: Any) -> None:
    answer = client(stranger).get(API)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


def test_an_api_token_never_exceeds_its_owners_role(workspace: Any, reader: Any) -> None:
    assert client(reader, role=Role.OWNER).get(API).json()["your_role"] == "Reader"


def test_an_api_token_may_be_limited_to_a_role(workspace: Any, owner: Any) -> None:
    assert client(owner, role=Role.READER).get(API).json()["your_role"] == "Reader"


def test_an_api_token_may_be_limited_to_a_workspace(workspace: Any, blue: Any, owner: Any) -> None:
    make_workspace(blue, "second", resource_group="rg2")
    rest = client(owner, workspace=workspace)
    assert rest.get(API).status_code == 200
    assert rest.get("/api/v1/workspaces/second/").status_code == 404
    assert [row["slug"] for row in rest.get("/api/v1/workspaces/").json()["items"]] == ["lab"]


def test_a_limited_token_cannot_make_one_that_may_do_more(workspace: Any, owner: Any) -> None:
    answer = client(owner, role=Role.READER).post("/api/v1/tokens/", {"name": "x", "role": "Owner"}, format="json")
    assert answer.status_code == 403


def test_a_new_tokens_secret_is_in_the_answer_only(workspace: Any, owner: Any) -> None:
    rest = client(owner)
    made = rest.post("/api/v1/tokens/", {"name": "ci", "days": 5}, format="json").json()
    assert made["token"].startswith("slw_")
    assert made["token"] not in rest.get("/api/v1/tokens/").content.decode()
    assert rest.delete(f"/api/v1/tokens/{made['id']}/").status_code == 204


def test_a_token_of_somebody_else_does_not_exist(workspace: Any, owner: Any, reader: Any) -> None:
    token, _ = actions.token_create(user=owner, name="mine")
    assert client(reader).delete(f"/api/v1/tokens/{token.pk}/").status_code == 404


def test_paths_work_without_the_last_slash_too(workspace: Any, reader: Any) -> None:
    assert client(reader).get(API.rstrip("/")).status_code == 200


def test_an_unknown_path_under_the_api_is_a_problem_document(workspace: Any, reader: Any) -> None:
    answer = client(reader).get("/api/v1/nothing/")
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_unknown_members_are_refused_by_name(workspace: Any, owner: Any) -> None:
    answer = client(owner).post("/api/v1/tokens/", {"name": "x", "rolle": "Owner"}, format="json")
    assert answer.status_code == 400
    assert "rolle" in answer.json()["detail"]


@pytest.mark.parametrize("size", ["0", "201", "many", "null"])
def test_a_page_size_out_of_range_is_refused(workspace: Any, reader: Any, size: str) -> None:
    assert client(reader).get(f"{API}operations/?page_size={size}").status_code == 400


def test_lists_come_in_pages_with_a_link_to_the_next(workspace: Any, owner: Any) -> None:
    for number in range(3):
        made = start(workspace, owner)
        Operation.objects.filter(pk=made.pk).update(state="Succeeded", target_name=f"t{number}")
    rest = client(owner)
    first = rest.get(f"{API}operations/?page_size=2").json()
    second = rest.get(first["next"]).json()
    assert [row["target"] for row in first["items"] + second["items"]] == ["t2", "t1", "t0"]
    assert second["next"] is None


def test_an_operation_shows_its_steps_and_log(workspace: Any, reader: Any, owner: Any) -> None:
    op = start(workspace, owner)
    shown = client(reader).get(f"{API}operations/{op.pk}/").json()
    assert shown["state"] == "NotStarted"
    assert {step["state"] for step in shown["steps"]} == {"waiting"}
    assert client(reader).get(f"{API}operations/{op.pk}/log/").json()["items"] == []


def test_a_reader_cannot_cancel_and_a_contributor_cannot_touch_work_on_clusters(
    workspace: Any, reader: Any, contributor: Any, operator: Any
) -> None:
    op = start(workspace, operator, OperationKind.COMPUTE_SCALE)
    url = f"{API}operations/{op.pk}/cancel/"
    assert client(reader).post(url).status_code == 403
    assert client(contributor).post(url).status_code == 403
    answer = client(operator).post(url)
    assert answer.status_code == 202
    assert answer["Location"].endswith(f"/operations/{op.pk}/")


def test_an_idempotency_key_repeats_the_stored_answer(workspace: Any, owner: Any) -> None:
    rest = client(owner)
    first = rest.post("/api/v1/tokens/", {"name": "ci"}, format="json", headers={"Idempotency-Key": "k1"})
    again = rest.post("/api/v1/tokens/", {"name": "ci"}, format="json", headers={"Idempotency-Key": "k1"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["id"] == first.json()["id"]
    assert again["Idempotent-Replay"] == "true"
    other = rest.post("/api/v1/tokens/", {"name": "cd"}, format="json", headers={"Idempotency-Key": "k1"})
    assert other.status_code == 409


def test_a_refused_request_stores_no_answer_for_its_idempotency_key(workspace: Any, owner: Any) -> None:
    rest = client(owner)
    headers = {"Idempotency-Key": "k2"}
    assert rest.post("/api/v1/tokens/", {"name": ""}, format="json", headers=headers).status_code == 400
    assert rest.post("/api/v1/tokens/", {"name": "ok"}, format="json", headers=headers).status_code == 201


def test_a_refusal_is_a_problem_document_with_code_title_status_and_detail(workspace: Any, owner: Any) -> None:
    answer = client(owner).post("/api/v1/tokens/", {"name": "x", "days": 0}, format="json")
    assert answer["Content-Type"] == "application/problem+json"
    told = answer.json()
    assert (told["status"], told["code"], told["type"]) == (
        400, "invalid_request", "urn:slipway:problem:invalid_request",
    )  # fmt: skip
    assert told["detail"] == "days: Ensure this value is greater than or equal to 1."


@pytest.mark.parametrize("change", [{"slug": "lab"}, {"name": "lab", "resource_group": "rg"}])
def test_a_workspace_is_known_by_its_slug_and_by_subscription_group_and_name(
    workspace: Any, blue: Any, owner: Any, change: dict[str, str]
) -> None:
    wanted = {
        "slug": "other", "name": "other", "resource_group": "other", "region": "westeurope",
        "subscription_id": workspace.subscription_id, **change,
    }  # fmt: skip
    with pytest.raises(Conflict, match="exists already in"):
        actions.workspace_create(team=blue, actor=owner, **wanted)


def test_history_is_never_changed(workspace: Any, owner: Any) -> None:
    from django.db import DatabaseError, transaction

    actions.token_create(user=owner, name="ci")
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        AuditEvent.objects.update(actor_name="nobody")


def test_members_are_shown_to_members_only(workspace: Any, owner: Any, reader: Any, stranger: Any) -> None:
    assert client(reader).get("/api/v1/teams/blue/members/").status_code == 200
    assert client(stranger).get("/api/v1/teams/blue/members/").status_code == 404


def test_the_last_owner_stays_owner(blue: Any, owner: Any) -> None:
    from portal.problems import Invalid

    with pytest.raises(Invalid):
        actions.member_set_role(team=blue, user=owner, role=Role.READER, actor=owner)


def test_the_schema_is_json_on_request_and_only_health_needs_no_sign_in(owner: Any) -> None:
    assert Client().get("/api/v1/schema/").status_code == 401
    browser = Client()
    browser.force_login(owner)
    answer = browser.get("/api/v1/schema/", headers={"Accept": "application/json"})
    assert answer.status_code == 200
    assert answer.json()["openapi"].startswith("3.1")
    assert Client().get("/healthz").status_code == 200
    assert Client().get("/readyz").status_code == 503


def test_every_answer_says_how_long_it_took(db: Any) -> None:
    assert Client().get("/healthz")["Server-Timing"].startswith("app;dur=")


def test_too_many_failed_sign_ins_have_to_wait(db: Any) -> None:
    user("ann")
    browser = Client()
    codes = [browser.post("/sign-in/", {"username": "ann", "password": "wrong"}).status_code for _ in range(11)]
    assert codes[-1] == 429
    assert browser.post("/sign-in/", {"username": "ann", "password": "correct horse"}).status_code == 429


def test_a_member_of_two_teams_sees_both(workspace: Any, owner: Any) -> None:
    second = team("green")
    make_workspace(second, "green-lab", resource_group="g")
    actions.member_set_role(team=second, user=owner, role=Role.READER, actor=member(second, Role.OWNER))
    slugs = {row["slug"] for row in client(owner).get("/api/v1/workspaces/").json()["items"]}
    assert slugs == {"lab", "green-lab"}


def test_a_stored_answer_is_encrypted_and_forgotten_after_a_day(workspace: Any, owner: Any) -> None:
    headers = {"Idempotency-Key": "k3"}
    made = client(owner).post("/api/v1/tokens/", {"name": "ci"}, format="json", headers=headers).json()
    with connection.cursor() as cursor:
        cursor.execute("SELECT body FROM portal_idempotencykey")
        assert made["token"] not in cursor.fetchone()[0]
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=25))
    actions.idempotency_keys_forget()
    assert not IdempotencyKey.objects.exists()
