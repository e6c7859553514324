"""Who may do what: tokens, roles of service accounts, reviews."""

from datetime import timedelta
from typing import Any

import pytest
import yaml

RBAC = "apis/rbac.authorization.k8s.io/v1/namespaces"
Json = dict[str, Any]


@pytest.fixture
def account(server, http, namespace):
    """A client that is the service account `companion` of the namespace."""
    http("POST", f"api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "companion"}})
    token, _ = server.call(server.kube.issue_token, "c1", namespace, "companion")
    return type(http)(server, token)


def _grant(http: Any, namespace: str, *rules: Json) -> None:
    http("POST", f"{RBAC}/{namespace}/roles", {"metadata": {"name": "r"}, "rules": list(rules)})
    subject = {"kind": "ServiceAccount", "name": "companion", "namespace": namespace}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    made = http(
        "POST", f"{RBAC}/{namespace}/rolebindings", {"metadata": {"name": "b"}, "subjects": [subject], "roleRef": ref}
    )
    assert made.status_code == 201, made.text


@pytest.mark.parametrize("token", [None, "wrong"])
def test_without_a_good_token_everything_is_a_401_status(server, http, token):
    client = type(http)(server, token)
    for path in ("api/v1/pods", "version", "nonsense", "openapi/v2"):
        answer = client("GET", path)
        assert (answer.status_code, answer.json()["reason"]) == (401, "Unauthorized")


def test_a_token_of_one_cluster_opens_no_other(server, http):
    server.call(server.kube.ensure, "c2", name="two", resource_group="rg", region="x", version="1.33.1")
    other = type(http)(server, None)
    other.base = other.base.replace("/c1", "/c2")
    other.session.headers["Authorization"] = http.session.headers["Authorization"]
    assert other("GET", "api/v1/pods").status_code == 401
    config = yaml.safe_load(server.kube.kubeconfig("c2", "clusterAdmin", server.url))
    other.session.headers["Authorization"] = f"Bearer {config['users'][0]['user']['token']}"
    assert other("GET", "version").json()["gitVersion"] == "v1.33.1"
    server.call(server.kube.stop, "c2")
    assert other("GET", "version").status_code == 503
    server.call(server.kube.delete, "c2")
    assert other("GET", "version").status_code == 401


def test_an_account_without_a_role_is_forbidden_by_a_sentence(account, namespace):
    answer = account("GET", f"apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")
    assert (answer.status_code, answer.json()["reason"]) == (403, "Forbidden")
    assert answer.json()["message"] == (
        f'endpointslices.discovery.k8s.io is forbidden: User "system:serviceaccount:{namespace}:companion" cannot list '
        f'resource "endpointslices" in API group "discovery.k8s.io" in the namespace "{namespace}"'
    )


def test_a_role_gives_its_verbs_in_its_namespace_only(account, http, namespace):
    _grant(http, namespace, {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]})
    path = f"api/v1/namespaces/{namespace}/configmaps"
    assert account("GET", path).status_code == 200
    assert account("GET", path, watch="true", timeoutSeconds=1).status_code == 403
    assert account("POST", path, {"metadata": {"name": "x"}}).status_code == 403
    assert account("GET", "api/v1/namespaces/default/configmaps").status_code == 403
    assert account("GET", "api/v1/configmaps").status_code == 403
    assert account("GET", f"api/v1/namespaces/{namespace}/secrets").status_code == 403


def test_resource_names_narrow_a_rule(account, http, namespace):
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["kube-root-ca.crt"]}
    _grant(http, namespace, rule)
    path = f"api/v1/namespaces/{namespace}/configmaps"
    assert account("GET", f"{path}/kube-root-ca.crt").status_code == 200
    http("POST", path, {"metadata": {"name": "other"}})
    assert account("GET", f"{path}/other").status_code == 403


def test_subresources_need_a_rule_of_their_own(account, http, namespace):
    _grant(http, namespace, {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["*"]})
    path = f"apis/apps/v1/namespaces/{namespace}/deployments/none"
    assert account("GET", path).status_code == 404
    assert account("GET", f"{path}/scale").status_code == 403


def test_a_review_says_what_the_asker_may(account, http, namespace):
    _grant(http, namespace, {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]})

    def may(client: Any, verb: str) -> bool:
        asked = {"namespace": namespace, "verb": verb, "resource": "pods"}
        answer = client(
            "POST", "apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": {"resourceAttributes": asked}}
        )
        assert answer.status_code == 201
        return bool(answer.json()["status"]["allowed"])

    assert (may(account, "create"), may(account, "delete"), may(http, "delete")) == (True, False, True)


def test_a_token_request_gives_a_token_that_ends_by_the_sandbox_clock(server, http, namespace):
    path = f"api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    short = http("POST", path, {"spec": {"expirationSeconds": 60}})
    assert "may not specify a duration less than 10 minutes" in short.json()["message"]
    made = http("POST", path, {"spec": {"expirationSeconds": 600}}).json()
    client = type(http)(server, made["status"]["token"])
    assert client("GET", "version").status_code == 200
    server.call(server.clock.advance, 601)
    assert client("GET", "version").status_code == 401


def test_a_projected_token_outlives_its_hour_as_in_a_real_cluster(server, http, namespace):
    token, ends = server.call(server.kube.issue_token, "c1", namespace, "default")
    assert ends - server.clock.now() <= timedelta(seconds=3607)
    server.call(server.clock.advance, 40 * 86400)
    assert type(http)(server, token)("GET", "version").status_code == 200


def test_a_token_dies_with_its_account_and_its_pod(server, http, namespace):
    base = f"api/v1/namespaces/{namespace}"
    http("POST", f"{base}/pods", {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "b:1"}]}})
    bound, _ = server.call(server.kube.issue_token, "c1", namespace, "default", pod="p")
    plain, _ = server.call(server.kube.issue_token, "c1", namespace, "default")
    http("DELETE", f"{base}/pods/p")
    assert type(http)(server, bound)("GET", "version").status_code == 401
    assert type(http)(server, plain)("GET", "version").status_code == 200
    http("DELETE", f"{base}/serviceaccounts/default")
    assert type(http)(server, plain)("GET", "version").status_code == 401
