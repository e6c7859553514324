"""VM sizes and the vCPU floor. Pure: a bundled table, no network."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import ceil
from pathlib import Path

from compute.types import Purpose, VmSize
from portal.problems import Invalid

FLOOR = 12  # vCPUs that a FastProd cluster has at least
DEV_TEST_COMFORT = 2  # below it a DevTest cluster cannot hold the system pods and a model
DEFAULT_SIZE = "Standard_D3_v2"
DEFAULT_COUNT = {Purpose.FAST_PROD: 3, Purpose.DEV_TEST: 1}
MOST_NODES = 1000
NOT_FOR_PRODUCTION = "A DevTest cluster is not fit for production traffic and has no fault tolerance."
PRICES_FROM = "2026-06-18"
REGIONS = ("eastus", "westus2", "westeurope", "francecentral")
ARM = re.compile(r"standard_[a-z]+\d+(-\d+)?[a-z]*p[a-z]*(_|$)")  # Azure's letter for it, after the number of vCPUs
FPGA = ("standard_pb", "standard_np")
TABLE = Path(__file__).parent / "data" / "vm_sizes.csv"


class UnknownSize(Invalid):
    code, title = "unknown_vm_size", "There is no such VM size"


class FpgaSize(Invalid):
    code, title = "fpga_size", "FPGA sizes are gone"


class TooFewCores(Invalid):
    code, title = "too_few_vcpus", "Too few vCPUs for FastProd"


class BadNodeCount(Invalid):
    code, title = "bad_node_count", "The node count does not fit"


@lru_cache(maxsize=1)
def bundled() -> tuple[VmSize, ...]:
    """The sizes of the table that ships with the portal, by name."""
    with TABLE.open(newline="") as file:
        return tuple(_row(row) for row in csv.DictReader(file))


def _row(row: dict[str, str]) -> VmSize:
    prices = {region: float(row[f"usd_hour_{region}"]) for region in REGIONS if row[f"usd_hour_{region}"]}
    return VmSize(row["name"], int(row["vcpus"]), float(row["memory_gb"]), int(row["gpus"]), row["family"], prices)


def _key(name: str) -> str:
    key = name.strip().lower().replace(" ", "_")
    return key if key.startswith(("standard_", "basic_")) else f"standard_{key}"


@lru_cache(maxsize=1)
def _by_key() -> dict[str, VmSize]:
    return {_key(size.name): size for size in bundled()}


def find(name: str, known: Iterable[VmSize] | None = None) -> VmSize:
    """The size called `name`, in any letter case and in old spellings ("STANDARD_D3_V2", "D3_v2", "Standard D3 v2").

    `known` is a live list; without it the bundled table counts. Raises FpgaSize or UnknownSize.
    """
    key = _key(name)
    if key.startswith(FPGA):
        raise FpgaSize(f"{name} is an FPGA size. FPGA sizes are gone from Azure; choose a CPU or GPU size.")
    table = _by_key() if known is None else {_key(size.name): size for size in known}
    if key not in table:
        raise UnknownSize(f"There is no VM size {name}. {_hint(key, table)}")
    return table[key]


def is_arm(name: str) -> bool:
    """Whether the machines of a size have ARM processors: images that are built here do not run on them."""
    return bool(ARM.match(_key(name)))


def _hint(key: str, table: dict[str, VmSize]) -> str:
    start = key.split("_")[1][:2] if "_" in key else ""
    close = [size.name for other, size in table.items() if other.startswith(f"standard_{start}")][:4]
    return f"Close ones: {', '.join(close)}." if close else f"The default is {DEFAULT_SIZE}."


Pool = tuple[VmSize, int]


def smallest_count(size: VmSize, others: Sequence[Pool] = ()) -> int:
    """The smallest node count of this size that, with other pools, reaches the FastProd floor; at least 1."""
    return max(1, ceil((FLOOR - sum(other.vcpus * count for other, count in others)) / size.vcpus))


def check_count(*, size: VmSize, count: int, purpose: str, others: Sequence[Pool] = ()) -> list[str]:
    """Check a node count, with other pools as they are, against the purpose; returns warnings for people.

    Raises BadNodeCount or TooFewCores.
    """
    if not 1 <= count <= MOST_NODES:
        raise BadNodeCount(f"{count} nodes were asked for; a cluster has 1 to {MOST_NODES}.")
    return check_cores(parts=[(size, count), *others], purpose=purpose)


def check_cores(*, parts: Sequence[Pool], purpose: str) -> list[str]:
    """Check the vCPUs of node pools (size, count) against the purpose; returns warnings. Raises TooFewCores."""
    total = sum(size.vcpus * count for size, count in parts)
    if purpose == Purpose.FAST_PROD and total < FLOOR:
        raise TooFewCores(_too_few(parts, total), vcpus=total, needed=FLOOR)
    if purpose != Purpose.DEV_TEST:
        return []
    warnings = [NOT_FOR_PRODUCTION]
    if total < DEV_TEST_COMFORT:
        warnings.append(
            f"{_words(parts)} = {total} vCPU is very little: below {DEV_TEST_COMFORT} most models do not fit."
        )
    return warnings


def _words(parts: Sequence[Pool]) -> str:
    return " + ".join(f"{count} × {size.name} ({size.vcpus} vCPUs each)" for size, count in parts)


def _too_few(parts: Sequence[Pool], total: int) -> str:
    size, others = parts[0][0], parts[1:]
    least = smallest_count(size, others)
    return (
        f"{_words(parts)} = {total} vCPUs, and a FastProd cluster needs at least {FLOOR}. "
        f"The smallest count of {size.name} that passes is {least}. Or choose DevTest."
    )


def price(*, size: VmSize, count: int, region: str) -> float | None:
    """Estimated US dollars an hour for `count` nodes (prices of PRICES_FROM); None where the price is unknown."""
    each = size.usd_hour.get(region.lower().replace(" ", ""))
    return None if each is None else round(each * count, 4)
