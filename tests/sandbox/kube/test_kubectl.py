"""The real kubectl against the pretend API."""

import copy
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
]
Json = dict[str, Any]
Run = Callable[..., subprocess.CompletedProcess[str]]
WEB: Json = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": "example/web:1", "ports": [{"containerPort": 80}]}]},
        },
    },
}


@pytest.fixture
def kubectl(server, namespace, tmp_path) -> Run:
    file = tmp_path / "config"
    file.write_bytes(server.kube.kubeconfig("c1", "clusterUser", server.url))
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(file), "NO_PROXY": "127.0.0.1"}
    cache = Path(server.folder) / "kubectl-cache"

    def run(*args: str, send: Json | None = None, ok: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["kubectl", "--cache-dir", str(cache), "-n", namespace, *args],
            input=yaml.dump(send) if send else None,
            capture_output=True,
            text=True,
            timeout=30,
            env=env,
        )
        if ok:
            assert done.returncode == 0, done.stderr
        return done

    return run


ONE: Json = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"},
    "spec": {"nodeName": "aks-pool-1", "containers": [{"name": "main", "image": "example/web:1"}]},
}  # fmt: skip


def test_get_prints_nodes_pods_and_deployments_of_all_namespaces(kubectl, namespace):
    kubectl("apply", "-f", "-", send=WEB)
    kubectl("apply", "-f", "-", send=ONE)
    out = kubectl("get", "nodes,pods,deployments", "-A").stdout
    rows = [line.split() for line in out.splitlines()]
    assert ["node/aks-pool-0", "Ready", "<none>"] in [row[:3] for row in rows]
    assert [namespace, "pod/one", "0/1", "Pending", "0"] in [row[:5] for row in rows]
    assert [namespace, "deployment.apps/web", "0/2", "0", "0"] in [row[:5] for row in rows]


def test_describe_shows_a_node_and_a_deployment_with_its_events(server, kubectl, namespace):
    kubectl("apply", "-f", "-", send=WEB)
    stored = server.call(server.store.get, "c1", "deployments", namespace, "web")
    server.call(server.store.event, "c1", stored, "Normal", "ScalingReplicaSet", "Scaled up to 2", "tester")
    text = kubectl("describe", "deployment", "web").stdout
    assert "StrategyType:           RollingUpdate" in text
    assert "ScalingReplicaSet" in text
    kubectl("apply", "-f", "-", send=ONE)
    assert re.search(rf"{namespace} +one +0", kubectl("describe", "node", "aks-pool-1").stdout)


def test_scale_label_annotate_and_set_image_change_the_deployment(server, kubectl, namespace):
    kubectl("apply", "-f", "-", send=WEB)
    assert kubectl("scale", "deployment", "web", "--replicas=3").stdout == "deployment.apps/web scaled\n"
    kubectl("label", "deployment", "web", "team=a")
    kubectl("annotate", "deployment", "web", "note=b")
    kubectl("set", "image", "deployment/web", "main=example/web:2")
    found = server.call(server.store.get, "c1", "deployments", namespace, "web")
    assert found["spec"]["replicas"] == 3
    assert found["metadata"]["labels"]["team"] == "a"
    assert found["metadata"]["annotations"]["note"] == "b"
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "example/web:2"
    managers = {row["manager"] for row in found["metadata"]["managedFields"]}
    assert managers == {"kubectl", "kubectl-client-side-apply", "kubectl-label", "kubectl-annotate", "kubectl-set"}


def test_client_side_apply_is_idempotent_and_removes_what_it_dropped(server, kubectl, namespace):
    first = copy.deepcopy(WEB)
    first["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}]
    kubectl("apply", "-f", "-", send=first)
    assert kubectl("apply", "-f", "-", send=first).stdout == "deployment.apps/web unchanged\n"
    kubectl("apply", "-f", "-", send=WEB)
    found = server.call(server.store.get, "c1", "deployments", namespace, "web")
    assert "env" not in found["spec"]["template"]["spec"]["containers"][0]


def test_server_side_apply_meets_a_conflict_and_can_force(kubectl):
    kubectl("apply", "--server-side", "-f", "-", send=WEB)
    kubectl("scale", "deployment", "web", "--replicas=3")
    refused = kubectl("apply", "--server-side", "-f", "-", send=WEB, ok=False)
    assert refused.returncode != 0
    assert (
        'Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas'
        in refused.stderr
    )
    forced = kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", send=WEB)
    assert forced.stdout == "deployment.apps/web serverside-applied\n"


def test_rollout_status_reads_the_status(server, kubectl, namespace):
    kubectl("apply", "-f", "-", send=WEB)

    def ready(obj: Json) -> None:
        generation = obj["metadata"]["generation"]
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 2)
        obj["status"] = {"observedGeneration": generation, **counts}

    server.call(server.store.mutate, "c1", "deployments", namespace, "web", ready, subresource="status")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=5s").stdout


def test_logs_are_printed(server, kubectl):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    pod["spec"] = {"containers": [{"name": "a", "image": "b:1"}]}
    kubectl("apply", "-f", "-", send=pod)
    assert kubectl("logs", "p").stdout == "one\ntwo\n"


def test_small_objects_that_kubectl_sends_as_protobuf_are_taken(kubectl):
    kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    assert kubectl("get", "secret", "s", "-o", "jsonpath={.data.a}").stdout == "Yg=="
    kubectl("create", "configmap", "c", "--from-literal=a=b")
    assert kubectl("get", "configmap", "c", "-o", "jsonpath={.data.a}").stdout == "b"
    kubectl("create", "serviceaccount", "x")
    assert kubectl("create", "token", "x").stdout.count(".") == 2
    assert kubectl("auth", "can-i", "create", "pods").stdout == "yes\n"


def test_explain_and_api_resources_know_the_served_kinds(kubectl):
    assert "DeploymentStrategy" in kubectl("explain", "deployment.spec.strategy").stdout
    names = {line.split()[0] for line in kubectl("api-resources", "--no-headers").stdout.splitlines()}
    assert {"deployments", "pods", "networkpolicies"} <= names
    assert not names & {"jobs", "ingresses", "horizontalpodautoscalers", "daemonsets"}
    assert 'the server doesn\'t have a resource type "hpa"' in kubectl("get", "hpa", ok=False).stderr


def _edited(edit: Callable[[Json], Any]) -> Json:
    body = copy.deepcopy(WEB)
    edit(body)
    return body


def _main(body: Json) -> Json:
    container: Json = body["spec"]["template"]["spec"]["containers"][0]
    return container


WRONG: list[tuple[str, Callable[[Json], Any], str]] = [
    ("typo", lambda o: o["spec"].update(replicsa=1), 'strict decoding error: unknown field "spec.replicsa"'),
    (
        "quantity",
        lambda o: _main(o).update(resources={"limits": {"cpu": "1x"}}),
        "quantities must match the regular expression",
    ),
    (
        "selector",
        lambda o: o["spec"]["template"]["metadata"]["labels"].update(app="other"),
        'is invalid: spec.template.metadata.labels: Invalid value: map[string]string{"app":"other"}: '
        "`selector` does not match template `labels`",
    ),
    (
        "volume",
        lambda o: _main(o).update(volumeMounts=[{"name": "model", "mountPath": "/m"}]),
        'The Deployment "web" is invalid: spec.template.spec.containers[0].volumeMounts[0].name: Not found: "model"',
    ),
    (
        "replicas",
        lambda o: o["spec"].update(replicas=-1),
        'The Deployment "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0',
    ),
]


@pytest.mark.parametrize(("edit", "words"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_kubectl_prints_the_real_servers_refusal(kubectl, edit, words):
    refused = kubectl("apply", "-f", "-", send=_edited(edit), ok=False)
    assert refused.returncode != 0
    assert words in refused.stderr


def test_kubectl_prints_the_refusal_of_an_immutable_field(kubectl):
    kubectl("apply", "-f", "-", send=WEB)
    other = yaml.safe_load(yaml.dump(WEB).replace("app: web", "app: other"))
    refused = kubectl("apply", "-f", "-", send=other, ok=False)
    assert "spec.selector: Invalid value: v1.LabelSelector" in refused.stderr
    assert "field is immutable" in refused.stderr
