"""Attach an existing cluster."""

from __future__ import annotations

import json

import pytest

from compute.arm import budget
from compute.arm.budget import Budget
from compute.models import ComputeTarget
from portal.models import Operation
from tests.compute.azure import SUB, TOKEN
from tests.compute.conftest import step_once

ID = f"/subscriptions/{SUB}/resourcegroups/rg/providers/Microsoft.ContainerService/managedClusters/theirs"
BODY = {"name": "their-1", "cluster_name": "theirs", "resource_group": "rg"}


def attach(call, run_all, **body):
    answer = call("operator", "post", "compute-targets/attach/", {**BODY, **body})
    assert answer.status_code == 202, answer.data
    run_all()
    return ComputeTarget.objects.get()


@pytest.mark.parametrize("by_id", [True, False])
def test_attach_by_resource_id_or_by_group_and_name(call, azure, run_all, by_id):
    azure.cluster("theirs")
    body = {"cluster_id": ID, "cluster_name": "", "resource_group": ""} if by_id else {}
    target = attach(call, run_all, **body)
    assert (target.state, target.is_attached, target.vm_size, target.node_count) == (
        "Succeeded", True, "Standard_D4s_v3", 3,
    )  # fmt: skip
    assert target.observed["nodes_ready"] == 3
    assert not [change for change in azure.changes if change[0] == "PUT"]


def test_a_cluster_that_does_not_exist_is_refused_and_the_target_can_be_detached(call, azure, run_all):
    target = attach(call, run_all)
    assert target.state == "Failed"
    assert target.reason.startswith("Azure has no cluster theirs in rg. Look at the names:")
    assert call("operator", "post", "compute-targets/their-1/detach/", {"force": True}).status_code == 202
    run_all()
    assert not ComputeTarget.objects.exists()


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"provisioningState": "Upgrading"}, "theirs is Upgrading"),
        ({"powerState": {"code": "Stopped"}}, "stopped in Azure. Start it"),
        ({"currentKubernetesVersion": "1.20.9"}, "no longer supports. Upgrade it to one of 1.32, 1.33, 1.34"),
    ],
)
def test_a_cluster_that_cannot_serve_is_refused_with_what_would_help(call, azure, run_all, properties, words):
    azure.cluster("theirs", **properties)
    target = attach(call, run_all)
    assert target.state == "Failed"
    assert words in target.reason


def test_a_fastprod_attach_needs_12_vcpus_too(call, azure, run_all):
    azure.cluster("theirs")["properties"]["agentPoolProfiles"][0]["count"] = 2
    target = attach(call, run_all)
    assert "8 vCPUs" in target.reason
    assert "passes is 3" in target.reason


def test_a_cluster_of_several_pools_counts_them_all(call, azure, run_all):
    cluster = azure.cluster("theirs")
    cluster["properties"]["agentPoolProfiles"][0]["count"] = 2
    cluster["properties"]["agentPoolProfiles"].append(
        {"name": "more", "mode": "User", "vmSize": "Standard_D4s_v3", "count": 1}
    )
    assert attach(call, run_all).state == "Succeeded"


def test_a_cluster_of_several_pools_is_scaled_with_all_its_vcpus_in_mind(call, azure, run_all):
    cluster = azure.cluster("theirs")
    cluster["properties"]["agentPoolProfiles"].append(
        {"name": "more", "mode": "User", "vmSize": "Standard_D8s_v3", "count": 1}
    )
    attach(call, run_all)
    refused = call("operator", "post", "compute-targets/their-1/scale/", {"node_count": 0})
    assert refused.status_code == 422
    assert call("operator", "post", "compute-targets/their-1/scale/", {"node_count": 1}).status_code == 202
    ComputeTarget.objects.update(vcpus=2, state="Succeeded")
    Operation.objects.update(state="Succeeded")
    refused = call("operator", "post", "compute-targets/their-1/scale/", {"node_count": 1}).data["detail"]
    assert "1 × Standard_D4s_v3 (2 vCPUs each) + 1 × Standard_D8s_v3 (8 vCPUs each) = 10 vCPUs" in refused
    assert "passes is 2" in refused


def test_a_devtest_attach_says_that_it_is_not_for_production(call, azure):
    azure.cluster("theirs")
    answer = call("operator", "post", "compute-targets/attach/", {**BODY, "purpose": "DevTest"})
    assert "not fit for production traffic and has no fault tolerance" in answer.data["warnings"][0]


def test_a_cluster_is_attached_once_per_workspace_and_the_refusal_names_the_existing_one(call, azure, run_all):
    azure.cluster("theirs")
    attach(call, run_all)
    answer = call(
        "operator", "post", "compute-targets/attach/", {"name": "again", "cluster_id": ID.replace("rg", "RG")}
    )
    assert (answer.status_code, answer.data["existing"]) == (409, "their-1")
    assert "as their-1" in answer.data["detail"]


def test_a_second_workspace_may_attach_the_same_cluster(call, azure, run_all, elsewhere):
    azure.cluster("theirs")
    attach(call, run_all)
    answer = call("other", "post", "compute-targets/attach/", {**BODY, "name": "their-2"}, slug="rivals")
    run_all()
    assert answer.status_code == 202
    assert ComputeTarget.objects.get(name="their-2").state == "Succeeded"
    assert len([path for path in azure.objects if "/configmaps/" in path]) == 2


def test_an_api_server_out_of_reach_names_the_authorized_ranges_and_offers_to_add_ours(call, azure, run_all):
    azure.cluster("theirs", apiServerAccessProfile={"authorizedIPRanges": ["198.51.100.0/24"]})
    azure.fail("kube", *[(503, b"no")] * 9)
    target = attach(call, run_all)
    assert target.state == "Failed"
    assert "198.51.100.0/24" in target.reason
    assert "authorize_range" in target.reason
    azure.fail("kube", *[(503, b"no")] * 99)  # nothing of ours is in there, so nobody needs to reach it
    assert call("operator", "post", "compute-targets/their-1/detach/", {}).status_code == 202
    run_all()
    assert not ComputeTarget.objects.exists()


def test_the_portals_range_is_added_to_the_authorized_ones_when_asked(call, azure, run_all):
    azure.cluster("theirs", apiServerAccessProfile={"authorizedIPRanges": ["198.51.100.0/24"]})
    target = attach(call, run_all, authorize_range="203.0.113.7/32")
    assert target.state == "Succeeded"
    ranges = azure.clusters["theirs"]["properties"]["apiServerAccessProfile"]["authorizedIPRanges"]
    assert ranges == ["198.51.100.0/24", "203.0.113.7/32"]
    assert len([change for change in azure.changes if change[0] == "PUT"]) == 1


def test_a_kubeconfig_with_a_forbidden_address_is_not_followed(call, azure, run_all, settings):
    azure.cluster("theirs")
    kubeconfig = azure.kubeconfig().replace(b"https://127.0.0.1:", b"https://169.254.169.254:")
    azure.kubeconfig = lambda: kubeconfig
    target = attach(call, run_all)
    assert target.state == "Failed"
    assert "169.254.169.254" in target.reason


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "x1y"}, 422), ({"name": "x1y", "cluster_id": "nonsense"}, 422),
        ({"name": "x1y", "cluster_id": ID, "cluster_name": "a"}, 422), ({"name": "1", "cluster_name": "a"}, 422),
        ({"name": "x1y", "cluster_name": "a", "authorize_range": "x"}, 422), ({"cluster_name": "a"}, 400),
    ],
)  # fmt: skip
def test_an_attach_of_the_wrong_shape_is_refused(call, body, status):
    assert call("operator", "post", "compute-targets/attach/", body).status_code == status
    assert not ComputeTarget.objects.exists()


def test_the_clusters_of_the_subscription_are_listed_to_choose_from(call, azure):
    azure.cluster("theirs")
    (row,) = call("operator", "get", "clusters/").data["items"]
    assert (row["name"], row["node_count"], row["resource_group"]) == ("theirs", 3, "rg")
    assert call("contributor", "get", "clusters/").status_code == 403


def check(call, **body):
    answer = call("operator", "post", "compute-targets/preflight/", {"attach": {**BODY, **body}})
    assert answer.status_code == 200, answer.data
    return answer.data, {each["code"]: each for each in answer.data["findings"]}


def test_a_preflight_lists_all_that_stands_against_an_attach_at_once(call, azure):
    cluster = azure.cluster("theirs", provisioningState="Failed", currentKubernetesVersion="1.20.9")
    cluster["properties"]["agentPoolProfiles"][0]["count"] = 2
    azure.rights["theirs"] = [{"actions": ["Microsoft.ContainerService/managedClusters/read"], "notActions": []}]
    azure.barred = {"secrets"}
    told, found = check(call, name="9")
    assert not told["passes"]
    errors = {code for code, each in found.items() if each["level"] == "error"}
    assert errors == {
        "bad_compute_name", "permission_missing", "state_not_succeeded", "version_unsupported", "too_few_vcpus",
        "permission_missing_inside",
    }  # fmt: skip
    assert "listClusterUserCredential" in found["permission_missing"]["message"]
    assert "list and patch secrets" in found["permission_missing_inside"]["message"]
    assert not ComputeTarget.objects.exists()


def test_the_operation_and_the_page_have_the_same_findings_as_the_preflight(call, azure, run_all, client, people):
    azure.cluster("theirs", powerState={"code": "Stopped"}, currentKubernetesVersion="1.20.9")
    told, _ = check(call)
    attach(call, run_all)
    op = Operation.objects.get()
    assert (op.state, op.error["code"], op.findings) == ("Failed", "preflight_failed", told["findings"])
    ComputeTarget.objects.update(cluster_name="another")
    client.force_login(people["operator"])
    form = {"name": "their-1", "purpose": "FastProd", "cluster_id": ID, "check": "on"}
    page = client.post("/w/lab/new/attachment/", form).content.decode()
    assert "theirs is stopped in Azure. Start it, then attach it." in page
    assert "az aks start --resource-group rg --name theirs" in page
    assert ComputeTarget.objects.count() == 1


def test_another_portals_note_is_told_with_the_portal_and_one_of_the_same_workspace_name_is_refused(
    call, azure, run_all
):
    azure.cluster("theirs")
    attach(call, run_all)
    (path,) = [path for path in azure.objects if "/configmaps/" in path]
    assert len(azure.objects[path]["data"]["installation"]) == 32
    ComputeTarget.objects.update(cluster_name="another")
    azure.objects[path]["data"]["installation"] = "f" * 32
    told, found = check(call, name="mine-9")
    assert (told["passes"], found["other_portal_same_name"]["level"]) == (False, "error")
    azure.objects[path]["data"]["workspace"] = "theirs"
    told, found = check(call, name="mine-9")
    assert (told["passes"], found["other_portal"]["level"]) == (True, "warning")
    assert "the portal ffffffff (workspace theirs, as their-1)" in found["other_portal"]["message"]


def test_an_attachment_of_another_team_is_told_without_its_names(call, azure, run_all, elsewhere):
    azure.cluster("theirs")
    call("other", "post", "compute-targets/attach/", {**BODY, "name": "secret-name"}, slug="rivals")
    run_all()
    told, found = check(call, name="mine-9")
    assert told["passes"]
    assert found["attached_elsewhere"]["message"].startswith("theirs is attached to another team of this portal too")
    assert "rivals" not in str(told)


@pytest.mark.parametrize(
    ("outgoing", "wanted", "code"),
    [
        ([], "", "own_address_unknown"), (["203.0.113.7/32"], "", "range_missing"),
        (["198.51.100.9/32"], "", "range_authorized"), ([], "203.0.113.7/32", "range_to_be_added"),
    ],
)  # fmt: skip
def test_authorized_ranges_are_held_against_the_portals_own_address(call, azure, settings, outgoing, wanted, code):
    settings.OUTGOING_RANGES = outgoing
    azure.cluster("theirs", apiServerAccessProfile={"authorizedIPRanges": ["198.51.100.0/24"]})
    azure.fail("kube", (503, b"no"))
    _, found = check(call, authorize_range=wanted)
    assert code in found
    assert ("unreachable" in found) == (not wanted)


def test_a_cluster_without_local_accounts_is_attached_with_the_workspaces_own_token(call, azure, run_all):
    azure.cluster("theirs", disableLocalAccounts=True, aadProfile={"managed": True})
    kubeconfig = json.loads(azure.kubeconfig())
    args = ["get-token", "--server-id", "6dae42f8-4368-4678-94ff-3960e28e3630"]
    kubeconfig["users"][0]["user"] = {"exec": {"command": "kubelogin", "args": args}}
    azure.kubeconfig = lambda: json.dumps(kubeconfig).encode()
    azure.kube_token = TOKEN
    _, found = check(call)
    assert "Microsoft Entra sign-in only" in found["entra_sign_in"]["message"]
    assert attach(call, run_all, name="mine-9").state == "Succeeded"
    azure.kube_token = "somebody else's"
    told, found = check(call, name="mine-8")
    assert not told["passes"]
    assert found["sign_in_refused"]["level"] == "error"
    assert "Azure Kubernetes Service RBAC Cluster Admin" in found["sign_in_refused"]["fix"]


def test_an_azure_that_is_busy_or_away_is_no_refusal_of_the_cluster(call, azure, run_all):
    azure.cluster("theirs")
    azure.fail("GET", *[(503, b"down")] * 200)
    assert call("operator", "post", "compute-targets/attach/", BODY).status_code == 202
    for _ in range(12):
        step_once(Operation.objects.get())
    assert Operation.objects.get().state == "Running"
    azure.faults.clear()
    run_all()
    assert Operation.objects.get().state == "Succeeded"


def test_a_preflight_held_by_the_budget_waits_however_many_troubles_came_before(call, azure, run_all, monkeypatch):
    azure.cluster("theirs")
    assert call("operator", "post", "compute-targets/attach/", BODY).status_code == 202
    Operation.objects.update(memo={"troubles": 9})
    monkeypatch.setattr(budget._alone, "forget", lambda: None)
    with_hold = Budget(azure.url, SUB, json.dumps({"kind": "static", "token": TOKEN}))
    with_hold.learn("POST", 429, {"Retry-After": "2"})
    for _ in range(3):
        assert 0 < step_once(Operation.objects.get()) <= 3
    assert Operation.objects.get().state == "Running"
    monkeypatch.undo()
    run_all()
    assert Operation.objects.get().state == "Succeeded"
