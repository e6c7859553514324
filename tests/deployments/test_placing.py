"""Which node pool a deployment goes to."""

from __future__ import annotations

from typing import Any

import pytest

from compute.pools import Choice
from deployments import placing
from deployments.config import DeploymentConfig
from deployments.placing import NoPool

OWN = Choice("nodepool1", "Standard_D3_v2", 4, 14, most=3)
BIG = Choice("big", "Standard_E8s_v5", 8, 64)
ONE = Choice("gpu1", "Standard_NC4as_T4_v3", 4, 28, 1, ("sku=gpu:NoSchedule",))
FOUR = Choice("gpu4", "Standard_NC64as_T4_v3", 64, 440, 4, ("sku=gpu:NoSchedule",))


def place(choices: list[Choice], **config: Any) -> str:
    parsed = DeploymentConfig.parse(config)
    placing.check(choices, parsed, "prod-1")
    found = placing.pool_of(choices, parsed)
    return found.name if found else ""


def refused(choices: list[Choice], **config: Any) -> str:
    with pytest.raises(NoPool) as caught:
        place(choices, **config)
    assert caught.value.status == 422
    return caught.value.detail


def asks(cpu: float, memory: float) -> dict[str, Any]:
    return {"containerResourceRequirements": {"cpu": cpu, "memoryInGB": memory}}


def test_without_a_wish_a_deployment_goes_anywhere() -> None:
    assert place([OWN, ONE]) == ""


def test_a_deployment_goes_to_the_pool_that_it_names_also_the_clusters_own() -> None:
    assert place([OWN, BIG], nodePool="big") == "big"
    assert place([OWN, BIG], nodePool="nodepool1") == "nodepool1"


def test_a_pool_that_is_not_there_is_refused_with_the_names_of_those_that_are() -> None:
    assert refused([OWN, ONE], nodePool="big") == (
        "prod-1 has no node pool big to deploy to. It has: nodepool1 (Standard_D3_v2), "
        "gpu1 (Standard_NC4as_T4_v3, 1 GPU)."
    )


def test_gpus_are_found_by_themselves_where_the_fewest_are_enough() -> None:
    assert place([OWN, FOUR, ONE], gpuCores=1) == "gpu1"
    assert place([OWN, FOUR, ONE], gpuCores=2) == "gpu4"


def test_gpus_of_the_clusters_own_pool_need_no_other() -> None:
    assert place([Choice("nodepool1", "Standard_NC4as_T4_v3", 4, 28, 1), FOUR], gpuCores=1) == ""


def test_a_gpu_pool_with_nodes_comes_before_an_empty_one() -> None:
    empty = Choice("a", "Standard_NC4as_T4_v3", 4, 28, 1, most=0)
    assert place([OWN, empty, FOUR], gpuCores=1) == "gpu4"
    assert "The node pool a of prod-1 has no node. Scale it first" in refused([OWN, empty], gpuCores=1)
    assert "has no node" in refused([OWN, empty], nodePool="a")


def test_too_many_gpus_are_refused_with_what_the_pools_have() -> None:
    text = refused([OWN, ONE], gpuCores=2)
    assert "gpuCores is 2, but no node pool of prod-1 has as many in a node: nodepool1 (Standard_D3_v2), gpu1" in text
    assert "gpuCores is 1, but Standard_D3_v2 has 0 GPUs" in refused([OWN], gpuCores=1)
    assert "Standard_NC4as_T4_v3 of the node pool gpu1 has 1 GPUs" in refused([OWN, ONE], nodePool="gpu1", gpuCores=2)
    assert "of the node pool big has 0 GPUs" in refused([OWN, BIG, ONE], nodePool="big", gpuCores=1)


def test_only_nodes_of_its_own_pool_count_for_a_deployment_that_names_one() -> None:
    assert place([OWN, BIG], **asks(6, 1)) == ""
    assert "cpu is 6, but one Standard_D3_v2 of prod-1 has 4 vCPUs" in refused(
        [OWN, BIG], nodePool="nodepool1", **asks(6, 1)
    )
    assert place([OWN, BIG], nodePool="big", **asks(6, 1)) == "big"


def test_a_tainted_pool_does_not_count_for_a_deployment_that_does_not_go_there() -> None:
    assert "cpu is 6, but one Standard_D3_v2" in refused([OWN, FOUR], **asks(6, 1))
    soft = Choice("big", "Standard_E8s_v5", 8, 64, taints=("a=b:PreferNoSchedule",))
    assert place([OWN, soft], **asks(6, 1)) == ""


def test_cores_and_memory_have_to_be_on_one_node() -> None:
    wide = Choice("wide", "Standard_F16s_v2", 16, 32)
    tall = Choice("tall", "Standard_E4s_v5", 4, 64)
    assert "cpu is 8 and memoryInGB 40, but no node of prod-1 has both: nodepool1" in refused(
        [OWN, wide, tall], **asks(8, 40)
    )


def test_a_size_that_nobody_knows_is_left_to_the_cluster() -> None:
    assert place([Choice("nodepool1", "Standard_New")], **asks(64, 1)) == ""


def test_a_pool_without_a_node_is_no_room() -> None:
    empty = Choice("big", "Standard_E8s_v5", 8, 64, most=0)
    assert "cpu is 6, but one Standard_D3_v2 of prod-1 has 4 vCPUs" in refused([OWN, empty], **asks(6, 1))
