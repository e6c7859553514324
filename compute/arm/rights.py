"""What the portal does in Azure, and the actions that each needs: the least that its identity must be permitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

AKS = "Microsoft.ContainerService"
CLUSTERS, REGISTRY = f"{AKS}/managedClusters", "Microsoft.ContainerRegistry/registries"
READER, CLUSTER_ROLE = "Reader", "Azure Kubernetes Service Contributor Role"


@dataclass(frozen=True)
class Deed:
    """One thing the portal does. Without an optional one (`is_optional`) the rest works."""

    name: str
    actions: tuple[str, ...]
    role: str
    is_optional: bool = False


ON_SUBSCRIPTION = (
    Deed("see the subscription and its own permissions",
         ("Microsoft.Resources/subscriptions/read", "Microsoft.Authorization/permissions/read"), READER),
    Deed("offer VM sizes and check quotas", ("Microsoft.Compute/skus/read", "Microsoft.Compute/locations/usages/read"),
         READER),
    Deed("offer Kubernetes versions", (f"{AKS}/locations/kubernetesversions/read",), READER),
    Deed("follow long operations",
         (f"{AKS}/locations/operations/read", f"{AKS}/locations/operationresults/read"), READER),
    Deed("list clusters to attach", (f"{CLUSTERS}/read",), READER, is_optional=True),
)  # fmt: skip
ON_GROUP = (
    Deed("see the resource group and its own permissions",
         ("Microsoft.Resources/subscriptions/resourceGroups/read", "Microsoft.Authorization/permissions/read"), READER),
    Deed("create, change and delete clusters",
         (f"{CLUSTERS}/read", f"{CLUSTERS}/write", f"{CLUSTERS}/delete"), CLUSTER_ROLE),
    Deed("scale node pools", tuple(f"{CLUSTERS}/agentPools/{verb}" for verb in ("read", "write", "delete")),
         CLUSTER_ROLE),
    Deed("start, stop and abort", tuple(f"{CLUSTERS}/{verb}/action" for verb in ("start", "stop", "abort")),
         CLUSTER_ROLE),
    Deed("get the kubeconfig", (f"{CLUSTERS}/listClusterUserCredential/action",),
         "Azure Kubernetes Service Cluster User Role"),
    Deed("build images", tuple(f"{REGISTRY}/{name}" for name in (
        "read", "listBuildSourceUploadUrl/action", "scheduleRun/action", "runs/read", "runs/listLogSasUrl/action")),
         "Container Registry Tasks Contributor", is_optional=True),
    Deed("put nodes into a network of yours", (
        "Microsoft.Network/virtualNetworks/read", "Microsoft.Network/virtualNetworks/subnets/read",
        "Microsoft.Network/virtualNetworks/subnets/join/action"), "Network Contributor", is_optional=True),
    Deed("give clusters an identity of yours", (
        "Microsoft.ManagedIdentity/userAssignedIdentities/read",
        "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"), "Managed Identity Operator",
        is_optional=True),
)  # fmt: skip


def custom_roles(subscription_id: str, resource_group: str) -> list[dict[str, Any]]:
    """Two role definitions for `az role definition create`: what is needed on the subscription, and on the group."""
    scope = f"/subscriptions/{subscription_id}"
    return [
        _role("Slipway Subscription", "What Slipway reads of a subscription.", ON_SUBSCRIPTION, scope),
        _role("Slipway Resource Group", "What Slipway does in its resource group.", ON_GROUP,
              f"{scope}/resourceGroups/{resource_group}"),
    ]  # fmt: skip


def _role(name: str, says: str, deeds: tuple[Deed, ...], scope: str) -> dict[str, Any]:
    actions = sorted({action for deed in deeds for action in deed.actions})
    return {
        "Name": name, "IsCustom": True, "Description": says, "Actions": actions, "NotActions": [], "DataActions": [],
        "NotDataActions": [], "AssignableScopes": [scope],
    }  # fmt: skip
