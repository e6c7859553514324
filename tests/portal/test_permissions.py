"""Who may use which door: every route of the URL resolver against every role. A route without an entry fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from compute import queries as compute
from portal import actions
from portal.models import Operation, User, Workspace
from portal.types import OperationKind, Role
from tests import factories, page_rows

READER, CONTRIBUTOR, OPERATOR, OWNER = Role.READER, Role.CONTRIBUTOR, Role.OPERATOR, Role.OWNER
ANYONE, SIGNED_IN, OTHER_SECRET = "anyone", "signed in", "a secret of its own"
Needs = Role | str
Door = tuple[str, str, Needs]
HOME = "api/v1/workspaces/<slug:workspace>/"
ENVIRONMENT, MODEL = f"{HOME}environments/<str:name>/<int:version>/", f"{HOME}models/<str:name>/"
TARGET, VERSION = f"{HOME}compute-targets/<str:name>/", f"{HOME}endpoints/<str:name>/versions/<str:version>/"
BOTH_KINDS: dict[str, dict[str, Needs]] = {
    "": {"get": READER, "post": CONTRIBUTOR},
    "<str:name>/": {"get": READER, "patch": CONTRIBUTOR, "delete": CONTRIBUTOR},
    "<str:name>/keys/": {"post": CONTRIBUTOR},
    "<str:name>/keys/regenerate/": {"post": CONTRIBUTOR},
    "<str:name>/token/": {"post": CONTRIBUTOR},
    "<str:name>/logs/": {"get": READER},
    "<str:name>/events/": {"get": READER},
    "<str:name>/metrics/": {"get": READER},
    "<str:name>/revisions/": {"get": READER},
    "<str:name>/rollback/": {"post": CONTRIBUTOR},
    "<str:name>/score/": {"post": CONTRIBUTOR},
    "<str:name>/export/": {"get": READER},
    "<str:name>/put-back/": {"post": CONTRIBUTOR},
}
REST: dict[str, dict[str, Needs]] = {
    "api/v1/workspaces/": {"get": SIGNED_IN},
    HOME: {"get": READER, "patch": OWNER},
    f"{HOME}azure/test/": {"post": OWNER},
    f"{HOME}operations/": {"get": READER},
    f"{HOME}operations/<uuid:id>/": {"get": READER},
    f"{HOME}operations/<uuid:id>/log/": {"get": READER},
    f"{HOME}operations/<uuid:id>/cancel/": {"post": CONTRIBUTOR},
    f"{HOME}operations/<uuid:id>/retry/": {"post": CONTRIBUTOR},
    f"{HOME}audit/": {"get": READER},
    "api/v1/teams/<slug:team>/members/": {"get": READER},
    "api/v1/tokens/": {"get": SIGNED_IN, "post": SIGNED_IN},
    "api/v1/tokens/<int:id>/": {"delete": SIGNED_IN},
    "api/v1/schema/": {"get": SIGNED_IN},
    "api/v1/docs/": {"get": SIGNED_IN},
    f"{HOME}compute-targets/": {"get": READER, "post": OPERATOR},
    f"{HOME}compute-targets/attach/": {"post": OPERATOR},
    f"{HOME}compute-targets/preflight/": {"post": OPERATOR},
    TARGET: {"get": READER, "delete": OPERATOR},
    f"{TARGET}scale/": {"post": OPERATOR},
    **{f"{TARGET}{end}/": {"post": OPERATOR} for end in ("adopt", "start", "stop", "autoscaler")},
    f"{TARGET}gateway/": {"get": READER},
    f"{TARGET}gateway/certificate/": {"post": OPERATOR},
    f"{TARGET}gateway/entrance/": {"put": OPERATOR},
    f"{TARGET}pools/": {"get": READER, "post": OPERATOR},
    f"{TARGET}pools/<str:pool>/": {"get": READER, "delete": OPERATOR},
    f"{TARGET}pools/<str:pool>/scale/": {"post": OPERATOR},
    f"{TARGET}pools/<str:pool>/adopt/": {"post": OPERATOR},
    f"{TARGET}detach/": {"get": OPERATOR, "post": OPERATOR},
    f"{TARGET}credentials/": {"post": OPERATOR},
    f"{TARGET}kubeconfig/": {"put": OPERATOR},
    f"{TARGET}gateway/export/": {"get": READER},
    f"{TARGET}gateway/drift/": {"get": READER},
    f"{TARGET}gateway/put-back/": {"post": OPERATOR},
    f"{HOME}vm-sizes/": {"get": READER},
    f"{HOME}clusters/": {"get": OPERATOR},
    f"{HOME}models/": {"get": READER, "post": CONTRIBUTOR},
    MODEL: {"get": READER},
    f"{MODEL}<int:version>/": {"get": READER, "patch": CONTRIBUTOR, "delete": CONTRIBUTOR},
    f"{MODEL}<int:version>/download/": {"get": READER},
    f"{HOME}code/": {"post": CONTRIBUTOR},
    f"{HOME}environments/": {"get": READER, "post": CONTRIBUTOR},
    ENVIRONMENT: {"get": READER},
    f"{ENVIRONMENT}build/": {"post": CONTRIBUTOR},
    f"{ENVIRONMENT}log/": {"get": READER},
    f"{HOME}rules/": {"get": READER, "patch": OWNER},
    f"{HOME}registries/": {"get": READER},
    f"{HOME}registries/<str:server>/": {"put": OWNER, "delete": OWNER},
    "api/v1/fetch/<int:deployment>/<int:revision>/": {"get": OTHER_SECRET},
    "api/v1/^blobs/(?P<digest>[0-9a-f]{64})/?$": {"get": OTHER_SECRET},
    **{f"{HOME}{kind}/{end}": needs for kind in ("services", "endpoints") for end, needs in BOTH_KINDS.items()},
    f"{HOME}endpoints/<str:name>/traffic/": {"patch": CONTRIBUTOR},
    f"{HOME}endpoints/<str:name>/versions/": {"get": READER, "post": CONTRIBUTOR},
    VERSION: {"get": READER, "patch": CONTRIBUTOR, "delete": CONTRIBUTOR},
    f"{VERSION}logs/": {"get": READER},
    f"{VERSION}revisions/": {"get": READER},
    f"{VERSION}rollback/": {"post": CONTRIBUTOR},
    f"{HOME}collected/": {"get": READER, "delete": CONTRIBUTOR},
    f"{HOME}collected/<int:id>/": {"get": READER, "delete": CONTRIBUTOR},
    f"{HOME}collected/<int:id>/lines/": {"get": CONTRIBUTOR},
    "api/v1/collect/<int:deployment>/": {"post": OTHER_SECRET},
}
PAGE = "w/<slug:workspace>/"
COMPUTE_POSTS = ("scale", "start", "stop", "autoscaler", "detach", "delete", "credentials", "kubeconfig")
BOTH_PAGES: dict[str, dict[str, Needs]] = {
    "": {"get": READER},
    "<str:name>/": {"get": READER},
    "<str:name>/live/": {"get": READER},
    "<str:name>/inside/": {"get": READER},
    "<str:name>/keys/": {"post": CONTRIBUTOR},
    "<str:name>/keys/regenerate/": {"post": CONTRIBUTOR},
    "<str:name>/token/": {"post": CONTRIBUTOR},
    "<str:name>/try/": {"post": CONTRIBUTOR},
    "<str:name>/delete/": {"post": CONTRIBUTOR},
    "<str:name>/export/": {"get": READER, "post": CONTRIBUTOR},
    "<str:name>/put-back/": {"post": CONTRIBUTOR},
    "<str:name>/versions/<str:version>/update/": {"get": CONTRIBUTOR, "post": CONTRIBUTOR},
    "<str:name>/versions/<str:version>/rollback/": {"post": CONTRIBUTOR},
}
PAGES: dict[str, dict[str, Needs]] = {
    "healthz": {"get": ANYONE, "post": ANYONE},
    "readyz": {"get": ANYONE, "post": ANYONE},
    "metrics": {"get": OTHER_SECRET, "post": OTHER_SECRET},
    "": {"get": SIGNED_IN},
    "sign-in/": {"get": ANYONE, "post": ANYONE},
    "sign-out/": {"post": ANYONE},
    "theme/": {"post": ANYONE},
    "tokens/": {"get": SIGNED_IN, "post": SIGNED_IN},
    "tokens/<int:id>/revoke/": {"post": SIGNED_IN},
    PAGE: {"get": READER},
    f"{PAGE}settings/azure/": {"get": OWNER, "post": OWNER},
    f"{PAGE}settings/azure/test/": {"post": OWNER},
    f"{PAGE}settings/running/": {"get": OWNER, "post": OWNER},
    f"{PAGE}settings/running/registry/": {"post": OWNER},
    f"{PAGE}settings/running/registry/<str:server>/remove/": {"post": OWNER},
    f"{PAGE}search/": {"get": READER},
    f"{PAGE}history/": {"get": READER},
    f"{PAGE}operations/": {"get": READER},
    f"{PAGE}operations/<uuid:id>/": {"get": READER},
    f"{PAGE}operations/<uuid:id>/live/": {"get": READER},
    f"{PAGE}operations/<uuid:id>/cancel/": {"post": CONTRIBUTOR},
    f"{PAGE}operations/<uuid:id>/retry/": {"post": CONTRIBUTOR},
    f"{PAGE}compute/": {"get": READER},
    f"{PAGE}new/compute/": {"get": OPERATOR, "post": OPERATOR},
    f"{PAGE}new/attachment/": {"get": OPERATOR, "post": OPERATOR},
    f"{PAGE}compute/<str:name>/": {"get": READER},
    f"{PAGE}compute/<str:name>/live/": {"get": READER},
    f"{PAGE}compute/<str:name>/adopt/": {"post": OPERATOR},
    f"{PAGE}compute/<str:name>/pools/": {"get": READER},
    f"{PAGE}new/pool/<str:name>/": {"get": OPERATOR, "post": OPERATOR},
    **{f"{PAGE}compute/<str:name>/pools/<str:pool>/{end}/": {"post": OPERATOR} for end in ("scale", "adopt", "remove")},
    f"{PAGE}compute/<str:name>/leftovers/": {"get": OPERATOR},
    **{f"{PAGE}compute/<str:name>/{end}/": {"post": OPERATOR} for end in COMPUTE_POSTS},
    f"{PAGE}compute/<str:name>/gateway/": {"get": READER},
    f"{PAGE}compute/<str:name>/gateway/certificate/": {"post": OPERATOR},
    f"{PAGE}compute/<str:name>/gateway/entrance/": {"post": OPERATOR},
    f"{PAGE}compute/<str:name>/gateway/export/": {"get": READER, "post": OPERATOR},
    f"{PAGE}compute/<str:name>/gateway/put-back/": {"post": OPERATOR},
    f"{PAGE}models/": {"get": READER},
    f"{PAGE}new/model/": {"get": CONTRIBUTOR, "post": CONTRIBUTOR},
    f"{PAGE}models/<str:name>/": {"get": READER},
    f"{PAGE}models/<str:name>/<int:version>/": {"get": READER},
    f"{PAGE}models/<str:name>/<int:version>/delete/": {"post": CONTRIBUTOR},
    f"{PAGE}environments/": {"get": READER},
    f"{PAGE}new/environment/": {"get": CONTRIBUTOR, "post": CONTRIBUTOR},
    f"{PAGE}environments/<str:name>/": {"get": READER},
    f"{PAGE}environments/<str:name>/<int:version>/": {"get": READER},
    f"{PAGE}environments/<str:name>/<int:version>/log/": {"get": READER},
    f"{PAGE}environments/<str:name>/<int:version>/build/": {"post": CONTRIBUTOR},
    **{f"{PAGE}{kind}/{end}": needs for kind in ("services", "endpoints") for end, needs in BOTH_PAGES.items()},
    f"{PAGE}new/service/": {"get": CONTRIBUTOR, "post": CONTRIBUTOR},
    f"{PAGE}new/endpoint/": {"get": CONTRIBUTOR, "post": CONTRIBUTOR},
    f"{PAGE}endpoints/<str:name>/traffic/": {"post": CONTRIBUTOR},
    f"{PAGE}endpoints/<str:name>/add/": {"get": CONTRIBUTOR, "post": CONTRIBUTOR},
    f"{PAGE}endpoints/<str:name>/versions/<str:version>/": {"get": READER},
    f"{PAGE}endpoints/<str:name>/versions/<str:version>/delete/": {"post": CONTRIBUTOR},
    f"{PAGE}collected/": {"get": READER},
    f"{PAGE}collected/delete/": {"post": CONTRIBUTOR},
    f"{PAGE}collected/<int:id>/download/": {"post": CONTRIBUTOR},
    f"{PAGE}collected/<int:id>/delete/": {"post": CONTRIBUTOR},
}
FORM = {"data": {"compute_target": "trial"}}
METHODS = ("get", "post", "put", "patch", "delete")
NAMES = {"compute-targets": "trial", "compute": "trial", "models": "iris", "environments": "sklearn"}
NAMES |= {"services": "churn", "endpoints": "iris", "pool": "trial"}


def routes(patterns: Any = None, start: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Every route of the portal with its pattern."""
    for each in get_resolver().url_patterns if patterns is None else patterns:
        route = start + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from routes(each.url_patterns, route)
        else:
            yield route, each


def areas(table: dict[str, dict[str, Needs]]) -> list[Any]:
    """The (route, method, needs) of a table as named test cases: those of an area share one full workspace."""
    found: dict[str, list[Door]] = {}
    for route, methods in table.items():
        area = route.removeprefix(HOME).removeprefix(PAGE).split("/")[0] or "front"
        found.setdefault(area, []).extend((route, method, needs) for method, needs in methods.items())
    return [pytest.param(doors, id=area) for area, doors in found.items()]


def path_of(route: str, job: Operation) -> str:
    """The address of existing things: a route with its parameters filled in."""
    kind = next((part for part in route.split("/") if part in NAMES), "")
    version = "v2" if kind == "endpoints" else "v1"
    filled = {
        "<slug:workspace>": "lab", "<slug:team>": "blue", "<str:name>": NAMES.get(kind, ""), "<int:version>": "1",
        "<str:pool>": "extra", "<str:server>": "r.example.com",
        "<str:version>": version, "<uuid:id>": str(job.pk), "<int:id>": "4711", "<int:deployment>": "1",
        "<int:revision>": "1", "^blobs/(?P<digest>[0-9a-f]{64})/?$": "blobs/" + "a" * 64,
    }  # fmt: skip
    for word, value in filled.items():
        route = route.replace(word, value)
    return f"/{route}"


@pytest.fixture
def job(workspace: Workspace, owner: User, monkeypatch: pytest.MonkeyPatch) -> Operation:
    """A full workspace whose Azure is nowhere; answers an operation that Contributors control."""
    monkeypatch.setattr(compute, "_open", type(compute._open)())
    page_rows.everything(workspace, owner)
    Workspace.objects.filter(pk=workspace.pk).update(
        arm_endpoint="http://127.0.0.1:9", arm_credential='{"kind": "static", "token": "none"}'
    )
    return Operation.objects.get(kind=OperationKind.SERVICE_CREATE)


@pytest.fixture
def people(owner: User, operator: User, contributor: User, reader: User) -> dict[Role, User]:
    return {Role.OWNER: owner, Role.OPERATOR: operator, Role.CONTRIBUTOR: contributor, Role.READER: reader}


def answer(client: Any, method: str, path: str) -> Any:
    """One request whose effect is taken back."""
    with transaction.atomic():
        given = {"data": {}, "format": "json"} if isinstance(client, APIClient) and method != "get" else FORM
        response = getattr(client, method)(path, **given)
        transaction.set_rollback(True)
    return response


def test_each_route_and_method_has_an_entry_and_each_entry_a_route() -> None:
    table = {**REST, **PAGES}
    found = dict(routes())
    assert set(found) == set(table)
    for route, pattern in found.items():
        view = getattr(pattern.callback, "cls", None)
        if view is not None and route in REST:
            assert {method for method in METHODS if hasattr(view, method)} >= set(table[route]), route


@pytest.mark.parametrize("doors", areas(REST))
def test_a_rest_door_opens_to_its_role_and_those_above_and_to_nobody_else(
    doors: list[Door], job: Operation, people: dict[Role, User], stranger: User
) -> None:
    away, clients = factories.client(stranger), dict(tokens(people))
    for route, method, needs in doors:
        path, where = path_of(route, job), f"{method} {route}"
        if needs == OTHER_SECRET:
            assert answer(clients[Role.OWNER, True], method, path).status_code == 404, where
            assert answer(APIClient(), method, path).status_code == 404, where
            continue
        assert answer(APIClient(), method, path).status_code == 401, where
        if needs == SIGNED_IN:
            assert answer(away, method, path).status_code in (200, 400, 404), where
            continue
        assert answer(away, method, path).status_code == 404, where
        for (role, is_whole), client in clients.items():
            if not is_whole and role not in (needs, below(needs)):
                continue
            found = answer(client, method, path)
            if role < needs:
                assert found.status_code == 403, (where, role.label, found.content)
                assert found.json()["detail"].startswith("This needs the role "), (where, found.content)
            else:
                assert found.status_code not in (401, 403, 405, 500), (where, role.label, found.content)
                assert found.status_code != 404 or "download" in route, (where, found.content)


def below(needs: Needs) -> Role | None:
    """The role that is just too little."""
    return max((role for role in Role if role < needs), default=None)


def tokens(people: dict[Role, User]) -> Iterator[tuple[tuple[Role, bool], APIClient]]:
    """A client for each role: by a token of who has it (True), and by an owner's token that is narrowed to it."""
    for role, person in people.items():
        yield (role, True), factories.client(person)
        yield (role, False), factories.client(people[Role.OWNER], role=role)


@pytest.mark.parametrize("doors", areas({route: REST[route] for route in REST if route.startswith(HOME)}))
def test_a_token_of_another_workspace_finds_nothing(doors: list[Door], job: Operation, owner: User, blue: Any) -> None:
    other = factories.workspace(blue, "second", resource_group="second")
    client = factories.client(owner, workspace=other)
    for route, method, _ in doors:
        assert answer(client, method, path_of(route, job)).status_code == 404, f"{method} {route}"


@pytest.mark.parametrize("doors", areas(PAGES))
def test_a_page_opens_to_its_role_and_those_above_and_to_nobody_else(
    doors: list[Door], job: Operation, people: dict[Role, User], stranger: User
) -> None:
    away, browsers = signed_in(stranger), {role: signed_in(person) for role, person in people.items()}
    for route, method, needs in doors:
        path, where = path_of(route, job), f"{method} {route}"
        nobody = answer(Client(), method, path)
        if needs == ANYONE:
            assert nobody.status_code in (200, 302, 503), where
            continue
        if needs == OTHER_SECRET:  # it has one in tests/portal/test_metrics.py
            assert (nobody.status_code, answer(browsers[Role.OWNER], method, path).status_code) == (404, 404), where
            continue
        assert (nobody.status_code, nobody["Location"].startswith("/sign-in/?next=")) == (302, True), where
        if needs == SIGNED_IN:
            assert answer(away, method, path).status_code in (200, 302, 400, 404), where
            continue
        assert answer(away, method, path).status_code == 404, where
        for role, browser in browsers.items():
            found = answer(browser, method, path)
            if role < needs:
                assert found.status_code == 403, (where, role.label, found.content)
            else:
                assert found.status_code not in (401, 403, 404, 405, 500), (where, role.label, found.status_code)


def test_a_page_answers_405_to_what_its_entry_does_not_name(job: Operation, owner: User) -> None:
    browser = signed_in(owner)
    for route in PAGES:
        for method in {"get", "post"} - set(PAGES[route]):
            assert answer(browser, method, path_of(route, job)).status_code == 405, f"{method} {route}"


def test_a_contributor_controls_no_work_on_clusters(
    job: Operation, people: dict[Role, User], workspace: Workspace
) -> None:
    work = Operation.objects.get(kind=OperationKind.COMPUTE_CREATE)
    for verb in ("cancel", "retry"):
        path = f"/api/v1/workspaces/lab/operations/{work.pk}/{verb}/"
        assert answer(factories.client(people[Role.CONTRIBUTOR]), "post", path).status_code == 403
        assert answer(factories.client(people[Role.OPERATOR]), "post", path).status_code in (202, 409)


def test_only_its_owner_finds_a_token(owner: User, stranger: User, workspace: Workspace) -> None:
    token, _ = actions.token_create(user=owner, name="mine")
    path = f"/api/v1/tokens/{token.pk}/"
    assert factories.client(stranger).delete(path).status_code == 404
    assert factories.client(owner).delete(path).status_code == 204


def signed_in(person: User) -> Client:
    """A browser with a session."""
    made = Client()
    made.force_login(person)
    return made
