"""The doors of services and endpoints: every rule of a split, of keys and of tokens, through HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from compute.models import ComputeTarget
from endpoints.models import Endpoint, EndpointVersion, ScoringKey, TrafficSample
from portal.models import AuditEvent, Operation, User, Workspace
from tests.endpoints.make import SCRIPT, Caller, deployment_body, finish, make_environment, make_target

pytestmark = pytest.mark.django_db


@pytest.fixture
def target(workspace: Workspace) -> ComputeTarget:
    make_environment(workspace)
    return make_target(workspace, "aks")


@pytest.fixture
def as_(client_of: Callable[[User], APIClient], workspace: Workspace) -> Callable[[User], Caller]:
    return lambda user: Caller(client_of(user), workspace)


@pytest.fixture
def us(as_: Callable[[User], Caller], contributor: User, target: ComputeTarget) -> Caller:
    return as_(contributor)


def body(name: str = "iris", **more: Any) -> dict[str, Any]:
    return {"name": name, "compute_target": "aks", **deployment_body(), **more}


def service(us: Caller, name: str = "iris", **more: Any) -> Endpoint:
    answer = us.post("services/", body(name, **more))
    assert answer.status_code == 202, answer.content
    return finish(Endpoint.objects.get(name=name))


def endpoint(us: Caller, *versions: str, **more: Any) -> Endpoint:
    answer = us.post("endpoints/", body("iris", version="a", **more))
    assert answer.status_code == 202, answer.content
    found = finish(Endpoint.objects.get(name="iris"))
    for name in versions:
        answer = us.post("endpoints/iris/versions/", {"version": name, **deployment_body()})
        assert answer.status_code == 202, answer.content
        finish(found)
    return found


def shares(us: Caller) -> dict[str, float]:
    return {name: row["effective_share"] for name, row in us.get("endpoints/iris/").json()["versions"].items()}


def split(us: Caller, generation: int | None = None, **versions: Any) -> Any:
    number = us.get("endpoints/iris/").json()["generation"] if generation is None else generation
    changes = {
        name: change if isinstance(change, dict) else {"traffic_percentile": change}
        for name, change in versions.items()
    }
    return us.patch("endpoints/iris/traffic/", {"generation": number, "versions": changes})


def last_audit() -> AuditEvent:
    found = AuditEvent.objects.exclude(action__startswith="operation.").first()
    assert found is not None
    return found


# --- services


def test_a_service_is_created_by_an_operation_and_leaves_a_line_of_history(us: Caller) -> None:
    answer = us.post("services/", body())
    op = Operation.objects.get()
    assert (answer.status_code, op.kind, op.target_name) == (202, "service.create", "iris")
    assert answer["Location"] == f"/api/v1/workspaces/{op.workspace.slug}/operations/{op.pk}/"
    assert last_audit().action == "service.created"
    assert us.get("services/iris/").json()["versions"]["v1"]["is_default"]


def test_a_service_has_two_different_keys_by_default(us: Caller) -> None:
    service(us)
    keys = us.post("services/iris/keys/").json()
    assert set(keys) == {"primary", "secondary"}
    assert keys["primary"] != keys["secondary"]


@pytest.mark.parametrize("name", ["ab", "a" * 33, "1abc", "Abc", "a_b", "abc-", "a/b", "a b"])
def test_a_name_has_3_to_32_lower_case_letters_digits_and_dashes(us: Caller, name: str) -> None:
    answer = us.post("services/", body(name))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert not Endpoint.objects.exists()


def test_a_service_and_an_endpoint_share_one_name_space(us: Caller) -> None:
    service(us)
    answer = us.post("endpoints/", body())
    assert answer.status_code == 409
    assert "has a service iris already" in answer.json()["detail"]


def test_nothing_deploys_to_a_compute_target_that_is_missing(us: Caller, target: ComputeTarget) -> None:
    ComputeTarget.objects.filter(pk=target.pk).update(state="Missing")
    answer = us.post("services/", body())
    assert (answer.status_code, answer.json()["code"]) == (409, "target_not_ready")
    assert not Endpoint.objects.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"surprise": 1}, "Unknown: surprise"),
        ({"environment": None}, "environment"),
        ({"environment": "sk"}, "name:version"),
        ({"models": ["iris"]}, "name:version"),
        ({"deployment_config": [1]}, "JSON object"),
        ({"name": None}, "name"),
    ],
)
def test_a_wrong_shape_is_refused_with_the_member(us: Caller, change: dict[str, Any], words: str) -> None:
    answer = us.post("services/", {**body(), **change})
    assert answer.status_code == 400
    assert words in answer.json()["detail"]
    assert not Endpoint.objects.exists()


def test_readers_may_look_and_not_change(us: Caller, as_: Any, reader: User) -> None:
    service(us)
    them = as_(reader)
    assert them.get("services/").status_code == them.get("services/iris/").status_code == 200
    for answer in (
        them.post("services/", body("other")), them.patch("services/iris/", {"description": "x"}),
        them.delete("services/iris/"), them.post("services/iris/keys/"), them.post("services/iris/token/", {}),
        them.post("services/iris/keys/regenerate/", {"slot": "primary"}),
        them.post("services/iris/score/", {"body": 1}),
    ):  # fmt: skip
        assert answer.status_code == 403, answer.content


def test_strangers_find_nothing(us: Caller, as_: Any, stranger: User) -> None:
    service(us)
    them = as_(stranger)
    for path in ("services/", "services/iris/", "endpoints/", "services/iris/logs/", "services/iris/metrics/"):
        assert them.get(path).status_code == 404
    assert them.post("services/", body()).status_code == 404


def test_a_service_is_no_endpoint_and_has_no_split(us: Caller) -> None:
    service(us)
    assert us.get("endpoints/iris/").status_code == 404
    assert us.post("endpoints/iris/versions/", {"version": "b", **deployment_body()}).status_code == 404


def test_properties_are_written_once_and_tags_change(us: Caller) -> None:
    service(us, tags={"a": "1"}, properties={"p": "1"})
    answer = us.patch("services/iris/", {"tags": {"b": "2"}, "properties": {"q": "2"}, "description": "text"})
    assert answer.status_code == 200
    assert (answer.json()["tags"], answer.json()["properties"]) == ({"b": "2"}, {"p": "1", "q": "2"})
    refused = us.patch("services/iris/", {"properties": {"p": "2"}})
    assert refused.status_code == 422
    assert "written once: p" in refused.json()["detail"]


def test_an_update_rolls_to_a_new_revision_and_keeps_what_is_left_out(us: Caller) -> None:
    service(us, deployment_config={"scoringTimeoutMs": 5000})
    answer = us.patch("services/iris/", {"entry_script": "other.py", "code": {"files": {"other.py": SCRIPT}}})
    assert answer.status_code == 202, answer.content
    op = Operation.objects.latest("created_at")
    assert (op.kind, op.input["revision"]) == ("service.update", 2)
    newest = us.get("services/iris/revisions/").json()["items"][0]
    assert (newest["revision"], newest["entry_script"], newest["is_current"]) == (2, "other.py", True)
    assert newest["deployment_config"]["scoringTimeoutMs"] == 5000


def test_a_service_goes_back_to_an_earlier_revision_as_a_new_one(us: Caller) -> None:
    found = service(us)
    us.patch("services/iris/", {"entry_script": "other.py", "code": {"files": {"other.py": SCRIPT}}})
    finish(found)
    assert us.post("services/iris/rollback/", {"revision": 1}).status_code == 202
    newest = us.get("services/iris/revisions/").json()["items"][0]
    assert (newest["revision"], newest["entry_script"]) == (3, "score.py")


def test_deleting_a_service_is_an_operation(us: Caller) -> None:
    service(us)
    assert us.delete("services/iris/").status_code == 202
    assert us.get("services/iris/").json()["state"] == "Deleting"
    assert last_audit().action == "service.deleted"


def test_lists_take_the_same_number_of_queries_for_any_length(
    us: Caller, django_assert_num_queries: Any, django_assert_max_num_queries: Any
) -> None:
    for number in range(6):
        service(us, f"iris-{number}")
    us.get("services/")
    with django_assert_max_num_queries(8):
        assert len(us.get("services/").json()["items"]) == 6


# --- keys, tokens and open services


@pytest.mark.parametrize(
    ("keys", "words"),
    [({"primaryKey": "short", "secondaryKey": "b" * 16}, "has 5 characters"),
     ({"primaryKey": "a" * 16, "secondaryKey": "a" * 16}, "are the same"),
     ({"primaryKey": "a" * 16}, "primaryKey and secondaryKey")],
)  # fmt: skip
def test_given_keys_have_at_least_16_characters_and_differ(us: Caller, keys: dict[str, str], words: str) -> None:
    answer = us.post("services/", body(deployment_config={"keys": keys}))
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert not Endpoint.objects.exists()


def test_a_key_of_another_service_of_the_gateway_is_refused_without_naming_it(us: Caller) -> None:
    given = {"primaryKey": "p" * 20, "secondaryKey": "s" * 20}
    service(us, "first", deployment_config={"keys": given})
    assert us.post("services/first/keys/").json() == {"primary": "p" * 20, "secondary": "s" * 20}
    answer = us.post("services/", body("second", deployment_config={"keys": {**given, "primaryKey": "q" * 20}}))
    assert answer.status_code == 422
    assert "secondary key is in use" in answer.json()["detail"]
    assert "first" not in answer.json()["detail"]


@pytest.mark.parametrize(
    ("config", "auth"),
    [
        ({}, "Key"),
        ({"authEnabled": True}, "Key"),
        ({"tokenAuthEnabled": True}, "Token"),
        ({"authEnabled": False}, "None"),
        ({"authEnabled": False, "tokenAuthEnabled": True}, "Token"),
    ],
)
def test_token_auth_alone_switches_key_auth_off(us: Caller, config: dict[str, Any], auth: str) -> None:
    service(us, deployment_config=config)
    assert us.get("services/iris/").json()["auth"] == auth


def test_key_and_token_auth_together_are_refused(us: Caller) -> None:
    answer = us.post("services/", body(deployment_config={"authEnabled": True, "tokenAuthEnabled": True}))
    assert answer.status_code == 422
    assert "not both" in answer.json()["detail"]


def test_each_reveal_of_keys_is_audited_and_no_key_is_kept_in_history_or_operations(us: Caller) -> None:
    service(us)
    answer = us.post("services/iris/keys/")
    assert (answer.status_code, answer["Cache-Control"], last_audit().action) == (
        200,
        "no-store",
        "scoring_keys.revealed",
    )
    history = json.dumps(
        [list(AuditEvent.objects.values("before", "after")), list(Operation.objects.values("input", "memo"))]
    )
    assert not any(key in history for key in answer.json().values())


def test_one_key_is_regenerated_while_the_other_stays(us: Caller) -> None:
    found = service(us)
    before = us.post("services/iris/keys/").json()
    answer = us.post("services/iris/keys/regenerate/", {"slot": "secondary"})
    assert (answer.status_code, Operation.objects.latest("created_at").kind) == (202, "endpoint.update")
    finish(found)
    after = us.post("services/iris/keys/").json()
    assert after["primary"] == before["primary"]
    assert after["secondary"] != before["secondary"]


def test_a_key_can_be_set_and_must_differ_from_the_other(us: Caller) -> None:
    found = service(us)
    assert us.post("services/iris/keys/regenerate/", {"slot": "primary", "value": "v" * 20}).status_code == 202
    finish(found)
    assert us.post("services/iris/keys/").json()["primary"] == "v" * 20
    answer = us.post("services/iris/keys/regenerate/", {"slot": "secondary", "value": "v" * 20})
    assert answer.status_code == 422
    assert "v" * 20 not in answer.content.decode()


def test_keys_are_encrypted_at_rest(us: Caller) -> None:
    from django.db import connection

    service(us)
    plain = us.post("services/iris/keys/").json()["primary"]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT value FROM {ScoringKey._meta.db_table}")  # noqa: S608  (a table's name of ours)
        assert not any(plain in row[0] for row in cursor.fetchall())


def test_a_token_lives_one_hour_by_default_and_is_audited(us: Caller) -> None:
    service(us, deployment_config={"tokenAuthEnabled": True})
    answer = us.post("services/iris/token/", {})
    token = answer.json()
    assert set(token) == {"access_token", "token_type", "expiry_on", "refresh_after"}
    assert last_audit().action == "scoring_token.issued"
    assert token["access_token"] not in json.dumps(list(AuditEvent.objects.values("before", "after")))


def test_a_token_lives_at_most_24_hours(us: Caller) -> None:
    service(us, deployment_config={"tokenAuthEnabled": True})
    assert us.post("services/iris/token/", {"hours": 24}).status_code == 200
    for hours in (24.1, 0, -1):
        answer = us.post("services/iris/token/", {"hours": hours})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_token_life")


def test_keys_and_tokens_are_refused_where_callers_sign_in_otherwise(us: Caller) -> None:
    service(us, "keyed")
    service(us, "open", deployment_config={"authEnabled": False})
    assert us.post("services/keyed/token/", {}).json()["code"] == "wrong_auth_mode"
    assert us.post("services/open/keys/").status_code == 409


def test_the_auth_mode_changes_without_a_new_revision(us: Caller) -> None:
    found = service(us, deployment_config={"authEnabled": False})
    assert us.patch("services/iris/", {"auth": "Key"}).status_code == 202
    finish(found)
    assert us.get("services/iris/").json()["auth"] == "Key"
    assert us.post("services/iris/keys/").status_code == 200
    assert len(us.get("services/iris/revisions/").json()["items"]) == 1


# --- versions and traffic


def test_the_first_version_becomes_the_default_and_others_are_treatments(us: Caller) -> None:
    endpoint(us, "b")
    versions = us.get("endpoints/iris/").json()["versions"]
    assert [versions[name]["is_default"] for name in ("a", "b")] == [True, False]
    assert versions["b"]["type"] == "treatment"
    assert shares(us) == {"a": 100, "b": 0}


def test_a_split_is_stored_with_an_operation_and_history(us: Caller) -> None:
    endpoint(us, "b")
    answer = split(us, b=20)
    op = Operation.objects.latest("created_at")
    assert (answer.status_code, op.kind) == (202, "endpoint.update")
    assert shares(us) == {"a": 80, "b": 20}
    line = last_audit()
    assert (line.action, line.operation_id_text) == ("endpoint.traffic_set", str(op.pk))
    assert (line.before["versions"]["b"]["share"], line.after["versions"]["b"]["share"]) == ("0", "20")


def test_effective_share_of_the_default_is_its_own_and_the_remainder(us: Caller) -> None:
    found = endpoint(us, "b")
    split(us, a=20, b=10)
    finish(found)
    assert shares(us) == {"a": 90, "b": 10}
    split(us, b={"traffic_percentile": 40, "is_default": True})
    assert shares(us) == {"a": 20, "b": 80}


def test_shares_over_100_are_refused_and_nothing_changes(us: Caller) -> None:
    found = endpoint(us, "b")
    split(us, a=20, b=10)
    finish(found)
    before = us.get("endpoints/iris/").json()["generation"], Operation.objects.count(), AuditEvent.objects.count()
    answer = split(us, b=90)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_traffic")
    assert "add to 110" in answer.json()["detail"]
    assert (
        us.get("endpoints/iris/").json()["generation"],
        Operation.objects.count(),
        AuditEvent.objects.count(),
    ) == before
    assert shares(us) == {"a": 90, "b": 10}


@pytest.mark.parametrize("percent", [-1, 100.01, 33.333, "NaN", "much"])
def test_percentiles_are_0_to_100_with_two_decimals(us: Caller, percent: Any) -> None:
    endpoint(us, "b")
    assert split(us, b=percent).status_code in (400, 422)
    assert shares(us) == {"a": 100, "b": 0}


def test_the_second_of_two_editors_gets_412_with_the_current_split(us: Caller) -> None:
    found = endpoint(us, "b")
    generation = us.get("endpoints/iris/").json()["generation"]
    assert split(us, generation, b=20).status_code == 202
    finish(found)
    answer = split(us, generation, b=50)
    assert (answer.status_code, answer.json()["code"]) == (412, "stale")
    assert answer.json()["generation"] == generation + 1
    assert answer.json()["versions"]["b"]["traffic_percentile"] == 20
    assert shares(us) == {"a": 80, "b": 20}


def test_a_change_while_an_operation_runs_is_409_with_its_id_and_changes_nothing(us: Caller) -> None:
    endpoint(us, "b")
    split(us, b=20)
    running = Operation.objects.latest("created_at")
    answer = split(us, b=50)
    assert (answer.status_code, answer.json()["operation"]) == (409, str(running.pk))
    assert shares(us) == {"a": 80, "b": 20}


def test_the_default_flag_moves_and_history_says_so(us: Caller) -> None:
    endpoint(us, "b")
    split(us, b={"is_default": True})
    assert us.get("endpoints/iris/").json()["default_version"] == "b"
    assert last_audit().after["moved"] == ["b is now the default; a was it before."]


def test_the_control_flag_moves_in_one_call_and_history_says_so(us: Caller) -> None:
    found = endpoint(us, "b")
    split(us, a={"is_control": True})
    finish(found)
    split(us, b={"is_control": True})
    versions = us.get("endpoints/iris/").json()["versions"]
    assert [versions[name]["type"] for name in ("a", "b")] == ["treatment", "control"]
    assert last_audit().after["moved"] == ["b is now the control; a was it before."]


def test_at_most_six_versions(us: Caller) -> None:
    endpoint(us, "b", "c", "d", "e", "f")
    answer = us.post("endpoints/iris/versions/", {"version": "g", **deployment_body()})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_traffic")
    assert EndpointVersion.objects.count() == 6


def test_a_new_version_may_bring_a_share_and_gets_it_once_it_is_healthy(us: Caller) -> None:
    found = endpoint(us)
    answer = us.post("endpoints/iris/versions/", {"version": "b", "traffic_percentile": 30, **deployment_body()})
    assert answer.status_code == 202
    row = us.get("endpoints/iris/").json()["versions"]["b"]
    assert (row["traffic_percentile"], row["configured_share"], row["effective_share"]) == (30, 30, 0)
    assert row["note"] == "b has no ready replica: its 30 % goes to a."
    finish(found)
    assert shares(us) == {"a": 70, "b": 30}


def test_a_version_from_an_old_generation_is_412(us: Caller) -> None:
    endpoint(us)
    answer = us.post("endpoints/iris/versions/", {"version": "b", "generation": 0, **deployment_body()})
    assert answer.status_code == 412
    assert EndpointVersion.objects.count() == 1


@pytest.mark.parametrize("name", ["B", "a/b", "b_1", "-b", "b" * 33])
def test_a_versions_name_fits_a_header(us: Caller, name: str) -> None:
    endpoint(us)
    assert us.post("endpoints/iris/versions/", {"version": name, **deployment_body()}).status_code == 422


def test_if_no_version_is_healthy_the_page_says_that_callers_get_503(us: Caller) -> None:
    found = endpoint(us, "b")
    for row in found.versions.select_related("deployment"):
        type(row.deployment).objects.filter(pk=row.deployment.pk).update(ready_replicas=0)
    rows = us.get("endpoints/iris/").json()["versions"]
    assert "callers get 503" in rows["a"]["note"]
    assert shares(us) == {"a": 0, "b": 0}


def test_deleting_a_version_gives_its_share_back_to_the_default(us: Caller) -> None:
    found = endpoint(us, "b")
    split(us, b=20)
    finish(found)
    assert us.delete("endpoints/iris/versions/b/").status_code == 202
    assert shares(us) == {"a": 100, "b": 0}
    assert last_audit().after["default"] == "a"


def test_deleting_the_default_makes_the_control_the_default_and_names_it_beforehand(us: Caller) -> None:
    found = endpoint(us, "b", "c")
    split(us, c={"is_control": True})
    finish(found)
    assert us.get("endpoints/iris/").json()["successors"] == {"a": "c", "b": "a", "c": "a"}
    assert us.delete("endpoints/iris/versions/a/").status_code == 202
    assert us.get("endpoints/iris/").json()["default_version"] == "c"
    assert last_audit().after["default"] == "c"


def test_deleting_the_last_version_is_refused(us: Caller) -> None:
    endpoint(us)
    answer = us.delete("endpoints/iris/versions/a/")
    assert answer.status_code == 422
    assert "Delete the endpoint" in answer.json()["detail"]
    assert us.get("endpoints/iris/").json()["default_version"] == "a"


def test_deleting_a_version_from_an_old_generation_is_412(us: Caller) -> None:
    endpoint(us, "b")
    assert us.delete("endpoints/iris/versions/b/?generation=0").status_code == 412
    assert us.delete("endpoints/iris/versions/b/?generation=x").status_code == 400


def test_a_version_is_updated_by_itself(us: Caller) -> None:
    endpoint(us, "b")
    answer = us.patch("endpoints/iris/versions/b/", {"deployment_config": {"scoringTimeoutMs": 1000}})
    op = Operation.objects.latest("created_at")
    assert (answer.status_code, op.kind, op.input["revision"]) == (202, "version.update", 2)
    assert us.patch("endpoints/iris/", {"entry_script": "x.py"}).status_code == 400


# --- numbers and try-it


def test_observed_shares_are_of_the_last_five_minutes_and_of_what_models_answered(us: Caller) -> None:
    found = endpoint(us, "b")
    now = timezone.now()

    def sample(version: str, seconds_ago: int, **codes: int) -> None:
        at = now - timedelta(seconds=seconds_ago)
        told = {code[1:]: count for code, count in codes.items()}
        TrafficSample.objects.create(endpoint=found, version=version, at=at, codes=told, seconds=1, buckets={"1000": 1})

    sample("a", 10, c200=50, c500=10, c401=999)
    sample("a", 100, c200=20)
    sample("b", 20, c200=20)
    sample("b", 301, c200=900)
    told = us.get("endpoints/iris/metrics/").json()["versions"]
    assert (told["a"]["observed_share"], told["a"]["observed_requests"], told["a"]["observed_failed"]) == (80, 80, 10)
    assert (told["b"]["observed_share"], told["b"]["observed_requests"]) == (20, 20)
    assert told["a"]["p50_ms"] == 0.5


def test_trying_takes_at_most_1_mb(us: Caller) -> None:
    service(us)
    answer = us.post("services/iris/score/", {"body": "x" * 1_000_001})
    assert answer.status_code == 422
    assert "1,000,000" in answer.json()["detail"]


def test_trying_without_a_gateway_says_so(us: Caller) -> None:
    service(us)
    assert us.post("services/iris/score/", {"body": {}}).status_code == 409
