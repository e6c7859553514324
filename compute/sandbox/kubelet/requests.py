"""What containers and pods ask of a node."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from compute.sandbox.kube.quantity import parse

Doc = dict[str, Any]


def of_container(container: Doc) -> dict[str, Decimal]:
    """What one container asks for, by resource; a limit without request counts as request."""
    resources = container.get("resources") or {}
    merged = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: parse(value) for name, value in merged.items()}


def of_pod(spec: Doc) -> dict[str, Decimal]:
    """What a pod asks for."""
    return summed(spec, of_container)


def summed(spec: Doc, of: Callable[[Doc], dict[str, Decimal]]) -> dict[str, Decimal]:
    """Of a pod: its containers and sidecars together, or an init container with the sidecars before it where that is
    more.
    """
    total: dict[str, Decimal] = {}
    for container in spec.get("containers") or []:
        _add(total, of(container))
    beside: dict[str, Decimal] = {}
    peaks: list[dict[str, Decimal]] = []
    for container in spec.get("initContainers") or []:
        if container.get("restartPolicy") == "Always":
            _add(beside, of(container))
            _add(total, of(container))
        else:
            peaks.append(_add(dict(beside), of(container)))
    for peak in peaks:
        for name, value in peak.items():
            total[name] = max(total.get(name, Decimal(0)), value)
    return total


def _add(total: dict[str, Decimal], more: dict[str, Decimal]) -> dict[str, Decimal]:
    for name, value in more.items():
        total[name] = total.get(name, Decimal(0)) + value
    return total
