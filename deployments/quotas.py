"""What a workspace may ask for in each of its namespaces: checked on entry, and as a ResourceQuota has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portal.problems import Invalid

MOST = 1_000_000
# Member: (name of the quota, words, whether only whole numbers, how it is written).
MEMBERS: dict[str, tuple[str, str, bool]] = {
    "cpu": ("requests.cpu", "vCPUs", False),
    "memory_gb": ("requests.memory", "GB of memory", False),
    "pods": ("pods", "pods", True),
    "gpus": ("requests.nvidia.com/gpu", "GPUs", True),
}


class OverQuota(Invalid):
    code, title = "over_quota", "This asks for more than the quota of a namespace"


class InvalidQuota(Invalid):
    code, title = "invalid_quota", "This is no quota"


def checked(given: Mapping[str, Any]) -> dict[str, float]:
    """The quota as it is stored; what is null or left out is not limited. Raises InvalidQuota naming the member."""
    unknown = [name for name in given if name not in MEMBERS]
    if unknown:
        raise InvalidQuota(f"A quota has no {', '.join(unknown)}: give any of {', '.join(MEMBERS)}.")
    return {name: _number(name, value) for name, value in given.items() if value is not None}


def _number(name: str, value: Any) -> float:
    _, words, is_whole = MEMBERS[name]
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST
    if not good or (is_whole and value != int(value)):
        kind = "a whole number" if is_whole else "a number"
        raise InvalidQuota(f"{name} is {value!r}: give {kind} of {words} from 0 to {MOST}, or leave it out.")
    return int(value) if is_whole else round(float(value), 3)


def hard(stored: Mapping[str, float]) -> tuple[tuple[str, str], ...]:
    """The limits as a ResourceQuota has them."""
    return tuple((MEMBERS[name][0], _quantity(name, value)) for name, value in stored.items() if name in MEMBERS)


def _quantity(name: str, value: float) -> str:
    if name == "cpu":
        return f"{round(value * 1000)}m"
    return f"{round(value * 1024)}Mi" if name == "memory_gb" else str(int(value))


def check(stored: Mapping[str, float], replicas: int, each: Mapping[str, float]) -> None:
    """Refuse what could never run: `replicas` that ask for `each`. Raises OverQuota with the numbers."""
    for name, most in stored.items():
        asked = round(replicas * (1 if name == "pods" else each.get(name, 0)), 3)
        if asked > most:
            words = MEMBERS[name][1]
            raise OverQuota(
                f"{replicas} replicas ask for {asked:g} {words}; a namespace of this workspace may ask for {most:g}. "
                "Ask for less, or have an Owner raise the quota."
            )
