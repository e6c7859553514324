"""How many requests Azure takes of us: one budget per subscription and credential, shared by all processes.

Azure counts reads, writes and deletes in token buckets, by principal and subscription. We count along in the cache, so
that nobody runs into a 429 that all then pay for; when one comes even so (others use the subscription too, and the
provider of clusters has limits of its own), everybody holds until its Retry-After has passed. The numbers are the
documented ones of Azure Resource Manager.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import structlog
from django.conf import settings

from compute.arm.errors import retry_after
from portal.problems import Held

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")
LONGEST_HOLD, USUAL_HOLD = 3600.0, 10.0  # seconds; what no Retry-After says waits the usual time
EARLY = 0.06  # seconds that the engine may come too early
LATE = 120.0  # seconds after which a turn that nobody took is over
STEP = 10.0  # seconds in which a step that had to wait asks all that it needs
KEPT_SECONDS = 2 * int(LONGEST_HOLD)
AWAY_SECONDS = 5.0  # how long a cache that failed is not asked
AWAY_SHARE = 1 / 8  # of the budget, for each process that has to count alone
REMAINING = re.compile(r"x-ms-ratelimit-remaining-subscription-(?:global-)?(reads|writes|deletes)", re.IGNORECASE)


class OutOfBudget(Held):
    """The request was not sent; `after` seconds from now it has its turn."""


@dataclass(frozen=True)
class Limit:
    """A bucket's size, and how many requests flow back each second."""

    burst: float
    per_second: float


LIMITS = {
    "reads": Limit(250, 25),
    "writes": Limit(200, 10),
    "deletes": Limit(200, 10),
}


@dataclass
class Bucket:
    """What is left of one kind at the moment `at`; below 0 it is lent to those who wait, each with its own turn."""

    left: float
    at: float
    held_until: float = 0.0
    waiting: dict[str, float] = field(default_factory=dict)
    passes: dict[str, float] = field(default_factory=dict)

    def refill(self, limit: Limit, now: float) -> None:
        """Let flow back what did since, and forget who did not come back."""
        self.left = min(limit.burst, self.left + max(0.0, now - self.at) * limit.per_second)
        self.at = now
        self.waiting = {who: turn for who, turn in self.waiting.items() if max(turn, self.held_until) > now - LATE}
        self.passes = {who: end for who, end in self.passes.items() if end > now}

    def free_at(self, limit: Limit, now: float) -> float:
        """When the next request may go."""
        return max(self.held_until, now if self.left >= 1 else now + (1 - self.left) / limit.per_second)


Buckets = dict[str, Bucket]


def kind_of(method: str) -> str:
    """Which bucket a request is taken from."""
    return {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}.get(method, "writes")


def spend(buckets: Buckets, kind: str, now: float, *, who: str = "", share: float = 1.0) -> float:
    """Take one request, 0 seconds to wait; or take none, and say in how many seconds it may go.

    An operation, `who`, is lent its request then: nobody who comes later is served before it. And what else its step
    asks when its turn has come goes too, on account: else a step of two requests might never see both answered.
    """
    limit = Limit(max(1.0, LIMITS[kind].burst * share), LIMITS[kind].per_second * share)
    bucket = buckets.setdefault(kind, Bucket(limit.burst, now))
    bucket.refill(limit, now)
    turn = bucket.waiting.get(who)
    if turn is None and bucket.passes.get(who):
        turn = now
    free_at = bucket.free_at(limit, now) if turn is None else max(turn, bucket.held_until)
    if free_at > now:
        if who and who not in bucket.waiting:
            bucket.waiting[who] = free_at
            bucket.left -= 1
        return free_at - now
    if bucket.waiting.pop(who, None) is None:
        bucket.left -= 1
    elif who:
        bucket.passes[who] = now + STEP
    return 0.0


def hold(buckets: Buckets, kind: str, now: float, seconds: float) -> None:
    """Let nobody ask before `seconds` have passed."""
    bucket = buckets.setdefault(kind, Bucket(LIMITS[kind].burst, now))
    bucket.held_until = max(bucket.held_until, now + min(seconds, LONGEST_HOLD))


def lower(buckets: Buckets, kind: str, now: float, remaining: float) -> None:
    """Believe Azure when it has less for us than we counted: others use the same subscription."""
    bucket = buckets.setdefault(kind, Bucket(LIMITS[kind].burst, now))
    bucket.left = min(bucket.left, remaining - len(bucket.waiting))


class Budget:
    """The budget of one subscription at one endpoint for one credential."""

    def __init__(self, endpoint: str, subscription: str, credential: str) -> None:
        told = "\n".join((endpoint, subscription.lower(), credential))
        self._key = f"slipway:azure-budget:{hashlib.sha256(told.encode()).hexdigest()[:32]}"

    def take(self, method: str) -> None:
        """Before a request. Raises OutOfBudget when it has to wait for its turn."""
        kind, who = kind_of(method), str(structlog.contextvars.get_contextvars().get("operation", ""))
        wait = _change(self._key, lambda buckets, now, share: spend(buckets, kind, now, who=who, share=share))
        if wait > 0:
            limit = LIMITS[kind]
            raise OutOfBudget(
                f"Azure takes no more {kind} in this subscription for now ({limit.burst:.0f} at once and "
                f"{limit.per_second:.0f} a second, none after a 429 until its Retry-After): waiting for our turn.",
                after=wait + (EARLY if who else 0),
            )

    def learn(self, method: str, status: int, headers: Any) -> None:
        """After an answer: what Azure says is left, and how long everybody has to hold after a 429."""
        told = [(found[1].lower(), value) for name, value in headers.items() if (found := REMAINING.fullmatch(name))]
        scarce = {kind: float(value) for kind, value in told if value.isdecimal() and float(value) < LIMITS[kind].burst}
        if status != 429 and not scarce:
            return
        asked = retry_after(headers)

        def change(buckets: Buckets, now: float, _: float) -> None:
            for kind, remaining in scarce.items():
                lower(buckets, kind, now, remaining)
            if status == 429:
                hold(buckets, kind_of(method), now, USUAL_HOLD if asked is None else asked)

        _change(self._key, change)


Change = Callable[[Buckets, float, float], Answer]


class _Alone:
    """The buckets of this process: the whole budget where there is no shared cache, a share while it is away."""

    def __init__(self) -> None:
        self._lock, self._known = threading.Lock(), dict[str, Buckets]()
        self.away_until = 0.0

    def forget(self) -> None:
        """Begin with full buckets."""
        with self._lock:
            self._known.clear()

    def change(self, key: str, change: Change[Answer], share: float) -> Answer:
        with self._lock:
            return change(self._known.setdefault(key, {}), time.time(), share)


_alone = _Alone()


def _change(key: str, change: Change[Answer]) -> Answer:
    """Change the buckets of `key` at once and alone, by the cache's clock; in this process when it is away."""
    if not settings.CACHE_URL:
        return _alone.change(key, change, 1.0)
    if time.monotonic() >= _alone.away_until:
        import redis

        try:
            return _together(key, change)
        except (redis.RedisError, OSError) as trouble:
            _alone.away_until = time.monotonic() + AWAY_SECONDS
            log.warning("azure_budget_alone", error=type(trouble).__name__, share=AWAY_SHARE)
    return _alone.change(key, change, AWAY_SHARE)


def _together(key: str, change: Change[Answer]) -> Answer:
    def work(pipe: Any) -> Answer:
        known = json.loads(pipe.get(key) or "{}")
        buckets = {kind: Bucket(**known[kind]) for kind in known if kind in LIMITS}
        seconds, micros = pipe.time()
        answer = change(buckets, seconds + micros / 1e6, 1.0)
        pipe.multi()
        pipe.set(key, json.dumps({kind: asdict(bucket) for kind, bucket in buckets.items()}), ex=KEPT_SECONDS)
        return answer

    found: Answer = _client(settings.CACHE_URL).transaction(work, key, value_from_callable=True)
    return found


@lru_cache(maxsize=4)
def _client(url: str) -> Any:
    import redis

    return redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5)
