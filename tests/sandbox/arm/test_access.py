import base64

import pytest
import requests
import yaml
from cloud import CLIENT, SECRET, SUB, body

SERVER = "6dae42f8-4368-4678-94ff-3960e28e3630"
GROUP_ID = "bbbbbbbb-0000-4000-a000-000000000001"


def config(town, name: str, user: str = "User") -> dict:
    answer = town.ask("POST", town.cluster(f"{name}/listCluster{user}Credential"))
    assert answer.status_code == 200, answer.text
    return yaml.safe_load(base64.b64decode(answer.json()["kubeconfigs"][0]["value"]))


def namespaces(town, found: dict, token: str = "") -> int:
    server, person = found["clusters"][0]["cluster"]["server"], found["users"][0]["user"]
    headers = {"Authorization": f"Bearer {token or person['token']}"}
    url = f"{server}/api/v1/namespaces"
    return town.session.get(url, headers=headers, verify=str(town.folder / "ca.pem"), timeout=10).status_code


def test_a_private_cluster_has_no_public_name_and_refuses_connections(town):
    made = town.made("hidden", body(1, apiServerAccessProfile={"enablePrivateCluster": True}))
    assert "fqdn" not in made["properties"]
    assert ".privatelink.westeurope.azmk8s.io" in made["properties"]["privateFQDN"]
    found = config(town, "hidden")
    with pytest.raises(requests.ConnectionError):
        namespaces(town, found)
    uid = next(row["id"] for row in town.admin("GET", "state")["clusters"] if row["name"] == "hidden")
    found["clusters"][0]["cluster"]["server"] = f"{town.secure}/clusters/{uid}"
    with pytest.raises(requests.ConnectionError):
        namespaces(town, found)
    answer = town.ask("PUT", town.cluster("hidden"), body(1))
    assert answer.status_code == 200
    made["properties"]["apiServerAccessProfile"] = {"enablePrivateCluster": False}
    town.wait(answer)
    assert town.ask("PUT", town.cluster("hidden"), made).json()["code"] == "PropertyChangeNotAllowed"


def test_authorized_ranges_let_in_only_who_is_within_them(town):
    made = town.made("fenced", body(1, apiServerAccessProfile={"authorizedIPRanges": ["203.0.113.0/24"]}))
    found = config(town, "fenced")
    with pytest.raises(requests.ConnectionError):
        namespaces(town, found)
    made["properties"]["apiServerAccessProfile"]["authorizedIPRanges"].append("127.0.0.1/32")
    town.made("fenced", made)
    assert namespaces(town, found) == 200


def test_without_local_accounts_only_tokens_of_the_directory_get_in(town):
    directory = {"managed": True, "enableAzureRBAC": True}
    made = town.made("entra", body(1, aadProfile=directory, disableLocalAccounts=True))
    assert made["properties"]["aadProfile"]["tenantID"] == town.tenant
    refused = town.ask("POST", town.cluster("entra/listClusterAdminCredential"))
    assert (refused.status_code, refused.json()["code"]) == (400, "BadRequest")
    assert refused.json()["message"].startswith("Getting static credential is not allowed because this cluster is set")
    found = config(town, "entra")
    person = found["users"][0]["user"]["exec"]
    assert person["command"] == "kubelogin"
    assert SERVER in person["args"]
    assert namespaces(town, found, "nonsense") == 401
    arm = town.principal({"scope": f"/subscriptions/{SUB}", "role": "Owner"})
    assert namespaces(town, found, arm) == 401
    kube = town.token(client_id=CLIENT, client_secret=SECRET, scope=f"{SERVER}/.default").json()["access_token"]
    assert namespaces(town, found, kube) == 403
    town.principal({"scope": town.cluster("entra"), "role": "Azure Kubernetes Service RBAC Cluster Admin"})
    assert namespaces(town, found, kube) == 200


def test_a_group_of_administrators_gets_in_and_the_admins_token_still_works(town):
    town.made("grouped", body(1, aadProfile={"managed": True, "adminGroupObjectIDs": [GROUP_ID]}))
    assert namespaces(town, config(town, "grouped", "Admin")) == 200
    town.principal(groups=[GROUP_ID])
    kube = town.token(client_id=CLIENT, client_secret=SECRET, scope=f"{SERVER}/.default").json()["access_token"]
    assert namespaces(town, config(town, "grouped"), kube) == 200


def test_a_stopped_cluster_refuses_changes_in_the_providers_words(town):
    town.made("asleep", body(1))
    answer = town.ask("POST", town.cluster("asleep/start"))
    assert (answer.status_code, answer.json()["code"]) == (400, "BadRequest")
    town.wait(town.ask("POST", town.cluster("asleep/stop")))
    pool = {"properties": {"count": 1, "vmSize": "Standard_D2s_v3"}}
    state = "managed cluster is in Provisioning State(Succeeded) and Power State(Stopped)"
    for method, path, asked in [
        ("PUT", "asleep", body(2)), ("PUT", "asleep/agentPools/more", pool), ("POST", "asleep/stop", None),
    ]:  # fmt: skip
        answer = town.ask(method, town.cluster(path), asked)
        assert (answer.status_code, answer.json()["code"]) == (400, "BadRequest"), path
        assert answer.json()["message"].startswith(state)
    town.wait(town.ask("POST", town.cluster("asleep/start")))
    town.made("asleep", body(2))


def test_the_bounds_of_the_autoscaler_hold(town):
    pool = {"enableAutoScaling": True, "minCount": 2, "maxCount": 4}
    for count, more, words in [
        (1, pool, "is not within minCount 2 and maxCount 4"), (2, {"minCount": 1, "maxCount": 3}, "is off"),
        (2, {**pool, "maxCount": 1001}, "1 to 1000"),
    ]:  # fmt: skip
        asked = body(count)
        asked["properties"]["agentPoolProfiles"][0] |= more
        answer = town.ask("PUT", town.cluster("bounds"), asked)
        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
        assert words in answer.json()["message"]
    assert town.ask("GET", town.cluster("bounds")).status_code == 404
