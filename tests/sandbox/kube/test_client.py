"""The official Python client against the pretend API."""

import threading
import time
from typing import Any

import pytest
import yaml
from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException


@pytest.fixture
def api(server):
    document = yaml.safe_load(server.kube.kubeconfig("c1", "clusterUser", server.url))
    settings = client.Configuration()
    config.load_kube_config_from_dict(document, client_configuration=settings)
    settings.no_proxy = "127.0.0.1"
    with client.ApiClient(settings) as found:
        yield found


def _deployment() -> dict[str, Any]:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "b:1"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def test_the_client_reads_typed_objects_of_every_listed_kind(api, namespace):
    core = client.CoreV1Api(api)
    nodes = core.list_node().items
    assert [node.metadata.name for node in nodes] == ["aks-pool-0", "aks-pool-1"]
    assert nodes[0].status.allocatable["cpu"] == "7820m"
    core.create_namespaced_pod(
        namespace, {"metadata": {"name": "one"}, "spec": {"containers": [{"name": "main", "image": "b:1"}]}}
    )
    assert {pod.metadata.namespace for pod in core.list_pod_for_all_namespaces().items} >= {namespace}
    assert core.read_namespaced_service("kubernetes", "default").spec.cluster_ip == "10.0.0.1"
    names = {row.metadata.name for row in client.SchedulingV1Api(api).list_priority_class().items}
    assert names >= {"system-node-critical", "system-cluster-critical"}
    assert client.VersionApi(api).get_code().git_version == "v1.32.5"
    assert client.RbacAuthorizationV1Api(api).list_namespaced_role(namespace).items == []


def test_the_client_creates_scales_applies_and_deletes(api, namespace):
    apps = client.AppsV1Api(api)
    apps.create_namespaced_deployment(namespace, _deployment(), field_manager="portal")
    scaled = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 4}})
    assert scaled.spec.replicas == 4
    with pytest.raises(ApiException) as refused:
        apps.patch_namespaced_deployment(
            "web", namespace, _deployment(), field_manager="other", _content_type="application/apply-patch+yaml"
        )
    assert refused.value.status == 409
    assert "Apply failed with" in refused.value.body
    apps.delete_namespaced_deployment("web", namespace, propagation_policy="Foreground")
    with pytest.raises(ApiException) as gone:
        apps.read_namespaced_deployment("web", namespace)
    assert gone.value.status == 404


def test_the_clients_watch_sees_changes_as_they_come(api, namespace):
    core = client.CoreV1Api(api)
    start = core.list_namespaced_config_map(namespace).metadata.resource_version

    def later() -> None:
        time.sleep(0.2)
        body = {"metadata": {"name": "late"}}
        core.create_namespaced_config_map(namespace, body)

    thread = threading.Thread(target=later)
    thread.start()
    stream = watch.Watch().stream(core.list_namespaced_config_map, namespace, resource_version=start, timeout_seconds=2)
    seen = [(event["type"], event["object"].metadata.name) for event in stream]
    thread.join()
    assert seen == [("ADDED", "late")]


def test_the_client_asks_for_a_token_and_for_its_rights(api, namespace):
    body = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=700))
    made = client.CoreV1Api(api).create_namespaced_service_account_token("default", namespace, body)
    assert made.status.token.count(".") == 2
    attributes = client.V1ResourceAttributes(namespace=namespace, verb="create", resource="pods")
    review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes))
    assert client.AuthorizationV1Api(api).create_self_subject_access_review(review).status.allowed is True
