"""Wrong objects are refused as the real server refuses them: status, sentence, causes."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

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


def test_a_deployments_selector_cannot_change(http, namespace):
    path = f"apis/apps/v1/namespaces/{namespace}/deployments"
    http("POST", path, GOOD)
    other = {"app": "other"}
    body = copy.deepcopy(GOOD)
    body["spec"]["selector"]["matchLabels"] = other
    body["spec"]["template"]["metadata"]["labels"] = other
    answer = http("PUT", f"{path}/web", body)
    assert answer.status_code == 422
    assert answer.json()["message"] == (
        'Deployment.apps "web" is invalid: spec.selector: Invalid value: '
        'v1.LabelSelector{MatchLabels:map[string]string{"app":"other"}, '
        "MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: field is immutable"
    )


def _made(http: Any, path: str, body: Json) -> Json:
    answer = http("POST", path, body)
    assert answer.status_code == 201, answer.text
    doc: Json = answer.json()
    return doc


def test_other_immutable_fields_cannot_change(http, namespace):
    base = f"api/v1/namespaces/{namespace}"
    merge = "application/merge-patch+json"
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    made = _made(http, f"{base}/services", service)
    assert made["spec"]["clusterIP"].startswith("10.0.")
    moved = http("PATCH", f"{base}/services/s", {"spec": {"clusterIP": "10.0.9.9", "clusterIPs": ["10.0.9.9"]}}, merge)
    assert 'spec.clusterIPs[0]: Invalid value: []string{"10.0.9.9"}: may not change once set' in moved.json()["message"]

    _made(http, f"{base}/secrets", {"metadata": {"name": "x"}, "immutable": True, "data": {"a": "Yg=="}})
    changed = http("PATCH", f"{base}/secrets/x", {"data": {"a": "Yw=="}}, merge)
    assert changed.json()["message"] == (
        'Secret "x" is invalid: data: Forbidden: field is immutable when `immutable` is set'
    )

    _made(http, f"{base}/pods", {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "b:1"}]}})
    host = http("PATCH", f"{base}/pods/p", {"spec": {"hostname": "other"}}, merge)
    assert "spec: Forbidden: pod updates may not change fields other than" in host.json()["message"]
    image = http(
        "PATCH", f"{base}/pods/p", {"spec": {"containers": [{"name": "a", "image": "b:2"}]}},
        "application/strategic-merge-patch+json",
    )  # fmt: skip
    assert image.status_code == 200

    rbac = f"apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "one"}
    _made(http, rbac, {"metadata": {"name": "b"}, "roleRef": ref, "subjects": []})
    rebound = http("PATCH", f"{rbac}/b", {"roleRef": {**ref, "name": "two"}}, merge)
    assert "cannot change roleRef" in rebound.json()["message"]


SMALL: list[tuple[str, str, Json, str]] = [
    (
        "api/v1", "secrets", {"data": {"a": "not base64!"}},
        'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 3',
    ),
    ("api/v1", "configmaps", {"data": {"a b": "x"}}, "a valid config key must consist of alphanumeric characters"),
    ("api/v1", "services", {"spec": {}}, "spec.ports: Required value"),
    (
        "api/v1", "services", {"spec": {"ports": [{"port": 1}, {"port": 2}]}},
        "spec.ports[0].name: Required value",
    ),
    ("api/v1", "services", {"spec": {"type": "Magic", "ports": [{"port": 1}]}}, 'Unsupported value: "Magic"'),
    (
        "apis/policy/v1", "poddisruptionbudgets", {"spec": {"minAvailable": 1, "maxUnavailable": 1}},
        "minAvailable and maxUnavailable cannot be both set",
    ),
    (
        "api/v1", "resourcequotas", {"spec": {"hard": {"bananas": "3"}}},
        "must be a standard resource for quota",
    ),
    (
        "apis/rbac.authorization.k8s.io/v1", "roles", {"rules": [{"resources": ["pods"], "apiGroups": [""]}]},
        "rules[0].verbs: Required value: verbs must contain at least one value",
    ),
    (
        "apis/rbac.authorization.k8s.io/v1", "rolebindings", {"roleRef": {"kind": "Thing", "name": "x"}},
        'roleRef.kind: Unsupported value: "Thing": supported values: "ClusterRole", "Role"',
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("group", "resource", "body", "text"), SMALL, ids=[f"{row[1]}-{i}" for i, row in enumerate(SMALL)]
)
def test_other_kinds_are_refused_in_the_real_servers_words(http, namespace, group, resource, body, text):
    answer = http("POST", f"{group}/namespaces/{namespace}/{resource}", {"metadata": {"name": "x"}, **body})
    assert answer.status_code in (400, 422)
    assert text in answer.json()["message"]


def test_a_priority_class_of_a_person_has_a_ceiling(http):
    path = "apis/scheduling.k8s.io/v1/priorityclasses"
    answer = http("POST", path, {"metadata": {"name": "top"}, "value": 1_000_000_001})
    assert (
        "value: Forbidden: maximum allowed value of a user defined priority is 1000000000" in answer.json()["message"]
    )


def test_a_pod_needs_its_service_account_and_its_priority_class(http, namespace):
    path = f"api/v1/namespaces/{namespace}/pods"
    spec: Json = {"containers": [{"name": "a", "image": "b:1"}]}
    answer = http("POST", path, {"metadata": {"name": "p"}, "spec": {**spec, "serviceAccountName": "ghost"}})
    assert (answer.status_code, answer.json()["message"]) == (
        403,
        f'pods "p" is forbidden: error looking up service account {namespace}/ghost: serviceaccount "ghost" not found',
    )
    answer = http("POST", path, {"metadata": {"name": "p"}, "spec": {**spec, "priorityClassName": "ghost"}})
    assert answer.json()["message"] == 'pods "p" is forbidden: no PriorityClass with name ghost was found'


def test_a_quota_binds_creation(http, namespace):
    base = f"api/v1/namespaces/{namespace}"
    _made(
        http,
        f"{base}/resourcequotas",
        {"metadata": {"name": "q"}, "spec": {"hard": {"requests.cpu": "1", "pods": "2"}}},
    )
    container: Json = {"name": "a", "image": "b:1"}
    bare = http("POST", f"{base}/pods", {"metadata": {"name": "p"}, "spec": {"containers": [container]}})
    assert bare.json()["message"] == 'pods "p" is forbidden: failed quota: q: must specify requests.cpu for: a'
    container["resources"] = {"requests": {"cpu": "700m"}}
    _made(http, f"{base}/pods", {"metadata": {"name": "p"}, "spec": {"containers": [container]}})
    second = http("POST", f"{base}/pods", {"metadata": {"name": "r"}, "spec": {"containers": [container]}})
    assert (second.status_code, second.json()["message"]) == (
        403,
        'pods "r" is forbidden: exceeded quota: q, requested: requests.cpu=700m, used: requests.cpu=700m, '
        "limited: requests.cpu=1",
    )


def test_nothing_is_created_in_a_missing_or_ending_namespace(http, namespace):
    answer = http("POST", "api/v1/namespaces/ghost/configmaps", {"metadata": {"name": "x"}})
    assert (answer.status_code, answer.json()["message"]) == (404, 'namespaces "ghost" not found')
    http("DELETE", f"api/v1/namespaces/{namespace}")
    answer = http("POST", f"api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "x"}})
    assert answer.status_code == 403
    assert answer.json()["message"].endswith(
        f"unable to create new content in namespace {namespace} because it is being terminated"
    )
    assert answer.json()["details"]["causes"][0]["reason"] == "NamespaceTerminating"
