"""What the subscription may have of the catalogue: barred sizes and zones, quotas. The admin sets what differs."""

from typing import Any

from compute.sandbox.arm import catalogue
from compute.sandbox.arm.errors import ArmError, invalid
from compute.sandbox.db import Db

Json = dict[str, Any]
_SKUS, _QUOTAS = "arm_skus", "arm_quotas"


class Offers:
    """Sizes with their zones by region, and limits of vCPUs."""

    def __init__(self, db: Db) -> None:
        self._db = db
        self._skus: dict[str, Json] = db.all(_SKUS)
        self._quotas: dict[str, Json] = db.all(_QUOTAS)

    def set_sku(self, region: str, name: str, asked: Json) -> Json:
        """Set `barred` (the whole region), `zones` (that the size has) and `barred_zones`. ValueError for nonsense."""
        zones, barred = asked.get("zones", list(catalogue.ZONES)), asked.get("barred_zones", [])
        if not set(zones) | set(barred) <= set(catalogue.ZONES) or name.lower() not in catalogue.sizes():
            raise ValueError("name a known size, and zones out of 1, 2, 3")
        doc = {"barred": bool(asked.get("barred", False)), "zones": list(zones), "barred_zones": list(barred)}
        self._skus[_key(region, name)] = doc
        self._db.put(_SKUS, _key(region, name), doc)
        return doc

    def set_quota(self, region: str, name: str, asked: Json) -> Json:
        """Set `limit` and `used` (vCPUs that others hold, beside the clusters here) of a family or of `cores`."""
        doc = {key: int(asked[key]) for key in ("limit", "used") if asked.get(key) is not None}
        self._quotas[_key(region, name)] = doc
        self._db.put(_QUOTAS, _key(region, name), doc)
        return doc

    def zones(self, region: str, name: str) -> list[str]:
        """The zones that have the size."""
        return list(self._skus.get(_key(region, name), {}).get("zones", catalogue.ZONES))

    def barred_zones(self, region: str, name: str) -> list[str]:
        """Those of them that the subscription may not use."""
        return list(self._skus.get(_key(region, name), {}).get("barred_zones", []))

    def is_barred(self, region: str, name: str) -> bool:
        """Whether the subscription may not have the size in the region."""
        found = catalogue.sizes()[name.lower()]
        gone = found.name.lower().startswith(catalogue.FPGA) or region not in found.regions
        return gone or bool(self._skus.get(_key(region, name), {}).get("barred"))

    def limit(self, region: str, name: str) -> int:
        """The vCPU quota of a family, or of `cores`."""
        usual = catalogue.REGIONAL_CORES if name == "cores" else catalogue.family_limit(name)
        return int(self._quotas.get(_key(region, name), {}).get("limit", usual))

    def used(self, region: str, name: str, pools: list[Json]) -> int:
        """vCPUs in use by the pools and by what the admin said."""
        here = catalogue.cores(pools, None if name == "cores" else name)
        return here + int(self._quotas.get(_key(region, name), {}).get("used", 0))

    def check_pools(self, region: str, pools: list[Json], before: list[Json]) -> None:
        """Refuse new pools of barred sizes or zones."""
        known = {pool["name"] for pool in before}
        for pool in pools:
            if pool["name"] not in known:
                self._check_size(region, pool)
                self._check_zones(region, pool)

    def _check_size(self, region: str, pool: Json) -> None:
        if self.is_barred(region, pool["vmSize"]):
            names = sorted(
                size.name for size in catalogue.sizes().values()
                if region in size.regions and not self.is_barred(region, size.name)
            )  # fmt: skip
            raise catalogue.not_allowed(pool["vmSize"], region, names)

    def _check_zones(self, region: str, pool: Json) -> None:
        good = [z for z in self.zones(region, pool["vmSize"]) if z not in self.barred_zones(region, pool["vmSize"])]
        bad = [zone for zone in pool.get("availabilityZones") or [] if zone not in good]
        if bad:
            words = f"The zone(s) '{','.join(bad)}' for resource '{pool['name']}' is not supported."
            raise invalid(
                f"{words} The supported zones for location '{region}' are '{','.join(good)}'",
                "agentPoolProfile.availabilityZones", code="AvailabilityZoneNotSupported",
            )  # fmt: skip

    def check_quota(self, region: str, others: list[Json], wanted: list[Json], left: int | None = None) -> None:
        """Refuse when `wanted` beside `others` go over the vCPUs of the region or of a family; `left` overrules."""
        families = sorted({catalogue.sizes()[pool["vmSize"].lower()].family for pool in wanted})
        for name in ("cores", *families):
            need = catalogue.cores(wanted, None if name == "cores" else name)
            free = self.limit(region, name) - self.used(region, name, others)
            free = left if left is not None and name == "cores" else free
            if need > free:
                raise _quota(name, max(free, 0), need, region)


def _quota(name: str, free: int, need: int, region: str) -> ArmError:
    what = "regional" if name == "cores" else name
    return invalid(
        f"Preconfigured quota of region {region} does not suffice: insufficient vcpu quota, left {what} vcpu quota "
        f"{free}, requested quota {need}. Ask for more quota, or use fewer or smaller nodes.",
        code="ErrCode_InsufficientVCPUQuota",
    )  # fmt: skip


def _key(region: str, name: str) -> str:
    return f"{region}/{name}".lower()
