"""What schemas do not say of an object: refused before it is sent, with the field and what is wrong."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from compute.cluster import InvalidObject, validate

Json = dict[str, Any]
GOOD: Json = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "n"},
    "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {
                "terminationGracePeriodSeconds": 10,
                "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}],
                "containers": [{
                    "name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 80}],
                    "env": [{"name": "A", "value": "1"}], "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                    "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}},
                    "readinessProbe": {"httpGet": {"port": "http", "path": "/"}, "periodSeconds": 1},
                    "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
                }],
            },
        },
    },
}  # fmt: skip


def pod(obj: Json) -> Json:
    found: Json = obj["spec"]["template"]["spec"]
    return found


def box(obj: Json) -> Json:
    found: Json = pod(obj)["containers"][0]
    return found


WRONG: list[tuple[Callable[[Json], Any], str]] = [
    (
        lambda o: o["spec"]["template"]["metadata"]["labels"].update(a="c"),
        "the selector asks for a=b, the pods have 'c'",
    ),
    (lambda o: o["spec"].update(selector={}), "spec.selector: it selects nothing"),
    (lambda o: o["spec"]["strategy"]["rollingUpdate"].update(maxSurge="0%"), "nothing can be replaced"),
    (lambda o: o["spec"].update(progressDeadlineSeconds=5, minReadySeconds=5), "more than minReadySeconds"),
    (lambda o: pod(o)["volumes"].append({"name": "v", "emptyDir": {}}), "volumes: 'v' is there twice"),
    (lambda o: pod(o)["volumes"].append({"name": "V", "emptyDir": {}}), "'V' is no name"),
    (lambda o: pod(o)["volumes"].append({"name": "w"}), "exactly one kind, not 0"),
    (lambda o: pod(o)["volumes"][0]["emptyDir"].update(sizeLimit="0"), "the size limit '0' is nothing"),
    (lambda o: pod(o)["containers"].append(box(o)), "containers: 'c' is there twice"),
    (lambda o: box(o).update(name="x" * 64), "at most 63 characters"),
    (lambda o: box(o).update(image=" i"), "' i' is no image"),
    (lambda o: box(o)["volumeMounts"].append({"name": "w", "mountPath": "/w"}), "there is no volume 'w'"),
    (lambda o: box(o)["volumeMounts"].append({"name": "v", "mountPath": "/v"}), "'/v' is there twice"),
    (lambda o: box(o)["env"].append({"name": "A=B", "value": ""}), "'A=B' is no name of a variable"),
    (lambda o: box(o)["env"].append({"name": "A", "value": "2"}), "env: 'A' is there twice"),
    (lambda o: box(o)["ports"].append({"name": "http", "containerPort": 81}), "ports: 'http' is there twice"),
    (lambda o: box(o)["ports"].append({"name": "other", "containerPort": 80}), "ports: '80/TCP' is there twice"),
    (lambda o: box(o)["ports"].append({"name": "x" * 16, "containerPort": 82}), "is no name of a port"),
    (lambda o: box(o)["ports"].append({"name": "p", "containerPort": 70000}), "70000 is no port"),
    (lambda o: box(o)["readinessProbe"]["httpGet"].update(port="web"), "there is no port 'web'"),
    (lambda o: box(o)["readinessProbe"].update(periodSeconds=0), "periodSeconds: 0 is less than 1"),
    (
        lambda o: box(o)["readinessProbe"].update(tcpSocket={"port": 80}),
        "exactly one of exec, httpGet, tcpSocket, grpc",
    ),
    (lambda o: box(o).update(livenessProbe={"tcpSocket": {"port": 80}, "successThreshold": 2}), "it must be 1"),
    (lambda o: box(o)["resources"]["requests"].update(cpu="2"), "2 of cpu is more than the limit of 1"),
    (lambda o: box(o)["resources"]["requests"].update({"nvidia.com/gpu": "1"}), "a limit that is equal to the request"),
    (lambda o: box(o)["resources"]["limits"].update({"nvidia.com/gpu": "500m"}), "cannot be had"),
    (lambda o: box(o)["resources"]["limits"].update(memory="-1"), "cannot be had"),
    (lambda o: box(o)["lifecycle"]["preStop"]["sleep"].update(seconds=11), "sleeps 11 s of a grace of 10 s"),
]


def said(obj: Json) -> str:
    with pytest.raises(InvalidObject) as caught:
        validate(obj)
    return caught.value.detail


def test_the_object_that_the_others_are_made_of_is_right() -> None:
    validate(GOOD)


@pytest.mark.parametrize(("change", "words"), WRONG, ids=[re.sub(r"\W+", "-", row[1])[:40] for row in WRONG])
def test_a_wrong_deployment_is_refused_before_it_is_sent(change: Callable[[Json], Any], words: str) -> None:
    wrong = copy.deepcopy(GOOD)
    change(wrong)
    text = said(wrong)
    assert text.startswith("Deployment web: spec.")
    assert words in text


def some(kind: str, version: str, name: str = "x", **more: Any) -> Json:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **more}


LABELS = {"matchLabels": {"a": "b"}}
PORT = {"port": 80, "name": "http"}
NET, RBAC = "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1"
OTHERS: list[tuple[Json, str]] = [
    (some("Service", "v1", "1st", spec={"ports": [PORT]}), "a Service's name starts with a letter"),
    (some("Service", "v1", spec={"ports": []}), "spec.ports: it has none"),
    (some("Service", "v1", spec={"ports": [{"port": 1}, {"port": 2}]}), "of several each needs a name"),
    (some("Service", "v1", spec={"type": "LoadBalancer", "clusterIP": "None", "ports": [PORT]}), "needs an address"),
    (some("Service", "v1", spec={"ports": [{**PORT, "targetPort": 0}]}), "0 is no port"),
    (some("PodDisruptionBudget", "policy/v1", spec={"selector": LABELS}), "one of minAvailable and maxUnavailable"),
    (some("PodDisruptionBudget", "policy/v1", spec={"maxUnavailable": 1}), "selects every pod"),
    (some("NetworkPolicy", NET, spec={"podSelector": {}, "policyTypes": ["Ingress"], "egress": [{}]}), "no Egress"),
    (
        some("NetworkPolicy", NET, spec={
            "podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}],
        }), "10.0.0.0/33",
    ),
    (
        some("NetworkPolicy", NET, spec={
            "podSelector": {}, "policyTypes": ["Egress"],
            "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}}]}],
        }), "11.0.0.0/8 is no part of 10.0.0.0/8",
    ),
    (some("ConfigMap", "v1", data={"a b": ""}), "'a b' is no key"),
    (some("ConfigMap", "v1", data={"a": "x" * (2**20 + 1)}), "1048577 bytes are more than an object holds"),
    (some("Secret", "v1", type="kubernetes.io/dockerconfigjson", data={}), "a pull secret needs .dockerconfigjson"),
    (some("ResourceQuota", "v1", spec={"hard": {"pods": "-1"}}), "'-1' is less than nothing"),
    (some("PriorityClass", "scheduling.k8s.io/v1", value=2_000_000_000), "is for the system"),
    (some("PriorityClass", "scheduling.k8s.io/v1", "system-x", value=1), "is for the system"),
    (some("Role", RBAC, rules=[{"verbs": [], "resources": ["pods"], "apiGroups": [""]}]), "one lacks verbs"),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "words"), OTHERS, ids=[f"{row[0]['kind']}-{n}" for n, row in enumerate(OTHERS)])
def test_a_wrong_object_of_another_kind_is_refused_before_it_is_sent(obj: Json, words: str) -> None:
    assert words in said(obj)
