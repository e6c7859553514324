"""Which node pool a deployment goes to, and whether a node of it can hold a replica. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from compute import pools
from compute.pools import Choice
from deployments.config import DeploymentConfig
from portal.problems import Invalid

NEEDS = "containerResourceRequirements"


class NoPool(Invalid):
    code, title = "no_node_pool", "No node pool can take it"


def pool_of(choices: Sequence[Choice], config: DeploymentConfig) -> Choice | None:
    """The pool that replicas are bound to: the one that is asked for, or one with enough GPUs; None for any."""
    return pools.pick(choices, config.node_pool, config.gpu_cores)


def check(choices: Sequence[Choice], config: DeploymentConfig, target: str) -> None:
    """Refuse what no node can hold; whether it fits beside others is seen later. `choices` begin with the target's own
    pool. Raises NoPool (422) with the names of the pools that there are.
    """
    found = pool_of(choices, config)
    if config.node_pool and not choices[0].name:
        raise NoPool(f"nodePool is {config.node_pool}, but {target} has no node pools: Azure does not know it.")
    if found is None and config.node_pool:
        raise NoPool(f"{target} has no node pool {config.node_pool} to deploy to. It has: {pools.told(choices)}.")
    if found is not None and not found.most:
        raise NoPool(f"The node pool {found.name} of {target} has no node. Scale it first, or name another pool.")
    if config.gpu_cores > (found or choices[0]).gpus:
        raise NoPool(_too_few_gpus(choices, found, config, target))
    anywhere = [each for each in choices if each.is_open and each.most] or choices[:1]
    _check_room([found] if found else anywhere, config, target)


def _too_few_gpus(choices: Sequence[Choice], found: Choice | None, config: DeploymentConfig, target: str) -> str:
    if found is not None:
        return (
            f"gpuCores is {config.gpu_cores}, but {found.vm_size} of the node pool {found.name} has {found.gpus} GPUs."
        )
    if len(choices) == 1:
        return (
            f"gpuCores is {config.gpu_cores}, but {choices[0].vm_size} has {choices[0].gpus} GPUs. Choose a compute "
            "target of a size with GPUs, or add a node pool with GPUs."
        )
    return (
        f"gpuCores is {config.gpu_cores}, but no node pool of {target} has as many in a node: {pools.told(choices)}. "
        "Add a node pool with GPUs."
    )


def _check_room(open_to: Sequence[Choice], config: DeploymentConfig, target: str) -> None:
    known = [each for each in open_to if each.vcpus]
    if not known or any(config.cpu <= each.vcpus and config.memory_gb <= each.memory_gb for each in known):
        return
    wide, tall = max(known, key=lambda each: each.vcpus), max(known, key=lambda each: each.memory_gb)
    for most, have, want, key, unit in (
        (wide, wide.vcpus, config.cpu, "cpu", "vCPUs"), (tall, tall.memory_gb, config.memory_gb, "memoryInGB", "GB"),
    ):  # fmt: skip
        if want > have:
            raise NoPool(f"{NEEDS}.{key} is {want:g}, but one {most.vm_size} of {target} has {have:g} {unit}.")
    raise NoPool(
        f"{NEEDS}.cpu is {config.cpu:g} and memoryInGB {config.memory_gb:g}, but no node of {target} has both: "
        f"{pools.told(known)}."
    )
