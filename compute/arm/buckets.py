"""The arithmetic of the budget: what is left of one kind of request, who is held, and who has which turn.

Pure; times and waits are in seconds. A request without an operation (a page, a check of drift) goes when a token is
there, if need be from a reserve that no operation touches: thousands of waiting operations never keep a page out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

LONGEST_HOLD = 3600.0  # seconds
LATE = 120.0  # seconds after which a turn that nobody took is over
STEP = 10.0  # seconds in which a step that had to wait asks all that it needs
SOON = 0.001  # seconds that are no wait
OPERATIONS, RESERVE = "operations", "reserve"
LANES = {OPERATIONS: 0.8, RESERVE: 0.2}  # shares of the bucket and of what flows back
WHOLE = ""  # the subscription, where else a resource provider is named
Row = TypeVar("Row")


@dataclass(frozen=True)
class Limit:
    """A bucket's size, and how many requests flow back each second."""

    burst: float
    per_second: float

    def part(self, share: float) -> Limit:
        """A share of it, of one request at least."""
        return Limit(max(1.0, self.burst * share), self.per_second * share)


@dataclass
class Bucket:
    """What is left at the moment `at`; below 0 it is lent to operations that wait, each with its own turn."""

    left: float = 0.0
    at: float = 0.0


@dataclass
class Waiter:
    """An operation: its turn, until when all it asks goes on account, its place after a provider's hold; 0 is none."""

    turn: float = 0.0
    free_until: float = 0.0
    place: float = 0.0


@dataclass
class Hold:
    """Nobody asks before `until`; so many operations have places after it, each a little later than the one before."""

    until: float = 0.0
    told: int = 0

    def place(self, waiter: Waiter, per_second: float) -> float:
        """When the operation may ask: the same however often it comes before."""
        if not self.until < waiter.place <= self.until + self.told / per_second:
            self.told += 1
            waiter.place = self.until + self.told / per_second
        return waiter.place


@dataclass
class Account:
    """One kind of request of one principal; `held` are the seconds by which holds have moved all turns."""

    lanes: dict[str, Bucket] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    held: float = 0.0

    @classmethod
    def of(cls, told: dict[str, Any]) -> Account:
        """From `asdict` of this or another version: what it does not know it does not take."""
        lanes = {name: known(Bucket, row) for name, row in told.get("lanes", {}).items() if name in LANES}
        holds = {name: known(Hold, row) for name, row in told.get("holds", {}).items()}
        return cls(lanes, holds, told.get("held", 0.0))

    @property
    def whole_until(self) -> float:
        """When the hold of the whole subscription ends, or ended."""
        return self.holds.get(WHOLE, Hold()).until

    def settle(self, limit: Limit, now: float) -> None:
        """Let flow back what did since, nothing during a hold; a clock that was put back makes no hold longer."""
        for each in self.holds.values():
            each.until = min(each.until, now + LONGEST_HOLD)
        for name, share in LANES.items():
            part = limit.part(share)
            bucket = self.lanes.setdefault(name, Bucket(part.burst, now))
            since = max(0.0, now - max(bucket.at, self.whole_until))
            bucket.left, bucket.at = min(part.burst, bucket.left + since * part.per_second), now

    def wait(self, lane: str, limit: Limit, now: float) -> float:
        """How long who comes now waits for a token of the lane."""
        missing = max(0.0, 1 - self.lanes[lane].left)
        return max(0.0, self.whole_until - now) + missing / limit.part(LANES[lane]).per_second


def known(kind: type[Row], told: dict[str, Any]) -> Row:
    """A row from its fields; others are of another version."""
    return kind(**{each.name: told[each.name] for each in fields(kind) if each.name in told})  # type: ignore[arg-type]


def spend(account: Account, limit: Limit, now: float, *, provider: str = WHOLE, waiter: Waiter | None = None) -> float:
    """Take one request, 0 seconds to wait; or take none, and say in how many seconds it may go."""
    account.settle(limit, now)
    held = account.holds.get(provider)
    if provider and held and held.until > now:
        if waiter is None:
            return held.until - now
        return held.place(waiter, limit.part(LANES[OPERATIONS]).per_second) - now
    if waiter is not None:
        return _in_turn(account, waiter, limit, now)
    waits = {lane: account.wait(lane, limit, now) for lane in LANES}
    first = min(waits, key=waits.__getitem__)
    if waits[first] > SOON:
        return waits[first]
    account.lanes[first].left -= 1
    return 0.0


def _in_turn(account: Account, waiter: Waiter, limit: Limit, now: float) -> float:
    """An operation is lent its request when it has to wait: nobody who comes later is served before it.

    What else its step asks when its turn has come goes on account: else a step of two requests might never see both
    answered.
    """
    wait = account.wait(OPERATIONS, limit, now)
    turn, waiter.turn = waiter.turn, 0.0
    due = turn + account.held
    if turn and due >= max(now - LATE, account.whole_until):
        if (ahead := min(due - now, wait)) > SOON:
            waiter.turn = turn
            return ahead
        waiter.free_until = now + STEP
        return 0.0
    account.lanes[OPERATIONS].left -= 1
    is_free = account.whole_until <= now < waiter.free_until <= now + STEP
    if wait <= SOON or is_free:
        return 0.0
    waiter.turn = now + wait - account.held
    return wait


def hold(account: Account, limit: Limit, now: float, seconds: float, provider: str = WHOLE) -> None:
    """Let nobody ask the provider before `seconds` have passed; the whole subscription begins with nothing then.

    Turns move by the time that is added, so that those who wait keep their order and their distance.
    """
    account.settle(limit, now)
    held = account.holds.setdefault(provider, Hold())
    if held.until <= now:
        held.told = 0
    until = max(held.until, now + min(seconds, LONGEST_HOLD))
    if provider == WHOLE:
        account.held += until - max(held.until, now)
        for bucket in account.lanes.values():
            bucket.left = min(bucket.left, 0.0)
    held.until = until


def lower(account: Account, limit: Limit, now: float, remaining: float) -> None:
    """Believe Azure when it has less for us now than we counted: others use the same subscription."""
    account.settle(limit, now)
    for name, bucket in account.lanes.items():
        bucket.left = min(bucket.left, remaining * LANES[name])
