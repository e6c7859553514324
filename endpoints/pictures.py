"""What pages draw and say of a split: bars, and the words beside a row. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from endpoints import traffic
from endpoints.types import Version
from portal.pages import Segment, segments

HUNDRED = Decimal(100)


def bar(split: Iterable[Version], shares: Mapping[str, Decimal], colors: Mapping[str, int]) -> list[Segment]:
    """The shares as a stacked bar; what the default gets beyond its own percentile is a part of its own, beside it."""
    parts: list[tuple[str, int, Decimal, bool]] = []
    for version in split:
        share = shares[version.name]
        own = min(share, version.percentile) if version.is_default else share
        parts.append((version.name, colors[version.name], own, False))
        parts.append((version.name, colors[version.name], share - own, True))
    return segments(parts)


def told(version: Version, planned: Decimal, now: Decimal) -> str:
    """One row in words: "20 set + 70 remainder = 90 %", "10 set, 0 until ready", "10 %"."""
    own, total = traffic.plain(version.percentile), traffic.plain(planned)
    rest = planned - version.percentile
    words = f"{own} set + {traffic.plain(rest)} remainder = {total} %" if version.is_default and rest else f"{own} %"
    if not version.serves and planned:
        return f"{words if rest else own + ' set'}, 0 until ready"
    extra = round(now - planned, 2)
    return f"{words}, {traffic.plain(extra)} of versions that are not ready" if extra > 0 else words


def of_rows(rows: Iterable[Any]) -> list[Segment]:
    """The bar of version rows as they are in force now."""
    split = [row.traffic() for row in rows]
    return bar(split, traffic.shares(split), {row.name: row.color for row in rows})
