"""Azure through its SDK: credentials, errors in both shapes, builds of images."""

from __future__ import annotations

import json

import pytest
from azure.core import exceptions as sdk

from compute import options, queries
from compute.arm import Arm, ArmAccess, ArmDenied, ArmRefused, BadCredential, errors, session, shape
from compute.types import ClusterSpec
from portal.outbound import AddressRefused
from portal.problems import Retryable
from tests.compute.azure import SUB, TOKEN


@pytest.fixture
def arm(azure):
    return Arm(ArmAccess(azure.url, SUB, json.dumps({"kind": "static", "token": TOKEN})), registry_group="rg")


def test_an_image_is_built_by_upload_run_state_and_log_and_signed_urls_get_no_token(arm, azure):
    run = arm.build_start("reg", b"tar.gz", "env/one:abc")
    assert azure.blobs["/blob/context"] == b"tar.gz"
    (request,) = azure.runs
    assert (request["type"], request["imageNames"], request["sourceLocation"], request["dockerFilePath"]) == (
        "DockerBuildRequest", ["env/one:abc"], "source/context.tar.gz", "Dockerfile",
    )  # fmt: skip
    assert arm.build_state("reg", run) == ("Succeeded", "sha256:abc")
    azure.blobs["/blob/log"] = b"line one\nline two\n"
    assert arm.build_log("reg", run, 0) == ("line one\nline two\n", 18, True)
    assert arm.build_log("reg", run, 18) == ("", 18, True)
    azure.blobs["/blob/log"] = b""
    assert arm.build_log("reg", run, 0) == ("", 0, False)


def test_a_wrong_token_is_said_as_the_workspaces_credential(azure):
    arm = Arm(ArmAccess(azure.url, SUB, json.dumps({"kind": "static", "token": "wrong"})))
    with pytest.raises(ArmDenied, match="bad token"):
        arm.get_cluster("rg", "x")


def test_proxy_variables_are_ignored_towards_this_machine(azure, arm, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    azure.cluster("there")
    assert arm.get_cluster("rg", "there").node_count == 3


def test_azure_out_of_reach_is_retryable(azure):
    arm = Arm(ArmAccess("http://127.0.0.1:1", SUB, json.dumps({"kind": "static", "token": TOKEN})))
    with pytest.raises(Retryable, match="cannot be reached"):
        arm.get_cluster("rg", "x")


def test_an_endpoint_that_a_person_gave_is_checked(settings):
    settings.OUTBOUND_ALLOW = []
    with pytest.raises(AddressRefused):
        Arm(ArmAccess("https://169.254.169.254", SUB, '{"kind": "static", "token": "t"}')).clusters()


@pytest.mark.parametrize("text", ["{", '{"kind": "magic"}', '{"token": "t"}', '{"kind": "client_secret"}', "[]"])
def test_a_credential_that_is_incomplete_is_refused_without_showing_it(text):
    with pytest.raises(BadCredential) as refused:
        session.credential_of(text)
    assert "t}" not in refused.value.detail


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ({"kind": "client_secret", "tenant_id": "t", "client_id": "c", "client_secret": "s"}, "ClientSecretCredential"),
        ({"kind": "managed_identity"}, "ManagedIdentityCredential"), ({"kind": "default"}, "DefaultAzureCredential"),
        ({"kind": "static", "token": "t"}, "StaticToken"),
    ],
)  # fmt: skip
def test_each_kind_of_credential_becomes_the_sdks(kind, name):
    assert type(session.credential_of(json.dumps(kind))).__name__ == name


def test_secrets_are_in_no_repr():
    assert TOKEN not in repr(ArmAccess("https://x", SUB, TOKEN))


def test_errors_are_read_wrapped_and_unwrapped_with_their_inner_cause():
    inner = {"code": "Deep", "message": "disk is full"}
    body = {"code": "Outer", "message": "failed", "details": [inner], "subcode": ""}
    assert errors.body_words(body) == ("Outer", "failed: disk is full (Deep)")
    assert errors.body_words({"error": body}) == ("Outer", "failed: disk is full (Deep)")
    assert errors.body_words("<html>") == ("", "")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (sdk.ServiceRequestError("x"), Retryable), (sdk.ServiceResponseError("x"), Retryable),
        (sdk.ClientAuthenticationError("no token"), ArmDenied), (sdk.AzureError("x"), Retryable),
    ],
)  # fmt: skip
def test_what_the_sdk_raises_is_translated(raised, expected):
    with pytest.raises(expected), errors.translated():
        raise raised


def test_a_refusal_carries_azures_code_and_request_id(arm, azure):
    azure.fail("GET", (403, {"error": {"code": "AuthorizationFailed", "message": "no"}}, {"x-ms-request-id": "r1"}))
    with pytest.raises(ArmRefused) as refused:
        arm.get_cluster("rg", "x")
    assert (refused.value.extras["azure_code"], refused.value.extras["x_ms_request_id"]) == (
        "AuthorizationFailed",
        "r1",
    )
    assert refused.value.detail == "no (AuthorizationFailed)"


def test_a_stored_url_of_another_host_gets_no_token(arm):
    with pytest.raises(BadCredential, match="another host"):
        arm.poll("https://evil.example.com/operations/1")


def test_the_body_of_a_cluster_holds_what_was_asked_and_no_retired_setting():
    options = {"private_cluster": True, "subnet_id": "/s", "load_balancer": {"internal": True, "subnet": ""}}
    body = shape.body(ClusterSpec("rg", "a" * 63, "westeurope", "Standard_D3_v2", 3, "1.33", options, {"k": "v"}))
    properties = body["properties"]
    assert properties["apiServerAccessProfile"] == {"enablePrivateCluster": True}
    assert properties["agentPoolProfiles"][0]["vnetSubnetID"] == "/s"
    assert len(properties["dnsPrefix"]) == 54
    assert "dockerBridgeCidr" not in json.dumps(body)


SUBNET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/n"
IDENTITY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
POOL = ("properties", "agentPoolProfiles", 0)
NETWORK = ("properties", "networkProfile")


@pytest.mark.parametrize(
    ("given", "where", "expected"),
    [
        ({}, ("identity",), {"type": "SystemAssigned"}),
        ({"identity": IDENTITY}, ("identity",), {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}}),
        ({"zones": ["3", "1"]}, (*POOL, "availabilityZones"), ["1", "3"]),
        ({"os_disk_gb": 256}, (*POOL, "osDiskSizeGB"), 256),
        ({"autoscaler": {"min_count": 3, "max_count": 9}}, (*POOL, "enableAutoScaling"), True),
        ({"autoscaler": {"min_count": 3, "max_count": 9}}, (*POOL, "minCount"), 3),
        ({"autoscaler": {"min_count": 3, "max_count": 9}}, (*POOL, "maxCount"), 9),
        ({"subnet_id": SUBNET}, (*POOL, "vnetSubnetID"), SUBNET),
        (
            {"vnet": {"subscription_id": "s", "resource_group": "g", "name": "v", "subnet": "n"}},
            (*POOL, "vnetSubnetID"), SUBNET,
        ),
        ({}, (*NETWORK, "networkPluginMode"), "overlay"),
        ({}, (*NETWORK, "networkPolicy"), "cilium"),
        ({}, (*NETWORK, "networkDataplane"), "cilium"),
        ({"subnet_id": SUBNET, "network_mode": "flat"}, (*NETWORK, "networkPolicy"), "azure"),
        ({"subnet_id": SUBNET, "network_mode": "flat"}, (*NETWORK, "networkDataplane"), None),
        ({"subnet_id": SUBNET, "network_mode": "flat"}, (*NETWORK, "networkPluginMode"), None),
        ({"service_cidr": "10.9.0.0/16"}, (*NETWORK, "serviceCidr"), "10.9.0.0/16"),
        ({"service_cidr": "10.9.0.0/16"}, (*NETWORK, "dnsServiceIP"), "10.9.0.10"),
        ({"dns_service_ip": "10.0.0.99"}, (*NETWORK, "dnsServiceIP"), "10.0.0.99"),
        ({"load_balancer": {"sku": "basic"}}, (*NETWORK, "loadBalancerSku"), "standard"),
        ({"docker_bridge_cidr": "172.17.0.1/16"}, (*NETWORK, "dockerBridgeCidr"), None),
        ({"private_cluster": True}, ("properties", "apiServerAccessProfile"), {"enablePrivateCluster": True}),
        (
            {"authorized_ip_ranges": ["203.0.113.9"]}, ("properties", "apiServerAccessProfile"),
            {"authorizedIPRanges": ["203.0.113.9/32"]},
        ),
        ({}, ("properties", "apiServerAccessProfile"), None),
        ({}, ("properties", "kubernetesVersion"), "1.33"),
        ({}, ("tags",), {"k": "v"}),
        ({}, ("location",), "westeurope"),
        ({}, (*POOL, "count"), 3),
        ({}, (*POOL, "vmSize"), "Standard_D3_v2"),
        ({}, (*POOL, "mode"), "System"),
    ],
)  # fmt: skip
def test_each_setting_of_a_create_is_where_azure_wants_it(given, where, expected):
    values = options.parse(given).values
    found = shape.body(ClusterSpec("rg", "one", "westeurope", "Standard_D3_v2", 3, "1.33", values, {"k": "v"}))
    for part in where[:-1]:
        found = found[part]
    assert found.get(where[-1]) == expected


def test_ids_are_read_in_any_letter_case():
    text = "/Subscriptions/s/RESOURCEGROUPS/g/providers/Microsoft.ContainerService/ManagedClusters/n"
    assert shape.group_of(text) == "g"
    assert shape.segments(text)["managedclusters"] == "n"


def test_azure_as_a_workspace_reaches_it_is_made_once(home):
    assert queries.arm_of(home) is queries.arm_of(home)
    assert queries.arm_of(home, "other") is not queries.arm_of(home)
