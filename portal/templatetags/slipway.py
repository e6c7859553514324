"""Filters of the pages: words, signs and tones for states, and numbers as people read them. No SQL, no markup."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django import template
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

register = template.Library()

TONES = {
    "good": {"Succeeded", "Healthy", "Ready", "done"},
    "busy": {
        "Running",
        "NotStarted",
        "Creating",
        "Updating",
        "Scaling",
        "Transitioning",
        "Building",
        "Starting",
        "running",
    },
    "warn": {"Unhealthy", "Unschedulable", "Deleting", "Detaching", "Cancelled", "Canceled", "RolledBack", "not ready"},
    "bad": {"Failed", "TimedOut", "Missing", "failed"},
}
SIGNS = {"good": "✓", "busy": "◌", "warn": "!", "bad": "✕", "idle": "·"}
KINDS = {
    "compute": "compute target",
    "pool": "node pool",
    "environment": "environment",
    "service": "service",
    "endpoint": "endpoint",
    "version": "version",
    "gateway": "gateway of",
}


@register.filter
def tone(state: object) -> str:
    """The tone of a state: good, busy, warn, bad or idle."""
    return next((name for name, states in TONES.items() if str(state) in states), "idle")


@register.filter
def sign(state: object) -> str:
    """A character that says the tone without colour."""
    return SIGNS[tone(state)]


@register.filter
def words(name: object) -> str:
    """`TimedOut` or `await_nodes` as words: "Timed out", "Await nodes"."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", str(name)).replace("_", " ").strip()
    return spaced[:1].upper() + spaced[1:].lower()


@register.filter
def deed(kind: object) -> str:
    """`compute.create` as "Create compute target"."""
    noun, _, verb = str(kind).partition(".")
    return f"{words(verb)} {KINDS.get(noun, words(noun).lower())}"


@register.filter
def action_words(action: object) -> str:
    """`endpoint.traffic_set` as "Endpoint traffic set"."""
    return words(str(action).replace(".", " "))


@register.filter
def percent(value: object) -> str:
    """A share as people write it: 20, 12.5, 33.33."""
    if value is None or value == "":
        return ""
    number = round(Decimal(str(value)), 2)
    return f"{number:f}".rstrip("0").rstrip(".") if number % 1 else f"{number:.0f}"


@register.filter
def took(started: datetime | None, ended: datetime | None = None) -> str:
    """The time between two moments (up to now without the second): "0.4 s", "12 s", "3 min 5 s"."""
    if started is None:
        return ""
    seconds = ((ended or timezone.now()) - started).total_seconds()
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@register.filter
def span(seconds: Any) -> str:
    """A range of seconds, as a pair or with `low` and `high`: "3 to 5 s", "4 to 12 min", "5 s" where both are equal."""
    low, high = seconds if isinstance(seconds, tuple) else (seconds.low, seconds.high)
    unit, size = ("min", 60) if high >= 90 else ("s", 1)
    first, last = (max(1, round(each / size)) for each in (low, high))
    return f"{first} {unit}" if first == last else f"{first} to {last} {unit}"


@register.filter
def is_worth_telling(usual: Any) -> bool:
    """Whether a step's usual time is long enough that somebody waits for it."""
    return usual is not None and usual.high >= 2


@register.filter
def is_late(step: dict[str, Any]) -> bool:
    """Whether a running step takes longer than nine in ten did."""
    usual, begun = step["usual"], step["started_at"]
    if step["state"] != "running" or begun is None or not is_worth_telling(usual):
        return False
    return bool((timezone.now() - begun).total_seconds() > usual.high)


@register.filter
def ago(moment: datetime | None) -> str:
    """How long ago: "just now", "5 min ago", "3 h ago", "12 days ago"."""
    if moment is None:
        return "never"
    seconds = (timezone.now() - moment).total_seconds()
    for size, unit in ((86_400, "day"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''} ago"
    return "just now" if seconds < 10 else f"{int(seconds)} s ago"


@register.filter
def is_quiet(moment: datetime | None) -> bool:
    """Whether the last news is more than 90 seconds old."""
    return moment is not None and timezone.now() - moment > timedelta(seconds=90)


@register.filter
def pretty(value: Any) -> str:
    """JSON with indentation, for people."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


@register.filter
def money(value: float | None) -> str:
    """US dollars with two digits; empty where the price is unknown."""
    return "" if value is None else f"{value:,.2f}"


@register.filter
def gigabytes(value: float | None) -> str:
    """Bytes as GiB with one digit."""
    return "" if value is None else f"{value / 1024**3:.1f}"


@register.filter
def item(mapping: Mapping[Any, Any], key: Any) -> Any:
    """One member of a mapping, empty if it is not there."""
    return mapping.get(key, "") if mapping else ""


@register.filter
def target_url(op: Any, workspace: str) -> str:
    """The page of what an operation is about; empty where it has none."""
    noun = str(op.kind).partition(".")[0]
    page = {
        "compute": "compute",
        "pool": "compute",
        "service": "service",
        "endpoint": "endpoint",
        "version": "endpoint",
        "environment": "environment-newest",
    }.get(noun, "")
    try:
        return reverse(page, args=[workspace, op.target_name]) if page else ""
    except NoReverseMatch:
        return ""


@register.filter
def used_cpu(node: Mapping[str, Any]) -> float:
    """Cores of a node that its pods ask for."""
    return round(float(node.get("cpu", 0)) - float(node.get("cpu_free", 0)), 2)


@register.filter
def used_memory(node: Mapping[str, Any]) -> int:
    """Bytes of a node that its pods ask for."""
    return int(node.get("memory_bytes", 0)) - int(node.get("memory_free", 0))


@register.filter
def split_words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


@register.filter
def has_level(findings: Sequence[Any], level: str) -> bool:
    """Whether one of a preflight's findings has the level."""
    return any((each["level"] if isinstance(each, Mapping) else each.level) == level for each in findings)
