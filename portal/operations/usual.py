"""How long steps usually take: by our own history of jobs that ended well, else as the cloud's documents say."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from statistics import median, quantiles

from django.core.cache import cache

from portal.models import Operation, OperationLog
from portal.operations.plans import plan_of
from portal.types import OperationState

LEAST, MOST = 5, 50  # operations that are looked at
KEPT_SECONDS = 60


@dataclass(frozen=True)
class Usual:
    """Half of the runs take less than `low` seconds, nine in ten less than `high`; documented ones have 0 samples."""

    low: float
    high: float
    samples: int = 0


def usual_times(kind: str) -> dict[str, Usual]:
    """The usual seconds of the steps of a kind by name; steps of which nothing is known are left out.

    One query at most, and its answer is kept for a minute: pages ask each second.
    """
    key = f"usual-1:{kind}"
    found: dict[str, Usual] | None = cache.get(key)
    if found is None:
        found = _documented(kind) | _seen(kind)
        cache.set(key, found, KEPT_SECONDS)
    return found


def usual_total(kind: str) -> tuple[float, float] | None:
    """The usual seconds of all steps of a kind, from and to; None where nothing is known."""
    known = usual_times(kind).values()
    return (sum(each.low for each in known), sum(each.high for each in known)) if known else None


def _documented(kind: str) -> dict[str, Usual]:
    return {step.name: Usual(*step.usual) for step in plan_of(kind).steps if step.usual is not None}


def _seen(kind: str) -> dict[str, Usual]:
    samples: dict[str, list[float]] = defaultdict(list)
    begun: dict[tuple[object, str], datetime] = {}
    for operation, step, event, at in _lines(kind):
        if event == "started":
            begun[operation, step] = at
        elif (operation, step) in begun:
            samples[step].append((at - begun.pop((operation, step))).total_seconds())
    return {step: _usual(seconds) for step, seconds in samples.items() if len(seconds) >= LEAST}


def _lines(kind: str) -> list[tuple[object, str, str, datetime]]:
    ended = Operation.objects.filter(kind=kind, state=OperationState.SUCCEEDED).order_by("-ended_at")[:MOST]
    lines = OperationLog.objects.filter(operation__in=ended.values("pk"), event__in=("started", "done")).order_by("pk")
    return list(lines.values_list("operation_id", "step", "event", "at"))


def _usual(seconds: list[float]) -> Usual:
    return Usual(median(seconds), quantiles(seconds, n=10, method="inclusive")[-1], len(seconds))
