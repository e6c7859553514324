"""Tables of compute: the clusters that workspaces created or attached."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Lower

from compute.types import ComputeState, Platform, PoolMode, Purpose
from portal.models import User, Workspace
from portal.secrets import EncryptedTextField


class Installation(models.Model):
    """One row: which portal this is. Its key is in the notes that it leaves in clusters."""

    key = models.CharField(max_length=32)
    made_at = models.DateTimeField(auto_now_add=True)


class ComputeTarget(models.Model):
    """A cluster connected to a workspace. The row goes when detach or delete ends well.

    Without Azure (`platform`) it is known by the kubeconfig that somebody gave, and the fields of Azure are empty.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="compute_targets")
    name = models.CharField(max_length=24)
    state = models.CharField(max_length=10, choices=ComputeState.choices, default=ComputeState.CREATING)
    is_attached = models.BooleanField(default=False)
    platform = models.CharField(max_length=10, choices=Platform.choices, default=Platform.AKS)
    purpose = models.CharField(max_length=8, choices=Purpose.choices, default=Purpose.FAST_PROD)
    subscription_id = models.CharField(max_length=36, blank=True)
    resource_group = models.CharField(max_length=90, blank=True)
    cluster_name = models.CharField(max_length=63, help_text="The name in Azure, else that of the kubeconfig.")
    cluster_uid = models.CharField(max_length=36, blank=True, help_text="Of kube-system: the cluster's identity.")
    server = models.CharField(max_length=300, blank=True, help_text="Of the kubeconfig that was given.")
    access = EncryptedTextField(blank=True, help_text="What is kept of the kubeconfig that was given.")
    access_ends_at = models.DateTimeField(null=True, blank=True, help_text="When its token or certificate ends.")
    access_next = EncryptedTextField(blank=True, help_text="A newer one that is being looked at.")
    region = models.CharField(max_length=50)
    vm_size = models.CharField(max_length=60, blank=True)
    vcpus = models.PositiveIntegerField(default=0, help_text="Of one node.")
    memory_gb = models.FloatField(default=0, help_text="Of one node.")
    gpus = models.PositiveIntegerField(default=0, help_text="Of one node.")
    node_count = models.PositiveIntegerField(default=0, help_text="Wanted.")
    generation = models.PositiveIntegerField(default=1)
    kubernetes_version = models.CharField(max_length=20, blank=True, help_text="As asked for; empty: Azure's default.")
    config = models.JSONField(default=dict)
    tags = models.JSONField(default=dict)
    tls_certificate = models.TextField(blank=True, help_text="PEM of an own certificate; empty: a generated one.")
    tls_key = EncryptedTextField(blank=True)
    reason = models.TextField(blank=True)
    observed = models.JSONField(default=dict)
    observed_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "name"], name="compute_name_in_workspace"),
            models.UniqueConstraint("region", Lower("name"), name="compute_name_in_region"),
            models.UniqueConstraint(
                "workspace",
                Lower("subscription_id"),
                Lower("resource_group"),
                Lower("cluster_name"),
                condition=models.Q(platform=Platform.AKS),
                name="compute_cluster_once",
            ),
            models.UniqueConstraint(
                fields=["workspace", "server"], condition=~models.Q(server=""), name="compute_server_once"
            ),
            models.UniqueConstraint(
                fields=["workspace", "cluster_uid"], condition=~models.Q(cluster_uid=""), name="compute_uid_once"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def ref(self) -> str:
        """Stable reference for operations and history."""
        return f"compute_target:{self.pk}"

    @property
    def cluster_id(self) -> str:
        """The Azure resource id; empty of a cluster that Azure does not know."""
        if not self.is_azure:
            return ""
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.ContainerService/managedClusters/{self.cluster_name}"
        )

    @property
    def is_azure(self) -> bool:
        """Whether Azure has it: else nothing about it can be asked there or changed by it."""
        return self.platform == Platform.AKS

    @property
    def total_vcpus(self) -> int:
        """Of all wanted nodes; where those are not the portal's matter, of all that were seen."""
        if not self.is_azure:
            return sum(int(node.get("vcpus") or 0) for node in self.observed.get("nodes") or [])
        return self.vcpus * self.node_count


class NodePool(models.Model):
    """A further node pool of a cluster; the first system pool is the compute target itself (size, count)."""

    target = models.ForeignKey(ComputeTarget, on_delete=models.CASCADE, related_name="pools")
    name = models.CharField(max_length=12)
    mode = models.CharField(max_length=10, choices=PoolMode.choices, default=PoolMode.USER)
    vm_size = models.CharField(max_length=60)
    vcpus = models.PositiveIntegerField(default=0, help_text="Of one node.")
    memory_gb = models.FloatField(default=0, help_text="Of one node.")
    gpus = models.PositiveIntegerField(default=0, help_text="Of one node.")
    count = models.PositiveIntegerField(default=0, help_text="Wanted; while the autoscaler is on, that of the start.")
    min_count = models.PositiveIntegerField(null=True, blank=True, help_text="Of the autoscaler; empty: it is off.")
    max_count = models.PositiveIntegerField(null=True, blank=True)
    zones = models.JSONField(default=list)
    labels = models.JSONField(default=dict)
    taints = models.JSONField(default=list)
    os_disk_gb = models.PositiveIntegerField(default=0, help_text="0: the size's own.")
    generation = models.PositiveIntegerField(default=1)
    is_adopted = models.BooleanField(default=False, help_text="Somebody made it in Azure; it was seen there.")
    state = models.CharField(max_length=10, choices=ComputeState.choices, default=ComputeState.CREATING)
    reason = models.TextField(blank=True)
    observed = models.JSONField(default=dict, help_text="As Azure had it last; empty: never seen.")

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["target", "name"], name="pool_name_on_target")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_autoscaled(self) -> bool:
        """Whether Azure's autoscaler sets the count."""
        return self.max_count is not None
