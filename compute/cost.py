"""What the nodes of clusters cost: one estimate for REST and pages, from sizes, counts and region. Opens no socket."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compute import power, queries, sizes
from compute.types import ComputeState

if TYPE_CHECKING:
    from compute.models import ComputeTarget, NodePool

HOURS_A_MONTH = 730
ON_TOP = "Disks, addresses, traffic and the paid tier of the control plane come on top."
STOPPED = "It is stopped: its nodes cost nothing, its disks and addresses go on costing."
NEVER_MADE = "It was never made: nothing is counted."
GONE = (ComputeState.MISSING,)
UNFINISHED = (ComputeState.FAILED, ComputeState.CANCELED)


@dataclass(frozen=True)
class Paid:
    """Machines that are paid for: `count` of a size."""

    vm_size: str
    count: int


@dataclass(frozen=True)
class Cost:
    """US dollars an hour and a month (730 hours); None where a price is not known. `note` says what it leaves out."""

    usd_hour: float | None
    usd_month: float | None
    note: str
    is_stopped: bool = False
    prices_from: str = sizes.PRICES_FROM


def of(target: ComputeTarget) -> Cost:
    """The estimate for all node pools of a cluster: as wanted, or as seen where Azure chooses the count."""
    return _none(target) or estimate(_paid(target), region=target.region)


def estimate(machines: Sequence[Paid], *, region: str) -> Cost:
    """The estimate for machines in a region; unknown as a whole where the price of one of them is."""
    hours = {each: _hour(each, region) for each in machines if each.count}
    unknown = sorted({each.vm_size for each, hour in hours.items() if hour is None})
    if unknown:
        return Cost(None, None, f"No price is known here for {', '.join(unknown)} in {region}.")
    hour = sum(_hour(each, region) or 0.0 for each in machines)
    return _cost(hour, f"Nodes only, Linux, pay as you go. {ON_TOP}")


def total(targets: Iterable[ComputeTarget]) -> Cost:
    """The sum over clusters; those whose price is not known are left out, and named."""
    each = [(target.name, of(target).usd_hour) for target in targets]
    unknown = [name for name, hour in each if hour is None]
    without = f"Without {', '.join(unknown)}: no price is known. " if unknown else ""
    return _cost(sum(hour or 0.0 for _, hour in each), f"{without}Nodes only, Linux, pay as you go. {ON_TOP}")


def of_first(target: ComputeTarget) -> Cost:
    """The estimate for a cluster's own pool."""
    return _part(target, _first(target))


def of_pool(target: ComputeTarget, pool: NodePool) -> Cost:
    """The estimate for a further pool."""
    return _part(target, _further(pool))


def _part(target: ComputeTarget, machines: Paid) -> Cost:
    return _none(target) or estimate([machines], region=target.region)


def _paid(target: ComputeTarget) -> list[Paid]:
    """What is paid for while the cluster runs: its own pool, the further ones, and those that others made."""
    rows = list(target.pools.all())
    known = {queries.first_pool(target), *(row.name for row in rows)}
    seen = [Paid(size, int(count)) for name, size, count in target.observed.get("pools") or [] if name not in known]
    return [_first(target), *(_further(row) for row in rows), *seen]


def _first(target: ComputeTarget) -> Paid:
    seen = target.observed.get("node_count") if power.bounds_in_force(target) else None
    return Paid(target.vm_size, target.node_count if seen is None else int(seen))


def _further(pool: NodePool) -> Paid:
    """None while the pool is stopped, gone or was never made."""
    never_made = pool.state in UNFINISHED and not pool.observed
    if never_made or pool.state in GONE or power.is_off(pool.observed):
        return Paid(pool.vm_size, 0)
    return Paid(pool.vm_size, int(pool.observed.get("count", pool.count)) if pool.is_autoscaled else pool.count)


def _none(target: ComputeTarget) -> Cost | None:
    """Why nothing is counted, if so."""
    if not target.is_azure:
        return Cost(None, None, "Azure does not run it: what it costs is not known here.")
    if target.state in GONE:
        return Cost(0.0, 0.0, "It is not in Azure any more: nothing is counted.")
    if not target.vm_size:
        return Cost(None, None, "Its machines were not seen yet.")
    if target.state in UNFINISHED and not target.observed:
        return Cost(0.0, 0.0, NEVER_MADE)
    return Cost(0.0, 0.0, STOPPED, is_stopped=True) if power.is_stopped(target) else None


def _cost(hour: float, note: str) -> Cost:
    return Cost(round(hour, 4), round(hour * HOURS_A_MONTH, 2), note)


def _hour(machines: Paid, region: str) -> float | None:
    try:
        return sizes.price(size=sizes.find(machines.vm_size), count=machines.count, region=region)
    except (sizes.UnknownSize, sizes.FpgaSize):
        return None
