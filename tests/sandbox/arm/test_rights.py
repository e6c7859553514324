import pytest
from cloud import CLIENT, GROUP, SUB, body

from compute.rights import custom_roles
from compute.sandbox.arm.actions import need
from compute.sandbox.entra.rights import Caller, assignment

ROOT = f"/subscriptions/{SUB}"
HERE = f"{ROOT}/resourceGroups/{GROUP}"
AKS = "Microsoft.ContainerService/managedClusters"
ONE = "/subscriptions/{sub}/resourceGroups/{group}/providers/" + AKS + "/{cluster}"


@pytest.mark.parametrize(
    ("method", "path", "action", "scope"),
    [
        ("PUT", ONE, f"{AKS}/write", ONE),
        ("PATCH", ONE, f"{AKS}/write", ONE),
        ("POST", ONE + "/stop", f"{AKS}/stop/action", ONE),
        ("POST", ONE + "/listClusterUserCredential", f"{AKS}/listClusterUserCredential/action", ONE),
        ("DELETE", ONE + "/agentPools/{pool}", f"{AKS}/agentPools/delete", ONE + "/agentPools/{pool}"),
        ("GET", ONE + "/agentPools", f"{AKS}/agentPools/read", ONE),
        ("GET", "/subscriptions/{sub}/providers/Microsoft.Compute/skus", "Microsoft.Compute/skus/read",
         "/subscriptions/{sub}"),
        ("GET", "/subscriptions/{sub}/resourceGroups/{group}", "Microsoft.Resources/subscriptions/resourceGroups/read",
         "/subscriptions/{sub}/resourceGroups/{group}"),
    ],
)  # fmt: skip
def test_a_path_says_its_action_and_scope(method, path, action, scope):
    found = need(method, path)
    assert (found.action, found.scope) == (action, scope)


def test_not_actions_take_away_only_within_their_own_assignment():
    wide = assignment({"scope": ROOT, "actions": [f"{AKS}/*"], "notActions": [f"{AKS}/delete"]})
    caller = Caller("a", "b", (wide,))
    assert caller.may(f"{AKS}/write", f"{HERE}/x".upper())
    assert not caller.may(f"{AKS}/delete", HERE)
    assert not caller.may(f"{AKS}/write", "/subscriptions/other")
    both = Caller("a", "b", (wide, assignment({"scope": HERE, "role": "Contributor"})))
    assert both.may(f"{AKS}/delete", f"{HERE}/providers/{AKS}/one")


def test_what_is_not_permitted_is_refused_in_azures_words_and_changes_nothing(cloud):
    token = cloud.principal({"scope": HERE, "actions": [f"{AKS}/read", f"{AKS}/stop/action"]})
    answer = cloud.ask("PUT", cloud.cluster("one"), body(1), token=token)
    found = answer.json()["error"]
    assert (answer.status_code, found["code"]) == (403, "AuthorizationFailed")
    assert answer.headers["x-ms-failure-cause"] == "gateway"
    assert f"The client '{CLIENT}' with object id '" in found["message"]
    assert f"perform action '{AKS}/write' over scope '{HERE}/providers/{AKS}/one'" in found["message"]
    assert cloud.ask("GET", cloud.cluster("one"), token=token).status_code == 404
    cloud.ask("PUT", cloud.cluster("one"), body(1))
    for method, path, status in [
        ("GET", "one", 200), ("GET", "one/agentPools", 403), ("DELETE", "one", 403), ("POST", "one/start", 403),
        ("POST", "one/stop", 409), ("POST", "one/listClusterUserCredential", 403),
    ]:  # fmt: skip
        assert cloud.ask(method, cloud.cluster(path), token=token).status_code == status, (method, path)


def test_an_abort_on_a_pool_needs_its_own_action_and_the_documented_role_has_it(cloud):
    cloud.ask("PUT", cloud.cluster("one"), body(1))
    path = cloud.cluster("one/agentPools/nodepool1/abort")
    before = cloud.principal({"scope": HERE, "actions": [f"{AKS}/abort/action", f"{AKS}/agentPools/write"]})
    refused = cloud.ask("POST", path, token=before)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "AuthorizationFailed")
    assert f"perform action '{AKS}/agentPools/abort/action' over scope" in refused.json()["error"]["message"]
    (_, role) = custom_roles(SUB, GROUP)
    token = cloud.principal({"scope": HERE, "actions": role["Actions"]})
    assert cloud.ask("POST", path, token=token).status_code == 204


def test_lists_show_what_the_caller_may_read(cloud):
    for name in ("one", "two"):
        cloud.ask("PUT", cloud.cluster(name), body(1))
    token = cloud.principal({"scope": cloud.cluster("two"), "role": "Reader"})
    for path in (cloud.cluster(), f"{ROOT}/providers/{AKS}"):
        assert [row["name"] for row in cloud.ask("GET", path, token=token).json()["value"]] == ["two"]
    assert len(cloud.ask("GET", "/subscriptions", token=token).json()["value"]) == 1
    nothing = cloud.principal(client_id="aaaaaaaa-0000-4000-a000-000000000002")
    assert cloud.ask("GET", "/subscriptions", token=nothing).json()["value"] == []
    assert cloud.ask("GET", cloud.cluster(), token=nothing).status_code == 403


def test_permissions_say_what_the_caller_has_at_each_scope(cloud):
    cloud.ask("PUT", cloud.cluster("one"), body(1))
    role = {"scope": HERE, "actions": [f"{AKS}/*", "Microsoft.Authorization/permissions/read"]}
    token = cloud.principal(role)
    where = "/providers/Microsoft.Authorization/permissions"
    assert cloud.ask("GET", ROOT + where, token=token).status_code == 403
    for scope in (HERE, cloud.cluster("one")):
        rows = cloud.ask("GET", scope + where, token=token).json()["value"]
        assert [row["actions"] for row in rows] == [role["actions"]]
    assert cloud.ask("GET", ROOT + where).json()["value"][0]["actions"] == ["*"]


def test_a_role_that_an_owner_assigns_by_arm_counts_until_it_is_taken_away(cloud):
    token = cloud.principal()
    who = cloud.admin("GET", "principals")["value"][0]["object_id"]
    where = f"{HERE}/providers/Microsoft.Authorization"
    assert cloud.ask("GET", cloud.cluster(), token=token).status_code == 403
    role = cloud.ask("GET", f"{where}/roleDefinitions?$filter=roleName eq 'Reader'").json()["value"][0]
    url = f"{where}/roleAssignments/cccccccc-0000-4000-a000-000000000001"
    asked = {"properties": {"roleDefinitionId": role["id"], "principalId": who}}
    assert cloud.ask("PUT", url, asked, token=token).status_code == 403
    assert cloud.ask("PUT", url, asked).status_code == 201
    assert cloud.ask("GET", cloud.cluster(), token=token).status_code == 200
    rows = cloud.ask("GET", f"{where}/roleAssignments?$filter=principalId eq '{who}'", token=token).json()["value"]
    assert [row["name"] for row in rows] == [url.rpartition("/")[2]]
    assert cloud.ask("DELETE", url).status_code == 200
    assert cloud.ask("GET", cloud.cluster(), token=token).status_code == 403


def test_a_role_on_one_cluster_is_enough_to_follow_its_operations(cloud):
    token = cloud.principal({"scope": HERE, "actions": [f"{AKS}/write"]})
    made = cloud.ask("PUT", cloud.cluster("one"), body(1), token=token)
    assert cloud.ask("GET", made.headers["Azure-AsyncOperation"], token=token).status_code == 200


def test_a_provider_that_is_not_registered_is_refused_until_it_is(cloud):
    cloud.admin("PUT", "arm/providers/Microsoft.ContainerService", {"state": "NotRegistered"})
    answer = cloud.ask("PUT", cloud.cluster("one"), body(1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "MissingSubscriptionRegistration")
    assert answer.json()["error"]["details"][0]["target"] == "Microsoft.ContainerService"
    place = f"{ROOT}/providers/Microsoft.ContainerService"
    assert cloud.ask("POST", place + "/register").json()["registrationState"] == "Registering"
    cloud.admin("POST", "clock", {"advance": 10})
    assert cloud.ask("GET", place).json()["registrationState"] == "Registered"
    assert cloud.ask("PUT", cloud.cluster("one"), body(1)).status_code == 201
