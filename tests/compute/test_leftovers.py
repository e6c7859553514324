"""Detach leaves nothing of ours in the cluster; delete leaves nothing in Azure."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from compute import queries
from compute.models import ComputeTarget
from compute.names import workspace_namespace
from compute.steps import leftovers, reaching, removal
from deployments.models import Deployment
from endpoints import gateway
from portal.models import Operation

ONE = "compute-targets/prod-1/"
OURS = {"app.kubernetes.io/managed-by": "slipway"}
GATEWAY = {"jwks": "{}", "issuer": "slipway-scoring", "probe_secret": "s", "namespaces": ()}


@pytest.fixture
def target(created):
    return created("prod-1")


def put(azure, kind, namespace, name, labels=None):
    path = f"/api/v1/namespaces/{name}" if kind == "namespaces" else f"/api/v1/namespaces/{namespace}/{kind}/{name}"
    meta = {"name": name, "labels": labels or {}, **({} if kind == "namespaces" else {"namespace": namespace})}
    azure.objects[path] = {"metadata": meta}


def detach(call, run_all):
    assert call("operator", "post", f"{ONE}detach/", {}).status_code == 202
    run_all()
    return Operation.objects.get(kind="compute.detach")


@pytest.mark.parametrize("slug", ["vision", "9_Lives", "a" * 39 + "-b" * 5])
def test_the_namespaces_looked_into_are_those_that_gateway_and_workloads_have(target, slug):
    target.workspace.slug = slug
    found = leftovers.marks(target)
    view = gateway.GatewayView(target_id=target.pk, workspace=slug, endpoints=(), **GATEWAY)
    built = gateway.install(view, gateway.Files({}, {}, {}))
    assert {each["metadata"].get("namespace", found.gateway) for each in built} == {found.gateway}
    assert built[0]["metadata"]["name"] == found.gateway
    assert found.home == workspace_namespace(slug, target.workspace_id)
    assert re.fullmatch("[a-z][a-z0-9-]{0,62}", found.home)


def test_looking_through_a_cluster_asks_the_database_as_often_for_many_objects_as_for_one(azure, target):
    row = {"workspace": target.workspace, "compute_target": target, "name": "iris-v1", "namespace": "mine"}
    mine = {**OURS, "slipway.dev/deployment": str(Deployment.objects.create(**row, revision=1).pk)}
    cluster = queries.open_cluster(target)
    asked = []
    for number in (1, 20):
        for each in range(number):
            put(azure, "secrets", "mine", f"of-{each}", mine)
        with CaptureQueriesContext(connection) as seen:
            found = leftovers.inventory(cluster, target)
        assert [each.namespace for each in found.ours].count("mine") == number
        asked.append(len(seen))
    assert asked[0] == asked[1] <= 3


def test_what_a_detach_removes_is_listed_before_and_gone_after(call, azure, run_all, target):
    home = leftovers.marks(target).home
    put(azure, "namespaces", "", home, OURS)
    put(azure, "secrets", home, "orphan", OURS)
    put(azure, "configmaps", home, "kube-root-ca.crt")
    plan = call("operator", "get", f"{ONE}detach/").data
    told = {(each["kind"], each["namespace"], each["name"]) for each in plan["objects"]}
    assert {("Secret", home, "orphan"), ("Namespace", "", home)} <= told
    assert any(kind == "ConfigMap" and namespace == "slipway-system" for kind, namespace, _ in told)
    assert call("contributor", "get", f"{ONE}detach/").status_code == 403
    assert detach(call, run_all).state == "Succeeded"
    assert list(azure.objects) == [f"/api/v1/namespaces/{home}/configmaps/kube-root-ca.crt"]


def test_a_namespace_with_something_of_others_stays_and_is_named(call, azure, run_all, target):
    home = leftovers.marks(target).home
    put(azure, "namespaces", "", home, OURS)
    put(azure, "secrets", home, "orphan", OURS)
    put(azure, "persistentvolumeclaims", home, "theirs")
    (kept,) = call("operator", "get", f"{ONE}detach/").data["kept"]
    assert kept == {"namespace": home, "because_of": [f"PersistentVolumeClaim {home}/theirs"]}
    op = detach(call, run_all)
    assert f"The namespace {home} stays" in str(op.memo["warnings"])
    assert set(azure.objects) == {
        f"/api/v1/namespaces/{home}", f"/api/v1/namespaces/{home}/persistentvolumeclaims/theirs",
    }  # fmt: skip


def test_the_objects_of_another_workspace_and_portal_are_left_alone(call, azure, run_all, target):
    put(azure, "namespaces", "", "slipway-gw-other-9", OURS)
    put(azure, "secrets", "slipway-gw-other-9", "gateway-secret", {**OURS, "slipway.dev/gateway": "9"})
    before = dict(azure.objects)
    assert not [each for each in call("operator", "get", f"{ONE}detach/").data["objects"] if "other" in str(each)]
    detach(call, run_all)
    assert {path for path in before if "other-9" in path} <= set(azure.objects)


def test_what_does_not_go_fails_the_detach_with_the_list(call, azure, run_all, target, monkeypatch):
    monkeypatch.setattr(leftovers, "LOOKS", 2)
    home = leftovers.marks(target).home
    put(azure, "secrets", home, "stuck", OURS)
    azure.stuck = {f"/api/v1/namespaces/{home}/secrets/stuck"}
    op = detach(call, run_all)
    assert (op.state, op.error["code"]) == ("Failed", "left_behind")
    assert f"Secret {home}/stuck" in op.error["detail"]
    assert ComputeTarget.objects.get().state == "Succeeded"


FORBIDDEN = (403, {"kind": "Status", "message": "secrets is forbidden"})


def test_force_passes_a_cluster_that_turns_the_portal_away_and_says_what_stays(call, azure, run_all, target):
    azure.fail("kube", *[FORBIDDEN] * 9)
    assert call("operator", "post", f"{ONE}detach/", {"force": True}).status_code == 202
    run_all()
    op = Operation.objects.get(kind="compute.detach")
    assert op.state == "Succeeded"
    (warning,) = op.memo["warnings"]
    assert f"What the portal has in {target.cluster_name} was not taken out: secrets is forbidden" in warning
    assert len(azure.faults["kube"]) == 9 - reaching.TRIES


def test_without_force_a_cluster_that_turns_the_portal_away_fails_the_detach(call, azure, run_all, target):
    azure.fail("kube", FORBIDDEN)
    op = detach(call, run_all)
    assert (op.state, op.error["code"]) == ("Failed", "cluster_refused")
    assert ComputeTarget.objects.get().state == "Succeeded"


def test_a_delete_names_the_resource_group_of_the_nodes_that_azure_left(call, azure, run_all, target, monkeypatch):
    monkeypatch.setattr(removal, "GROUP_LOOKS", 2)
    (cluster,) = azure.clusters.values()
    cluster["properties"]["nodeResourceGroup"] = "mc_left"
    azure.groups.add("mc_left")
    call("operator", "delete", ONE)
    run_all()
    op = Operation.objects.get(kind="compute.delete")
    assert op.state == "Succeeded"
    assert "az group delete --name mc_left" in str(op.memo["warnings"])
