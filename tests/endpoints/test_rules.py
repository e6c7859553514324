"""Rules of domain.md at both doors: refused with the same sentence on a page and in REST, and nothing changes."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from compute.models import ComputeTarget
from deployments.models import Artifact, Deployment
from endpoints.models import Endpoint, EndpointVersion, Gateway
from endpoints.steps import numbers
from endpoints.types import GatewayState
from portal.models import AuditEvent, Operation, User, Workspace
from tests.endpoints.make import SCRIPT, Caller, deployment_body, finish, make_environment, make_target

pytestmark = pytest.mark.django_db
GOOD = {"primaryKey": "p" * 16, "secondaryKey": "s" * 16}
PAGE = {"name": "iris", "compute_target": "aks", "environment": "sk:1", "entry_script": "score.py", "code": SCRIPT}


@pytest.fixture
def target(workspace: Workspace) -> ComputeTarget:
    make_environment(workspace)
    return make_target(workspace, "aks", vm_size="Standard_D3_v2", vcpus=4, memory_gb=14)


@pytest.fixture
def us(
    client_of: Callable[[User], APIClient], workspace: Workspace, contributor: User, target: ComputeTarget
) -> Caller:
    return Caller(client_of(contributor), workspace)


@pytest.fixture
def visitor(client: Client, contributor: User) -> Client:
    client.force_login(contributor)
    return client


def body(name: str = "iris", **more: Any) -> dict[str, Any]:
    return {"name": name, "compute_target": "aks", **deployment_body(), **more}


def service(us: Caller, **more: Any) -> Endpoint:
    answer = us.post("services/", body(**more))
    assert answer.status_code == 202, answer.content
    return finish(Endpoint.objects.get(name="iris"))


def endpoint(us: Caller, *versions: str) -> Endpoint:
    assert us.post("endpoints/", body(version="a")).status_code == 202
    found = finish(Endpoint.objects.get(name="iris"))
    for name in versions:
        assert us.post("endpoints/iris/versions/", {"version": name, **deployment_body()}).status_code == 202
        finish(found)
    return found


def split(us: Caller, **versions: Any) -> Any:
    generation = us.get("endpoints/iris/").json()["generation"]
    return us.patch("endpoints/iris/traffic/", {"generation": generation, "versions": versions})


def everything() -> list[int]:
    rows = (Endpoint, EndpointVersion, Deployment, Artifact, Operation, AuditEvent)
    return [model.objects.count() for model in rows]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"containerResourceRequirements": {"cpu": 0}}, "cpu is 0"),
    ({"containerResourceRequirements": {"memoryInGB": 2, "memoryInGBLimit": 1}}, "memoryInGBLimit is 1"),
    ({"containerResourceRequirements": {"cpu": 5}}, "one Standard_D3_v2 of aks has 4 vCPUs"),
    ({"gpuCores": 1}, "Standard_D3_v2 has 0 GPUs"),
    ({"gpuCores": 0.5}, "gpuCores is 0.5"),
    ({"numReplicas": 2, "autoScaler": {"autoscaleEnabled": True}}, "numReplicas is 2 and autoScaler"),
    ({"autoScaler": {"minReplicas": 4, "maxReplicas": 3}}, "minReplicas is 4 and maxReplicas is 3"),
    ({"autoScaler": {"targetUtilization": 101}}, "targetUtilization is 101"),
    ({"autoScaler": {"refreshPeriodInSeconds": 0}}, "refreshPeriodInSeconds is 0"),
    ({"maxConcurrentRequestsPerContainer": 0}, "maxConcurrentRequestsPerContainer is 0"),
    ({"scoringTimeoutMs": 0}, "scoringTimeoutMs is 0"),
    ({"maxQueueWaitMs": -1}, "maxQueueWaitMs is -1"),
    ({"livenessProbeRequirements": {"periodSeconds": 0}}, "periodSeconds is 0"),
    ({"authEnabled": True, "tokenAuthEnabled": True}, "not both"),
    ({"keys": {**GOOD, "primaryKey": "short"}}, "has 5 characters"),
    ({"keys": {**GOOD, "secondaryKey": "p" * 16}}, "are the same"),
    ({"keys": GOOD, "authEnabled": False}, "keys belong to key authentication"),
    ({"namespace": "Big"}, "namespace is 'Big'"),
    ({"tags": {"a": 1}}, "tags: give a JSON object of texts"),
    ({"description": 1}, "description is 1"),
    ({"computeType": "ACI"}, "computeType is 'ACI'"),
    ({"numReplica": 1}, "has no numReplica"),
]


@pytest.mark.parametrize(("config", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_a_deployment_configuration_against_a_rule_is_refused_alike_on_page_and_in_rest_and_changes_nothing(
    us: Caller, visitor: Client, config: dict[str, Any], words: str
) -> None:
    before = everything()
    answer = us.post("services/", body(deployment_config=config))
    assert answer.status_code == 422, answer.content
    assert words in answer.json()["detail"]
    page = visitor.post("/w/lab/new/service/", {**PAGE, "deployment_config": json.dumps(config)})
    assert page.status_code == 422
    assert answer.json()["detail"] in html.unescape(page.content.decode())
    assert everything() == before


SPLITS: list[tuple[dict[str, str], str]] = [
    ({"a": "60", "b": "52"}, "add to 112, and at most 100 is possible: a 60, b 52. 12 too many."),
    ({"a": "0", "b": "100.5"}, "b cannot get 100.5 %: a percentile is from 0 to 100."),
    ({"a": "0", "b": "-1"}, "b cannot get -1 %: a percentile is from 0 to 100."),
    ({"a": "0", "b": "33.333"}, "at most two decimals"),
    ({"a": "0", "c": "1"}, "There is no version c. There are: a, b."),
]


@pytest.mark.parametrize(("wanted", "sentence"), SPLITS, ids=[sentence for _, sentence in SPLITS])
def test_a_split_against_a_rule_is_refused_alike_on_page_and_in_rest_and_changes_nothing(
    us: Caller, visitor: Client, wanted: dict[str, str], sentence: str
) -> None:
    found = endpoint(us, "b")
    before, generation = everything(), found.generation
    answer = split(us, **{name: {"traffic_percentile": share} for name, share in wanted.items()})
    assert (answer.status_code, sentence in answer.json()["detail"]) == (422, True), answer.json()
    fields = {f"share-{name}": share for name, share in wanted.items()}
    page = visitor.post("/w/lab/endpoints/iris/traffic/", {"generation": str(generation), **fields})
    assert page.status_code == 422
    assert answer.json()["detail"] in html.unescape(page.content.decode())
    assert everything() == before
    assert us.get("endpoints/iris/").json()["generation"] == generation


def test_a_typo_inside_a_change_of_traffic_is_refused_and_not_dropped(us: Caller) -> None:
    endpoint(us, "b")
    answer = split(us, b={"traffic_percentil": 20})
    assert answer.status_code == 400
    assert "versions.b.traffic_percentil: Unknown. Known: is_control, is_default" in answer.json()["detail"]
    code = {**deployment_body()["code"], "folder": "x"}
    assert "code.folder: Unknown" in us.post("services/", body("other") | {"code": code}).json()["detail"]


def test_what_is_accepted_and_cannot_be_done_yet_is_a_warning_in_answer_operation_and_page(
    us: Caller, visitor: Client
) -> None:
    config = {"appInsightsEnabled": True, "dataCollection": {"eventHubEnabled": True}}
    answer = us.post("services/", body(deployment_config=config)).json()
    assert [text.split()[0] for text in answer["warnings"]] == ["appInsightsEnabled", "dataCollection.eventHubEnabled"]
    assert us.get(f"operations/{answer['operation']}/").json()["warnings"] == answer["warnings"]
    assert answer["warnings"][0] in visitor.get(f"/w/lab/operations/{answer['operation']}/").content.decode()


def test_tags_properties_and_description_of_a_deployment_configuration_are_the_services(us: Caller) -> None:
    config = {"tags": {"a": "1"}, "properties": {"p": "1"}, "description": "from the file"}
    service(us, deployment_config=config, tags={"own": "2"})
    shown = us.get("services/iris/").json()
    told = (shown["tags"], shown["properties"], shown["description"])
    assert told == ({"own": "2"}, {"p": "1"}, "from the file")
    changed = us.patch("services/iris/", {"deployment_config": {"description": "other"}})
    assert (changed.status_code, changed.json()["description"]) == (200, "other")
    refused = us.patch("services/iris/", {"deployment_config": {"properties": {"p": "2"}}})
    assert (refused.status_code, "written once: p" in refused.json()["detail"]) == (422, True)


def test_a_change_of_which_one_part_is_refused_changes_nothing_at_all(us: Caller) -> None:
    service(us, description="before")
    before = everything()
    answer = us.patch("services/iris/", {"description": "after", "auth": "None", "entry_script": "missing.py"})
    assert answer.status_code == 422
    assert "no file missing.py" in answer.json()["detail"]
    shown = us.get("services/iris/").json()
    assert (shown["description"], shown["auth"]) == ("before", "Key")
    assert everything() == before


def test_a_refused_deployment_leaves_no_code_and_no_history_on_page_and_in_rest(us: Caller, visitor: Client) -> None:
    before = everything()
    script = "def init():\n    pass\n"
    assert us.post("services/", body(code={"files": {"score.py": script}})).status_code == 422
    assert visitor.post("/w/lab/new/service/", {**PAGE, "code": script}).status_code == 422
    assert everything() == before


def test_keys_given_on_an_update_replace_both_and_are_refused_where_callers_use_no_keys(us: Caller) -> None:
    found = service(us)
    before = len(us.get("services/iris/revisions/").json()["items"])
    assert us.patch("services/iris/", {"deployment_config": {"keys": GOOD}}).status_code == 202
    finish(found)
    assert us.post("services/iris/keys/").json() == {"primary": "p" * 16, "secondary": "s" * 16}
    swapped = {"primaryKey": "s" * 16, "secondaryKey": "p" * 16}
    assert us.patch("services/iris/", {"deployment_config": {"keys": swapped}}).status_code == 202
    finish(found)
    assert us.post("services/iris/keys/").json() == {"primary": "s" * 16, "secondary": "p" * 16}
    assert len(us.get("services/iris/revisions/").json()["items"]) == before
    refused = us.patch("services/iris/", {"deployment_config": {"keys": GOOD, "tokenAuthEnabled": True}})
    assert (refused.status_code, "keys belong to key" in refused.json()["detail"]) == (422, True)
    assert us.get("services/iris/").json()["auth"] == "Key"


@pytest.mark.parametrize("config", [{"keys": GOOD}, {"authEnabled": False}, {"tokenAuthEnabled": True}])
def test_how_callers_sign_in_is_the_endpoints_and_is_refused_for_one_version(
    us: Caller, visitor: Client, config: dict[str, Any]
) -> None:
    endpoint(us)
    more = {"deployment_config": config}
    for answer in (
        us.post("endpoints/iris/versions/", {"version": "b", **deployment_body(), **more}),
        us.patch("endpoints/iris/versions/a/", more),
    ):
        assert answer.status_code == 422
        assert "belong to the endpoint iris (auth: Key)" in answer.json()["detail"]
    page = {**PAGE, "version": "b", "deployment_config": json.dumps(config)}
    assert "belong to the endpoint iris" in visitor.post("/w/lab/endpoints/iris/add/", page).content.decode()
    assert EndpointVersion.objects.count() == 1
    same = {"authEnabled": True, "scoringTimeoutMs": 1000}
    assert us.patch("endpoints/iris/versions/a/", {"deployment_config": same}).status_code == 202


def test_an_update_from_the_page_keeps_what_the_form_has_no_field_for(us: Caller, visitor: Client) -> None:
    probe = {"periodSeconds": 20}
    service(us, deployment_config={"livenessProbeRequirements": probe, "autoScaler": {"refreshPeriodInSeconds": 3}})
    form = {**PAGE, "scaling": "auto", "min_replicas": "2", "max_replicas": "4", "target": "60"}
    assert visitor.post("/w/lab/services/iris/versions/v1/update/", form).status_code == 302
    newest = us.get("services/iris/revisions/").json()["items"][0]["deployment_config"]
    assert newest["livenessProbeRequirements"] == probe
    assert newest["autoScaler"]["refreshPeriodInSeconds"] == 3


def test_application_insights_is_a_tick_on_the_page_with_a_warning_while_the_workspace_has_none(
    us: Caller, visitor: Client
) -> None:
    update = "/w/lab/services/iris/versions/v1/update/"
    found = service(us, deployment_config={"appInsightsEnabled": True})
    assert 'name="app_insights" checked' in visitor.get(update).content.decode()

    def newest() -> dict[str, Any]:
        return dict(us.get("services/iris/revisions/").json()["items"][0]["deployment_config"])

    said = visitor.post(update, {**PAGE, "app_insights": "on"}, follow=True).content.decode()
    assert "this workspace has no Application Insights: nothing is sent" in html.unescape(said)
    assert newest()["appInsightsEnabled"] is True
    finish(found)
    Workspace.objects.update(app_insights="InstrumentationKey=x;IngestionEndpoint=https://in.example/")
    assert "has none yet" not in visitor.get(update).content.decode()
    visitor.post(update, PAGE)
    assert "appInsightsEnabled" not in newest()


def test_the_comment_of_an_update_stands_with_its_revision(us: Caller) -> None:
    service(us)
    assert us.patch("services/iris/", {"models": [], "comment": "Round two"}).status_code == 202
    assert us.get("services/iris/revisions/").json()["items"][0]["comment"] == "Round two"


def test_moving_the_default_or_the_control_is_said_in_the_answer_and_on_the_page(us: Caller, visitor: Client) -> None:
    found = endpoint(us, "b")
    assert split(us, b={"is_default": True}).json()["warnings"] == ["b is now the default; a was it before."]
    finish(found)
    split(us, a={"is_control": True})
    finish(found)
    form = {"generation": str(found.generation), "share-a": "0", "share-b": "0", "default": "b", "control": "b"}
    page = visitor.post("/w/lab/endpoints/iris/traffic/", form, follow=True)
    assert "b is now the control; a was it before." in page.content.decode()


def test_the_answer_to_deleting_the_default_names_its_successor_and_the_share(us: Caller) -> None:
    found = endpoint(us, "b", "c")
    split(us, c={"is_control": True, "traffic_percentile": 10})
    finish(found)
    answer = us.delete("endpoints/iris/versions/a/").json()
    assert answer["warnings"] == ["a is deleted: its 90 % go to c.", "c is now the default; a was it before."]


def test_the_effective_share_stands_wherever_a_percentile_does(us: Caller) -> None:
    found = endpoint(us, "b")
    split(us, a={"traffic_percentile": 20}, b={"traffic_percentile": 10})
    finish(found)
    assert us.get("endpoints/").json()["items"][0]["versions"] == {"a": 90, "b": 10}
    stale = us.patch("endpoints/iris/traffic/", {"generation": 0, "versions": {"b": {"traffic_percentile": 1}}})
    rows = [us.get("endpoints/iris/versions/a/").json(), us.get("endpoints/iris/versions/").json()["items"][0]]
    for row in (*rows, us.get("endpoints/iris/").json()["versions"]["a"], stale.json()["versions"]["a"]):
        assert (row["traffic_percentile"], row["effective_share"]) == (20, 90)


def test_registering_a_new_model_version_changes_no_running_service(us: Caller, workspace: Workspace) -> None:
    from tests import page_rows

    page_rows.model(workspace, "iris", 1)
    service(us, models=["iris:1"])
    before = Operation.objects.count()
    page_rows.model(workspace, "iris", 2)
    (revision,) = us.get("services/iris/revisions/").json()["items"]
    assert revision["models"] == ["iris:1"]
    assert Operation.objects.count() == before


def test_an_open_service_says_so_on_its_page_and_in_rest(us: Caller, visitor: Client) -> None:
    service(us, deployment_config={"authEnabled": False})
    assert us.get("services/iris/").json()["auth"] == "None"
    assert "Anyone who reaches the address may score" in visitor.get("/w/lab/services/iris/").content.decode()


def test_a_scoring_token_does_not_pass_as_a_portal_token(us: Caller) -> None:
    service(us, deployment_config={"tokenAuthEnabled": True})
    token = us.post("services/iris/token/", {}).json()["access_token"]
    thief = APIClient()
    thief.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert thief.get("/api/v1/workspaces/").status_code == 401


@pytest.mark.parametrize("state", ["Creating", "Deleting", "Detaching", "Failed", "Canceled", "Missing"])
def test_nothing_can_be_deployed_to_a_compute_target_that_is_not_there_or_goes(
    us: Caller, visitor: Client, state: str
) -> None:
    ComputeTarget.objects.update(state=state)
    before = everything()
    answer = us.post("services/", body())
    assert (answer.status_code, f"aks is {state}; " in answer.json()["detail"]) == (409, True)
    assert answer.json()["detail"] in html.unescape(visitor.post("/w/lab/new/service/", PAGE).content.decode())
    assert everything() == before


def test_no_version_on_a_missing_cluster_is_said_to_take_traffic(us: Caller, target: ComputeTarget) -> None:
    found = endpoint(us, "b")
    EndpointVersion.objects.update(hosts=1)
    gateway = Gateway.objects.create(compute_target=target, state=GatewayState.READY, probe_secret="s", tls_key="k")
    ComputeTarget.objects.filter(pk=target.pk).update(state="Missing")
    numbers.look(gateway.pk)
    rows = us.get("endpoints/iris/").json()["versions"]
    assert [row["effective_share"] for row in rows.values()] == [0, 0]
    assert found.versions.count() == 2


def test_what_a_stopped_cluster_serves_cannot_change_until_it_runs(us: Caller, visitor: Client) -> None:
    endpoint(us, "b")
    generation = us.get("endpoints/iris/").json()["generation"]
    ComputeTarget.objects.update(observed={"power_state": "Stopped"})
    before, split = everything(), {"generation": generation, "versions": {"b": {"traffic_percentile": 10}}}
    for answer, words in (
        (us.post("services/", body(name="late")), "it takes deployments when it runs"),
        (us.patch("endpoints/iris/traffic/", split), "iris can change when it runs"),
        (us.delete("endpoints/iris/"), "iris can be deleted when it runs"),
        (us.get("endpoints/iris/logs/"), "it answers when it runs"),
    ):
        detail = f"aks is stopped; {words}. Start it first."
        assert (answer.status_code, answer.json()["detail"]) == (409, detail)
    page = html.unescape(visitor.post("/w/lab/new/service/", {**PAGE, "name": "late"}).content.decode())
    assert "aks is stopped; it takes deployments when it runs. Start it first." in page
    assert everything() == before


def test_no_version_on_a_stopped_cluster_is_said_to_take_traffic(us: Caller, target: ComputeTarget) -> None:
    endpoint(us, "b")
    EndpointVersion.objects.update(hosts=1)
    gateway = Gateway.objects.create(compute_target=target, state=GatewayState.READY, probe_secret="s", tls_key="k")
    ComputeTarget.objects.filter(pk=target.pk).update(observed={"power_state": "Stopped"})
    numbers.look(gateway.pk)
    rows = us.get("endpoints/iris/").json()["versions"]
    assert [row["effective_share"] for row in rows.values()] == [0, 0]
