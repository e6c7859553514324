"""The pages of services and endpoints at their door."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from endpoints.models import Endpoint, EndpointVersion
from portal.models import AuditEvent, Operation, User, Workspace
from portal.types import OperationKind
from tests import page_rows

SCRIPT = "def init():\n    pass\n\n\ndef run(data):\n    return data\n"
DEPLOY = {
    "environment": "sklearn:1", "entry_script": "score.py", "code": SCRIPT, "scaling": "auto", "min_replicas": "1",
    "max_replicas": "4", "target": "60", "cpu": "0.2", "memory": "0.5", "auth": "Key",
}  # fmt: skip


@pytest.fixture
def visitor(client: Client, contributor: User) -> Client:
    client.force_login(contributor)
    return client


@pytest.fixture
def iris(workspace: Workspace) -> Endpoint:
    """Two versions: v1 (default, control) 20 + remainder, v2 30."""
    made = page_rows.endpoint(page_rows.target(workspace))
    page_rows.version(made, "v1", "20", is_default=True, is_control=True)
    page_rows.version(made, "v2", "30", color=1)
    page_rows.keys(made)
    return made


def shares(endpoint: Endpoint) -> dict[str, Decimal]:
    return dict(EndpointVersion.objects.filter(endpoint=endpoint).values_list("name", "traffic_percentile"))


def apply(visitor: Client, generation: int = 1, **form: str) -> Any:
    sent = {key.replace("_", "-"): value for key, value in form.items()}
    return visitor.post("/w/lab/endpoints/iris/traffic/", {"generation": str(generation), **sent})


def test_the_default_row_reads_set_and_remainder(visitor: Client, iris: Endpoint) -> None:
    text = visitor.get("/w/lab/endpoints/iris/").content.decode()
    assert "20 set + 50 remainder = 70 %" in text
    assert 'name="share-v2"' in text


def test_a_version_that_is_not_ready_gets_nothing_and_the_page_says_so(visitor: Client, iris: Endpoint) -> None:
    page_rows.version(iris, "v3", "10", color=2, ready=0, state="Unhealthy")
    text = visitor.get("/w/lab/endpoints/iris/").content.decode()
    assert "10 set, 0 until ready" in text
    assert "v3 has no ready replica: its 10 % goes to v1." in text


def test_applying_a_split_stores_it_and_starts_one_operation(visitor: Client, iris: Endpoint) -> None:
    response = apply(visitor, share_v1="10", share_v2="40.5", default="v2", control="v1")
    assert response["Location"] == "/w/lab/endpoints/iris/"
    assert shares(iris) == {"v1": Decimal("10.00"), "v2": Decimal("40.50")}
    assert EndpointVersion.objects.get(is_default=True).name == "v2"
    assert EndpointVersion.objects.get(is_control=True).name == "v1"
    assert Operation.objects.get().kind == OperationKind.ENDPOINT_UPDATE


def test_no_control_takes_the_mark_away(visitor: Client, iris: Endpoint) -> None:
    apply(visitor, share_v1="20", share_v2="30", default="v1", control="")
    assert not EndpointVersion.objects.filter(is_control=True).exists()


@pytest.mark.parametrize(
    ("form", "status", "sentence"),
    [
        ({"share_v1": "60", "share_v2": "52"}, 422, "The percentiles add to 112, and at most 100 is possible"),
        ({"share_v1": "-1", "share_v2": "0"}, 422, "a percentile is from 0 to 100"),
        ({"share_v1": "ten", "share_v2": "0"}, 422, "is not a number"),
        ({"share_v1": "20", "share_v9": "1"}, 422, "There is no version v9"),
        ({"share_v1": "20", "default": "v9"}, 422, "There is no version v9"),
    ],
)
def test_a_split_that_cannot_be_is_refused_with_the_draft_kept(
    visitor: Client, iris: Endpoint, form: dict[str, str], status: int, sentence: str
) -> None:
    response = apply(visitor, **form)
    text = response.content.decode()
    assert response.status_code == status
    assert sentence in text
    assert f'value="{form["share_v1"]}"' in text
    assert shares(iris) == {"v1": Decimal("20.00"), "v2": Decimal("30.00")}
    assert not Operation.objects.exists()


def test_a_draft_from_an_older_split_shows_both_and_who_was_faster(
    visitor: Client, iris: Endpoint, owner: User
) -> None:
    from portal import audit

    Endpoint.objects.filter(pk=iris.pk).update(generation=2)
    EndpointVersion.objects.filter(endpoint=iris, name="v2").update(traffic_percentile=35)
    audit.record(action="endpoint.traffic_set", on=iris, actor=owner, before={"versions": {}})
    response = apply(visitor, generation=1, share_v1="20", share_v2="40", default="v1", control="v1")
    text = response.content.decode()
    assert response.status_code == 412
    assert "Both splits" in text
    assert f"{owner.username} changed it" in text
    assert re.search(r"35 %</td>\s*<td[^>]*>40 %</td>", text)
    assert 'name="generation" value="2"' in text
    assert shares(iris)["v2"] == Decimal("35.00")


def test_a_reader_cannot_move_traffic(client: Client, iris: Endpoint, reader: User) -> None:
    client.force_login(reader)
    assert apply(client, share_v1="0", share_v2="100").status_code == 403
    assert b"data-apply" not in client.get("/w/lab/endpoints/iris/").content


def test_the_live_part_has_no_field_and_shows_observed_shares(visitor: Client, iris: Endpoint) -> None:
    page_rows.answers(iris, v1=70, v2=30)
    text = visitor.get("/w/lab/endpoints/iris/live/", headers={"HX-Request": "true"}).content.decode()
    assert not re.search(r"<(input|select|textarea|form)", text)
    assert re.search(r'id="observed-v2" hx-swap-oob="true">\s*30 %', text)
    assert "100 answers, 20.0 a minute" in text


def test_deleting_a_version_names_its_heir_first(visitor: Client, iris: Endpoint) -> None:
    text = visitor.get("/w/lab/endpoints/iris/versions/v1/").content.decode()
    assert "Its 70 % of the requests go to v2, which becomes the default." in text
    response = visitor.post("/w/lab/endpoints/iris/versions/v1/delete/", {"generation": "1"})
    assert response["Location"] == f"/w/lab/operations/{Operation.objects.get().pk}/"


def test_the_last_version_cannot_be_deleted(visitor: Client, iris: Endpoint) -> None:
    EndpointVersion.objects.get(name="v2").delete()
    assert b"Delete v1" not in visitor.get("/w/lab/endpoints/iris/versions/v1/").content
    response = visitor.post("/w/lab/endpoints/iris/versions/v1/delete/")
    assert response.status_code == 422
    assert b"Delete the endpoint instead" in response.content


def test_deleting_an_endpoint_asks_for_its_name(visitor: Client, iris: Endpoint) -> None:
    assert visitor.post("/w/lab/endpoints/iris/delete/", {"confirm": "iri"}).status_code == 422
    assert not Operation.objects.exists()
    assert visitor.post("/w/lab/endpoints/iris/delete/", {"confirm": "iris"}).status_code == 302
    assert Operation.objects.get().kind == OperationKind.ENDPOINT_DELETE


def test_keys_are_hidden_until_asked_for_and_the_reveal_is_history(visitor: Client, iris: Endpoint) -> None:
    secret = b"primary-key-of-iris-0123456789"
    assert secret not in visitor.get("/w/lab/endpoints/iris/").content
    response = visitor.post("/w/lab/endpoints/iris/keys/")
    assert secret in response.content
    assert response["Cache-Control"] == "no-store"
    assert AuditEvent.objects.get().action == "scoring_keys.revealed"
    fragment = visitor.post("/w/lab/endpoints/iris/keys/", headers={"HX-Request": "true"}).content
    assert secret in fragment
    assert b"<main" not in fragment


def test_a_reader_sees_no_keys(client: Client, iris: Endpoint, reader: User) -> None:
    client.force_login(reader)
    assert client.post("/w/lab/endpoints/iris/keys/").status_code == 403


def test_one_key_is_replaced_and_the_other_stays(visitor: Client, iris: Endpoint) -> None:
    visitor.post("/w/lab/endpoints/iris/keys/regenerate/", {"slot": "primary"})
    values = dict(iris.keys.values_list("slot", "value"))
    assert values["primary"] != "primary-key-of-iris-0123456789"
    assert values["secondary"] == "secondary-key-of-iris-0123456789"
    assert visitor.post("/w/lab/endpoints/iris/keys/regenerate/", {"slot": "third"}).status_code == 400


def test_a_token_is_issued_for_an_endpoint_that_takes_tokens(visitor: Client, iris: Endpoint) -> None:
    Endpoint.objects.filter(pk=iris.pk).update(auth="Token")
    response = visitor.post("/w/lab/endpoints/iris/token/", {"hours": "2"})
    assert re.search(rb"eyJ[\w-]+\.[\w-]+\.[\w-]+", response.content)
    assert response["Cache-Control"] == "no-store"


def test_a_service_is_deployed_from_the_form(visitor: Client, workspace: Workspace) -> None:
    page_rows.target(workspace)
    page_rows.environment(workspace)
    page_rows.model(workspace)
    form = DEPLOY | {"name": "churn", "compute_target": "prod-1", "models": ["iris:1"]}
    response = visitor.post("/w/lab/new/service/", form)
    assert response["Location"] == "/w/lab/services/churn/"
    revision = EndpointVersion.objects.get().deployment.revisions.get()
    assert [str(model) for model in revision.models.all()] == ["iris:1"]
    assert revision.config["autoScaler"]["targetUtilization"] == 60
    assert revision.config["containerResourceRequirements"] == {"cpu": 0.2, "memoryInGB": 0.5}
    assert Operation.objects.get().kind == OperationKind.SERVICE_CREATE
    assert visitor.get("/w/lab/services/churn/").status_code == 200


def test_a_pasted_configuration_counts_before_the_fields(visitor: Client, workspace: Workspace) -> None:
    page_rows.target(workspace)
    page_rows.environment(workspace)
    pasted = '{"computeType": "AKS", "numReplicas": 2, "authEnabled": false}'
    form = DEPLOY | {"name": "churn", "compute_target": "prod-1", "version": "blue", "deployment_config": pasted}
    assert visitor.post("/w/lab/new/endpoint/", form)["Location"] == "/w/lab/endpoints/churn/"
    assert Endpoint.objects.get().auth == "None"
    assert EndpointVersion.objects.get().name == "blue"
    assert EndpointVersion.objects.get().deployment.wanted_replicas == 2


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"code": "def init(): pass"}, "defines no run()"),
        ({"code": "def init(:"}, "does not parse"),
        ({"cpu": "-1"}, "give a number above 0"),
        ({"cpu": "lots"}, "give a number"),
        ({"min_replicas": "5"}, "min may not exceed max"),
        ({"name": "Churn"}, "cannot be a name"),
        ({"deployment_config": "{"}, "is no JSON"),
        ({"environment": "none:1"}, "There is no environment none:1"),
        ({"compute_target": "none"}, "There is no compute target none"),
    ],
)
def test_a_refused_deployment_says_why_keeps_the_form_and_creates_nothing(
    visitor: Client, workspace: Workspace, wrong: dict[str, str], sentence: str
) -> None:
    page_rows.target(workspace)
    page_rows.environment(workspace)
    form = DEPLOY | {"name": "churn", "compute_target": "prod-1", "description": "who leaves"} | wrong
    response = visitor.post("/w/lab/new/service/", form)
    text = response.content.decode()
    assert response.status_code in (400, 404, 422)
    assert sentence in text
    assert 'value="who leaves"' in text
    assert not Endpoint.objects.exists()


def test_a_version_is_added_with_the_next_name_and_a_share(visitor: Client, iris: Endpoint) -> None:
    assert b'value="v3"' in visitor.get("/w/lab/endpoints/iris/add/").content
    visitor.post("/w/lab/endpoints/iris/add/", DEPLOY | {"version": "v3", "percentile": "5"})
    assert shares(iris)["v3"] == Decimal("5.00")
    assert Operation.objects.get().kind == OperationKind.VERSION_CREATE


def test_an_update_keeps_the_code_that_is_not_given(visitor: Client, workspace: Workspace) -> None:
    page_rows.target(workspace)
    page_rows.environment(workspace)
    visitor.post("/w/lab/new/service/", DEPLOY | {"name": "churn", "compute_target": "prod-1"})
    Operation.objects.update(state="Succeeded")
    form = DEPLOY | {"code": "", "scaling": "fixed", "replicas": "3"}
    visitor.post("/w/lab/services/churn/versions/v1/update/", form)
    first, second = EndpointVersion.objects.get().deployment.revisions.order_by("number")
    assert second.code == first.code
    assert second.config["numReplicas"] == 3
    text = visitor.get("/w/lab/services/churn/").content.decode()
    assert "Roll back to 1" in text
    Operation.objects.update(state="Succeeded")
    visitor.post("/w/lab/services/churn/versions/v1/rollback/", {"revision": "1"})
    assert EndpointVersion.objects.get().deployment.revision == 3


def test_trying_needs_json_and_a_gateway(visitor: Client, iris: Endpoint) -> None:
    no_json = visitor.post("/w/lab/endpoints/iris/try/", {"body": "{"})
    assert no_json.status_code == 400
    assert b"The body is no JSON" in no_json.content
    answer = visitor.post("/w/lab/endpoints/iris/try/", {"body": '{"data": [1]}'})
    assert answer.content.count(b"prod-1 has no gateway that answers yet") == 3


def test_with_htmx_each_version_is_tried_by_a_request_of_its_own(visitor: Client, iris: Endpoint) -> None:
    fragment = visitor.post(
        "/w/lab/endpoints/iris/try/", {"body": "{}"}, headers={"HX-Request": "true"}
    ).content.decode()
    assert re.findall(r"\?version=(\w*)", fragment) == ["", "v1", "v2"]
    one = visitor.post("/w/lab/endpoints/iris/try/?version=v2", {"body": "{}"}, headers={"HX-Request": "true"})
    assert one.content.count(b"<article") == 1


def test_lists_take_few_queries_however_long_they_are(
    visitor: Client, workspace: Workspace, django_assert_max_num_queries: Any
) -> None:
    target = page_rows.target(workspace)
    for number in range(40):
        made = page_rows.endpoint(target, f"iris-{number}")
        page_rows.version(made, "v1", is_default=True)
        page_rows.version(made, "v2", "20")
    with django_assert_max_num_queries(14):
        visitor.get("/w/lab/endpoints/")
    with django_assert_max_num_queries(24):
        visitor.get("/w/lab/")


def test_an_endpoint_page_takes_as_many_queries_for_six_versions_as_for_one(
    visitor: Client, workspace: Workspace, django_assert_max_num_queries: Any
) -> None:
    made = page_rows.endpoint(page_rows.target(workspace))
    for number in range(6):
        page_rows.version(made, f"v{number}", is_default=number == 0, color=number)
    with django_assert_max_num_queries(18):
        visitor.get("/w/lab/endpoints/iris/")


def test_logs_of_a_cluster_that_does_not_answer_are_a_problem_and_not_a_crash(
    visitor: Client, iris: Endpoint, workspace: Workspace, settings: Any
) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    credential = '{"kind": "static", "token": "t"}'
    Workspace.objects.filter(pk=workspace.pk).update(arm_endpoint="http://127.0.0.1:1", arm_credential=credential)
    response = visitor.get("/w/lab/endpoints/iris/inside/?version=v1")
    assert response.status_code == 502
    assert b"Try again in a moment" in response.content
    toast = visitor.get("/w/lab/endpoints/iris/inside/", headers={"HX-Request": "true"})
    assert (toast.status_code, toast["HX-Retarget"]) == (502, "#toasts")
