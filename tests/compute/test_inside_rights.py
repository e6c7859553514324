"""What the portal may do in clusters: one list, which code, documentation and attach have alike."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from compute import inside_rights
from compute.cluster import connect
from compute.cluster.kinds import KINDS
from compute.steps import inside
from endpoints import gateway
from tests import rights

DOC = Path("docs/any-kubernetes.md")
VIEW = gateway.GatewayView(
    target_id=1, workspace="lab", endpoints=(), namespaces=("models",), jwks="{}", issuer="i", probe_secret="s"
)


def documented() -> list[dict]:
    (block,) = re.findall(r"```yaml\n(.*?)```", DOC.read_text(), re.DOTALL)
    return list(yaml.safe_load_all(block))


def test_the_documented_cluster_role_is_exactly_what_the_portal_uses():
    (role,) = [each for each in documented() if each["kind"] == "ClusterRole"]
    assert role == inside_rights.cluster_role()


def test_the_documented_binding_gives_the_role_to_the_documented_account():
    kinds = {each["kind"]: each for each in documented()}
    subject, account = kinds["ClusterRoleBinding"]["subjects"][0], kinds["ServiceAccount"]["metadata"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
    assert kinds["ClusterRoleBinding"]["roleRef"]["name"] == kinds["ClusterRole"]["metadata"]["name"]
    assert kinds["Secret"]["metadata"]["annotations"]["kubernetes.io/service-account.name"] == account["name"]


def test_an_attach_asks_for_each_right_of_the_list_and_for_no_other(azure):
    azure.barred = {"nothing"}
    assert inside.missing_rights(connect(azure.kubeconfig())) == []
    asked = [ask for ask in azure.reviewed if ask[2] != "*"]
    assert sorted(asked) == sorted(inside_rights.asks())


def test_who_may_do_everything_is_asked_once(azure):
    assert inside.missing_rights(connect(azure.kubeconfig())) == []
    assert azure.reviewed == [("*", "*", "*")]


def test_what_is_missing_is_told_by_resource(azure):
    azure.barred = {"secrets", "pods/log"}
    missing = inside.missing_rights(connect(azure.kubeconfig()))
    assert missing == ["create, delete, get, list and patch secrets", "get pods/log"]


def test_every_kind_that_the_client_knows_is_in_the_list_with_its_group():
    listed = {(group, resource.partition("/")[0]) for _, group, resource in inside_rights.asks()}
    known = {(kind.api_version.rpartition("/")[0], kind.plural) for kind in KINDS.values()}
    assert listed == known


def test_the_portal_has_each_right_that_it_gives_to_the_gateway():
    """Kubernetes refuses a Role with rights that who makes it has not."""
    roles = [each for each in gateway.install(VIEW, gateway.Files({}, {}, {})) if each["kind"] == "Role"]
    given = {
        (verb, group, resource)
        for role in roles for rule in role["rules"] for group in rule["apiGroups"]
        for resource in rule["resources"] for verb in rule["verbs"]
    }  # fmt: skip
    assert given
    assert given <= set(inside_rights.asks())


def test_every_object_of_a_gateway_may_be_made_and_taken_away():
    for each in gateway.install(VIEW, gateway.Files({}, {}, {})):
        kind, meta = KINDS[each["kind"]], each["metadata"]
        path = kind.path(meta.get("namespace", ""), meta["name"])
        for method in ("PATCH", "POST", "DELETE"):
            assert rights.lacking(method, path) == ""


def test_what_is_not_in_the_list_is_refused_by_the_servers_of_the_tests():
    assert rights.lacking("DELETE", "/api/v1/namespaces/n/pods/p").startswith("delete pods")
    assert rights.lacking("GET", "/api/v1/namespaces/n/pods/p/log") == ""
    assert rights.lacking("GET", "/api/v1/namespaces/n/pods/p:9902/proxy/stats/prometheus") == ""
    assert rights.lacking("GET", "/apis/apps/v1/deployments") == ""
    assert rights.needed("GET", "/api/v1/namespaces") == ("list", "", "namespaces")
    assert rights.needed("GET", "/api/v1/namespaces/n") == ("get", "", "namespaces")
    assert rights.needed("PATCH", "/apis/apps/v1/namespaces/n/deployments/d/scale") == (
        "patch", "apps", "deployments/scale",
    )  # fmt: skip
