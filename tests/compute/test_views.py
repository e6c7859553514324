"""The pages of compute at their door."""

from __future__ import annotations

import html
from typing import Any

import pytest
from django.test import Client

from compute.models import ComputeTarget
from portal.models import AuditEvent, Operation, User, Workspace
from portal.types import OperationKind
from tests import factories, page_rows

IDENTITY = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/cluster"
CREATE = {"name": "prod-1", "purpose": "FastProd", "vm_size": "Standard_D3_v2", "node_count": "3", "region": ""}


@pytest.fixture
def visitor(client: Client, operator: User) -> Client:
    client.force_login(operator)
    return client


def test_the_list_shows_wanted_beside_ready_and_says_where_they_differ(visitor: Client, workspace: Workspace) -> None:
    page_rows.target(workspace, "prod-1", node_count=4)
    text = visitor.get("/w/lab/compute/").content.decode()
    assert "4 wanted / 3 ready" in text
    assert "Differs" in text


def test_the_list_takes_few_queries_however_long_it_is(
    visitor: Client, workspace: Workspace, django_assert_max_num_queries: Any
) -> None:
    for number in range(40):
        page_rows.target(workspace, f"prod-{number}")
    with django_assert_max_num_queries(12):
        visitor.get("/w/lab/compute/")


def test_a_cluster_is_created_from_the_form(visitor: Client, workspace: Workspace) -> None:
    response = visitor.post("/w/lab/new/compute/", CREATE)
    assert response["Location"] == "/w/lab/compute/prod-1/"
    target = ComputeTarget.objects.get()
    assert (target.name, target.node_count, target.region) == ("prod-1", 3, "westeurope")
    assert Operation.objects.get().kind == OperationKind.COMPUTE_CREATE


def test_the_forms_settings_reach_the_cluster(visitor: Client, workspace: Workspace) -> None:
    more = {
        "other_size": "Standard_D4s_v5", "min_count": "3", "max_count": "6", "authorized_ip_ranges": "203.0.113.0/24",
        "zones": "1, 2", "os_disk_gb": "64", "identity": IDENTITY,
        "internal": "on", "balancer_subnet": "models", "tags": "cost=42\n\nowner=ada",
        "balancer_ip": "10.240.0.9", "cname": "score.example.com",
    }  # fmt: skip
    assert visitor.post("/w/lab/new/compute/", CREATE | more).status_code == 302
    target = ComputeTarget.objects.get()
    assert target.vm_size == "Standard_D4s_v5"
    assert target.config["autoscaler"] == {"min_count": 3, "max_count": 6}
    assert target.config["authorized_ip_ranges"] == ["203.0.113.0/24"]
    assert target.config["load_balancer"] == {"internal": True, "subnet": "models", "ip": "10.240.0.9"}
    assert target.config["tls"]["cname"] == "score.example.com"
    assert (target.config["zones"], target.config["os_disk_gb"]) == (["1", "2"], 64)
    assert target.config["identity"] == IDENTITY
    assert target.tags == {"cost": "42", "owner": "ada"}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"node_count": "2"}, "The smallest count of Standard_D3_v2 that passes is 3"),
        ({"name": "1x"}, "A compute target&#x27;s name has 3 to 24"),
        ({"node_count": "many"}, "A valid integer is required"),
        ({"tags": "nothing"}, "is not name=value"),
        ({"min_count": "3"}, "needs both a smallest and a largest count"),
    ],
)
def test_a_refused_form_says_why_keeps_what_was_typed_and_creates_nothing(
    visitor: Client, workspace: Workspace, wrong: dict[str, str], sentence: str
) -> None:
    sent = CREATE | {"resource_group": "my-group"} | wrong
    response = visitor.post("/w/lab/new/compute/", sent)
    text = response.content.decode()
    assert response.status_code in (400, 422)
    assert sentence in text
    assert 'value="my-group"' in text
    assert not ComputeTarget.objects.exists()


REFUSED = [
    ({"name": "ab"}, "3 to 24"),
    ({"node_count": "2"}, "2 × Standard_D3_v2 (4 vCPUs each) = 8 vCPUs"),
    ({"node_count": "1001"}, "1 to 1000"),
    ({"vm_size": "Standard_NP10s"}, "FPGA sizes are gone from Azure"),
    ({"vm_size": "Standard_Q1"}, "There is no VM size"),
    ({"kubernetes_version": "latest"}, "is not a Kubernetes version"),
    ({"service_cidr": "x"}, "service_cidr: 'x' is not an IPv4 range"),
    ({"dns_service_ip": "10.9.0.1"}, "has to lie in the service range"),
    ({"subnet_id": "x"}, "is not a subnet's resource id"),
    ({"name": "taken"}, "lab has a compute target taken already; it is Succeeded"),
]


@pytest.mark.parametrize(("wish", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_a_cluster_against_a_rule_is_refused_alike_on_page_and_in_rest_and_changes_nothing(
    visitor: Client, workspace: Workspace, operator: User, wish: dict[str, str], words: str
) -> None:
    page_rows.target(workspace, "taken")
    asked = {name: value for name, value in (CREATE | wish).items() if value}
    answer = factories.client(operator).post("/api/v1/workspaces/lab/compute-targets/", asked, format="json")
    assert (answer.status_code, words in answer.json()["detail"]) == (409 if "taken" in words else 422, True)
    page = visitor.post("/w/lab/new/compute/", asked)
    assert page.status_code == answer.status_code
    assert answer.json()["detail"] in html.unescape(page.content.decode())
    assert ComputeTarget.objects.count() == 1
    assert not Operation.objects.exists()


def test_a_devtest_cluster_from_the_form_without_a_count_has_1_node(visitor: Client, workspace: Workspace) -> None:
    response = visitor.post("/w/lab/new/compute/", CREATE | {"purpose": "DevTest", "node_count": ""}, follow=True)
    assert ComputeTarget.objects.get().node_count == 1
    assert b"not fit for production traffic" in response.content


def test_a_contributor_cannot_create_a_cluster(client: Client, workspace: Workspace, contributor: User) -> None:
    client.force_login(contributor)
    response = client.post("/w/lab/new/compute/", CREATE)
    assert response.status_code == 403
    assert b"This needs the role Operator" in response.content


def test_the_slider_scales_and_the_page_shows_it_happen(visitor: Client, workspace: Workspace) -> None:
    target = page_rows.target(workspace)
    response = visitor.post("/w/lab/compute/prod-1/scale/", {"node_count": "5", "generation": "1"}, follow=True)
    target.refresh_from_db()
    assert (target.node_count, target.state) == (5, "Scaling")
    assert b"Steps and log" in response.content


def test_a_scale_below_the_floor_is_refused_with_the_smallest_count(visitor: Client, workspace: Workspace) -> None:
    target = page_rows.target(workspace)
    response = visitor.post("/w/lab/compute/prod-1/scale/", {"node_count": "2", "generation": "1"})
    target.refresh_from_db()
    assert response.status_code == 422
    assert b"that passes is 3" in response.content
    assert b'name="node_count" id="node_count" min="1" max="1000" required value="2"' in response.content
    assert target.node_count == 3


def test_a_second_scale_of_a_changed_cluster_is_refused(visitor: Client, workspace: Workspace) -> None:
    page_rows.target(workspace, generation=7)
    response = visitor.post("/w/lab/compute/prod-1/scale/", {"node_count": "5", "generation": "6"})
    assert response.status_code == 412
    assert b"was changed meanwhile" in response.content


def test_a_second_job_on_a_busy_cluster_is_refused_with_a_link_to_the_first(
    visitor: Client, workspace: Workspace
) -> None:
    page_rows.target(workspace)
    visitor.post("/w/lab/compute/prod-1/scale/", {"node_count": "5", "generation": "1"})
    response = visitor.post("/w/lab/compute/prod-1/delete/", {"confirm": "prod-1"})
    assert response.status_code == 409
    assert f"/w/lab/operations/{Operation.objects.get().pk}/" in response.content.decode()


def test_deleting_asks_for_the_name(visitor: Client, workspace: Workspace) -> None:
    page_rows.target(workspace)
    response = visitor.post("/w/lab/compute/prod-1/delete/", {"confirm": "prod"})
    assert response.status_code == 422
    assert b"Type prod-1 to confirm" in response.content
    assert not Operation.objects.exists()


def test_what_runs_on_a_cluster_is_named_and_goes_first_only_when_asked(visitor: Client, workspace: Workspace) -> None:
    page_rows.endpoint(page_rows.target(workspace), "iris")
    refused = visitor.post("/w/lab/compute/prod-1/detach/", {"confirm": "prod-1"})
    assert refused.status_code == 409
    assert b"iris runs on prod-1" in refused.content
    forced = visitor.post("/w/lab/compute/prod-1/detach/", {"confirm": "prod-1", "force": "on"})
    op = Operation.objects.get()
    assert forced["Location"] == f"/w/lab/operations/{op.pk}/"
    assert op.input["force"]


def test_an_attachment_takes_a_pasted_id_before_a_picked_one(visitor: Client, workspace: Workspace) -> None:
    start = "/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/rg/providers"
    ids = [f"{start}/Microsoft.ContainerService/managedClusters/{name}" for name in ("pasted", "picked")]
    form = {"name": "theirs", "purpose": "DevTest", "cluster_id": ids[0], "picked": ids[1], "authorize_range": ""}
    response = visitor.post("/w/lab/new/attachment/", form)
    assert response["Location"] == "/w/lab/compute/theirs/"
    assert ComputeTarget.objects.get().cluster_name == "pasted"


def test_the_live_part_has_no_field_and_says_what_was_seen(visitor: Client, workspace: Workspace) -> None:
    page_rows.target(workspace)
    text = visitor.get("/w/lab/compute/prod-1/live/", headers={"HX-Request": "true"}).content.decode()
    assert "aks-nodepool1-1234567-vmss000000" in text
    assert "<input" not in text


def test_a_reader_gets_no_kubeconfig(client: Client, workspace: Workspace, reader: User) -> None:
    page_rows.target(workspace)
    client.force_login(reader)
    assert client.post("/w/lab/compute/prod-1/credentials/").status_code == 403
    assert not AuditEvent.objects.exists()


@pytest.fixture
def at_azure(client: Client, home: Any, people: dict[str, User]) -> Client:
    """An Operator of a workspace whose Azure answers."""
    client.force_login(people["operator"])
    return client


def test_the_attach_form_lists_clusters_and_says_which_one_is_here_already(
    at_azure: Client, azure: Any, home: Any
) -> None:
    azure.cluster("theirs")
    azure.cluster("ours")
    here = page_rows.target(home, "known")
    ComputeTarget.objects.filter(pk=here.pk).update(cluster_name="ours")
    text = at_azure.get("/w/lab/new/attachment/").content.decode()
    assert "<b>theirs</b>" in text
    assert "here already as known" in text


def test_when_azure_is_silent_the_attach_form_takes_an_id(at_azure: Client, azure: Any, home: Any) -> None:
    type(home).objects.filter(pk=home.pk).update(arm_endpoint="http://127.0.0.1:1")
    response = at_azure.get("/w/lab/new/attachment/")
    assert response.status_code == 200
    assert b"Paste its resource id below" in response.content


def test_a_kubeconfig_is_a_file_that_is_not_kept_and_history_says_who_has_it(
    at_azure: Client, azure: Any, home: Any
) -> None:
    azure.cluster("prod-1-7")
    page_rows.target(home)
    response = at_azure.post("/w/lab/compute/prod-1/credentials/")
    assert response["Content-Disposition"] == 'attachment; filename="prod-1.kubeconfig"'
    assert response["Cache-Control"] == "no-store"
    assert b"current-context" in response.content
    assert AuditEvent.objects.filter(action="compute_target.credentials_revealed").count() == 1


def test_the_list_can_be_filtered_by_name_and_state(visitor: Client, workspace: Workspace) -> None:
    page_rows.target(workspace, "prod-1")
    page_rows.target(workspace, "trial", state="Failed")
    text = visitor.get("/w/lab/compute/?q=tri&state=Failed&sort=newest").content.decode()
    assert ("/w/lab/compute/trial/" in text, "/w/lab/compute/prod-1/" in text) == (True, False)
    assert b"No cluster like that" in visitor.get("/w/lab/compute/?q=prod&state=Failed").content
