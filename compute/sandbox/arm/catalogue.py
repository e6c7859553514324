"""What the pretend regions offer: VM sizes, Kubernetes versions, quotas, zones."""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from compute.sandbox.arm.errors import ArmError, invalid

Json = dict[str, Any]
TABLE = Path(__file__).parents[2] / "data" / "vm_sizes.csv"
PRICED = ("eastus", "westus2", "westeurope", "francecentral")
REGIONS = (*PRICED, "eastus2", "centralus", "northeurope", "uksouth", "germanywestcentral", "swedencentral")
ZONES = ("1", "2", "3")
VERSIONS = {
    "1.29": ("1.29.14", "1.29.15"), "1.30": ("1.30.13", "1.30.14"), "1.31": ("1.31.12", "1.31.13"),
    "1.32": ("1.32.8", "1.32.9"), "1.33": ("1.33.4", "1.33.5"), "1.34": ("1.34.1", "1.34.2"),
    "1.35": ("1.35.0", "1.35.1"),
}  # fmt: skip
DEFAULT_VERSION = "1.33"
REGIONAL_CORES, FAMILY_CORES, GPU_FAMILY_CORES = 2000, 1500, 96
FPGA = ("standard_np", "standard_pb")


@dataclass(frozen=True)
class Size:
    """One VM size. `regions` are those that have it."""

    name: str
    vcpus: int
    memory_gb: float
    gpus: int
    family: str
    regions: frozenset[str]


@lru_cache(maxsize=1)
def sizes() -> dict[str, Size]:
    """Every size by its name in lower case."""
    with TABLE.open(newline="") as file:
        found = [_size(row) for row in csv.DictReader(file)]
    return {size.name.lower(): size for size in found}


def _size(row: dict[str, str]) -> Size:
    priced = {region for region in PRICED if row[f"usd_hour_{region}"]}
    regions = frozenset(priced | (set(REGIONS) - set(PRICED))) if priced else frozenset(REGIONS)
    return Size(row["name"], int(row["vcpus"]), float(row["memory_gb"]), int(row["gpus"]), row["family"], regions)


def size(name: str, region: str) -> Size:
    """The size of that name in the region. Raises the provider's refusals."""
    if name.lower().startswith(FPGA):
        raise invalid(
            f"The VM size {name} has an FPGA. FPGA sizes are retired and no longer offered.", code="BadRequest"
        )
    found = sizes().get(name.lower())
    if found is None or region not in found.regions:
        raise not_allowed(name, region, sorted(known.name for known in sizes().values() if region in known.regions))
    return found


def not_allowed(name: str, region: str, allowed: list[str]) -> ArmError:
    """400 of the provider for a size that the subscription does not get; it lists those that it does."""
    words = f"The VM size of {name} is not allowed in your subscription in location '{region}'."
    return invalid(f"{words} The available VM sizes are '{','.join(allowed)}'.", code="BadRequest")


def full_version(asked: str) -> str:
    """The full version for `1.33`, `1.33.5` or an empty text (the default)."""
    text = asked or DEFAULT_VERSION
    if text in VERSIONS:
        return VERSIONS[text][-1]
    if any(text in patches for patches in VERSIONS.values()):
        return text
    known = ", ".join(patch for patches in VERSIONS.values() for patch in patches)
    raise invalid(
        f"Managed cluster version {asked} is not supported. Supported versions are: {known}.",
        code="K8sVersionNotSupported",
    )


def number(version: str) -> tuple[int, ...]:
    """A version that compares as numbers."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def check_upgrade(now: str, wanted: str) -> None:
    """Refuse to go back, or over more than one minor version at a time."""
    old, new = number(now), number(wanted)
    if new < old:
        raise invalid(f"Downgrading from {now} to {wanted} is not allowed.", code="OperationNotAllowed")
    if new[1] - old[1] > 1:
        raise invalid(
            f"Upgrading Kubernetes version {now} to {wanted} is not allowed. Go one minor version at a time.",
            code="BadRequest",
        )


def upgrades(now: str) -> list[str]:
    """The versions that a cluster may go to."""
    old = number(now)
    every = [patch for patches in VERSIONS.values() for patch in patches]
    return [patch for patch in every if number(patch) > old and number(patch)[1] - old[1] <= 1]


def family_limit(family: str) -> int:
    """The vCPU quota of a family."""
    has_gpu = any(known.gpus for known in sizes().values() if known.family == family)
    return GPU_FAMILY_CORES if has_gpu else FAMILY_CORES


def cores(pools: Iterable[Json], family: str | None = None) -> int:
    """vCPUs that pools (`vmSize`, `count`) hold, of one family or of all."""
    total = 0
    for pool in pools:
        known = sizes()[pool["vmSize"].lower()]
        if family is None or known.family == family:
            total += known.vcpus * int(pool.get("count") or 0)
    return total
