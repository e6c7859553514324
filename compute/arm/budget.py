"""How many requests Azure takes of us: one budget per subscription and principal, shared by all processes.

Azure counts reads, writes and deletes in token buckets, by principal and subscription. We count along in the cache, so
that nobody runs into a 429 that all then pay for; when one comes even so (others use the subscription too, and each
provider has limits of its own), all who ask that provider hold until its Retry-After has passed, and everybody when it
was the subscription's own. The numbers are the documented ones of Azure Resource Manager; buckets.py has the sums.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from typing import Any, TypeVar

import structlog
from django.conf import settings

from compute.arm.buckets import LONGEST_HOLD, WHOLE, Account, Limit, Waiter, hold, known, lower, spend
from compute.arm.errors import retry_after
from portal.credentials import PUBLIC_AUTHORITY
from portal.problems import Held

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")
USUAL_HOLD = 10.0  # seconds; what no Retry-After says waits the usual time
EARLY = 0.06  # seconds that the engine may come too early
KEPT_SECONDS = 2 * int(LONGEST_HOLD)
MOST_WAITERS = 10_000  # operations whose turns a process keeps when it counts alone
WATCH_TRIES = 50  # of one change, while others change the same
AWAY_SECONDS = 5.0  # how long a cache that failed is not asked
AWAY_SHARE = 1 / 8  # of the budget, for each process that has to count alone
REMAINING = re.compile(r"x-ms-ratelimit-remaining-subscription-(?:global-)?(reads|writes|deletes)", re.IGNORECASE)
PROVIDER = re.compile(r"/providers/([A-Za-z0-9.]+)")
LIMITS = {"reads": Limit(250, 25), "writes": Limit(200, 10), "deletes": Limit(200, 10)}


class OutOfBudget(Held):
    """The request was not sent; `after` seconds from now it has its turn."""


def kind_of(method: str) -> str:
    """Which bucket a request is taken from."""
    return {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}.get(method, "writes")


def provider_of(url: str) -> str:
    """The resource provider that answers a URL of Azure, in small letters."""
    return next(reversed(PROVIDER.findall(url.partition("?")[0])), "Microsoft.Resources").lower()


def principal(credential: str) -> str:
    """Whom Azure counts: the application, whatever secret it has at the moment; a given token is its own."""
    try:
        given = json.loads(credential or "{}")
    except ValueError:
        return credential
    if not isinstance(given, dict) or "token" in given:
        return credential
    authority, tenant, client = (
        str(given.get(name) or "").rstrip("/").lower() for name in ("authority_host", "tenant_id", "client_id")
    )
    kind = "" if client else given.get("kind", "default")
    return json.dumps([kind, "" if authority == PUBLIC_AUTHORITY else authority, tenant, client])


class Budget:
    """The budget of one subscription at one endpoint for the principal of one credential."""

    def __init__(self, endpoint: str, subscription: str, credential: str) -> None:
        told = "\n".join((endpoint, subscription.lower(), principal(credential)))
        self._key = f"slipway:azure-budget:2:{hashlib.sha256(told.encode()).hexdigest()[:32]}"

    def take(self, method: str, provider: str = WHOLE) -> None:
        """Before a request. Raises OutOfBudget when it has to wait for its turn."""
        kind, who = kind_of(method), str(structlog.contextvars.get_contextvars().get("operation", ""))
        limit = LIMITS[kind]

        def change(account: Account, waiter: Waiter | None, now: float, share: float) -> float:
            return spend(account, limit.part(share), now, provider=provider, waiter=waiter)

        wait = _change(f"{self._key}:{kind}", who, change)
        if wait > 0:
            raise OutOfBudget(
                f"Azure takes no more {kind} in this subscription for now ({limit.burst:.0f} at once and "
                f"{limit.per_second:.0f} a second, none after a 429 until its Retry-After): waiting for our turn.",
                after=wait + (EARLY if who else 0),
            )

    def learn(self, method: str, status: int, headers: Any, provider: str = WHOLE) -> None:
        """After an answer: what Azure says is left; after a 429 how long all hold who ask that provider."""
        for name, value in headers.items():
            if (found := REMAINING.fullmatch(name)) and value.isdecimal():
                self._lower(found[1].lower(), float(value))
        if status == 429:
            asked = retry_after(headers)
            self._hold(kind_of(method), USUAL_HOLD if asked is None else asked, provider)

    def _lower(self, kind: str, remaining: float) -> None:
        def change(account: Account, _: Waiter | None, now: float, share: float) -> None:
            lower(account, LIMITS[kind].part(share), now, remaining)

        if remaining < LIMITS[kind].burst:
            _change(f"{self._key}:{kind}", "", change)

    def _hold(self, kind: str, seconds: float, provider: str) -> None:
        def change(account: Account, _: Waiter | None, now: float, share: float) -> None:
            hold(account, LIMITS[kind].part(share), now, seconds, provider)

        _change(f"{self._key}:{kind}", "", change)


Change = Callable[[Account, Waiter | None, float, float], Answer]


class _Alone:
    """The accounts of this process: the whole budget where there is no shared cache, a share while it is away."""

    def __init__(self) -> None:
        self._lock, self._known = threading.Lock(), dict[str, Account]()
        self._waiters = OrderedDict[str, Waiter]()
        self.away_until = 0.0

    def forget(self) -> None:
        """Begin with full buckets."""
        with self._lock:
            self._known.clear()
            self._waiters.clear()

    def change(self, key: str, who: str, change: Change[Answer], share: float) -> Answer:
        with self._lock:
            return change(self._known.setdefault(key, Account()), self._waiter(key, who), time.time(), share)

    def _waiter(self, key: str, who: str) -> Waiter | None:
        """The operation's place; the one that asked longest ago goes when they are too many."""
        if not who:
            return None
        waiter = self._waiters.setdefault(f"{key}:{who}", Waiter())
        self._waiters.move_to_end(f"{key}:{who}")
        if len(self._waiters) > MOST_WAITERS:
            self._waiters.popitem(last=False)
        return waiter


_alone = _Alone()


def _change(key: str, who: str, change: Change[Answer]) -> Answer:
    """Change an account at once and alone, by the cache's clock; in this process when it is away."""
    if not settings.CACHE_URL:
        return _alone.change(key, who, change, 1.0)
    if time.monotonic() >= _alone.away_until:
        import redis

        try:
            return _together(key, who, change)
        except (redis.RedisError, OSError) as trouble:
            _alone.away_until = time.monotonic() + AWAY_SECONDS
            log.warning("azure_budget_alone", error=type(trouble).__name__, share=AWAY_SHARE)
    return _alone.change(key, who, change, AWAY_SHARE)


def _together(key: str, who: str, change: Change[Answer]) -> Answer:
    """Change what the cache has. Raises WatchError when others were always faster."""
    import redis

    with _client(settings.CACHE_URL).pipeline() as pipe:
        for _ in range(WATCH_TRIES):
            try:
                return _once(pipe, key, who, change)
            except redis.WatchError:
                continue
    raise redis.WatchError(f"{WATCH_TRIES} tries")


def _once(pipe: Any, key: str, who: str, change: Change[Answer]) -> Answer:
    """One try. An operation's place has a key of its own: a try stays small, however many wait."""
    place = f"{key}:{who}"
    pipe.watch(key, place)
    account, waiter = (json.loads(text or "{}") for text in pipe.mget(key, place))
    seconds, micros = pipe.time()
    own = known(Waiter, waiter) if who else None
    shared = Account.of(account)
    answer = change(shared, own, seconds + micros / 1e6, 1.0)
    pipe.multi()
    pipe.set(key, json.dumps(asdict(shared)), ex=KEPT_SECONDS)
    if own:
        pipe.set(place, json.dumps(asdict(own)), ex=KEPT_SECONDS)
    pipe.execute()
    return answer


@lru_cache(maxsize=4)
def _client(url: str) -> Any:
    import redis

    return redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5)
