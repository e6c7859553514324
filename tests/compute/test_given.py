"""Clusters that are known by their kubeconfig only, from attach to detach."""

from __future__ import annotations

import base64
import html
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from compute import cost, queries
from compute.cluster import Refused
from compute.models import ComputeTarget
from compute.steps import given as given_steps
from compute.steps import watch_target
from portal.models import AuditEvent, Operation, OperationLog
from portal.outbound import AddressRefused
from tests.compute import kubeconfigs
from tests.compute.certificate import certificate
from tests.compute.conftest import step_once

ONE = "compute-targets/edge/"
UID = "0f6d7c1e-0000-4000-8000-000000000001"
OTHER_UID = "0f6d7c1e-0000-4000-8000-000000000002"


def node(name: str, cpu: str = "4", memory: str = "16Gi", taints: Any = ()) -> dict[str, Any]:
    """A node as an API server has it."""
    has = {"cpu": cpu, "memory": memory}
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}},
        "spec": {"taints": list(taints)},
        "status": {
            "capacity": has, "allocatable": has, "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.9"}],
        },
    }  # fmt: skip


CONTROL_PLANE = node("cp", taints=[{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}])


@pytest.fixture
def edge(azure):
    """The small API server as a cluster that ARM does not know: three workers and a control plane."""
    azure.cluster_uid, azure.kube_version = UID, "v1.31.4+k3s1"
    azure.own_nodes = [node("w1"), node("w2"), node("w3", cpu="8"), CONTROL_PLANE]
    return azure


def body(edge, **more):
    return {"name": "edge", "kubeconfig": edge.kubeconfig().decode(), **more}


def attach(call, edge, run_all, **more):
    answer = call("operator", "post", "compute-targets/attach/", body(edge, **more))
    assert answer.status_code == 202, answer.data
    run_all()
    return ComputeTarget.objects.get(name=more.get("name", "edge"))


def check(call, edge, **more):
    answer = call("operator", "post", "compute-targets/preflight/", {"attach": body(edge, **more)})
    assert answer.status_code == 200, answer.data
    return answer.data, {each["code"]: each for each in answer.data["findings"]}


def replace(call, text, who="operator"):
    return call(who, "put", f"{ONE}kubeconfig/", {"kubeconfig": text})


def watched(target):
    """The row after a look of the watch."""
    queries._open.clear()
    watch_target(target.pk)
    target.refresh_from_db()
    return target


def test_any_kubernetes_is_attached_and_shows_its_nodes_and_version(call, edge, run_all):
    target = attach(call, edge, run_all, region="plant 4")
    assert (target.state, target.reason, target.platform, target.is_attached) == ("Succeeded", "", "Kubernetes", True)
    assert (target.node_count, target.total_vcpus, target.vcpus, target.memory_gb) == (3, 16, 8, 16)
    assert (target.cluster_uid, target.cluster_name, target.region) == (UID, "c", "plant 4")
    shown = call("reader", "get", ONE).data
    assert (shown["platform"], shown["cluster_id"], shown["total_vcpus"]) == ("Kubernetes", "", 16)
    assert shown["observed"]["kubernetes_version"] == "v1.31.4+k3s1"
    assert [each["name"] for each in shown["observed"]["nodes"]] == ["w1", "w2", "w3"]
    assert shown["cost"]["usd_hour"] is None
    assert "not known here" in shown["cost"]["note"]
    assert not edge.reads  # ARM was not asked
    assert not [change for change in edge.changes if change[0] == "PUT"]


def test_the_kubeconfig_is_nowhere_to_be_read(call, edge, run_all, client, people):
    target = attach(call, edge, run_all)
    token, ca = edge.kube_token, base64.b64encode(edge.ca.encode()).decode()[40:80]
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM compute_computetarget")
        stored = str(cursor.fetchall())
    client.force_login(people["owner"])
    pages = [client.get(path).content.decode() for path in ("/w/lab/compute/edge/", "/w/lab/history/")]
    op = Operation.objects.get()
    told = [
        stored, *pages, str(op.input), str(op.memo), str(op.error), str(OperationLog.objects.values_list()),
        str(AuditEvent.objects.values_list("before", "after")), json.dumps(call("owner", "get", ONE).json()),
        repr(queries.given_cluster(edge.kubeconfig().decode())),
    ]  # fmt: skip
    assert target.access.count(token) == 1
    for text in told:
        assert token not in text
        assert ca not in text
    refused = call("owner", "post", f"{ONE}credentials/")
    assert (refused.status_code, refused.data["code"]) == (409, "kubeconfig_not_shown")
    assert "Download kubeconfig" not in pages[0]


def test_a_client_certificate_signs_in_too(call, edge, run_all, tmp_path):
    certificate(tmp_path)
    document = json.loads(edge.kubeconfig())
    pair = {"client-certificate-data": "c.pem", "client-key-data": "k.pem"}
    document["users"][0]["user"] = {
        name: base64.b64encode((tmp_path / file).read_bytes()).decode() for name, file in pair.items()
    }
    target = attach(call, edge, run_all, kubeconfig=json.dumps(document))
    assert target.state == "Failed"  # this API server takes tokens only
    assert "does not take the portal's credential" in target.reason
    assert target.access_ends_at is not None


def test_the_servers_address_is_checked_at_each_connection(call, edge, run_all, settings):
    target = attach(call, edge, run_all)
    settings.OUTBOUND_ALLOW = []
    queries._open.clear()
    with pytest.raises(AddressRefused, match=r"127\.0\.0\.1"):
        queries.open_cluster(target)
    assert watched(target).state == "Failed"
    assert "127.0.0.1" in target.reason


def test_a_redirect_is_not_followed(edge, settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    given = queries.given_cluster(edge.kubeconfig().decode())
    cluster = queries.connect_anew(ComputeTarget(platform="Kubernetes", access=given.kept))
    edge.fail("kube", (302, b"{}", {"Location": "https://169.254.169.254/"}))
    with pytest.raises(Refused):
        cluster.version()
    assert len(edge.asked) == 1


def test_a_preflight_lists_all_that_stands_against_an_attach_at_once(call, edge):
    edge.kube_version, edge.own_nodes = "v1.27.3", [node("w1"), CONTROL_PLANE]
    edge.barred = {"secrets"}
    ends = datetime.now(UTC) + timedelta(days=3)
    edge.kube_token = kubeconfigs.jwt(ends)
    told, found = check(call, edge, name="9")
    assert not told["passes"]
    assert {code for code, each in found.items() if each["level"] == "error"} == {
        "bad_compute_name", "version_unsupported", "too_few_vcpus", "permission_missing_inside",
    }  # fmt: skip
    assert "the portal supports 1.29 to 1.35" in found["version_unsupported"]["message"]
    assert "1 × node (4 vCPUs each) = 4 vCPUs" in found["too_few_vcpus"]["message"]
    assert "create, delete, get, list and patch secrets" in found["permission_missing_inside"]["message"]
    assert "docs/any-kubernetes.md" in found["permission_missing_inside"]["fix"]
    assert f"{ends:%Y-%m-%d %H:%M}" in found["credential_ends_soon"]["message"]
    assert not ComputeTarget.objects.exists()


def test_the_operation_and_the_page_have_the_same_findings_as_the_preflight(call, edge, run_all, client, people):
    edge.kube_version = "v1.20.9"
    told, _ = check(call, edge)
    target = attach(call, edge, run_all)
    op = Operation.objects.get()
    assert (op.state, op.error["code"], op.findings) == ("Failed", "preflight_failed", told["findings"])
    assert target.state == "Failed"
    ComputeTarget.objects.all().delete()
    client.force_login(people["operator"])
    form = {"name": "edge", "purpose": "FastProd", "kubeconfig": edge.kubeconfig().decode(), "check": "on"}
    page = client.post("/w/lab/new/attachment/", form).content.decode()
    assert "This would be refused" in page
    assert "c runs Kubernetes v1.20.9; the portal supports 1.29 to 1.35." in page
    assert edge.kube_token not in page


def test_a_cluster_without_a_node_for_replicas_is_refused(call, edge):
    edge.own_nodes = [CONTROL_PLANE]
    told, found = check(call, edge)
    assert (told["passes"], found["no_nodes"]["level"]) == (False, "error")


def test_nodes_of_windows_do_not_count_and_those_of_other_processors_are_told(call, edge):
    windows, arm = node("win", cpu="64"), node("arm", cpu="16")
    windows["metadata"]["labels"]["kubernetes.io/os"] = "windows"
    arm["metadata"]["labels"]["kubernetes.io/arch"] = "arm64"
    edge.own_nodes = [windows, arm]
    _, found = check(call, edge)
    assert found["vcpus"]["facts"] == {"vcpus": 16}
    assert "1 of arm64" in found["other_processors"]["message"]


def test_a_newer_kubernetes_than_was_tested_is_a_warning(call, edge):
    edge.kube_version = "v1.36.0"
    told, found = check(call, edge)
    assert (told["passes"], found["version_untested"]["level"]) == (True, "warning")


def test_a_credential_that_the_cluster_does_not_take_and_a_silent_server_are_told(call, edge, run_all):
    text = edge.kubeconfig().decode()
    edge.kube_token = "another"  # noqa: S105
    told, found = check(call, edge, kubeconfig=text)
    assert (told["passes"], found["sign_in_refused"]["level"]) == (False, "error")
    edge.fail("kube", *[(503, b"no")] * 99)
    told, found = check(call, edge)
    assert (told["passes"], found["unreachable"]["level"]) == (False, "error")
    assert attach(call, edge, run_all).state == "Failed"
    edge.faults.clear()
    assert call("operator", "post", f"{ONE}detach/", {}).status_code == 202  # nothing of ours is in there
    run_all()
    assert not ComputeTarget.objects.exists()


def test_a_cluster_is_attached_once_per_workspace_by_its_server(call, edge, run_all):
    attach(call, edge, run_all)
    again = call("operator", "post", "compute-targets/attach/", body(edge, name="again"))
    assert (again.status_code, again.data["existing"]) == (409, "edge")
    told, found = check(call, edge, name="again")
    assert [each["code"] for each in told["findings"]].count("already_attached") == 1
    assert "as edge" in found["already_attached"]["message"]


def test_an_aks_cluster_is_known_by_its_identity_when_its_kubeconfig_is_given(call, edge, run_all):
    edge.own_nodes = None
    edge.cluster("theirs")
    aks = {"name": "aks-1", "cluster_name": "theirs", "resource_group": "rg"}
    assert call("operator", "post", "compute-targets/attach/", aks).status_code == 202
    run_all()
    assert ComputeTarget.objects.get().cluster_uid == UID
    edge.own_nodes = [node("w1", cpu="16")]
    told, found = check(call, edge)
    assert (told["passes"], found["already_attached"]["facts"]) == (False, {"existing": "aks-1"})
    target = attach(call, edge, run_all)
    assert target.state == "Failed"
    assert "as aks-1" in target.reason


def test_a_kubeconfigs_cluster_is_known_by_its_identity_when_it_is_attached_as_aks(call, edge, run_all):
    attach(call, edge, run_all)
    edge.own_nodes = None
    edge.cluster("theirs")
    answer = call("operator", "post", "compute-targets/attach/", {"name": "aks-1", "cluster_name": "theirs"})
    assert answer.status_code == 202
    run_all()
    target = ComputeTarget.objects.get(name="aks-1")
    assert (target.state, "as edge" in target.reason) == ("Failed", True)


def test_an_attachment_of_another_team_is_told_without_its_names(call, edge, run_all, elsewhere):
    answer = call("other", "post", "compute-targets/attach/", body(edge, name="secret-name"), slug="rivals")
    assert answer.status_code == 202
    run_all()
    told, found = check(call, edge)
    assert told["passes"]
    assert "another team of this portal" in found["attached_elsewhere"]["message"]
    assert "rivals" not in str(told)
    assert attach(call, edge, run_all).state == "Succeeded"


REFUSED = {
    "scale": ("post", "scale/", {"node_count": 4}), "delete": ("delete", "", None), "start": ("post", "start/", {}),
    "forced delete": ("delete", "?force=true", None), "stop": ("post", "stop/", {"force": True}),
    "autoscaler": ("post", "autoscaler/", {"min_count": 1, "max_count": 3}), "adopt": ("post", "adopt/", {}),
    "pool": ("post", "pools/", {"name": "gpu1"}),
}  # fmt: skip


def test_what_only_azure_could_do_is_refused_in_one_sentence(call, edge, run_all):
    target = attach(call, edge, run_all)
    history = AuditEvent.objects.filter(target_ref=target.ref)
    before = (edge.changes[:], history.count())
    for method, path, sent in REFUSED.values():
        answer = call("operator", method, ONE + path, sent)
        assert (answer.status_code, answer.data["code"]) == (409, "not_in_azure"), (path, answer.data)
        assert answer.data["detail"].startswith("edge was attached by its kubeconfig: Azure does not know it, so ")
    pool = {"pool": {"compute_target": "edge", "name": "gpu1"}}
    assert call("operator", "post", "compute-targets/preflight/", pool).data["code"] == "not_in_azure"
    assert call("reader", "get", f"{ONE}pools/").data["items"] == []
    assert "has no node pools" in call("reader", "get", f"{ONE}pools/gpu1/").data["detail"]
    target.refresh_from_db()
    assert (edge.changes, history.count(), target.generation) == (*before, 1)
    assert not edge.reads


def test_its_page_has_no_form_of_azures_and_the_pages_refuse_what_is_sent_all_the_same(
    call, edge, run_all, client, people
):
    attach(call, edge, run_all, purpose="DevTest")
    client.force_login(people["operator"])
    page = html.unescape(client.get("/w/lab/compute/edge/").content.decode())
    for end in ("scale", "start", "stop", "autoscaler", "delete", "credentials"):
        assert f"/w/lab/compute/edge/{end}/" not in page
    assert "/w/lab/new/pool/edge/" not in page
    for end in ("detach", "kubeconfig"):
        assert f"/w/lab/compute/edge/{end}/" in page
    assert "3 nodes with 16 vCPUs in all" in " ".join(page.replace('<b class="num">', "").replace("</b>", "").split())
    sent = {"scale": {"node_count": 4, "generation": 1}, "start": {}, "delete": {"confirm": "edge"}, "adopt": {}}
    for end, form in sent.items():
        answer = client.post(f"/w/lab/compute/edge/{end}/", form)
        assert (answer.status_code, "Azure does not know it" in answer.content.decode()) == (409, True)
    assert "Azure does not know it" in client.get("/w/lab/new/pool/edge/").content.decode()
    assert "unknown" in client.get("/w/lab/compute/").content.decode()


def test_a_detach_leaves_nothing_and_forgets_the_kubeconfig(call, edge, run_all):
    attach(call, edge, run_all)
    assert [path for path in edge.objects if "/configmaps/" in path]
    plan = call("operator", "get", f"{ONE}detach/").data
    assert (plan["unseen"], [each["kind"] for each in plan["objects"]]) == ("", ["ConfigMap"])
    assert call("operator", "post", f"{ONE}detach/", {}).status_code == 202
    run_all()
    assert not ComputeTarget.objects.exists()
    assert edge.objects == {}


def test_a_detach_that_is_kept_out_leaves_by_force_and_says_what_stays(call, edge, run_all):
    attach(call, edge, run_all)
    edge.kube_token = "changed"  # noqa: S105
    queries._open.clear()
    assert call("operator", "post", f"{ONE}detach/", {}).status_code == 202
    run_all()
    assert Operation.objects.get(kind="compute.detach").state == "Failed"
    assert call("operator", "post", f"{ONE}detach/", {"force": True}).status_code == 202
    run_all()
    assert not ComputeTarget.objects.exists()


def test_a_newer_kubeconfig_is_used_once_it_was_seen_to_work(call, edge, run_all):
    target = attach(call, edge, run_all)
    edge.kube_token = kubeconfigs.jwt(datetime.now(UTC) + timedelta(days=90))
    assert replace(call, edge.kubeconfig().decode()).status_code == 202
    target.refresh_from_db()
    assert "kube-1" in target.access
    run_all()
    op = Operation.objects.get(kind="compute.kubeconfig")
    assert op.state == "Succeeded"
    assert edge.kube_token not in str(op.input) + str(op.memo) + str(AuditEvent.objects.values_list("before", "after"))
    target.refresh_from_db()
    assert edge.kube_token in target.access
    assert target.access_next == ""
    assert target.access_ends_at is not None
    assert queries.open_cluster(target).version() == "v1.31.4+k3s1"
    (event,) = AuditEvent.objects.filter(action="compute_target.kubeconfig_replaced")
    assert event.after["ends"].startswith(str(target.access_ends_at.year))


def test_a_kubeconfig_of_another_cluster_is_refused_and_the_old_one_stays(call, edge, run_all):
    target = attach(call, edge, run_all)
    edge.cluster_uid = OTHER_UID
    assert replace(call, edge.kubeconfig().decode()).status_code == 202
    run_all()
    op = Operation.objects.get(kind="compute.kubeconfig")
    assert (op.state, op.error["title"]) == ("Failed", "The kubeconfig cannot be used")
    assert "is another cluster than the one that is attached as edge" in op.error["detail"]
    before = target.access
    target.refresh_from_db()
    assert (target.access, target.access_next, target.state) == (before, "", "Succeeded")
    again = call("operator", "post", f"operations/{op.pk}/retry/")
    assert again.status_code == 202
    run_all()
    op.refresh_from_db()
    assert "Give it again" in op.error["detail"]


def test_a_replacement_that_was_killed_half_way_finishes(call, edge, run_all):
    target = attach(call, edge, run_all)
    assert replace(call, edge.kubeconfig().decode()).status_code == 202
    op = Operation.objects.get(kind="compute.kubeconfig")
    step_once(op)
    assert given_steps.store_kubeconfig(op) is None  # killed after the row was written, before the step was noted
    run_all()
    op.refresh_from_db()
    assert op.state == "Succeeded"
    target.refresh_from_db()
    assert (target.access_next, target.state) == ("", "Succeeded")


def test_an_aks_cluster_takes_no_kubeconfig_and_a_busy_one_waits(call, edge, run_all):
    target = attach(call, edge, run_all)
    assert replace(call, edge.kubeconfig().decode()).status_code == 202
    busy = replace(call, edge.kubeconfig().decode())
    assert (busy.status_code, busy.data["code"]) == (409, "operation_running")
    run_all()
    ComputeTarget.objects.filter(pk=target.pk).update(platform="AKS")
    refused = replace(call, edge.kubeconfig().decode())
    assert (refused.status_code, refused.data["code"]) == (409, "azure_gives_kubeconfig")


def test_the_page_replaces_the_kubeconfig_and_refuses_a_wrong_one(call, edge, run_all, people):
    attach(call, edge, run_all)
    browser = Client()
    browser.force_login(people["operator"])
    page = browser.post(
        "/w/lab/compute/edge/kubeconfig/", {"kubeconfig": kubeconfigs.of_server("http://x.example.com")}
    )
    assert (page.status_code, "give https" in page.content.decode()) == (422, True)
    sent = browser.post("/w/lab/compute/edge/kubeconfig/", {"kubeconfig": edge.kubeconfig().decode()})
    assert sent["Location"] == "/w/lab/compute/edge/"
    run_all()
    assert Operation.objects.get(kind="compute.kubeconfig").state == "Succeeded"


def test_the_watch_follows_nodes_and_version(call, edge, run_all):
    target = attach(call, edge, run_all)
    edge.own_nodes, edge.kube_version = [node("w1"), node("w9", cpu="32")], "v1.32.0"
    target = watched(target)
    assert (target.node_count, target.total_vcpus, target.vcpus, target.state) == (2, 36, 32, "Succeeded")
    assert target.observed["kubernetes_version"] == "v1.32.0"
    assert not edge.reads
    assert cost.of(target).usd_hour is None


def test_a_credential_that_is_not_taken_any_more_is_told_on_the_target_until_it_is_replaced(call, edge, run_all):
    target = attach(call, edge, run_all)
    edge.kube_token = "newer"  # noqa: S105
    target = watched(target)
    assert target.state == "Failed"
    assert target.reason.startswith("The API server of c does not take the portal: ")
    assert "Replace the kubeconfig" in target.reason
    assert replace(call, edge.kubeconfig().decode()).status_code == 202
    run_all()
    target.refresh_from_db()
    assert (target.state, target.reason) == ("Succeeded", "")
    assert watched(target).state == "Succeeded"


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (timedelta(days=14, hours=1), "ends in 14 days"), (timedelta(days=1, hours=1), "ends in 1 day ("),
        (timedelta(hours=3), "ends within a day"), (timedelta(hours=-3), "ended on"), (timedelta(days=31), ""),
    ],
)  # fmt: skip
def test_a_credential_that_ends_soon_is_told_on_the_target(call, edge, run_all, client, people, left, words):
    target = attach(call, edge, run_all)
    ComputeTarget.objects.update(access_ends_at=datetime.now(UTC) + left)
    target.refresh_from_db()
    assert words in watched(target).reason
    client.force_login(people["reader"])
    assert words in client.get("/w/lab/compute/edge/").content.decode()
    assert bool(target.reason) == bool(words)


def test_a_silent_cluster_is_told_with_since_when_and_is_well_again_when_it_answers(call, edge, run_all):
    target = attach(call, edge, run_all)
    edge.fail("kube", *[(503, b"no")] * 99)
    first = watched(target).reason
    assert (target.state, "has not answered since" in first) == ("Succeeded", True)
    assert watched(target).reason == first
    edge.faults.clear()
    assert (watched(target).reason, "silent_since" in target.observed) == ("", False)


def test_a_credential_that_has_ended_is_why_a_server_hangs_up(call, edge, run_all):
    target = attach(call, edge, run_all)
    ComputeTarget.objects.update(access_ends_at=datetime.now(UTC) - timedelta(hours=1))
    edge.fail("kube", *[(503, b"no")] * 99)
    target = watched(target)
    assert (target.state, "credential ended on" in target.reason) == ("Failed", True)


def test_another_cluster_at_the_same_address_is_not_taken_for_the_attached_one(call, edge, run_all):
    target = attach(call, edge, run_all)
    edge.cluster_uid = OTHER_UID
    target = watched(target)
    assert target.state == "Failed"
    assert target.reason.startswith("Another cluster answers at https://127.0.0.1")


def test_an_attach_that_failed_is_not_mended_by_looking(call, edge, run_all):
    edge.kube_version = "v1.20.9"
    target = attach(call, edge, run_all)
    reason = target.reason
    edge.kube_version = "v1.33.0"
    assert (watched(target).state, target.reason) == ("Failed", reason)


def test_how_the_gateway_is_reached_is_kept(call, edge, run_all):
    target = attach(call, edge, run_all, gateway_service="NodePort", gateway_address="score.example.com")
    assert target.config == {"gateway": {"service": "NodePort", "address": "score.example.com"}}
