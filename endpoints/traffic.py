"""Percentiles -> effective shares, and which changes of a split are allowed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from endpoints.types import Version, VersionChange
from portal.problems import Problem

MOST_VERSIONS = 6
HUNDRED = Decimal(100)
WEIGHT_SUM = 10_000
Split = tuple[Version, ...]


class InvalidTraffic(Problem):
    status, code, title = 422, "invalid_traffic", "This split is not possible"


def configured(versions: Sequence[Version]) -> dict[str, Decimal]:
    """The share of each version in percent if all serve: what nobody claims goes to the default. Sums to 100."""
    rest = HUNDRED - sum((v.percentile for v in versions), Decimal(0))
    return {v.name: v.percentile + (rest if v.is_default else 0) for v in versions}


def shares(versions: Sequence[Version]) -> dict[str, Decimal]:
    """The share of each version in percent, now. Versions that do not serve get 0; all get 0 when none serves.

    A version that does not serve leaves its share to the default; when the default itself does not serve, the others
    share by their percentiles, or the oldest takes all when those are 0.
    """
    serving = [v for v in versions if v.serves]
    result = {v.name: Decimal(0) for v in versions}
    if any(v.is_default for v in serving):
        return result | configured(serving)
    claimed = sum((v.percentile for v in serving), Decimal(0))
    if claimed:
        return result | {v.name: v.percentile * HUNDRED / claimed for v in serving}
    if serving:
        result[min(serving, key=lambda v: v.order).name] = HUNDRED
    return result


def weights(parts: Mapping[str, Decimal]) -> dict[str, int]:
    """Whole numbers in the proportion of `parts` that add to 10,000 (largest remainder); all 0 when `parts` are."""
    whole = sum(parts.values(), Decimal(0))
    if not whole:
        return dict.fromkeys(parts, 0)
    exact = {name: part * WEIGHT_SUM / whole for name, part in parts.items()}
    result = {name: int(value) for name, value in exact.items()}
    missing = WEIGHT_SUM - sum(result.values())
    for name in sorted(exact, key=lambda n: (result[n] - exact[n], n))[:missing]:
        result[name] += 1
    return result


def change(before: Sequence[Version], wanted: Mapping[str, VersionChange]) -> Split:
    """The split after a change. Raises InvalidTraffic; making a version default or control moves that flag to it."""
    known = {v.name for v in before}
    for name in wanted:
        if name not in known:
            raise InvalidTraffic(f"There is no version {name}. There are: {', '.join(sorted(known))}.")
    default, control = _wanted_default(before, wanted), _wanted_control(before, wanted)
    after = tuple(
        replace(v, percentile=_percentile(v, wanted), is_default=v.name == default, is_control=v.name == control)
        for v in before
    )
    _check(after)
    return after


def add(before: Sequence[Version], name: str, wanted: VersionChange) -> Split:
    """The split with one more version: a treatment with 0 % unless `wanted` says more; the first is the default."""
    if any(v.name == name for v in before):
        raise InvalidTraffic(f"There is a version {name} already. Give the new one another name.")
    if len(before) >= MOST_VERSIONS:
        raise InvalidTraffic(
            f"An endpoint has at most {MOST_VERSIONS} versions and this one has {len(before)}. Delete one first."
        )
    order = max((v.order for v in before), default=-1) + 1
    fresh = Version(name, Decimal(0), is_default=not before, serves=False, order=order)
    return change((*before, fresh), {name: wanted})


def remove(before: Sequence[Version], name: str) -> tuple[Split, str]:
    """The split without a version, and which version is the default then. The last one cannot be removed."""
    left = tuple(v for v in before if v.name != name)
    if len(left) == len(before):
        raise InvalidTraffic(f"There is no version {name}.")
    if not left:
        raise InvalidTraffic(f"{name} is the only version. Delete the endpoint instead.")
    heir = successor(before, name)
    return tuple(replace(v, is_default=v.name == heir) for v in left), heir


def successor(versions: Sequence[Version], name: str) -> str:
    """Who is the default once `name` is gone: the present default, else the control, else the oldest that serves."""
    left = [v for v in versions if v.name != name]
    for found in (
        [v for v in left if v.is_default],
        [v for v in left if v.is_control],
        sorted((v for v in left if v.serves), key=lambda v: v.order),
        sorted(left, key=lambda v: v.order),
    ):
        if found:
            return found[0].name
    raise InvalidTraffic(f"{name} is the only version. Delete the endpoint instead.")


def moved(before: Sequence[Version], after: Sequence[Version]) -> list[str]:
    """One sentence per flag that went from one version to another."""
    sentences = []
    for flag, word in (("is_default", "default"), ("is_control", "control")):
        was = [v.name for v in before if getattr(v, flag)]
        now = [v.name for v in after if getattr(v, flag)]
        if was and now and was != now:
            sentences.append(f"{now[0]} is now the {word}; {was[0]} was it before.")
    return sentences


def _wanted_default(before: Sequence[Version], wanted: Mapping[str, VersionChange]) -> str:
    chosen = [name for name, ask in wanted.items() if ask.is_default]
    if len(chosen) > 1:
        raise InvalidTraffic(f"Only one version can be the default; you asked for {' and '.join(sorted(chosen))}.")
    present = next((v.name for v in before if v.is_default), "")
    asked = wanted.get(present)
    if not chosen and asked is not None and asked.is_default is False:
        raise InvalidTraffic(
            f"{present} is the default and one version must be. Make another version the default instead."
        )
    return chosen[0] if chosen else present


def _wanted_control(before: Sequence[Version], wanted: Mapping[str, VersionChange]) -> str:
    chosen = [name for name, ask in wanted.items() if ask.is_control]
    if len(chosen) > 1:
        raise InvalidTraffic(f"Only one version can be the control; you asked for {' and '.join(sorted(chosen))}.")
    if chosen:
        return chosen[0]
    present = next((v.name for v in before if v.is_control), "")
    asked = wanted.get(present)
    return "" if asked is not None and asked.is_control is False else present


def _percentile(version: Version, wanted: Mapping[str, VersionChange]) -> Decimal:
    asked = wanted.get(version.name)
    if asked is None or asked.traffic_percentile is None:
        return version.percentile
    value = asked.traffic_percentile
    if not value.is_finite() or not 0 <= value <= HUNDRED:
        raise InvalidTraffic(f"{version.name} cannot get {value} %: a percentile is from 0 to 100.")
    if value != round(value, 2):
        raise InvalidTraffic(f"{version.name} cannot get {value} %: give at most two decimals.")
    return round(value, 2)


def _check(versions: Split) -> None:
    total = sum((v.percentile for v in versions), Decimal(0))
    if total > HUNDRED:
        listed = ", ".join(f"{v.name} {plain(v.percentile)}" for v in versions)
        raise InvalidTraffic(
            f"The percentiles add to {plain(total)}, and at most 100 is possible: {listed}. "
            f"{plain(total - HUNDRED)} too many.",
            total=plain(total),
        )


def plain(value: Decimal) -> str:
    """A percentile as people write it: 20, 12.5."""
    return f"{value.normalize():f}"
