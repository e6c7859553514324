"""The portal's own client against the pretend API server: what it applies is taken, and who else has a say is told."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from compute.cluster import Cluster, FieldConflict, connect
from tests.deployments.test_manifests import everything, view
from tests.endpoints import test_gateway

from .conftest import CLUSTER, deployment

Json = dict[str, Any]


@pytest.fixture
def cluster(server: Any, settings: Any) -> Cluster:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    return connect(server.kube.kubeconfig(CLUSTER, "clusterAdmin", server.url))


def mine(namespace: str, **spec: Any) -> Json:
    made = deployment(**spec)
    return {**made, "metadata": {**made["metadata"], "namespace": namespace}}


def replicas(http: Any, namespace: str) -> int:
    return int(http("GET", f"apis/apps/v1/namespaces/{namespace}/deployments/web").json()["spec"]["replicas"])


def by_hand(http: Any, namespace: str, change: Json, manager: str = "kubectl-edit") -> None:
    path = f"apis/apps/v1/namespaces/{namespace}/deployments/web"
    kind = "application/strategic-merge-patch+json"
    assert http("PATCH", path, {"spec": change}, kind, fieldManager=manager).status_code == 200


def image(name: str) -> Json:
    return {"template": {"spec": {"containers": [{"name": "main", "image": name}]}}}


def test_who_has_set_a_field_by_hand_is_told_by_name_and_nothing_is_changed(cluster, http, namespace):
    cluster.apply([mine(namespace)])
    by_hand(http, namespace, image("example/web:hotfix"))
    wanted = mine(namespace)
    wanted["spec"]["template"]["spec"]["containers"][0]["image"] = "example/web:2"
    with pytest.raises(FieldConflict) as caught:
        cluster.apply([wanted])
    field = 'spec.template.spec.containers[name="main"].image'
    assert caught.value.detail.startswith(f"Deployment web: kubectl-edit has set {field}. ")
    assert caught.value.extras["claims"] == [{"manager": "kubectl-edit", "field": field}]
    live = http("GET", f"apis/apps/v1/namespaces/{namespace}/deployments/web").json()
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "example/web:hotfix"
    assert cluster.apply([wanted], force=True) == []
    assert cluster.apply([wanted]) == []


def test_what_is_equal_is_no_conflict(cluster, http, namespace):
    cluster.apply([mine(namespace)])
    by_hand(http, namespace, image("example/web:2"))
    same = mine(namespace)
    same["spec"]["template"]["spec"]["containers"][0]["image"] = "example/web:2"
    assert cluster.apply([same]) == []


def test_replicas_that_another_sets_are_left_to_it(cluster, http, namespace):
    cluster.apply([mine(namespace, replicas=2)])
    by_hand(http, namespace, {"replicas": 5}, "horizontal-pod-autoscaler")
    told = cluster.apply([mine(namespace, replicas=2)])
    assert told == ["The replicas of web are left to horizontal-pod-autoscaler, which sets them."]
    assert replicas(http, namespace) == 5
    assert cluster.apply([mine(namespace, replicas=3)], force=True) == []
    assert replicas(http, namespace) == 3


def test_what_the_portal_itself_scaled_is_its_own(cluster, http, namespace):
    cluster.apply([mine(namespace)])
    cluster.scale(namespace, "web", 4)
    assert cluster.apply([mine(namespace, replicas=2)]) == []
    assert replicas(http, namespace) == 2


def test_what_is_generated_whole_is_always_ours(cluster, http, namespace):
    config = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": namespace}, "data": {"a": "1"},
    }  # fmt: skip
    cluster.apply([config])
    path = f"api/v1/namespaces/{namespace}/configmaps/c"
    http("PATCH", path, {"data": {"a": "2"}}, "application/merge-patch+json", fieldManager="kubectl-edit")
    assert cluster.apply([config]) == []
    assert http("GET", path).json()["data"] == {"a": "1"}


def test_every_object_of_ours_is_taken_and_its_pods_are_let_in(cluster, http):
    found = copy.deepcopy([*everything(), *test_gateway.everything()])
    order = {"Namespace": 0, "PriorityClass": 1, "ServiceAccount": 2}
    for name in ("ws-a", "ws-b"):
        found.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    found.sort(key=lambda each: order.get(each["kind"], 3))
    cluster.apply(found, force=True)
    workloads = [each for each in found if each["kind"] == "Deployment"]
    for number, each in enumerate(workloads):
        namespace, template = each["metadata"]["namespace"], each["spec"]["template"]
        labels = http("GET", f"api/v1/namespaces/{namespace}").json()["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        body = {"metadata": {"name": f"p{number}", "labels": template["metadata"]["labels"]}, "spec": template["spec"]}
        answer = http("POST", f"api/v1/namespaces/{namespace}/pods", body, fieldValidation="Strict", dryRun="All")
        assert answer.status_code == 201, answer.text
        assert "Warning" not in answer.headers
    assert len(workloads) > 10
    assert view().namespace in {each["metadata"]["namespace"] for each in workloads}
