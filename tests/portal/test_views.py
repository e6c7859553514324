"""The shared pages at their door."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from compute.models import ComputeTarget
from portal import actions, operations
from portal.models import ApiToken, Operation, OperationLog, User, Workspace
from portal.types import OperationKind, OperationState, Role
from tests import factories, page_rows

PAGES = (
    "/w/lab/", "/w/lab/compute/", "/w/lab/compute/prod-1/", "/w/lab/new/compute/", "/w/lab/models/",
    "/w/lab/models/iris/", "/w/lab/compute/prod-1/gateway/",
    "/w/lab/models/iris/2/", "/w/lab/new/model/", "/w/lab/environments/", "/w/lab/environments/sklearn/1/",
    "/w/lab/new/environment/", "/w/lab/services/", "/w/lab/services/churn/", "/w/lab/services/fraud/",
    "/w/lab/new/service/", "/w/lab/endpoints/", "/w/lab/endpoints/iris/", "/w/lab/endpoints/iris/add/",
    "/w/lab/endpoints/iris/versions/v2/", "/w/lab/endpoints/iris/versions/v2/update/", "/w/lab/new/endpoint/",
    "/w/lab/operations/", "/w/lab/history/", "/w/lab/search/?q=iris", "/tokens/",
)  # fmt: skip
OWNER_PAGES = ("/w/lab/settings/azure/",)
INLINE = re.compile(r"style=|\son[a-z]+=|<script(?![^>]*src=)|javascript:")


@pytest.fixture
def full(workspace: Workspace, owner: User) -> Workspace:
    page_rows.everything(workspace, owner)
    return workspace


@pytest.fixture
def visitor(client: Client, owner: User) -> Client:
    client.force_login(owner)
    return client


@pytest.mark.parametrize("path", PAGES + OWNER_PAGES)
def test_each_page_has_one_main_no_inline_code_and_says_how_long_it_took(
    full: Workspace, visitor: Client, path: str
) -> None:
    response = visitor.get(path)
    text = response.content.decode()
    assert response.status_code == 200
    assert text.count("<main") == 1
    assert not INLINE.search(text)
    assert "unsafe" not in response["Content-Security-Policy"]
    assert re.fullmatch(r"app;dur=\d+\.\d", response["Server-Timing"])


def test_the_page_of_the_rest_api_lists_every_call_without_scripts_too(
    workspace: Workspace, visitor: Client, owner: User
) -> None:
    response = visitor.get("/api/v1/docs/")
    text = response.content.decode()
    assert (response.status_code, text.count("<main"), text.count("<h1")) == (200, 1, 1)
    assert not INLINE.search(text)
    assert "unsafe" not in response["Content-Security-Policy"] + response["Cross-Origin-Opener-Policy"]
    document = visitor.get("/api/v1/schema/", headers={"Accept": "application/json"}).json()
    named = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert len(named) > 50
    listed = re.findall(r"<noscript>.*</noscript>", text, re.DOTALL)[0]
    assert {tuple(each.split(" ")) for each in re.findall(r"<code>(.*?)</code>", listed)} == named
    script = re.findall(r'src="(/api/v1/docs/[^"]+)"', text)[0]
    assert "SwaggerUIBundle" in visitor.get(script).content.decode()


@pytest.mark.parametrize("path", [path for path in PAGES if path.startswith("/w/")])
def test_a_stranger_finds_no_page_of_another_team(full: Workspace, client: Client, stranger: User, path: str) -> None:
    client.force_login(stranger)
    response = client.get(path)
    assert response.status_code == 404
    assert b"There is no workspace lab" in response.content


@pytest.mark.parametrize("path", PAGES)
def test_without_a_session_pages_lead_to_the_sign_in_form(db: Any, client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 302
    assert response["Location"].startswith("/sign-in/?next=")


@pytest.mark.parametrize(
    "path", [path for path in PAGES if "/new/" not in path and "/add/" not in path and "/update/" not in path]
)
def test_a_reader_sees_pages_but_no_form_that_changes_something(
    full: Workspace, client: Client, reader: User, path: str
) -> None:
    client.force_login(reader)
    response = client.get(path)
    posts = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"', response.content.decode())
    harmless = ("/sign-out/", "/theme/", "/tokens/")
    assert response.status_code == 200
    assert [target for target in posts if not target.startswith(harmless) and not target.endswith("/traffic/")] == []


def test_signing_in_leads_to_the_first_workspace(workspace: Workspace, owner: User, client: Client) -> None:
    response = client.post("/sign-in/", {"username": owner.username, "password": "correct horse"}, follow=True)
    assert response.redirect_chain[-1][0] == "/w/lab/"


def test_a_wrong_password_is_said_beside_the_typed_name(owner: User, client: Client) -> None:
    response = client.post("/sign-in/", {"username": owner.username, "password": "wrong horse"})
    assert b"That did not work" in response.content
    assert f'value="{owner.username}"'.encode() in response.content


def test_a_fragment_whose_session_ended_reloads_its_page(db: Any, client: Client) -> None:
    response = client.get("/w/lab/compute/prod-1/live/", headers={"HX-Request": "true"}, follow=True)
    assert response.status_code == 204
    assert response["HX-Refresh"] == "true"


def test_who_has_no_workspace_reads_why(db: Any, client: Client) -> None:
    client.force_login(factories.user("alone"))
    assert b"No workspace yet" in client.get("/").content


def test_the_theme_is_kept_and_leads_back_only_to_pages_of_ours(visitor: Client, workspace: Workspace) -> None:
    response = visitor.post("/theme/", {"theme": "dark", "next": "/w/lab/models/"})
    assert response["Location"] == "/w/lab/models/"
    assert b'data-theme="dark"' in visitor.get("/w/lab/").content
    assert visitor.post("/theme/", {"theme": "pink", "next": "https://elsewhere.example/"})["Location"] == "/"
    assert b'data-theme="auto"' in visitor.get("/w/lab/").content


def test_the_notice_that_the_environment_gives_is_on_each_page_also_before_sign_in(
    visitor: Client, workspace: Workspace, settings: Any
) -> None:
    for path in ("/w/lab/", "/tokens/", "/w/lab/endpoints/none/"):
        settings.SANDBOX_NOTICE = "Not confined, <b>"
        assert b'role="note">Not confined, &lt;b&gt;</p>' in visitor.get(path).content
        assert b"Not confined, &lt;b&gt;" in Client().get("/sign-in/").content
        settings.SANDBOX_NOTICE = ""
        assert b'role="note"' not in visitor.get(path).content


def test_an_empty_workspace_teaches_the_next_step(visitor: Client, workspace: Workspace) -> None:
    assert b"From here to the first answer" in visitor.get("/w/lab/").content
    for path in ("compute", "models", "environments", "services", "endpoints", "operations"):
        assert b'class="empty"' in visitor.get(f"/w/lab/{path}/").content


def test_the_overview_names_what_needs_somebody_and_what_runs(visitor: Client, full: Workspace) -> None:
    text = visitor.get("/w/lab/").content.decode()
    assert "Needs somebody" in text
    assert "ModuleNotFoundError: xgboost" in text
    assert "Azure: Creating (3 of 4 nodes)" in text


def test_search_finds_any_object_by_a_part_of_its_name(visitor: Client, full: Workspace) -> None:
    text = visitor.get("/w/lab/search/?q=ri").content.decode()
    assert "/w/lab/endpoints/iris/" in text
    assert "/w/lab/compute/trial/" in text
    assert "/w/lab/models/iris/3/" in text
    assert b"Nothing has" in visitor.get("/w/lab/search/?q=zzz").content


def make_job(workspace: Workspace, actor: User, state: OperationState, **more: Any) -> Operation:
    target = page_rows.target(workspace)
    wish = {"target_id": target.pk, "node_count": 5, "node_count_before": 3}
    return page_rows.operation(target, OperationKind.COMPUTE_SCALE, state, actor, **{"input": wish, **more})


def test_a_running_job_is_polled_and_its_steps_have_names(visitor: Client, workspace: Workspace, owner: User) -> None:
    op = make_job(workspace, owner, OperationState.RUNNING, note="2 of 3 nodes")
    response = visitor.get(f"/w/lab/operations/{op.pk}/live/?poll=1", headers={"HX-Request": "true"})
    text = response.content.decode()
    assert response.status_code == 200
    assert 'hx-trigger="every 1s"' in text
    assert "2 of 3 nodes" in text
    assert "<form" not in text
    assert "HX-Trigger" not in response


def test_a_running_step_shows_the_end_of_what_it_wrote(visitor: Client, workspace: Workspace, owner: User) -> None:
    op = make_job(workspace, owner, OperationState.RUNNING, note="Building")
    for number in range(9):
        now = timezone.now()
        OperationLog.objects.create(operation=op, at=now, step="await_scaled", event="line", text=f"Step {number}/9")
    text = visitor.get(f"/w/lab/operations/{op.pk}/live/?poll=1").content.decode()
    tail = text.partition("console tail")[2].partition("</span>")[0]
    assert ("Step 8/9" in tail, "Step 3/9" in tail, "Step 2/9" in tail) == (True, True, False)


def test_azures_request_ids_are_on_the_page_and_in_rest(visitor: Client, workspace: Workspace, owner: User) -> None:
    ids = {"x_ms_request_id": "req-1", "x_ms_correlation_request_id": "cor-1"}
    op = make_job(workspace, owner, OperationState.RUNNING, memo={"cloud_ids": ids})
    text = visitor.get(f"/w/lab/operations/{op.pk}/").content.decode()
    assert [word for word in ("request ids", "req-1", "cor-1") if word not in text] == []
    assert visitor.get(f"/api/v1/workspaces/lab/operations/{op.pk}/").json()["cloud_ids"] == ids
    op.error = {"detail": "no", "x_ms_request_id": "req-2"}
    assert op.cloud_ids == {"x_ms_request_id": "req-2"}


def test_polling_ends_with_286_when_the_job_has_ended(visitor: Client, workspace: Workspace, owner: User) -> None:
    op = make_job(workspace, owner, OperationState.SUCCEEDED)
    response = visitor.get(f"/w/lab/operations/{op.pk}/live/?poll=1", headers={"HX-Request": "true"})
    assert response.status_code == 286
    assert response["HX-Trigger"] == "operation-ended"
    assert b"hx-get" not in response.content
    assert "HX-Trigger" not in visitor.get(f"/w/lab/operations/{op.pk}/live/", headers={"HX-Request": "true"})


def test_long_silence_is_written_out(visitor: Client, workspace: Workspace, owner: User) -> None:
    op = make_job(workspace, owner, OperationState.RUNNING)
    op.log.update(at=timezone.now() - timedelta(minutes=3))
    assert b"No news for 3 min 0 s" in visitor.get(f"/w/lab/operations/{op.pk}/").content


def test_a_running_job_can_be_cancelled_from_its_page(visitor: Client, workspace: Workspace, owner: User) -> None:
    op = make_job(workspace, owner, OperationState.RUNNING)
    assert b"Cancel</button>" in visitor.get(f"/w/lab/operations/{op.pk}/").content
    assert visitor.post(f"/w/lab/operations/{op.pk}/cancel/").status_code == 302
    op.refresh_from_db()
    assert op.is_cancel_requested


def test_a_cancel_is_told_by_one_sentence_everywhere(visitor: Client, workspace: Workspace, owner: User) -> None:
    op = make_job(workspace, owner, OperationState.RUNNING)
    text = visitor.post(f"/w/lab/operations/{op.pk}/cancel/", follow=True).content.decode()
    assert text.count(operations.CANCELLING) == 2  # said once, and shown by the job
    schema = visitor.get("/api/v1/schema/?format=json").json()["paths"]
    (path,) = [path for path in schema if path.endswith("/operations/{id}/cancel/")]
    assert schema[path]["post"]["description"] == operations.CANCELLING


def test_a_failed_job_shows_its_evidence_and_can_be_retried(visitor: Client, workspace: Workspace, owner: User) -> None:
    error = {"title": "Too slow", "detail": "3 nodes were not ready in 600 s.", "evidence": "node 2: NotReady"}
    op = make_job(workspace, owner, OperationState.FAILED, error=error)
    text = visitor.get(f"/w/lab/operations/{op.pk}/").content.decode()
    assert "3 nodes were not ready in 600 s." in text
    assert "node 2: NotReady" in text
    assert "Retry from here" in text
    visitor.post(f"/w/lab/operations/{op.pk}/retry/")
    op.refresh_from_db()
    assert op.state == OperationState.RUNNING


def test_a_failed_job_after_which_another_ran_has_no_button_to_retry(
    visitor: Client, workspace: Workspace, owner: User
) -> None:
    op = make_job(workspace, owner, OperationState.FAILED)
    target = ComputeTarget.objects.get()
    later = page_rows.operation(target, OperationKind.COMPUTE_SCALE, OperationState.SUCCEEDED, owner)
    Operation.objects.filter(pk=later.pk).update(created_at=timezone.now())
    assert b"Retry from here" not in visitor.get(f"/w/lab/operations/{op.pk}/").content


def test_what_cannot_be_cancelled_is_said_on_the_page(visitor: Client, workspace: Workspace, owner: User) -> None:
    op = make_job(workspace, owner, OperationState.SUCCEEDED)
    response = visitor.post(f"/w/lab/operations/{op.pk}/cancel/")
    assert response.status_code == 409
    assert b"there is nothing to cancel" in response.content


def test_a_contributor_cannot_cancel_work_on_a_cluster(
    client: Client, workspace: Workspace, owner: User, contributor: User
) -> None:
    op = make_job(workspace, owner, OperationState.RUNNING)
    client.force_login(contributor)
    response = client.post(f"/w/lab/operations/{op.pk}/cancel/")
    assert response.status_code == 403
    assert b"This needs the role Operator" in response.content


def test_a_new_token_is_shown_once_and_not_kept_by_the_browser(
    visitor: Client, workspace: Workspace, owner: User
) -> None:
    response = visitor.post("/tokens/", {"name": "ci", "role": "Reader", "workspace": "lab", "days": "7"})
    found = re.search(r"slw_[\w-]+", response.content.decode())
    assert found is not None
    assert response["Cache-Control"] == "no-store"
    assert found[0] not in visitor.get("/tokens/").content.decode()
    token = ApiToken.objects.get(name="ci")
    assert (token.role, token.workspace) == (Role.READER, workspace)


def test_a_refused_token_keeps_what_was_typed(visitor: Client, workspace: Workspace) -> None:
    response = visitor.post("/tokens/", {"name": "ci", "role": "Reader", "workspace": "", "days": "0"})
    assert response.status_code == 400
    assert b"Ensure this value is greater than or equal to 1" in response.content
    assert b'value="ci"' in response.content
    assert not ApiToken.objects.exists()


def test_only_ones_own_tokens_can_be_ended_here(
    visitor: Client, workspace: Workspace, owner: User, reader: User
) -> None:
    other, _ = actions.token_create(user=reader, name="other")
    mine, _ = actions.token_create(user=owner, name="mine")
    assert visitor.post(f"/tokens/{other.pk}/revoke/").status_code == 404
    visitor.post(f"/tokens/{mine.pk}/revoke/")
    other.refresh_from_db()
    mine.refresh_from_db()
    assert (other.revoked_at is None, mine.revoked_at is None) == (True, False)


def test_history_can_be_filtered(visitor: Client, full: Workspace) -> None:
    text = visitor.get("/w/lab/history/?action=traffic").content.decode()
    assert "Endpoint traffic set" in text
    assert "Compute target scaled" not in text


def test_lists_page_by_cursor_and_refuse_a_broken_one(visitor: Client, workspace: Workspace, owner: User) -> None:
    for number in range(60):
        page_rows.environment(workspace, f"e{number:02}")
    first = visitor.get("/w/lab/environments/?sort=name").content.decode()
    link = re.search(r'rel="next" href="([^"]+)"', first)
    assert link is not None
    second = visitor.get(link[1].replace("&amp;", "&")).content.decode()
    assert ("e00:1" in first, "e59:1" in first) == (True, False)
    assert ("e00:1" in second, "e59:1" in second) == (False, True)
    assert visitor.get("/w/lab/environments/?cursor=nonsense").status_code == 404


def test_a_problem_that_htmx_meets_becomes_a_toast(visitor: Client, workspace: Workspace) -> None:
    response = visitor.get("/w/lab/models/none/", headers={"HX-Request": "true"})
    assert response.status_code == 404
    assert response["HX-Retarget"] == "#toasts"
    assert b"There is no model none" in response.content
