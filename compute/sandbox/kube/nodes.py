"""Node objects: what a machine of a size can give to pods."""

from dataclasses import asdict, dataclass, field
from typing import Any

Json = dict[str, Any]
POOL_LABEL = "kubernetes.azure.com/agentpool"
# AKS's published reservation of millicores by cores.
CPU_RESERVED = ((1, 60), (2, 100), (4, 140), (8, 180), (16, 260), (32, 420), (64, 740))
EVICTION_MIB = 100


@dataclass(frozen=True)
class NodeSpec:
    """One machine of a node pool. `memory_gb` is the size's memory in GiB; taints are core/v1 taints."""

    name: str
    pool: str
    vm_size: str
    vcpus: int
    memory_gb: float
    gpus: int = 0
    max_pods: int = 110
    zone: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    taints: list[Json] = field(default_factory=list)

    def to_json(self) -> Json:
        """For the database; `NodeSpec(**doc)` reads it."""
        return asdict(self)


def allocatable(spec: NodeSpec) -> tuple[int, int]:
    """Millicores and MiB left for pods, by AKS's formula (20 MiB per pod + 50 MiB, at most a quarter, less 100 MiB)."""
    cores = max(row for row in CPU_RESERVED if row[0] <= max(spec.vcpus, 1))
    total = int(spec.memory_gb * 1024)
    kept = min(20 * spec.max_pods + 50, total // 4)
    return spec.vcpus * 1000 - cores[1], total - kept - EVICTION_MIB


def node_object(spec: NodeSpec, *, version: str, region: str, subscription_group: str, moment: str) -> Json:
    """The Node, ready from the start."""
    cpu, memory = allocatable(spec)
    gpus = {"nvidia.com/gpu": str(spec.gpus)} if spec.gpus else {}
    pods = {"pods": str(spec.max_pods), "ephemeral-storage": "128Gi"}
    node: Json = {"metadata": {"name": spec.name, "labels": _labels(spec, region)}}
    node["spec"] = {"providerID": f"azure:///subscriptions/{subscription_group}/virtualMachines/{spec.name}"}
    if spec.taints:
        node["spec"]["taints"] = [dict(taint) for taint in spec.taints]
    node["status"] = {
        "capacity": {"cpu": str(spec.vcpus), "memory": f"{int(spec.memory_gb * 1024)}Mi", **pods, **gpus},
        "allocatable": {"cpu": f"{cpu}m", "memory": f"{memory}Mi", **pods, **gpus},
        "conditions": conditions(moment, ready=True),
        "addresses": [
            {"type": "InternalIP", "address": "127.0.0.1"},
            {"type": "Hostname", "address": spec.name},
        ],
        "nodeInfo": _info(version),
    }
    return node


def conditions(moment: str, *, ready: bool, old: list[Json] | None = None) -> list[Json]:
    """The node's conditions; lost nodes have Unknown everywhere, as a real controller marks them."""
    was = {row["type"]: row for row in old or []}
    rows = [
        _condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        _condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        _condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        _condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]
    if not ready:
        lost = "Kubelet stopped posting node status."
        rows = [_condition(row["type"], "Unknown", "NodeStatusUnknown", lost) for row in rows]
    for row in rows:
        before = was.get(row["type"])
        same = before is not None and before["status"] == row["status"]
        row["lastTransitionTime"] = before["lastTransitionTime"] if same and before else moment
        row["lastHeartbeatTime"] = moment
    return rows


def _labels(spec: NodeSpec, region: str) -> dict[str, str]:
    zone = spec.zone or "0"
    return {
        "agentpool": spec.pool,
        POOL_LABEL: spec.pool,
        "beta.kubernetes.io/arch": "amd64",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": spec.name,
        "node.kubernetes.io/instance-type": spec.vm_size,
        "topology.kubernetes.io/region": region,
        "topology.kubernetes.io/zone": f"{region}-{zone}" if spec.zone else zone,
        **spec.labels,
    }


def _info(version: str) -> dict[str, str]:
    return {
        "architecture": "amd64",
        "operatingSystem": "linux",
        "osImage": "Slipway sandbox",
        "kernelVersion": "sandbox",
        "containerRuntimeVersion": "process://1",
        "kubeletVersion": f"v{version}",
        "kubeProxyVersion": f"v{version}",
        "machineID": "",
        "systemUUID": "",
        "bootID": "",
    }


def _condition(type_: str, status: str, reason: str, message: str) -> Json:
    return {"type": type_, "status": status, "reason": reason, "message": message}
