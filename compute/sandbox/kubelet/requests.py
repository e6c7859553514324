"""What containers and pods ask of a node."""

from __future__ import annotations

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
    """What a pod asks for: its containers together, or its largest init container where that is more."""
    total: dict[str, Decimal] = {}
    for container in spec.get("containers") or []:
        for name, value in of_container(container).items():
            total[name] = total.get(name, Decimal(0)) + value
    for container in spec.get("initContainers") or []:
        for name, value in of_container(container).items():
            total[name] = max(total.get(name, Decimal(0)), value)
    return total
