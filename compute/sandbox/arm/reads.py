"""What preflights read: the subscription, sizes, quotas, versions."""

from typing import Any

from compute.sandbox.arm import catalogue
from compute.sandbox.arm.offers import Offers
from compute.sandbox.arm.service import Service
from compute.sandbox.ids import tenant_of

Json = dict[str, Any]


def subscription(sub: str) -> Json:
    """The subscription."""
    return {"id": f"/subscriptions/{sub}", "subscriptionId": sub, "displayName": "Slipway sandbox",
            "tenantId": tenant_of(sub), "state": "Enabled", "authorizationSource": "RoleBased",
            "subscriptionPolicies": {"spendingLimit": "Off"}}  # fmt: skip


def locations(sub: str) -> list[Json]:
    """The regions as ARM lists them."""
    return [
        {"id": f"/subscriptions/{sub}/locations/{name}", "name": name, "type": "Region", "displayName": name,
         "regionalDisplayName": name, "metadata": {"regionType": "Physical", "regionCategory": "Recommended"}}
        for name in catalogue.REGIONS
    ]  # fmt: skip


def plain_group(doc: Json) -> Json:
    """A group as ARM shows it."""
    return {key: value for key, value in doc.items() if key != "leftovers"}


def machinery(group: Json) -> list[Json]:
    """What stands in the group of a cluster's machines: the load balancer and its address."""
    if not group.get("managedBy"):
        return []
    kinds = (("kubernetes", "Microsoft.Network/loadBalancers"), ("outbound", "Microsoft.Network/publicIPAddresses"))
    return [
        {"id": f"{group['id']}/providers/{kind}/{name}", "name": name, "type": kind, "location": group["location"]}
        for name, kind in kinds
    ]


def skus(offers: Offers, region: str) -> list[Json]:
    """VM sizes as resource SKUs; those that the subscription may not have are restricted."""
    regions = [region] if region else list(catalogue.REGIONS)
    return [_sku(offers, size, where) for where in regions for size in catalogue.sizes().values()]


def _sku(offers: Offers, size: catalogue.Size, region: str) -> Json:
    facts = {
        "vCPUs": str(size.vcpus),
        "MemoryGB": f"{size.memory_gb:g}",
        "GPUs": str(size.gpus),
        "CpuArchitectureType": "x64",
    }
    return {
        "resourceType": "virtualMachines", "name": size.name, "tier": "Standard", "family": size.family,
        "size": size.name.partition("_")[2], "locations": [region],
        "locationInfo": [{"location": region, "zones": offers.zones(region, size.name), "zoneDetails": []}],
        "capabilities": [{"name": key, "value": value} for key, value in facts.items()],
        "restrictions": _restrictions(offers, size.name, region),
    }  # fmt: skip


def _restrictions(offers: Offers, name: str, region: str) -> list[Json]:
    rows: list[Json] = []
    if offers.is_barred(region, name):
        rows.append({"type": "Location", "values": [region], "restrictionInfo": {"locations": [region]}})
    zones = offers.barred_zones(region, name)
    if zones:
        info = {"locations": [region], "zones": zones}
        rows.append({"type": "Zone", "values": [region], "restrictionInfo": info})
    return [{**row, "reasonCode": "NotAvailableForSubscription"} for row in rows]


def vm_sizes(region: str) -> list[Json]:
    """The older list of sizes."""
    return [
        {"name": size.name, "numberOfCores": size.vcpus, "memoryInMB": int(size.memory_gb * 1024)}
        for size in catalogue.sizes().values() if region in size.regions
    ]  # fmt: skip


def usages(service: Service, region: str) -> list[Json]:
    """vCPU quotas of the region: used and limit, all and by family."""
    pools, offers = service.pools_of(region), service.offers
    names = {"cores": "Total Regional vCPUs"}
    names |= {name: f"{name} vCPUs" for name in sorted({size.family for size in catalogue.sizes().values()})}
    return [
        _usage(name, words, offers.used(region, name, pools), offers.limit(region, name))
        for name, words in names.items()
    ]


def _usage(name: str, words: str, used: int, limit: int) -> Json:
    return {"unit": "Count", "currentValue": used, "limit": limit, "name": {"value": name, "localizedValue": words}}


def versions() -> list[Json]:
    """The Kubernetes versions of a region."""
    return [
        {
            "version": minor, "isDefault": minor == catalogue.DEFAULT_VERSION, "isPreview": None,
            "capabilities": {"supportPlan": ["KubernetesOfficial"]},
            "patchVersions": {patch: {"upgrades": catalogue.upgrades(patch)} for patch in patches},
        }
        for minor, patches in catalogue.VERSIONS.items()
    ]  # fmt: skip
