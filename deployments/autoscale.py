"""Wanted replicas from load, by the v1 rule: up at once, down after a minute of quiet; names of what KEDA has. Pure."""

from __future__ import annotations

import math

QUIET_SECONDS = 60.0
SCALED = "ScaledObject"  # KEDA's kind that scales a workload


def things(workload: str) -> list[tuple[str, str]]:
    """(kind, name) of what KEDA has for a workload, the scaling itself first: taken away in this order."""
    return [(SCALED, workload), ("TriggerAuthentication", workload), ("Secret", f"{workload}-scaler")]


def wanted(
    *,
    current: int,
    rps: float,
    seconds: float,
    target_utilization: int,
    concurrency: int,
    min_replicas: int,
    max_replicas: int,
    quiet_seconds: float,
) -> int:
    """Replicas for `rps` requests a second of `seconds` each, so that `target_utilization` percent are busy.

    More than now: at once. Fewer: only after `quiet_seconds` of 60 and more since more was needed.
    Always between `min_replicas` and `max_replicas`.
    """
    share = target_utilization / 100 * concurrency
    ideal = math.ceil(round(rps * seconds / share, 6))
    aim = min(max(ideal, min_replicas), max_replicas)
    inside = min(max(current, min_replicas), max_replicas)
    if aim >= inside or quiet_seconds >= QUIET_SECONDS:
        return aim
    return inside
