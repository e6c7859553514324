"""Our clusters in ARM's JSON and back. Pure."""

from __future__ import annotations

from typing import Any

from compute.types import ClusterSpec, ClusterView, PoolSpec, PoolView

OWNER_TAG = "slipway-target"
POOL = "nodepool1"


def body(spec: ClusterSpec) -> dict[str, Any]:
    """The whole managed cluster to PUT."""
    options = spec.options
    properties: dict[str, Any] = {
        "dnsPrefix": spec.name[:54].rstrip("-"),
        "agentPoolProfiles": [_pool(spec)],
        "networkProfile": _network(options),
    }
    if spec.kubernetes_version:
        properties["kubernetesVersion"] = spec.kubernetes_version
    if options.get("private_cluster") or options.get("authorized_ip_ranges"):
        properties["apiServerAccessProfile"] = _api_server(options)
    return {
        "location": spec.region,
        "identity": _identity(options),
        "tags": dict(spec.tags),
        "properties": properties,
    }


def _identity(options: dict[str, Any]) -> dict[str, Any]:
    if options.get("identity"):
        return {"type": "UserAssigned", "userAssignedIdentities": {options["identity"]: {}}}
    return {"type": "SystemAssigned"}


def _pool(spec: ClusterSpec) -> dict[str, Any]:
    pool: dict[str, Any] = {
        "name": POOL, "mode": "System", "type": "VirtualMachineScaleSets", "osType": "Linux",
        "vmSize": spec.vm_size, "count": spec.node_count,
    }  # fmt: skip
    for ours, azures in (("subnet_id", "vnetSubnetID"), ("zones", "availabilityZones"), ("os_disk_gb", "osDiskSizeGB")):
        if spec.options.get(ours):
            pool[azures] = spec.options[ours]
    bounds = spec.options.get("autoscaler")
    if bounds:
        pool |= {"enableAutoScaling": True, "minCount": bounds["min_count"], "maxCount": bounds["max_count"]}
    return pool


def _network(options: dict[str, Any]) -> dict[str, Any]:
    """With an engine that keeps network policies: without one pods could reach replicas past the gateway's keys."""
    network = {"networkPlugin": "azure", "loadBalancerSku": "standard", "networkPolicy": "azure"}
    if options.get("network_mode") != "flat":
        network |= {"networkPluginMode": "overlay", "networkDataplane": "cilium", "networkPolicy": "cilium"}
    for ours, azures in (("service_cidr", "serviceCidr"), ("dns_service_ip", "dnsServiceIP")):
        if options.get(ours):
            network[azures] = options[ours]
    return network


def _api_server(options: dict[str, Any]) -> dict[str, Any]:
    access: dict[str, Any] = {}
    if options.get("private_cluster"):
        access["enablePrivateCluster"] = True
    if options.get("authorized_ip_ranges"):
        access["authorizedIPRanges"] = list(options["authorized_ip_ranges"])
    return access


def view(document: dict[str, Any]) -> ClusterView:
    """What a cluster's JSON says; unknown words are kept."""
    properties = document.get("properties") or {}
    pools = [_flat(pool) for pool in properties.get("agentPoolProfiles") or []]
    main = next((pool for pool in pools if pool.get("mode") == "System"), pools[0] if pools else {})
    access = properties.get("apiServerAccessProfile") or {}
    return ClusterView(
        id=str(document.get("id", "")),
        name=str(document.get("name", "")),
        resource_group=group_of(str(document.get("id", ""))),
        region=str(document.get("location", "")).lower().replace(" ", ""),
        provisioning_state=str(properties.get("provisioningState", "")),
        power_state=str((properties.get("powerState") or {}).get("code", "Running")),
        kubernetes_version=str(properties.get("currentKubernetesVersion") or properties.get("kubernetesVersion") or ""),
        pool=str(main.get("name", "")),
        vm_size=str(main.get("vmSize", "")),
        node_count=int(main.get("count") or 0),
        pools=tuple((str(p.get("name")), str(p.get("vmSize")), int(p.get("count") or 0)) for p in pools),
        node_pools=tuple(pool_view(pool) for pool in pools),
        is_flat=_is_flat(properties.get("networkProfile") or {}) and not main.get("podSubnetID"),
        authorized_ip_ranges=tuple(access.get("authorizedIPRanges") or ()),
        is_private=bool(access.get("enablePrivateCluster")),
        is_entra=bool(properties.get("aadProfile")),
        has_no_local_accounts=bool(properties.get("disableLocalAccounts")),
        node_resource_group=str(properties.get("nodeResourceGroup") or ""),
        has_autoscaler=bool(main.get("enableAutoScaling")),
        tags=dict(document.get("tags") or {}),
    )


def _is_flat(network: dict[str, Any]) -> bool:
    """Whether pods have addresses of the nodes' subnet."""
    mode = str(network.get("networkPluginMode") or "").lower()
    return str(network.get("networkPlugin") or "").lower() == "azure" and mode != "overlay"


def pool_view(document: dict[str, Any]) -> PoolView:
    """What a pool's JSON says, flat or with properties."""
    pool = _flat(document)
    low, high = (pool.get("minCount"), pool.get("maxCount")) if pool.get("enableAutoScaling") else (None, None)
    return PoolView(
        name=str(pool.get("name") or ""), vm_size=str(pool.get("vmSize") or ""), count=int(pool.get("count") or 0),
        mode=str(pool.get("mode") or "User"), provisioning_state=str(pool.get("provisioningState") or "Succeeded"),
        power_state=str((pool.get("powerState") or {}).get("code") or "Running"), min_count=low, max_count=high,
        zones=tuple(str(zone) for zone in pool.get("availabilityZones") or []),
        labels=dict(pool.get("nodeLabels") or {}), taints=tuple(pool.get("nodeTaints") or []),
        os_disk_gb=int(pool.get("osDiskSizeGB") or 0), subnet_id=str(pool.get("vnetSubnetID") or ""),
        pod_subnet_id=str(pool.get("podSubnetID") or ""), max_pods=int(pool.get("maxPods") or 0),
        os_type=str(pool.get("osType") or "Linux"), tags=dict(pool.get("tags") or {}),
    )  # fmt: skip


def pool_body(spec: PoolSpec) -> dict[str, Any]:
    """The properties of a pool to PUT."""
    body: dict[str, Any] = {
        "mode": spec.mode, "type": "VirtualMachineScaleSets", "osType": "Linux", "vmSize": spec.vm_size,
        "count": spec.count, "tags": dict(spec.tags),
    }  # fmt: skip
    extras = {
        "availabilityZones": list(spec.zones), "nodeLabels": dict(spec.labels), "nodeTaints": list(spec.taints),
        "osDiskSizeGB": spec.os_disk_gb, "vnetSubnetID": spec.subnet_id,
        "podSubnetID": spec.pod_subnet_id, "maxPods": spec.max_pods,
    }  # fmt: skip
    body |= {name: value for name, value in extras.items() if value}
    if spec.max_count is not None:
        body |= {"enableAutoScaling": True, "minCount": spec.min_count, "maxCount": spec.max_count}
    return body


def _flat(pool: dict[str, Any]) -> dict[str, Any]:
    return {**pool, **(pool.get("properties") or {})}


def group_of(resource_id: str) -> str:
    """The resource group in a resource id, any letter case of its segments."""
    return segments(resource_id).get("resourcegroups", "")


def segments(resource_id: str) -> dict[str, str]:
    """The segments of a resource id by lower-case type: {"subscriptions": …, "managedclusters": …}."""
    parts = [part for part in resource_id.split("/") if part]
    found = {parts[i].lower(): parts[i + 1] for i in range(0, len(parts) - 1, 2) if parts[i].lower() != "providers"}
    if "providers" in (part.lower() for part in parts):
        at = [part.lower() for part in parts].index("providers") + 2
        found |= {parts[i].lower(): parts[i + 1] for i in range(at, len(parts) - 1, 2)}
    return found
