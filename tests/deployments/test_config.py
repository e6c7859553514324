"""The rules of domain.md "Deployment configuration", each by its name."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.config import Collection, DeploymentConfig, InvalidConfig, Probe

parse = DeploymentConfig.parse


def refused(config: dict[str, Any]) -> str:
    with pytest.raises(InvalidConfig) as caught:
        parse(config)
    assert caught.value.status == 422
    return caught.value.detail


def test_an_empty_configuration_has_the_known_defaults() -> None:
    config = parse({})
    assert (config.cpu, config.memory_gb, config.gpu_cores) == (0.1, 0.5, 0)
    assert config.autoscale_enabled
    assert config.num_replicas is None
    assert (config.min_replicas, config.max_replicas) == (1, 10)
    assert (config.refresh_period_seconds, config.target_utilization) == (1, 70)
    assert (config.max_concurrent_requests, config.max_queue_wait_ms, config.scoring_timeout_ms) == (1, 500, 60000)
    assert config.probe == Probe(10, 310, 2, 1, 3)
    assert (config.auth_enabled, config.token_auth_enabled, config.keys) == (True, False, None)
    assert config == parse(None) == parse({"numReplicas": None, "autoScaler": None})


@pytest.mark.parametrize("key", ["cpu", "memoryInGB"])
@pytest.mark.parametrize("value", [0, -1, "1", True, float("nan"), float("inf")])
def test_cpu_and_memory_are_above_zero(key: str, value: Any) -> None:
    text = refused({"containerResourceRequirements": {key: value}})
    assert f"containerResourceRequirements.{key} is" in text
    assert "above 0" in text


@pytest.mark.parametrize(("key", "request_"), [("cpu", 2), ("memoryInGB", 4)])
def test_a_limit_is_at_least_the_request(key: str, request_: float) -> None:
    text = refused({"containerResourceRequirements": {key: request_, f"{key}Limit": 1}})
    assert f"{key}Limit is 1 and {key} is {request_}" in text
    assert parse({"containerResourceRequirements": {key: request_, f"{key}Limit": request_}})


@pytest.mark.parametrize("value", [0.5, -1, "2", True])
def test_gpu_cores_is_a_whole_number(value: Any) -> None:
    assert "gpuCores is" in refused({"gpuCores": value})
    assert parse({"gpuCores": 2}).gpu_cores == parse({"containerResourceRequirements": {"gpu": 2}}).gpu_cores == 2


@pytest.mark.parametrize("value", ["GPU", "pool-1", "1a", "a" * 13, 5, True])
def test_node_pool_is_the_name_of_one(value: Any) -> None:
    assert "nodePool is" in refused({"nodePool": value})
    assert (parse({"nodePool": "gpu1"}).node_pool, parse({"nodePool": None}).node_pool, parse({}).node_pool) == (
        "gpu1", "", "",
    )  # fmt: skip


def test_a_v1_file_may_say_its_node_pool_beside_its_compute_type() -> None:
    file = {"computeType": "AKS", "numReplicas": 1, "nodePool": "gpu1", "containerResourceRequirements": {"cpu": 1}}
    assert parse(file).node_pool == "gpu1"


def test_without_num_replicas_autoscaling_is_on_and_with_it_off() -> None:
    assert parse({}).autoscale_enabled
    fixed = parse({"numReplicas": 3})
    assert (fixed.autoscale_enabled, fixed.first_replicas) == (False, 3)
    assert parse({"numReplicas": 2, "autoScaler": {"autoscaleEnabled": False}}).first_replicas == 2


@pytest.mark.parametrize("scaler", [{"autoscaleEnabled": True}, {"minReplicas": 1}])
def test_num_replicas_and_autoscaler_together_are_an_error(scaler: dict[str, Any]) -> None:
    assert "numReplicas is 3 and autoScaler" in refused({"numReplicas": 3, "autoScaler": scaler})


@pytest.mark.parametrize(
    ("scaler", "words"),
    [
        ({"minReplicas": 5, "maxReplicas": 4}, "minReplicas is 5 and maxReplicas is 4"),
        ({"minReplicas": 0}, "minReplicas is 0"),
        ({"targetUtilization": 0}, "from 1 to 100"),
        ({"targetUtilization": 101}, "from 1 to 100"),
        ({"refreshPeriodInSeconds": 0}, "at least 1"),
        ({"autoscaleEnabled": "yes"}, "true or false"),
        ({"minreplicas": 1}, "has no minreplicas"),
    ],
)
def test_autoscaler_has_1_le_min_le_max_and_1_to_100_percent_and_refresh_of_1(
    scaler: dict[str, Any], words: str
) -> None:
    assert words in refused({"autoScaler": scaler})


@pytest.mark.parametrize(
    ("key", "value"), [("maxConcurrentRequestsPerContainer", 0), ("scoringTimeoutMs", 0), ("maxQueueWaitMs", -1)]
)
def test_concurrency_timeout_and_queue_have_their_floors(key: str, value: int) -> None:
    assert f"{key} is {value}" in refused({key: value})


@pytest.mark.parametrize("key", ["periodSeconds", "initialDelaySeconds", "timeoutSeconds", "failureThreshold"])
def test_probe_numbers_are_at_least_1(key: str) -> None:
    assert f"livenessProbeRequirements.{key} is 0" in refused({"livenessProbeRequirements": {key: 0}})


def test_a_liveness_probe_has_a_success_threshold_of_1() -> None:
    assert "successThreshold is 2" in refused({"livenessProbeRequirements": {"successThreshold": 2}})


def test_token_auth_given_alone_switches_key_auth_off() -> None:
    config = parse({"tokenAuthEnabled": True})
    assert (config.auth_enabled, config.token_auth_enabled) == (False, True)


def test_key_auth_and_token_auth_together_are_refused() -> None:
    assert "both true" in refused({"authEnabled": True, "tokenAuthEnabled": True})


def test_keys_have_at_least_16_characters_and_differ_and_belong_to_key_auth() -> None:
    good = {"primaryKey": "p" * 16, "secondaryKey": "s" * 16}
    assert parse({"keys": good}).keys == ("p" * 16, "s" * 16)
    assert "has 15 characters" in refused({"keys": {**good, "primaryKey": "p" * 15}})
    assert "are equal" in refused({"keys": {**good, "secondaryKey": "p" * 16}})
    assert "secondaryKey is missing" in refused({"keys": {"primaryKey": "p" * 16}})
    assert "authEnabled is off" in refused({"keys": good, "authEnabled": False})
    assert "p" * 15 not in refused({"keys": {**good, "primaryKey": "p" * 15}})


def test_insights_without_a_connection_and_event_hubs_are_accepted_with_a_warning() -> None:
    config = parse({"appInsightsEnabled": True, "dataCollection": {"eventHubEnabled": True}})
    without, with_it = config.warnings_in(has_insights=False), config.warnings_in(has_insights=True)
    assert ["appInsightsEnabled" in without[0], "eventHubEnabled" in without[1]] == [True, True]
    assert with_it == without[1:]
    assert parse({"dataCollection": {"storageEnabled": True}}).warnings_in(has_insights=False) == ()


def test_data_collection_keeps_all_requests_and_64_kib_of_a_body_unless_told_otherwise() -> None:
    assert parse({"dataCollection": {"storageEnabled": True}}).collection == Collection(100, 64)
    given = {"storageEnabled": True, "samplePercent": 0.5, "maxBodyKiB": 1024}
    assert parse({"dataCollection": given}).collection == Collection(0.5, 1024)
    for off in ({}, {"dataCollection": None}, {"dataCollection": {"samplePercent": 5}}):
        assert parse(off).collection is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"samplePercent": 0}, "dataCollection.samplePercent is 0"),
        ({"samplePercent": 100.5}, "dataCollection.samplePercent is 100.5: give a number above 0, at most 100"),
        ({"samplePercent": True}, "dataCollection.samplePercent is True"),
        ({"maxBodyKiB": 0}, "dataCollection.maxBodyKiB is 0: give a whole number from 1 to 1024"),
        ({"maxBodyKiB": 1025}, "dataCollection.maxBodyKiB is 1025"),
        ({"storageEnabled": "yes"}, "dataCollection.storageEnabled is 'yes': give true or false"),
        ({"days": 3}, "dataCollection has no days"),
    ],
)
def test_data_collection_out_of_bounds_is_refused_with_key_and_value(given: dict[str, Any], said: str) -> None:
    assert said in refused({"dataCollection": given})


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "a-", "x" * 64, 3, "kube-system", "slipway-gw-x-1"])
def test_a_namespace_is_a_dns_label_of_at_most_63_characters(name: Any) -> None:
    assert "namespace" in refused({"namespace": name})
    assert parse({"namespace": "x" * 63}).namespace == "x" * 63


@pytest.mark.parametrize("name", ["tags", "properties"])
def test_tags_and_properties_are_at_most_50_texts_by_name(name: str) -> None:
    assert getattr(parse({name: {"a": "1"}}), name) == {"a": "1"}
    for wrong in (5, ["a"], {"a": 1}):
        assert f"{name}: give a JSON object of texts" in refused({name: wrong})
    assert f"{name} has 51 members" in refused({name: {str(number): "x" for number in range(51)}})


def test_a_description_is_a_text() -> None:
    assert parse({"description": "Which iris?"}).description == "Which iris?"
    assert "description is 5" in refused({"description": 5})


def test_the_compute_type_of_a_v1_file_is_aks_or_refused() -> None:
    assert parse({"computeType": "aks"}) == parse({})
    assert "only AKS" in refused({"computeType": "ACI"})


def test_unknown_keys_are_refused_by_name() -> None:
    assert "has no numReplica." in refused({"numReplica": 1})
