"""What may not change, small kinds, and admission: refused as the real server refuses."""

import copy
from typing import Any

import pytest

Json = dict[str, Any]
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


OUTSIDE = {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}
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
        "apis/policy/v1", "poddisruptionbudgets",
        {"spec": {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "Never"}},
        'Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget"',
    ),
    (
        "apis/networking.k8s.io/v1", "networkpolicies",
        {"spec": {"podSelector": {}, "egress": [{"to": [{"ipBlock": OUTSIDE}]}]}},
        "spec.egress[0].to[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/8\": must be a strict subset of `cidr`",
    ),
    (
        "apis/networking.k8s.io/v1", "networkpolicies",
        {"spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 80, "protocol": "HTTP"}]}]}},
        'spec.ingress[0].ports[0].protocol: Unsupported value: "HTTP": supported values: "SCTP", "TCP", "UDP"',
    ),
    (
        "apis/networking.k8s.io/v1", "networkpolicies",
        {"spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 80, "endPort": 79}]}]}},
        "spec.ingress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`",
    ),
    (
        "apis/networking.k8s.io/v1", "networkpolicies",
        {"spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/99"}}]}]}},
        "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
    ),
    (
        "api/v1", "secrets", {"type": "kubernetes.io/dockerconfigjson", "data": {}},
        "data[.dockerconfigjson]: Required value",
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


STRICT = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
SAFE: Json = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [{
        "name": "a", "image": "b:1",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }],
}  # fmt: skip
UNSAFE: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    (
        "more rights",
        {},
        {"allowPrivilegeEscalation": True},
        'allowPrivilegeEscalation != false (container "a" must set securityContext.allowPrivilegeEscalation=false)',
    ),
    (
        "capabilities",
        {},
        {"capabilities": {"drop": ["NET_RAW"]}},
        'unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"])',
    ),
    (
        "one more capability",
        {},
        {"capabilities": {"drop": ["ALL"], "add": ["SYS_TIME"]}},
        'unrestricted capabilities (container "a" must not include "SYS_TIME" in securityContext.capabilities.add)',
    ),
    (
        "perhaps root",
        {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
        {},
        'runAsNonRoot != true (pod or container "a" must set securityContext.runAsNonRoot=true)',
    ),
    ("root", {}, {"runAsUser": 0}, 'runAsUser=0 (container "a" must not set runAsUser=0)'),
    (
        "every system call",
        {"securityContext": {"runAsNonRoot": True}},
        {},
        'seccompProfile (pod or container "a" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
        '"Localhost")',
    ),
    ("the node's network", {"hostNetwork": True}, {}, "host namespaces (hostNetwork=true)"),
]


@pytest.mark.parametrize(("spec", "context", "words"), [row[1:] for row in UNSAFE], ids=[row[0] for row in UNSAFE])
def test_a_restricted_namespace_refuses_a_pod_with_more_rights(http, namespace, spec, context, words):
    http("PATCH", f"api/v1/namespaces/{namespace}", {"metadata": {"labels": STRICT}}, "application/merge-patch+json")
    body = {**copy.deepcopy(SAFE), **spec}
    body["containers"][0]["securityContext"] |= context
    answer = http("POST", f"api/v1/namespaces/{namespace}/pods", {"metadata": {"name": "p"}, "spec": body})
    assert (answer.status_code, answer.json()["message"]) == (
        403, f'pods "p" is forbidden: violates PodSecurity "restricted:latest": {words}',
    )  # fmt: skip


def test_a_restricted_namespace_takes_safe_pods_and_warns_of_deployments_that_are_not(http, namespace):
    http("PATCH", f"api/v1/namespaces/{namespace}", {"metadata": {"labels": STRICT}}, "application/merge-patch+json")
    _made(http, f"api/v1/namespaces/{namespace}/pods", {"metadata": {"name": "p"}, "spec": SAFE})
    answer = http("POST", f"apis/apps/v1/namespaces/{namespace}/deployments", GOOD)
    assert answer.status_code == 201
    assert 'would violate PodSecurity \\"restricted:latest\\": allowPrivilegeEscalation' in answer.headers["Warning"]


def test_a_level_that_does_not_exist_is_refused(http, namespace):
    labels = {"pod-security.kubernetes.io/enforce": "strict", "pod-security.kubernetes.io/warn-version": "1.30"}
    path = f"api/v1/namespaces/{namespace}"
    answer = http("PATCH", path, {"metadata": {"labels": labels}}, "application/merge-patch+json")
    assert answer.status_code == 422
    assert 'Invalid value: "strict": must be one of privileged, baseline, restricted' in answer.json()["message"]
    assert 'Invalid value: "1.30": must be "latest" or "v1.x"' in answer.json()["message"]


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
