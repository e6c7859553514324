"""Whether a cluster runs, and the bounds of its own pool's autoscaler: as wanted here, and as Azure had them. Pure."""

from __future__ import annotations

from typing import Any, Protocol

from compute.types import Power

Bounds = dict[str, int]


class Target(Protocol):
    """A compute target, as far as it matters here."""

    config: Any
    observed: Any


def wanted(target: Target) -> Power:
    """The power state that is wanted: stopped only when somebody stopped it here."""
    return Power(target.config.get("power") or Power.RUNNING)


def seen(target: Target) -> Power:
    """The power state that Azure had last; running as long as nobody looked."""
    is_running = str(target.observed.get("power_state") or Power.RUNNING).lower() == "running"
    return Power.RUNNING if is_running else Power.STOPPED


def is_stopped(target: Target) -> bool:
    """Whether Azure was seen to have it stopped: nothing in it answers."""
    return seen(target) == Power.STOPPED


def config_with(target: Target, power: str) -> dict[str, Any]:
    """The target's settings with another power state wanted."""
    rest = {name: value for name, value in target.config.items() if name != "power"}
    return rest if power == Power.RUNNING else rest | {"power": Power(power).value}


def bounds_wanted(target: Target) -> Bounds | None:
    """The autoscaler's bounds that are wanted; None: it is off."""
    found: Bounds | None = target.config.get("autoscaler") or None
    return found


def bounds_seen(target: Target) -> Bounds | None:
    """The bounds that Azure had last; None: it was off, or nobody looked."""
    low, high = target.observed.get("min_count"), target.observed.get("max_count")
    return None if high is None else {"min_count": int(low or 0), "max_count": int(high)}


def bounds_in_force(target: Target) -> Bounds | None:
    """The bounds that are wanted, else those that Azure had last: whoever set them, Azure chooses the count."""
    return bounds_wanted(target) or bounds_seen(target)


def is_off(observed: Any) -> bool:
    """Whether a further node pool was seen to be stopped, by what its row keeps of Azure."""
    return str(observed.get("power_state") or Power.RUNNING).lower() != "running"


def config_of(target: Target, bounds: Bounds | None) -> dict[str, Any]:
    """The target's settings with these bounds of the autoscaler; None: it is off."""
    rest = {name: value for name, value in target.config.items() if name != "autoscaler"}
    return rest | {"autoscaler": dict(bounds)} if bounds else rest


def words(bounds: Bounds | None) -> str:
    """Bounds for people."""
    return "off" if bounds is None else f"{bounds['min_count']} to {bounds['max_count']}"
