import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.containerservice import ContainerServiceClient
from cloud import GROUP, SUB, body

HERE = f"/subscriptions/{SUB}/resourceGroups/{GROUP}"
NETS = f"{HERE}/providers/Microsoft.Network/virtualNetworks"
AKS = "Microsoft.ContainerService/managedClusters"


@pytest.fixture(scope="module")
def net(town):
    subnets = [
        {"name": "wide", "properties": {"addressPrefix": "10.20.0.0/20"}},
        {"name": "small", "properties": {"addressPrefix": "10.20.16.0/28"}},
        {"name": "full", "properties": {"addressPrefix": "10.20.17.0/24", "used": 249}},
        {"name": "given", "properties": {"addressPrefix": "10.20.18.0/24",
                                         "delegations": [{"properties": {"serviceName": "Microsoft.Web"}}]}},
    ]  # fmt: skip
    asked = {"location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.20.0.0/16"]},
                                                      "subnets": subnets}}  # fmt: skip
    town.admin("PUT", f"arm/networks/{GROUP}/net", asked)
    asked = {
        "location": "eastus",
        "properties": {
            "addressSpace": {"addressPrefixes": ["10.30.0.0/16"]},
            "subnets": [{"name": "far", "properties": {"addressPrefix": "10.30.0.0/24"}}],
        },
    }
    assert town.ask("PUT", f"{NETS}/east", asked).status_code == 201
    return town


def within(subnet: str, count: int = 2, network: dict | None = None, **pool):
    found = body(count, networkProfile={"serviceCidr": "10.0.0.0/16", **(network or {})})
    found["properties"]["agentPoolProfiles"][0] |= {"vnetSubnetID": f"{NETS}/{subnet}", **pool}
    return found


FLAT = {"networkPlugin": "azure"}
REFUSED = [
    (within("net/subnets/none"), 400, "SubnetNotFound", "subnet none in vnet net from"),
    (within("none/subnets/none"), 400, "SubnetNotFound", "in vnet none from resource group rg"),
    (within("east/subnets/far"), 400, "InvalidParameter", "location 'eastus'"),
    (within("net/subnets/given"), 400, "SubnetIsDelegated", "Microsoft.Web"),
    (within("net/subnets/small", 11), 400, "InsufficientSubnetSize", "IPs 12 exceeds IPs available 11"),
    (within("net/subnets/full", 2), 400, "InsufficientSubnetSize", "IPs 3 exceeds IPs available 2"),
    (within("net/subnets/small", 2, FLAT), 400, "InsufficientSubnetSize", "IPs 333 exceeds IPs available 11"),
    (within("net/subnets/small", 2, None, enableAutoScaling=True, minCount=1, maxCount=20), 400,
     "InsufficientSubnetSize", "IPs 21 exceeds"),
    (within("net/subnets/wide", 2, {"serviceCidr": "10.20.0.0/20", "dnsServiceIP": "10.20.0.10"}), 400,
     "ServiceCidrOverlapExistingSubnetsCidr", "conflicted with an existing subnet CIDR 10.20.0.0/20"),
    (within("net/subnets/wide", 2, {"podCidr": "10.20.0.0/16"}), 400, "NetworkProfileCIDROverlapVNET", "10.20.0.0/16"),
    (within("net/subnets/wide", 2, {"networkPolicy": "cilium"}), 400, "InvalidParameter", "networkDataplane azure"),
    (within("net/subnets/wide", 2, {"networkDataplane": "cilium", "networkPolicy": "azure"}), 400, "InvalidParameter",
     "networkDataplane cilium"),
]  # fmt: skip


def test_a_cluster_that_does_not_fit_its_subnet_is_refused_in_the_providers_words(net):
    for asked, status, code, words in REFUSED:
        answer = net.ask("PUT", net.cluster("misfit"), asked)
        assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text[:400]
        assert words in answer.json()["message"]
    bad = body(1)
    bad["properties"]["agentPoolProfiles"][0]["vnetSubnetID"] = "wide"
    assert net.ask("PUT", net.cluster("misfit"), bad).json()["error"]["code"] == "LinkedInvalidPropertyId"
    assert net.ask("GET", net.cluster("misfit")).status_code == 404


def test_a_cluster_takes_addresses_and_gives_them_back(net):
    def used() -> int:
        rows = net.ask("GET", f"{NETS}/net/usages").json()["value"]
        return next(row["currentValue"] for row in rows if row["id"].endswith("/wide"))

    before = used()
    net.made("fits", within("net/subnets/wide", 2, FLAT))
    assert used() - before == 3 * 111
    subnet = net.ask("GET", f"{NETS}/NET/subnets/WIDE").json()
    assert len(subnet["properties"]["ipConfigurations"]) == 256
    assert net.ask("DELETE", f"{NETS}/net/subnets/wide").json()["error"]["code"] == "InUseSubnetCannotBeDeleted"
    moved = net.ask("PUT", net.cluster("fits"), within("net/subnets/small", 2, FLAT))
    assert (moved.status_code, moved.json()["code"]) == (400, "PropertyChangeNotAllowed")
    pool = {"properties": {"count": 1, "vmSize": "Standard_D2s_v3"}}
    alone = net.ask("PUT", net.cluster("fits/agentPools/more"), pool)
    assert alone.json()["message"] == "The Agentpool more does not have subnet defined."
    net.wait(net.ask("DELETE", net.cluster("fits")))
    assert used() == before


def test_who_may_not_join_the_subnet_is_refused_with_both_actions_named(net):
    rights = {"scope": HERE, "actions": [f"{AKS}/*", "Microsoft.Network/virtualNetworks/subnets/read"]}
    token = net.principal(rights)
    answer = net.ask("PUT", net.cluster("joiner"), within("net/subnets/wide"), token=token)
    found = answer.json()["error"]
    assert (answer.status_code, found["code"]) == (403, "LinkedAuthorizationFailed")
    assert "subnets/join/action' on the linked scope(s) '" in found["message"]
    assert (
        f"has permission to perform action '{AKS}/write' on scope '{HERE}/providers/{AKS}/joiner'" in found["message"]
    )
    pool = {"properties": {"count": 1, "vmSize": "Standard_D2s_v3", "vnetSubnetID": f"{NETS}/net/subnets/wide"}}
    net.made("joined", body(1))
    answer = net.ask("PUT", net.cluster("joined/agentPools/more"), pool, token=token)
    assert answer.json()["error"]["code"] == "LinkedAuthorizationFailed"


def test_networks_are_made_listed_and_deleted_by_arm(net):
    asked = {"location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.40.0.0/16"]}}}
    assert net.ask("PUT", f"{NETS}/mine", asked).status_code == 201
    subnet = {"properties": {"addressPrefix": "10.40.1.0/24"}}
    assert net.ask("PUT", f"{NETS}/mine/subnets/a", subnet).status_code == 201
    for prefix, code in (
        ("10.40.1.0/25", "NetcfgSubnetRangesOverlap"),
        ("10.9.0.0/24", "NetcfgSubnetRangeOutsideVnet"),
    ):
        answer = net.ask("PUT", f"{NETS}/mine/subnets/b", {"properties": {"addressPrefix": prefix}})
        assert answer.json()["error"]["code"] == code
    names = {row["name"] for row in net.ask("GET", NETS).json()["value"]}
    assert {"slipway-vnet", "net", "mine"} <= names
    assert [row["name"] for row in net.ask("GET", f"{NETS}/mine/subnets").json()["value"]] == ["a"]
    assert net.ask("DELETE", f"{NETS}/mine").status_code == 200
    assert net.ask("GET", f"{NETS}/mine").status_code == 404
    assert net.ask("DELETE", f"{NETS}/mine").status_code == 204


def test_azures_own_client_reads_why_a_subnet_is_too_small(net):
    client: ContainerServiceClient = net.client()
    with pytest.raises(HttpResponseError) as failure:
        client.managed_clusters.begin_create_or_update(GROUP, "misfit", within("net/subnets/small", 11))
    assert (failure.value.error.code, failure.value.error.target) == (
        "InsufficientSubnetSize",
        "agentPoolProfile.count",
    )
