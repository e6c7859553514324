"""The gateway's own counters: read, subtract, sum up. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# Where to read them: answers and times per endpoint, version and status; replicas and what is under way per version.
PATH = (
    "/stats/prometheus?usedonly&filter="
    "scoring%5C.(requests%7Cduration)%7Cupstream_rq_(pending_)%3Factive$%7Cmembership_healthy$"
)
# Refused before a model saw them: these say nothing about a version.
NOT_ANSWERED = frozenset({"401", "403", "404", "413", "429"})
LINE = re.compile(r"^envoy_scoring_(requests|duration_bucket|duration_sum)\{([^}]*)\} ([0-9.e+]+)$")
GAUGE = re.compile(r'^envoy_cluster_(\w+)\{envoy_cluster_name="([^"/]+)/([^"]+)"\} (\d+)$')
ACTIVE, HOSTS = ("upstream_rq_active", "upstream_rq_pending_active"), ("membership_healthy",)
LABEL = re.compile(r'(\w+)="([^"]*)"')
Key = tuple[str, str, str]


@dataclass
class Tally:
    """Answers, the sum of their seconds, and how many were within each bound (microseconds)."""

    requests: int = 0
    seconds: float = 0.0
    buckets: dict[str, int] = field(default_factory=dict)

    @property
    def mean_seconds(self) -> float | None:
        """The mean time of the answers whose time is known: Envoy adds times up to a second after it counts answers."""
        timed = max(self.buckets.values(), default=0)
        return self.seconds / timed if timed else None

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        bounds = self.buckets.keys() | other.buckets.keys()
        return Tally(
            self.requests + other.requests,
            self.seconds + other.seconds,
            {bound: self.buckets.get(bound, 0) + other.buckets.get(bound, 0) for bound in bounds},
        )

    def minus(self, other: Tally) -> Tally:
        """What came since `other`; never below zero."""
        return Tally(
            max(0, self.requests - other.requests),
            max(0.0, self.seconds - other.seconds),
            {bound: max(0, count - other.buckets.get(bound, 0)) for bound, count in self.buckets.items()},
        )


Reading = dict[Key, Tally]


def parse(text: str) -> Reading:
    """(endpoint, version, status) -> totals since Envoy started, from its Prometheus page."""
    found: Reading = {}
    for line in text.splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        labels = dict(LABEL.findall(match[2]))
        tally = found.setdefault((labels.get("ep", "-"), labels.get("ver", "-"), labels.get("code", "-")), Tally())
        if match[1] == "requests":
            tally.requests = int(float(match[3]))
        elif match[1] == "duration_sum":
            tally.seconds = float(match[3]) / 1e6
        elif labels["le"] != "+Inf":
            tally.buckets[labels["le"]] = int(float(match[3]))
    return found


def gauges(text: str, names: tuple[str, ...]) -> dict[tuple[str, str], int]:
    """(endpoint, version) -> the sum of these gauges of its cluster, from the same page.

    `ACTIVE`: requests that wait or are being answered; `HOSTS`: replicas that take requests.
    """
    found: dict[tuple[str, str], int] = {}
    for line in text.splitlines():
        match = GAUGE.match(line)
        if match and match[1] in names:
            found[match[2], match[3]] = found.get((match[2], match[3]), 0) + int(match[4])
    return found


def since(before: Reading, now: Reading) -> Reading:
    """What was answered between two readings of one Envoy; a lower counter means that it started anew."""
    started_anew = any(now.get(key, Tally()).requests < tally.requests for key, tally in before.items())
    base: Reading = {} if started_anew else before
    return {key: tally.minus(base.get(key, Tally())) for key, tally in now.items()}


def total(readings: Iterable[Reading]) -> Reading:
    """The readings of several Envoys as one."""
    result: Reading = {}
    for reading in readings:
        for key, tally in reading.items():
            result[key] = result.get(key, Tally()).plus(tally)
    return result


def pack(reading: Reading) -> dict[str, list[object]]:
    """A reading as JSON."""
    return {"|".join(key): [tally.requests, tally.seconds, tally.buckets] for key, tally in reading.items()}


def unpack(stored: Mapping[str, list[object]]) -> Reading:
    """A reading from JSON."""
    result: Reading = {}
    for key, (requests, seconds, buckets) in stored.items():
        endpoint, version, code = key.split("|")
        result[endpoint, version, code] = Tally(int(str(requests)), float(str(seconds)), dict(buckets))  # type: ignore[call-overload]
    return result


def quantile(buckets: Mapping[str, int], share: float) -> float | None:
    """The time in milliseconds within which `share` of the answers came, between the bounds in proportion.

    `buckets` are cumulative: bound in microseconds -> answers within it. None without answers.
    """
    bounds = sorted((float(bound), count) for bound, count in buckets.items())
    if not bounds or not bounds[-1][1]:
        return None
    wanted = share * bounds[-1][1]
    lower, below = 0.0, 0
    for upper, count in bounds:
        if count >= wanted:
            part = (wanted - below) / (count - below) if count > below else 0.0
            return round((lower + (upper - lower) * part) / 1000, 3)
        lower, below = upper, count
    return round(bounds[-1][0] / 1000, 3)


def queue_length(wait_ms: int, expected_ms: int, replicas: int, concurrency: int) -> int:
    """How many requests may wait so that none waits over `wait_ms`; a power of two, as it shall change rarely."""
    wanted = max(1, round(wait_ms / max(1, expected_ms) * max(1, replicas) * concurrency))
    return int(min(4096, 2 ** (wanted - 1).bit_length()))
