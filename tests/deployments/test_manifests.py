"""A deployment's Kubernetes objects: golden file, and the strict schemas of every supported version."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from compute.cluster import validate
from deployments import manifests
from deployments.config import DeploymentConfig

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
    return next(item for item in manifests.build(picture) if item["kind"] == kind)


def server(picture: manifests.DeploymentView) -> dict[str, Any]:
    found: dict[str, Any] = one("Deployment", picture)["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("config", [{}, FULL])
def test_every_object_passes_the_strict_schema(version: str, config: dict[str, Any]) -> None:
    for item in manifests.build(view(config)):
        validate(item, version)


def test_objects_are_those_of_the_golden_file() -> None:
    objects = manifests.build(view(FULL))
    objects[2]["data"]["fetch.py"] = "…"
    assert objects == json.loads(GOLDEN.read_text())


INSIGHTS = "InstrumentationKey=0a1b2c3d-1111-4222-8333-44445555beef;IngestionEndpoint=https://in.example/"


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
    assert token["items"] == [{"key": "token", "path": "token"}]
    assert "INSIGHTS" not in json.dumps(pod["initContainers"])
    assert {each["name"] for each in server(view())["env"] if "INSIGHTS" in each["name"]} == {
        "AML_APP_INSIGHTS_ENABLED"
    }


def test_nothing_of_ours_keeps_replicas_from_sending_telemetry() -> None:
    spec = one("NetworkPolicy", view(insights=INSIGHTS))["spec"]
    assert (spec["policyTypes"], "egress" in spec) == (["Ingress"], False)


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
        assert all(mount["mountPath"].startswith("/srv/slipway/") for mount in container["volumeMounts"])


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
    ]


def test_without_a_node_pool_replicas_go_to_any_linux_node() -> None:
    pod = one("Deployment", view())["spec"]["template"]["spec"]
    assert (pod["nodeSelector"], "tolerations" in pod) == ({"kubernetes.io/os": "linux"}, False)
