"""Words of the compute app, and what Azure and clusters tell us, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.db import models

ENDED = ("succeeded", "failed", "canceled")  # of Azure's states, in lower case; any other word is under way


class ComputeState(models.TextChoices):
    """States of a compute target (domain.md, "Compute targets")."""

    CREATING = "Creating"
    UPDATING = "Updating"
    SCALING = "Scaling"
    DELETING = "Deleting"
    DETACHING = "Detaching"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELED = "Canceled"
    MISSING = "Missing"


RESTING = (ComputeState.SUCCEEDED, ComputeState.FAILED, ComputeState.CANCELED, ComputeState.MISSING)


class Power(models.TextChoices):
    """Azure's power states of a cluster. A stopped one has no API server and no nodes; what was put into it stays."""

    RUNNING = "Running"
    STOPPED = "Stopped"


class Platform(models.TextChoices):
    """What a cluster is known by: an AKS cluster by Azure, any other conformant Kubernetes by its kubeconfig only."""

    AKS = "AKS"
    KUBERNETES = "Kubernetes"


class Purpose(models.TextChoices):
    """What a cluster is for: FastProd has a floor of 12 vCPUs, DevTest has none and is not for production."""

    FAST_PROD = "FastProd"
    DEV_TEST = "DevTest"


@dataclass(frozen=True)
class VmSize:
    """One VM size. `usd_hour` maps a region to the Linux pay-as-you-go price; unknown regions are absent."""

    name: str
    vcpus: int
    memory_gb: float
    gpus: int
    family: str
    usd_hour: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ClusterSpec:
    """The cluster that is wanted in Azure. `options` are the checked settings of `compute.settings`."""

    resource_group: str
    name: str
    region: str
    vm_size: str
    node_count: int
    kubernetes_version: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClusterView:
    """A managed cluster as ARM shows it. `provisioning_state` may be a word that we do not know: then it is busy."""

    id: str
    name: str
    resource_group: str
    region: str
    provisioning_state: str
    power_state: str
    kubernetes_version: str
    pool: str
    vm_size: str
    node_count: int
    pools: tuple[tuple[str, str, int], ...] = ()
    node_pools: tuple[PoolView, ...] = ()
    is_flat: bool = False
    authorized_ip_ranges: tuple[str, ...] = ()
    is_private: bool = False
    is_entra: bool = False
    has_no_local_accounts: bool = False
    node_resource_group: str = ""
    has_autoscaler: bool = False
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is going on: Azure's three final words, anything else is under way."""
        return self.provisioning_state.lower() in ENDED

    @property
    def is_stopped(self) -> bool:
        """Whether it has no API server and no nodes until it is started."""
        return self.power_state.lower() != "running"

    @property
    def own_pool(self) -> PoolView | None:
        """The pool that the compute target stands for."""
        return self.node_pool(self.pool)

    @property
    def busy_with(self) -> str:
        """Azure's word for what is going on with the cluster or one of its pools; empty when nothing is."""
        found = (self.provisioning_state, *(pool.provisioning_state for pool in self.node_pools))
        return next((state for state in found if state.lower() not in ENDED), "")

    def centred(self, name: str) -> ClusterView:
        """The same with `pool`, size and count of the pool of that name; as it is where there is none."""
        found = self.node_pool(name)
        if found is None or found.name == self.pool:
            return self
        return replace(
            self, pool=found.name, vm_size=found.vm_size, node_count=found.count,
            has_autoscaler=found.max_count is not None,
        )  # fmt: skip

    def node_pool(self, name: str) -> PoolView | None:
        """The pool of that name."""
        return next((pool for pool in self.node_pools if pool.name == name), None)


class PoolMode(models.TextChoices):
    """System pools hold what Kubernetes itself needs and have a node at least; user pools may have none."""

    SYSTEM = "System"
    USER = "User"


@dataclass(frozen=True)
class PoolSpec:
    """The node pool that is wanted. Without bounds the count is fixed; `os_disk_gb` 0 is the size's own.

    With a `pod_subnet_id` pods have addresses of that subnet; `max_pods` of a node, 0 is Azure's default.
    """

    name: str
    vm_size: str
    count: int
    mode: str = PoolMode.USER.value
    min_count: int | None = None
    max_count: int | None = None
    zones: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    os_disk_gb: int = 0
    subnet_id: str = ""
    pod_subnet_id: str = ""
    max_pods: int = 0
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PoolView(PoolSpec):
    """A node pool as ARM shows it."""

    provisioning_state: str = "Succeeded"
    power_state: str = "Running"
    os_type: str = "Linux"

    @property
    def is_settled(self) -> bool:
        """Whether nothing is going on with it."""
        return self.provisioning_state.lower() in ENDED

    @property
    def is_broken(self) -> bool:
        """Whether the last change of it ended badly."""
        return self.provisioning_state.lower() in ("failed", "canceled")

    @property
    def is_stopped(self) -> bool:
        """Whether it has no machines running until it is started."""
        return self.power_state.lower() != "running"


@dataclass(frozen=True)
class Accepted:
    """Azure took a long job: poll `operation_url` verbatim; empty when it was done at once.

    `ids` are those of Azure's answer, for its support: x_ms_request_id, x_ms_correlation_request_id.
    """

    status: int
    operation_url: str = ""
    retry_after: float | None = None
    ids: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Poll:
    """One look at a long job: `status` is Succeeded, Failed, Canceled, "Gone" (unknown URL) or any word for busy."""

    status: str
    error: str = ""
    code: str = ""
    retry_after: float | None = None
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether the job ended."""
        return self.status.lower() in ENDED


@dataclass(frozen=True)
class Usage:
    """One vCPU quota of a subscription in a region: `name` is "cores" or a size family."""

    name: str
    used: int
    limit: int


@dataclass(frozen=True)
class Version:
    """A Kubernetes version (minor, "1.33") that AKS offers in a region."""

    name: str
    is_default: bool = False
    is_preview: bool = False


@dataclass(frozen=True)
class Finding:
    """One result of a preflight: `level` is error, warning or ok; `fix` says what to do, empty where nothing is."""

    code: str
    level: str
    message: str
    fix: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "code": self.code, "level": self.level, "message": self.message, "fix": self.fix, "facts": dict(self.facts),
        }  # fmt: skip


@dataclass(frozen=True)
class Offer:
    """A VM size as a region has it for the subscription: zones with it, and what the subscription may not have."""

    size: VmSize
    zones: tuple[str, ...] = ()
    is_barred: bool = False
    barred_zones: tuple[str, ...] = ()


@dataclass(frozen=True)
class Subnet:
    """A subnet: IPv4 ranges, how many addresses are in use, and whom it is delegated to. `region` "" is unknown."""

    id: str
    ranges: tuple[str, ...]
    used: int = 0
    delegations: tuple[str, ...] = ()
    region: str = ""


@dataclass(frozen=True)
class GivenCluster:
    """A cluster of which a person gave the kubeconfig: `kept` is what is stored of it, encrypted; when its token or
    certificate `ends`, where that can be told.
    """

    server: str
    name: str
    kept: str = field(repr=False)
    ends: datetime | None = None


@dataclass(frozen=True)
class Inside:
    """What a look into a cluster shows: its identity (the uid of kube-system), whose notes are there, what the portal
    may not do, and its nodes as the API has them.
    """

    version: str
    uid: str
    notes: tuple[Any, ...] = ()
    missing: tuple[str, ...] = ()
    nodes: tuple[dict[str, Any], ...] = ()
