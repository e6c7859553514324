"""Kubernetes quantities ("250m", "1.5Gi", "2e3") as exact numbers."""

from __future__ import annotations

import re
from fractions import Fraction

_SUFFIXES = {
    "": Fraction(1), "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000),
    "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12),
    "P": Fraction(10**15), "E": Fraction(10**18),
    "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30), "Ti": Fraction(2**40),
    "Pi": Fraction(2**50), "Ei": Fraction(2**60),
}  # fmt: skip
_SHAPE = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)")


def parse(text: object) -> Fraction:
    """The number that a quantity means; ValueError when it is none."""
    found = _SHAPE.fullmatch(str(text))
    if not found:
        raise ValueError(f"{text!r} is not a quantity such as 250m, 2 or 1.5Gi")
    number, exponent, suffix = found.groups()
    scale = Fraction(10) ** int(exponent) if exponent else _SUFFIXES[suffix or ""]
    return Fraction(number) * scale


def show(value: Fraction, *, binary: bool = False) -> str:
    """The shortest quantity for a number: whole, in thousandths, or (`binary`) in Ki."""
    if value.denominator != 1:
        return f"{-(-value.numerator * 1000 // value.denominator)}m"
    if binary and value and value % 1024 == 0:
        return f"{value // 1024}Ki"
    return str(value.numerator)


def requests(container: dict[str, object]) -> dict[str, Fraction]:
    """What one container asks for, by resource; a limit without request counts as request."""
    resources = container.get("resources") or {}
    assert isinstance(resources, dict)  # noqa: S101 - the API refuses other shapes
    merged = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: parse(value) for name, value in merged.items()}


def pod_requests(spec: dict[str, object]) -> dict[str, Fraction]:
    """What a pod asks for: its containers together, or its largest init container where that is more."""
    total: dict[str, Fraction] = {}
    containers, inits = spec.get("containers") or [], spec.get("initContainers") or []
    assert isinstance(containers, list)  # noqa: S101
    assert isinstance(inits, list)  # noqa: S101
    for container in containers:
        for name, value in requests(container).items():
            total[name] = total.get(name, Fraction(0)) + value
    for container in inits:
        for name, value in requests(container).items():
            total[name] = max(total.get(name, Fraction(0)), value)
    return total
