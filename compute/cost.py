"""What the nodes of a cluster cost, estimated from sizes, counts and region. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from compute import sizes

HOURS_A_MONTH = 730


def estimate(*, pools: Iterable[tuple[str, int]], region: str, is_stopped: bool) -> dict[str, Any]:
    """US dollars an hour and a month of all nodes, with the date of the prices; None where a price is not known.

    `pools` are (size, count). Nodes only: disks, addresses, traffic and the paid tier of the control plane come on top.
    """
    hours = [0.0] if is_stopped else [_hour(name, count, region) for name, count in pools]
    hour = None if None in hours else sum(each for each in hours if each is not None)
    return {
        "usd_hour": None if hour is None else round(hour, 4),
        "usd_month": None if hour is None else round(hour * HOURS_A_MONTH, 2),
        "prices_from": sizes.PRICES_FROM,
    }


def _hour(name: str, count: int, region: str) -> float | None:
    try:
        return sizes.price(size=sizes.find(name), count=count, region=region)
    except (sizes.UnknownSize, sizes.FpgaSize):
        return None
