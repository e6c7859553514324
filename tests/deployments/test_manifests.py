"""A deployment's Kubernetes objects: golden file, and the strict schemas of every supported version."""

from __future__ import annotations

import itertools
import json
import re
from base64 import b64decode
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from compute import hardening
from compute.cluster import validate
from compute.names import clean, gateway_namespace, workspace_namespace
from deployments import manifests
from deployments.config import DeploymentConfig
from deployments.outgoing import Outgoing

GOLDEN = Path(__file__).parent / "golden" / "objects.json"
VERSIONS = ["1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35"]
FULL = {
    "containerResourceRequirements": {"cpu": 0.5, "cpuLimit": 1, "memoryInGB": 1, "memoryInGBLimit": 2},
    "gpuCores": 1,
    "numReplicas": 2,
    "maxConcurrentRequestsPerContainer": 3,
    "scoringTimeoutMs": 1500,
}


def view(config: dict[str, Any] | None = None, **more: Any) -> manifests.DeploymentView:
    facts = {
        "pk": 7, "name": "iris-v1", "workspace": "vision-dev", "namespace": "slipway-vision-dev-1", "revision": 3,
        "image": "r.azurecr.io/slipway/environments@sha256:" + "a" * 64, "fetch_image": "slipway/inference-base:1",
        "entry_script": "score.py", "fetch_url": "http://127.0.0.1:8000/api/v1/fetch/7/3/", "fetch_token": "t",
        "models": (("iris", 1),), **more,
    }  # fmt: skip
    return manifests.DeploymentView(config=DeploymentConfig.parse(config), **facts)


def one(kind: str, picture: manifests.DeploymentView) -> dict[str, Any]:
    """The object of a kind that bears the deployment's own name."""
    names = {manifests.workload_name(picture), picture.namespace}
    return next(item for item in manifests.build(picture) if item["kind"] == kind and item["metadata"]["name"] in names)


def server(picture: manifests.DeploymentView) -> dict[str, Any]:
    found: dict[str, Any] = one("Deployment", picture)["spec"]["template"]["spec"]["containers"][0]
    return found


INSIGHTS = "InstrumentationKey=0a1b2c3d-1111-4222-8333-44445555beef;IngestionEndpoint=https://in.example/"
COLLECT = manifests.Collect(
    url="http://127.0.0.1:8000/api/v1/collect/7/", token="c", service="iris", version="v1", revision=3, percent=50,
    body_bytes=65536, seconds=5, workers=2,
)  # fmt: skip
OPTIONS: list[list[dict[str, Any]]] = [
    [{}, FULL],
    [{}, {"node_pool": "gpu1", "taints": ("sku=gpu:NoSchedule", "spot=:PreferNoSchedule")}],
    [{}, {"insights": INSIGHTS, "ca": "-----BEGIN CERTIFICATE-----"}],
    [{}, {"collect": COLLECT}],
    [{}, {"login": '{"auths": {}}', "quota": (("requests.cpu", "8"), ("requests.nvidia.com/gpu", "2"), ("pods", "9"))}],
    [
        {"fetch_url": "https://portal.example/api/v1/fetch/7/3/", "outgoing": Outgoing("needed")},
        {"outgoing": Outgoing("open", ("10.1.0.0/16:5432", "[fd00::/8]:443", "10.9.0.1/32"))},
        {"fetch_url": "http://portal.example/x", "storage_urls": ("https://a.blob.core.windows.net",), "size": 10**11},
    ],
]  # fmt: skip


@cache
def everything() -> list[dict[str, Any]]:
    """The objects of every combination of options, equal ones once."""
    found = {}
    for config, *facts in itertools.product(*OPTIONS):
        picture = view(config, **{name: value for fact in facts for name, value in fact.items()})
        for item in manifests.build(picture):
            found[json.dumps(item, sort_keys=True)] = item
    return list(found.values())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_passes_the_strict_schema_in_every_combination_of_options(version: str) -> None:
    for item in everything():
        validate(item, version)


def test_objects_are_those_of_the_golden_file() -> None:
    objects = manifests.build(view(FULL))
    next(each for each in objects if each["kind"] == "ConfigMap")["data"]["fetch.py"] = "…"
    assert objects == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("version", VERSIONS)
def test_the_connection_to_application_insights_is_in_the_secret_and_nowhere_else(version: str) -> None:
    picture = view(FULL, insights=INSIGHTS)
    for item in manifests.build(picture):
        validate(item, version)
        assert item["kind"] == "Secret" or "44445555beef" not in json.dumps(item)
    data = {name: b64decode(text).decode() for name, text in one("Secret", picture)["data"].items()}
    key = "0a1b2c3d-1111-4222-8333-44445555beef"
    assert data == {"token": "t", "insights-key": key, "insights-connection": INSIGHTS}
    environment = {each["name"]: each for each in server(picture)["env"]}
    assert environment["AML_APP_INSIGHTS_ENABLED"]["value"] == "true"
    for variable, name in (
        ("AML_APP_INSIGHTS_KEY", "insights-key"), ("APPLICATIONINSIGHTS_CONNECTION_STRING", "insights-connection"),
    ):  # fmt: skip
        told = {"name": "iris-v1-7", "key": name, "optional": True}  # else a replica that restarts without it hangs
        assert environment[variable]["valueFrom"] == {"secretKeyRef": told}


def test_only_the_server_gets_the_connection_and_only_while_there_is_one() -> None:
    pod = one("Deployment", view(insights=INSIGHTS))["spec"]["template"]["spec"]
    (token,) = [each["secret"] for each in pod["volumes"] if "secret" in each]
    assert [each["key"] for each in token["items"]] == ["token", "files-3"]
    assert "INSIGHTS" not in json.dumps(pod["initContainers"])
    assert {each["name"] for each in server(view())["env"] if "INSIGHTS" in each["name"]} == {
        "AML_APP_INSIGHTS_ENABLED"
    }


def outgoing(**facts: Any) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = one("NetworkPolicy", view(**facts))["spec"]["egress"]
    return rules


def ports(rules: list[dict[str, Any]]) -> list[int]:
    return [port["port"] for rule in rules for port in rule.get("ports", [])]


def test_replicas_may_call_https_and_what_they_need_to_start_and_no_more() -> None:
    assert ports(outgoing()) == [53, 53, 8000, 443]
    assert ports(outgoing(outgoing=Outgoing("needed"))) == [53, 53, 8000]
    assert outgoing()[1]["to"] == [{"ipBlock": {"cidr": "127.0.0.1/32"}}]
    named = outgoing(fetch_url="https://portal.example:8443/f/", outgoing=Outgoing("needed"))
    assert named[1:] == [{"ports": [{"port": 8443, "protocol": "TCP"}]}]


def test_telemetry_and_storage_can_be_reached_whatever_the_workspace_allows() -> None:
    closed = Outgoing("needed")
    assert ports(outgoing(outgoing=closed, insights=INSIGHTS)) == [53, 53, 8000, 443]
    assert ports(outgoing(outgoing=closed, storage_urls=("https://127.0.0.1:9443/models",))) == [53, 53, 8000, 9443]


@pytest.mark.parametrize("mode", ["needed", "https", "open"])
def test_the_machine_identity_of_the_cloud_is_never_reachable(mode: str) -> None:
    for url in ("http://portal.example/f/", "https://portal.example/f/"):
        for rule in outgoing(fetch_url=url, outgoing=Outgoing(mode, ("0.0.0.0/0", "169.0.0.0/8:80"))):
            blocks = [peer["ipBlock"] for peer in rule.get("to", []) if "ipBlock" in peer]
            assert rule.get("to") or 80 not in ports([rule])
            for block in blocks:
                cidr = ip_network(block["cidr"])
                if cidr.version == 4 and ip_network("169.254.169.254/32").subnet_of(cidr):  # type: ignore[arg-type]
                    assert "169.254.0.0/16" in block["except"]


def test_replicas_are_left_out_while_the_autoscaler_owns_them() -> None:
    assert "replicas" not in one("Deployment", view())["spec"]
    assert one("Deployment", view({"numReplicas": 4}))["spec"]["replicas"] == 4


def test_grace_covers_the_wait_before_a_whole_score_and_a_little_more() -> None:
    spec = one("Deployment", view({"scoringTimeoutMs": 10_500}))["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == 2 + 11 + 5


def test_mounts_lie_below_the_working_directory_of_every_container() -> None:
    pod = one("Deployment", view())["spec"]["template"]["spec"]
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert container["workingDir"] == "/srv/slipway"
        paths = {mount["mountPath"] for mount in container["volumeMounts"]} - {"/tmp"}  # noqa: S108
        assert all(path.startswith("/srv/slipway/") for path in paths)


def test_the_server_binds_the_pods_own_address_only() -> None:
    command = server(view())["command"][-1]
    assert '-b "$(POD_IP):5001"' in command
    assert "0.0.0.0" not in command


def test_the_model_folder_is_that_of_one_model_or_of_all() -> None:
    assert manifests.models_path((("iris", 2),)) == "azureml-models/iris/2"
    assert manifests.models_path((("iris", 2), ("other", 1))) == manifests.models_path(()) == "azureml-models"


def test_the_fetch_token_reaches_only_the_init_container() -> None:
    assert "token" not in [mount["name"] for mount in server(view())["volumeMounts"]]


@pytest.mark.parametrize("name", ["x" * 100, "1st", "UPPER_case", "ends-"])
def test_names_are_dns_labels_of_at_most_63_characters(name: str) -> None:
    for item in manifests.build(view(name=name)):
        validate(item)
        assert len(item["metadata"]["name"]) <= 63


@pytest.mark.parametrize("version", VERSIONS)
def test_replicas_are_bound_to_their_node_pool_and_tolerate_its_taints(version: str) -> None:
    picture = view(FULL, node_pool="gpu1", taints=("sku=gpu:NoSchedule", "spot=:PreferNoSchedule"))
    validate(one("Deployment", picture), version)
    pod = one("Deployment", picture)["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "kubernetes.azure.com/agentpool": "gpu1"}
    assert pod["tolerations"] == [
        {"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},
        {"key": "spot", "operator": "Equal", "value": "", "effect": "PreferNoSchedule"},
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    ]


def test_without_a_node_pool_replicas_go_to_any_linux_node() -> None:
    pod = one("Deployment", view())["spec"]["template"]["spec"]
    assert (pod["nodeSelector"], "tolerations" in pod) == ({"kubernetes.io/os": "linux"}, False)


def test_only_those_with_gpus_tolerate_the_taints_of_machines_that_have_them() -> None:
    pod = one("Deployment", view({"gpuCores": 1}))["spec"]["template"]["spec"]
    assert [row["key"] for row in pod["tolerations"]] == ["sku", "nvidia.com/gpu"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_a_login_is_in_a_secret_of_its_own_that_only_the_kubelet_is_told_of() -> None:
    objects = manifests.build(view(login='{"auths": {"r.example": {"auth": "dTpw"}}}'))
    (secret,) = [each for each in objects if each.get("type") == "kubernetes.io/dockerconfigjson"]
    pod = one("Deployment", view(login="{}"))["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": secret["metadata"]["name"]}] == [{"name": "iris-v1-7-login"}]
    assert json.loads(b64decode(secret["data"][".dockerconfigjson"])) == {"auths": {"r.example": {"auth": "dTpw"}}}
    assert "login" not in json.dumps([pod["volumes"], pod["containers"], pod["initContainers"]])


def test_whose_it_is_stands_on_every_object_that_is_not_shared() -> None:
    for item in manifests.build(view(login="{}", team="vision")):
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/managed-by"] == "slipway"
        if item["kind"] not in ("Namespace", "PriorityClass"):
            assert (labels["slipway.dev/team"], labels["slipway.dev/deployment"]) == ("vision", "7")
            assert labels["app.kubernetes.io/part-of"] == "slipway"


def test_what_settings_decide_can_be_applied_without_rolling_a_pod() -> None:
    picture = view(login="{}", quota=(("pods", "3"),))
    kinds = [each["kind"] for each in manifests.around(picture)]
    assert kinds == ["Namespace", "PriorityClass", "ResourceQuota", "Secret", "NetworkPolicy"]
    assert all(each in manifests.build(picture) for each in manifests.around(picture))


LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
NUMBERS = some.integers(1, 2**31)
SLUGS = some.from_regex(r"[-a-zA-Z0-9_]{1,50}", fullmatch=True) | some.from_regex(r"gw-[a-z0-9]{1,5}", fullmatch=True)


@settings(max_examples=200)
@given(some.text(min_size=1, max_size=100), NUMBERS, some.text(min_size=1, max_size=100), NUMBERS)
def test_names_of_workloads_are_labels_and_two_deployments_never_share_one(one: str, a: int, two: str, b: int) -> None:
    names = [manifests.workload_name(view(name=one, pk=a)), manifests.workload_name(view(name=two, pk=b))]
    assert all(LABEL.fullmatch(name) for name in names)
    assert (names[0] == names[1]) == (a == b and clean(one, 40) == clean(two, 40))
    assert LABEL.fullmatch(manifests.login_name(view(name=one, pk=a)))


@settings(max_examples=200)
@given(SLUGS, NUMBERS, SLUGS, NUMBERS)
def test_no_workspace_has_the_namespace_of_another_or_of_a_gateway(one: str, a: int, two: str, b: int) -> None:
    mine, theirs = workspace_namespace(one, a), gateway_namespace(b, two)
    assert LABEL.fullmatch(mine)
    assert LABEL.fullmatch(theirs)
    assert mine != theirs
    assert a == b or workspace_namespace(two, b) != mine


def test_nothing_is_used_that_the_oldest_supported_kubernetes_keeps_switched_off() -> None:
    assert VERSIONS[0] == "1.29"  # its gate PodLifecycleSleepAction is off: the handler is dropped, the object refused
    hooks = [each for item in everything() for each in hooks_of(item)]
    assert hooks
    assert all("sleep" not in each for each in hooks)


def hooks_of(item: dict[str, Any]) -> list[dict[str, Any]]:
    pod = item["spec"]["template"]["spec"] if item["kind"] == "Deployment" else {}
    containers = [*pod.get("initContainers", []), *pod.get("containers", [])]
    return [hook for each in containers for hook in (each.get("lifecycle") or {}).values()]


def test_a_gateway_goes_before_replicas_which_push_nobody_out() -> None:
    gateway, replica = map(hardening.priority_class, hardening.PRIORITIES)
    assert gateway["value"] > replica["value"] > 0
    assert replica["preemptionPolicy"] == "Never"
