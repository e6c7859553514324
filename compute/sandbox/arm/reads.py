"""What preflights read: subscription, resource groups, sizes, quotas, versions, one subnet, permissions."""

from typing import Any

from compute.sandbox.arm import catalogue
from compute.sandbox.arm.errors import absent, gateway
from compute.sandbox.arm.service import Service
from compute.sandbox.db import Db

Json = dict[str, Any]
_TABLE = "arm_groups"
VNET, SUBNET = "slipway-vnet", "default"


class Groups:
    """The resource groups."""

    def __init__(self, subscription: str, first: tuple[str, ...], region: str, db: Db) -> None:
        self._subscription, self._db = subscription, db
        self._docs: dict[str, Json] = db.all(_TABLE)
        for name in first:
            if name.lower() not in self._docs:
                self.put(name, {"location": region})

    def get(self, name: str) -> Json:
        """The group; 404 when absent."""
        found = self._docs.get(name.lower())
        if found is None:
            raise gateway(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
        return found

    def list(self) -> list[Json]:
        """All groups by name."""
        return [self._docs[key] for key in sorted(self._docs)]

    def put(self, name: str, asked: Json) -> tuple[Json, bool]:
        """Make or retag a group; True when it is new."""
        location = str(asked.get("location") or "").replace(" ", "").lower()
        if location not in catalogue.REGIONS:
            words = f"The provided location '{location}' is not available for resource group."
            raise gateway(400, "LocationNotAvailableForResourceGroup", words)
        old = self._docs.get(name.lower())
        if old is not None and old["location"] != location:
            words = f"The resource group '{name}' already exists in location '{old['location']}'."
            raise gateway(409, "InvalidResourceGroupLocation", words)
        doc = {
            "id": f"/subscriptions/{self._subscription}/resourceGroups/{name}", "name": name, "location": location,
            "type": "Microsoft.Resources/resourceGroups", "tags": asked.get("tags") or {},
            "properties": {"provisioningState": "Succeeded"},
        }  # fmt: skip
        self._docs[name.lower()] = doc
        self._db.put(_TABLE, name.lower(), doc)
        return doc, old is None


def subscription(sub: str) -> Json:
    """The subscription."""
    return {"id": f"/subscriptions/{sub}", "subscriptionId": sub, "displayName": "Slipway sandbox", "state": "Enabled"}


def skus(region: str) -> list[Json]:
    """VM sizes as resource SKUs; those that the region lacks are restricted there."""
    regions = [region] if region else list(catalogue.REGIONS)
    return [_sku(size, where) for where in regions for size in catalogue.sizes().values()]


def _sku(size: catalogue.Size, region: str) -> Json:
    gone = size.name.lower().startswith(catalogue.FPGA) or region not in size.regions
    reason = {"type": "Location", "values": [region], "reasonCode": "NotAvailableForSubscription"}
    facts = {
        "vCPUs": str(size.vcpus),
        "MemoryGB": f"{size.memory_gb:g}",
        "GPUs": str(size.gpus),
        "CpuArchitectureType": "x64",
    }
    return {
        "resourceType": "virtualMachines", "name": size.name, "tier": "Standard", "family": size.family,
        "locations": [region], "locationInfo": [{"location": region, "zones": list(catalogue.ZONES)}],
        "capabilities": [{"name": key, "value": value} for key, value in facts.items()],
        "restrictions": [reason] if gone else [],
    }  # fmt: skip


def vm_sizes(region: str) -> list[Json]:
    """The older list of sizes."""
    return [
        {"name": size.name, "numberOfCores": size.vcpus, "memoryInMB": int(size.memory_gb * 1024)}
        for size in catalogue.sizes().values() if region in size.regions
    ]  # fmt: skip


def usages(service: Service, region: str) -> list[Json]:
    """vCPU quotas of the region: used and limit, all and by family."""
    pools = service.pools_of(region)
    rows = [_usage("cores", "Total Regional vCPUs", catalogue.cores(pools), catalogue.REGIONAL_CORES)]
    for family in sorted({size.family for size in catalogue.sizes().values()}):
        rows.append(_usage(family, f"{family} vCPUs", catalogue.cores(pools, family), catalogue.family_limit(family)))
    return rows


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


def subnet(sub: str, group: str, vnet: str, name: str) -> Json:
    """The one subnet of a group; 404 for another."""
    if (vnet.lower(), name.lower()) != (VNET, SUBNET):
        raise absent("Microsoft.Network/virtualNetworks", vnet, group)
    path = f"/subscriptions/{sub}/resourceGroups/{group}/providers/Microsoft.Network/virtualNetworks/{VNET}"
    return {
        "id": f"{path}/subnets/{SUBNET}", "name": SUBNET, "type": "Microsoft.Network/virtualNetworks/subnets",
        "properties": {"addressPrefix": "10.224.0.0/16", "provisioningState": "Succeeded", "delegations": []},
    }  # fmt: skip
