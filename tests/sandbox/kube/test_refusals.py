"""Wrong objects are refused as the real server refuses them: status, sentence, causes."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from compute.sandbox.kube.validation.names import SUBDOMAIN_TEXT

from .conftest import Http

Json = dict[str, Any]
Edit = Callable[[Json], Any]
GOOD: Json = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": "example/web:1"}]},
        },
    },
}
SPEC = "spec.template.spec"
FIRST = f"{SPEC}.containers[0]"
SPREAD: Json = {
    "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway",
    "labelSelector": {"matchLabels": {"app": "web"}},
}  # fmt: skip


def pod(obj: Json) -> Json:
    spec: Json = obj["spec"]["template"]["spec"]
    return spec


def main(obj: Json) -> Json:
    container: Json = pod(obj)["containers"][0]
    return container


INVALID: list[tuple[str, Edit, str, str]] = [
    (
        "a selector that misses its template",
        lambda o: o["spec"]["template"]["metadata"]["labels"].update(app="other"),
        "spec.template.metadata.labels",
        'Invalid value: map[string]string{"app":"other"}: `selector` does not match template `labels`',
    ),
    ("no selector", lambda o: o["spec"].pop("selector"), "spec.selector", "Required value"),
    (
        "negative replicas",
        lambda o: o["spec"].update(replicas=-1),
        "spec.replicas",
        "Invalid value: -1: must be greater than or equal to 0",
    ),
    (
        "a mount without its volume",
        lambda o: main(o).update(volumeMounts=[{"name": "model", "mountPath": "/m"}]),
        f"{FIRST}.volumeMounts[0].name",
        'Not found: "model"',
    ),
    ("no image", lambda o: main(o).pop("image"), f"{FIRST}.image", "Required value"),
    ("no container", lambda o: pod(o).update(containers=[]), f"{SPEC}.containers", "Required value"),
    (
        "two containers of one name",
        lambda o: pod(o)["containers"].append(copy.deepcopy(main(o))),
        f"{SPEC}.containers[1].name",
        'Duplicate value: "main"',
    ),
    (
        "a request above the limit",
        lambda o: main(o).update(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "1500m"}}),
        f"{FIRST}.resources.requests",
        'Invalid value: "1500m": must be less than or equal to cpu limit of 1',
    ),
    (
        "no surge and nothing unavailable",
        lambda o: o["spec"].update(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
        "spec.strategy.rollingUpdate.maxUnavailable",
        'Invalid value: intstr.IntOrString{Type:0, IntVal:0, StrVal:""}: may not be 0 when `maxSurge` is 0',
    ),
    (
        "rollingUpdate of Recreate",
        lambda o: o["spec"].update(strategy={"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
        "spec.strategy.rollingUpdate",
        "Forbidden: may not be specified when strategy `type` is 'Recreate'",
    ),
    (
        "a liveness probe that must succeed twice",
        lambda o: main(o).update(livenessProbe={"tcpSocket": {"port": 80}, "successThreshold": 2}),
        f"{FIRST}.livenessProbe.successThreshold",
        "Invalid value: 2: must be 1",
    ),
    (
        "a probe without a handler",
        lambda o: main(o).update(readinessProbe={"periodSeconds": 1}),
        f"{FIRST}.readinessProbe",
        "Required value: must specify a handler type",
    ),
    (
        "a probe's negative delay",
        lambda o: main(o).update(readinessProbe={"tcpSocket": {"port": 80}, "initialDelaySeconds": -1}),
        f"{FIRST}.readinessProbe.initialDelaySeconds",
        "Invalid value: -1: must be greater than or equal to 0",
    ),
    (
        "a port above 65535",
        lambda o: main(o).update(ports=[{"containerPort": 70000}]),
        f"{FIRST}.ports[0].containerPort",
        "Invalid value: 70000: must be between 1 and 65535, inclusive",
    ),
    (
        "two ports of one name",
        lambda o: main(o).update(ports=[{"name": "http", "containerPort": 1}, {"name": "http", "containerPort": 2}]),
        f"{FIRST}.ports[1].name",
        'Duplicate value: "http"',
    ),
    (
        "a variable with = in its name",
        lambda o: main(o).update(env=[{"name": "A=B", "value": "x"}]),
        f"{FIRST}.env[0].name",
        'Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII characters '
        "other than '='",
    ),
    (
        "a pod that does not restart",
        lambda o: pod(o).update(restartPolicy="Never"),
        f"{SPEC}.restartPolicy",
        'Unsupported value: "Never": supported values: "Always"',
    ),
    (
        "two volumes of one name",
        lambda o: pod(o).update(volumes=[{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]),
        f"{SPEC}.volumes[1].name",
        'Duplicate value: "a"',
    ),
    (
        "a volume without a type",
        lambda o: pod(o).update(volumes=[{"name": "a"}]),
        f"{SPEC}.volumes[0]",
        "Required value: must specify a volume type",
    ),
    (
        "a volume of a type that the sandbox lacks",
        lambda o: pod(o).update(volumes=[{"name": "a", "hostPath": {"path": "/"}}]),
        f"{SPEC}.volumes[0].hostPath",
        "Forbidden: this cluster's nodes mount only volumes of the types configMap, downwardAPI, emptyDir, projected "
        "and secret",
    ),
    (
        "two mounts at one path",
        lambda o: (
            pod(o).update(volumes=[{"name": "a", "emptyDir": {}}]),
            main(o).update(volumeMounts=[{"name": "a", "mountPath": "/x"}, {"name": "a", "mountPath": "/x"}]),
        ),
        f"{FIRST}.volumeMounts[1].mountPath",
        'Invalid value: "/x": must be unique',
    ),
    (
        "a deadline below minReadySeconds",
        lambda o: o["spec"].update(progressDeadlineSeconds=5, minReadySeconds=5),
        "spec.progressDeadlineSeconds",
        "Invalid value: 5: must be greater than minReadySeconds",
    ),
    (
        "a pull policy that does not exist",
        lambda o: main(o).update(imagePullPolicy="Sometimes"),
        f"{FIRST}.imagePullPolicy",
        'Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"',
    ),
    (
        "a secret key reference without its key",
        lambda o: main(o).update(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]),
        f"{FIRST}.env[0].valueFrom.secretKeyRef.key",
        "Required value",
    ),
    (
        "a negative grace",
        lambda o: pod(o).update(terminationGracePeriodSeconds=-5),
        f"{SPEC}.terminationGracePeriodSeconds",
        "Invalid value: -5: must be greater than or equal to 0",
    ),
    (
        "a privileged container without a way to more rights",
        lambda o: main(o).update(securityContext={"privileged": True, "allowPrivilegeEscalation": False}),
        f"{FIRST}.securityContext",
        'Invalid value: {"privileged":true,"allowPrivilegeEscalation":false}: cannot set `allowPrivilegeEscalation` to '
        "false and `privileged` to true",
    ),
    (
        "a negative user",
        lambda o: pod(o).update(securityContext={"runAsUser": -1}),
        f"{SPEC}.securityContext.runAsUser",
        "Invalid value: -1: must be between 0 and 2147483647, inclusive",
    ),
    (
        "a seccomp profile that does not exist",
        lambda o: pod(o).update(securityContext={"seccompProfile": {"type": "Strict"}}),
        f"{SPEC}.securityContext.seccompProfile.type",
        'Unsupported value: "Strict": supported values: "Localhost", "RuntimeDefault", "Unconfined"',
    ),
    (
        "a local seccomp profile without its file",
        lambda o: main(o).update(securityContext={"seccompProfile": {"type": "Localhost"}}),
        f"{FIRST}.securityContext.seccompProfile.localhostProfile",
        "Required value: must be set when seccomp type is Localhost",
    ),
    (
        "a way of changing owners that does not exist",
        lambda o: pod(o).update(securityContext={"fsGroupChangePolicy": "Never"}),
        f"{SPEC}.securityContext.fsGroupChangePolicy",
        'Unsupported value: "Never": supported values: "Always", "OnRootMismatch"',
    ),
    (
        "a spread of skew 0",
        lambda o: pod(o).update(topologySpreadConstraints=[{**SPREAD, "maxSkew": 0}]),
        f"{SPEC}.topologySpreadConstraints[0].maxSkew",
        "Invalid value: 0: must be greater than zero",
    ),
    (
        "a spread that does not say what else",
        lambda o: pod(o).update(topologySpreadConstraints=[{**SPREAD, "whenUnsatisfiable": "Maybe"}]),
        f"{SPEC}.topologySpreadConstraints[0].whenUnsatisfiable",
        'Unsupported value: "Maybe": supported values: "DoNotSchedule", "ScheduleAnyway"',
    ),
    (
        "two spreads over the same",
        lambda o: pod(o).update(topologySpreadConstraints=[SPREAD, SPREAD]),
        f"{SPEC}.topologySpreadConstraints[1].{{topologyKey, whenUnsatisfiable}}",
        'Duplicate value: "{zone, ScheduleAnyway}"',
    ),
    (
        "a spread by a label that its selector has",
        lambda o: pod(o).update(topologySpreadConstraints=[{**SPREAD, "matchLabelKeys": ["app"]}]),
        f"{SPEC}.topologySpreadConstraints[0].matchLabelKeys[0]",
        'Invalid value: "app": exists in both matchLabelKeys and labelSelector',
    ),
    (
        "a pull secret without a name",
        lambda o: pod(o).update(imagePullSecrets=[{}]),
        f"{SPEC}.imagePullSecrets[0].name",
        "Required value",
    ),
    (
        "a sleep that is longer than the grace",
        lambda o: main(o).update(lifecycle={"preStop": {"sleep": {"seconds": 31}}}),
        f"{FIRST}.lifecycle.preStop.sleep",
        "Invalid value: 31: must be greater than 0 and less than terminationGracePeriodSeconds (30)",
    ),
    (
        "a grace of a readiness probe",
        lambda o: main(o).update(readinessProbe={"tcpSocket": {"port": 80}, "terminationGracePeriodSeconds": 5}),
        f"{FIRST}.readinessProbe.terminationGracePeriodSeconds",
        "Invalid value: 5: must not be set for readinessProbes",
    ),
    (
        "a mount path with a colon",
        lambda o: (
            pod(o).update(volumes=[{"name": "a", "emptyDir": {}}]),
            main(o).update(volumeMounts=[{"name": "a", "mountPath": "/x:y"}]),
        ),
        f"{FIRST}.volumeMounts[0].mountPath",
        "Invalid value: \"/x:y\": must not contain ':'",
    ),
    (
        "a GPU asked for without a limit",
        lambda o: main(o).update(resources={"requests": {"nvidia.com/gpu": "1"}}),
        f"{FIRST}.resources.limits",
        "Required value: Limit must be set for non overcommitable resources: nvidia.com/gpu",
    ),
    (
        "half a GPU",
        lambda o: main(o).update(resources={"limits": {"nvidia.com/gpu": "500m"}}),
        f"{FIRST}.resources.limits[nvidia.com/gpu]",
        'Invalid value: "500m": must be an integer',
    ),
    (
        "a toleration of everything with a value",
        lambda o: pod(o).update(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
        f"{SPEC}.tolerations[0].operator",
        "Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
    ),
    (
        "a priority class that is no name",
        lambda o: pod(o).update(priorityClassName="Not A Name"),
        f"{SPEC}.priorityClassName",
        f'Invalid value: "Not A Name": {SUBDOMAIN_TEXT}',
    ),
]


@pytest.mark.parametrize(("edit", "field", "message"), [row[1:] for row in INVALID], ids=[row[0] for row in INVALID])
def test_an_invalid_deployment_is_refused_in_the_real_servers_words(http, namespace, edit, field, message):
    body = copy.deepcopy(GOOD)
    edit(body)
    answer = http("POST", f"apis/apps/v1/namespaces/{namespace}/deployments", body)
    status = answer.json()
    assert (answer.status_code, status["reason"]) == (422, "Invalid")
    assert {"field": field, "message": message} in [
        {key: cause[key] for key in ("field", "message")} for cause in status["details"]["causes"]
    ]
    assert status["message"].startswith('Deployment.apps "web" is invalid: ')
    assert f"{field}: {message}" in status["message"]
    assert status["details"]["kind"] == "Deployment"
    assert http("GET", f"apis/apps/v1/namespaces/{namespace}/deployments/web").status_code == 404


def test_a_name_with_capitals_is_refused_with_the_rule(http, namespace):
    body = copy.deepcopy(GOOD)
    body["metadata"]["name"] = "Bad_Name"
    message = http("POST", f"apis/apps/v1/namespaces/{namespace}/deployments", body).json()["message"]
    assert "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'" in message


def test_a_label_with_a_space_is_refused_with_the_rule(http, namespace):
    body = {"metadata": {"name": "a", "labels": {"team": "two words"}}}
    answer = http("POST", f"api/v1/namespaces/{namespace}/configmaps", body)
    assert answer.status_code == 422
    assert "a valid label must be an empty string or consist of alphanumeric characters" in answer.json()["message"]


def test_several_faults_come_in_one_answer(http, namespace):
    body = copy.deepcopy(GOOD)
    body["spec"]["replicas"] = -1
    main(body).pop("image")
    status = http("POST", f"apis/apps/v1/namespaces/{namespace}/deployments", body).json()
    assert status["message"].startswith('Deployment.apps "web" is invalid: [spec.replicas: ')
    assert len(status["details"]["causes"]) == 2


BAD_REQUESTS: list[tuple[str, Edit, str]] = [
    (
        "a quantity",
        lambda o: main(o).update(resources={"limits": {"cpu": "1x"}}),
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ),
    (
        "a type",
        lambda o: o["spec"].update(replicas="three"),
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
    ),
    (
        "an apiVersion",
        lambda o: o.update(apiVersion="apps/v1beta1"),
        'no kind "Deployment" is registered for version "apps/v1beta1"',
    ),
]


@pytest.mark.parametrize(("edit", "text"), [row[1:] for row in BAD_REQUESTS], ids=[row[0] for row in BAD_REQUESTS])
def test_what_cannot_be_decoded_is_a_400(http, namespace, edit, text):
    body = copy.deepcopy(GOOD)
    edit(body)
    answer = http("POST", f"apis/apps/v1/namespaces/{namespace}/deployments", body)
    assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest")
    assert "cannot be handled as a Deployment: " in answer.json()["message"]
    assert text in answer.json()["message"]


def test_an_unknown_field_warns_by_default_and_is_dropped(http, namespace):
    body = copy.deepcopy(GOOD)
    body["spec"]["replicsa"] = 3
    answer = http("POST", f"apis/apps/v1/namespaces/{namespace}/deployments", body)
    assert answer.status_code == 201
    assert answer.headers["Warning"] == '299 - "unknown field \\"spec.replicsa\\""'
    assert "replicsa" not in answer.json()["spec"]


def test_an_unknown_field_in_strict_mode_is_a_400_on_create_and_update(http, namespace):
    path = f"apis/apps/v1/namespaces/{namespace}/deployments"
    body = copy.deepcopy(GOOD)
    main(body)["imagge"] = "x"
    strict = 'strict decoding error: unknown field "spec.template.spec.containers[0].imagge"'
    made = http("POST", path, body, fieldValidation="Strict")
    assert (made.status_code, made.json()["message"].endswith(strict)) == (400, True)
    http("POST", path, GOOD)
    put = http("PUT", f"{path}/web", body, fieldValidation="Strict")
    assert (put.status_code, put.json()["message"].endswith(strict)) == (400, True)


@pytest.mark.parametrize("kind", ["application/merge-patch+json", "application/strategic-merge-patch+json"])
def test_an_unknown_field_in_strict_mode_is_a_422_on_a_patch(http, namespace, kind):
    path = f"apis/apps/v1/namespaces/{namespace}/deployments"
    http("POST", path, GOOD)
    answer = http("PATCH", f"{path}/web", {"spec": {"replicsa": 3}}, kind, fieldValidation="Strict")
    assert (answer.status_code, answer.json()["reason"]) == (422, "Invalid")
    assert 'strict decoding error: unknown field "spec.replicsa"' in answer.json()["message"]


def test_kubernetes_1_29_drops_the_sleep_of_a_hook_and_then_refuses_the_hook(server):
    server.call(server.kube.ensure, "old", name="old", resource_group="rg", region="westeurope", version="1.29.9")
    token = yaml.safe_load(server.kube.kubeconfig("old", "clusterAdmin", server.url))["users"][0]["user"]["token"]
    old = Http(server, token)
    old.base = f"{server.url}/clusters/old"
    body = copy.deepcopy(GOOD)
    main(body).update(lifecycle={"preStop": {"sleep": {"seconds": 2}}})
    answer = old("POST", "apis/apps/v1/namespaces/default/deployments", body)
    assert answer.status_code == 422
    assert f"{FIRST}.lifecycle.preStop: Required value: must specify a handler type" in answer.json()["message"]
