"""What the portal does in Azure, the actions that each needs, and the roles that permit them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

AKS = "Microsoft.ContainerService"
CLUSTERS, REGISTRY = f"{AKS}/managedClusters", "Microsoft.ContainerRegistry/registries"
PROVIDERS = (
    AKS, "Microsoft.Compute", "Microsoft.ContainerRegistry", "Microsoft.ManagedIdentity", "Microsoft.Network",
)  # fmt: skip
KUBECONFIG_ACTION = f"{CLUSTERS}/listClusterUserCredential/action"
ATTACH_ACTIONS = (f"{CLUSTERS}/read", KUBECONFIG_ACTION)
CREATE_ACTIONS = (f"{CLUSTERS}/read", f"{CLUSTERS}/write", KUBECONFIG_ACTION)
POOL_ACTIONS = (f"{CLUSTERS}/agentPools/read", f"{CLUSTERS}/agentPools/write")
AUTHORIZE_ACTIONS = CREATE_ACTIONS  # a range is added by writing the cluster
JOIN_ACTION = "Microsoft.Network/virtualNetworks/subnets/join/action"
ASSIGN_ACTION = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
READER, CLUSTER_ROLE = "Reader", "Azure Kubernetes Service Contributor Role"
ATTACH_ROLE, INSIDE_ROLE = "Azure Kubernetes Service Cluster User Role", "Azure Kubernetes Service RBAC Cluster Admin"
JOIN_ROLE, ASSIGN_ROLE = "Network Contributor", "Managed Identity Operator"


@dataclass(frozen=True)
class Deed:
    """One thing the portal does. Without an optional one (`is_optional`) the rest works; `instead` is another way."""

    name: str
    actions: tuple[str, ...]
    role: str
    is_optional: bool = False
    instead: str = ""


ON_SUBSCRIPTION = (
    Deed("see the subscription and its own permissions",
         ("Microsoft.Resources/subscriptions/read", "Microsoft.Authorization/permissions/read"), READER),
    Deed("offer VM sizes and check quotas", ("Microsoft.Compute/skus/read", "Microsoft.Compute/locations/usages/read"),
         READER),
    Deed("offer Kubernetes versions", (f"{AKS}/locations/kubernetesversions/read",), READER),
    Deed("follow long operations",
         (f"{AKS}/locations/operations/read", f"{AKS}/locations/operationresults/read"), READER),
    Deed("list clusters to attach", (f"{CLUSTERS}/read",), READER, is_optional=True),
    Deed("register resource providers", tuple(f"{name}/register/action" for name in PROVIDERS), "Contributor",
         is_optional=True, instead=f"Or register them once by hand, e.g. az provider register --namespace {AKS}."),
)  # fmt: skip
ON_GROUP = (
    Deed("see the resource group and its own permissions",
         ("Microsoft.Resources/subscriptions/resourceGroups/read", "Microsoft.Authorization/permissions/read"), READER),
    Deed("create, change and delete clusters",
         (f"{CLUSTERS}/read", f"{CLUSTERS}/write", f"{CLUSTERS}/delete"), CLUSTER_ROLE),
    Deed("scale node pools", tuple(f"{CLUSTERS}/agentPools/{verb}" for verb in ("read", "write", "delete")),
         CLUSTER_ROLE),
    Deed("start, stop and abort",
         tuple(f"{CLUSTERS}/{verb}/action" for verb in ("start", "stop", "abort", "agentPools/abort")), CLUSTER_ROLE),
    Deed("get the kubeconfig", (KUBECONFIG_ACTION,), ATTACH_ROLE),
    Deed("build images", tuple(f"{REGISTRY}/{name}" for name in (
        "read", "listBuildSourceUploadUrl/action", "scheduleRun/action", "runs/read", "runs/listLogSasUrl/action",
        "runs/cancel/action")),
         "Container Registry Tasks Contributor", is_optional=True),
    Deed("put nodes into a network of yours", (
        "Microsoft.Network/virtualNetworks/read", "Microsoft.Network/virtualNetworks/subnets/read", JOIN_ACTION),
        JOIN_ROLE, is_optional=True),
    Deed("give clusters an identity of yours",
         ("Microsoft.ManagedIdentity/userAssignedIdentities/read", ASSIGN_ACTION), ASSIGN_ROLE, is_optional=True),
)  # fmt: skip


def grant(role: str, scope: str, who: str = "APP_ID") -> str:
    """The command that gives somebody a role; APP_ID stands for the workspace's identity where it is not known."""
    return f'az role assignment create --assignee {who} --role "{role}" --scope {scope}'


def custom_roles(subscription_id: str, resource_group: str) -> list[dict[str, Any]]:
    """Two role definitions for `az role definition create`: what is needed on the subscription, and on the group."""
    scope = f"/subscriptions/{subscription_id}"
    return [
        _role("Slipway Subscription", "What Slipway needs on a subscription.", ON_SUBSCRIPTION, scope),
        _role("Slipway Resource Group", "What Slipway does in its resource group.", ON_GROUP,
              f"{scope}/resourceGroups/{resource_group}"),
    ]  # fmt: skip


def _role(name: str, says: str, deeds: tuple[Deed, ...], scope: str) -> dict[str, Any]:
    actions = sorted({action for deed in deeds for action in deed.actions})
    return {
        "Name": name, "IsCustom": True, "Description": says, "Actions": actions, "NotActions": [], "DataActions": [],
        "NotDataActions": [], "AssignableScopes": [scope],
    }  # fmt: skip
