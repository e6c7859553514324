"""The sums of the budget: turns, holds and the reserve, by a clock that the test sets."""

from __future__ import annotations

import heapq
from dataclasses import asdict
from typing import Any

import pytest

from compute.arm.buckets import LONGEST_HOLD, OPERATIONS, RESERVE, Account, Bucket, Hold, Waiter, hold, lower, spend
from compute.arm.budget import LIMITS

READS = LIMITS["reads"]


def reads(account: Account, now: float, **options: Any) -> float:
    return spend(account, READS, now, **options)


def dry(now: float = 100.0) -> Account:
    """Nothing is left for operations, nor in the reserve."""
    return Account({OPERATIONS: Bucket(0.0, now), RESERVE: Bucket(0.0, now)})


def test_a_full_bucket_goes_at_once_and_then_each_operation_gets_a_turn_of_its_own() -> None:
    account, first = Account(), Waiter()
    assert [reads(account, 100.0, waiter=Waiter()) for _ in range(200)] == [0.0] * 200
    turns = [reads(account, 100.0, waiter=who) for who in (first, Waiter(), Waiter(), first)]
    assert turns == pytest.approx([0.05, 0.1, 0.15, 0.05])


def test_nobody_who_comes_later_is_served_before_an_operation_that_waits() -> None:
    account, first = dry(), Waiter()
    assert reads(account, 100.0, waiter=first) == pytest.approx(0.05)
    assert reads(account, 100.05, waiter=Waiter()) > 0
    assert reads(account, 100.05) > 0
    assert reads(account, 100.05, waiter=first) == 0.0


def test_a_step_of_several_requests_gets_them_all_when_its_turn_has_come_and_others_pay_by_waiting() -> None:
    account, one = dry(), Waiter()
    assert reads(account, 100.0, waiter=one) == pytest.approx(0.05)
    assert [reads(account, 100.05, waiter=one) for _ in range(3)] == [0.0] * 3
    assert reads(account, 100.05, waiter=Waiter()) == pytest.approx((1 + 2) / 20)
    assert reads(account, 100.05 + 30, waiter=one) == 0.0
    hold(account, READS, 130.05, 5)
    assert reads(account, 131.0, waiter=one) == pytest.approx(4.05, abs=0.1)


def test_a_hold_moves_the_turns_that_were_given_and_keeps_their_order() -> None:
    account, waiters = dry(), [Waiter() for _ in range(4)]
    before = [reads(account, 100.0, waiter=who) for who in waiters]
    hold(account, READS, 100.0, 5)
    after = [reads(account, 100.0, waiter=who) for who in reversed(waiters)]
    assert list(reversed(after)) == pytest.approx([wait + 5 for wait in before])
    assert reads(account, 105.05, waiter=waiters[0]) == 0.0


def test_a_turn_that_nobody_took_for_two_minutes_is_over() -> None:
    account, gone = dry(), Waiter()
    assert reads(account, 100.0, waiter=gone) > 0
    account.lanes[OPERATIONS] = Bucket(0.0, 300.0)
    assert reads(account, 300.0, waiter=gone) == pytest.approx(0.05)


def test_a_bucket_fills_again_but_never_over_its_size() -> None:
    account = dry()
    assert [reads(account, 200.0) for _ in range(251)][-2:] == [0.0, pytest.approx(0.05)]


def test_a_hold_keeps_everybody_until_it_is_over_and_the_longer_one_counts() -> None:
    account = Account()
    hold(account, READS, 100.0, 7)
    hold(account, READS, 101.0, 2)
    assert reads(account, 102.0) == pytest.approx(5.05)
    assert reads(account, 107.06) == 0.0


def test_after_a_hold_the_bucket_is_empty_and_those_who_asked_meanwhile_come_one_by_one() -> None:
    account, waiters = Account(), [Waiter() for _ in range(1500)]
    hold(account, READS, 0.0, 60)
    waits = sorted(round(reads(account, 1.0, waiter=who), 3) for who in waiters)
    assert waits == pytest.approx([59 + (place + 1) / 20 for place in range(1500)])
    assert sum(reads(account, 60.06, waiter=who) == 0 for who in waiters) == 1


def test_after_a_hold_of_one_provider_those_who_asked_it_meanwhile_come_one_by_one() -> None:
    account, waiters = Account(), [Waiter() for _ in range(1500)]
    hold(account, READS, 0.0, 60, "microsoft.containerservice")
    waits = [reads(account, 1.0, waiter=who, provider="microsoft.containerservice") for who in waiters]
    assert waits == pytest.approx([59 + (place + 1) / 20 for place in range(1500)])
    assert [reads(account, 1.0, waiter=waiters[7], provider="microsoft.containerservice")] == waits[7:8]
    assert reads(account, 2.0, provider="microsoft.containerservice") == pytest.approx(58)
    assert reads(account, 61.0, provider="microsoft.containerservice") == 0.0


def test_a_hold_of_one_provider_leaves_the_others_alone_and_takes_nothing_of_theirs() -> None:
    account = Account()
    hold(account, READS, 0.0, 3600, "microsoft.containerservice")
    assert all(reads(account, 1.0, waiter=Waiter(), provider="microsoft.containerservice") for _ in range(1500))
    assert [reads(account, 1.0, waiter=Waiter(), provider="microsoft.compute") for _ in range(200)] == [0.0] * 200


def test_a_clock_that_was_put_back_makes_no_hold_longer_than_the_longest_and_no_turn_later_than_a_new_one() -> None:
    account, one = dry(90_000.0), Waiter()
    assert reads(account, 90_000.0, waiter=one) == pytest.approx(0.05)
    assert reads(account, 100.0, waiter=one) <= 0.1
    hold(account, READS, 90_000.0, 60)
    assert LONGEST_HOLD <= reads(account, 100.0) <= LONGEST_HOLD + 1


def test_what_azure_says_is_left_lowers_the_bucket_and_never_lifts_it() -> None:
    account = Account()
    for remaining in (5, 90):
        lower(account, READS, 100.0, remaining)
    assert [reads(account, 100.0) for _ in range(6)].count(0.0) == 5


def test_what_azure_says_is_left_counts_from_now_and_what_flowed_back_before_is_in_it() -> None:
    account = Account()
    reads(account, 0.0)
    lower(account, READS, 10.0, 0)
    assert reads(account, 10.01) > 0


def test_what_no_operation_asks_is_answered_however_many_operations_wait() -> None:
    account, pages, next_page = Account(), [], 20.0
    queue = [(number / 100, number, Waiter()) for number in range(600)]
    while queue[0][0] < 300:
        now, number, who = heapq.heappop(queue)
        if next_page <= now:
            pages.append(reads(account, next_page))
            next_page += 1
        heapq.heappush(queue, (now + (reads(account, now, waiter=who) or 10.0), number, who))
    assert len(pages) == 280
    assert set(pages) == {0.0}


def test_the_sums_of_another_version_are_taken_as_far_as_they_are_known() -> None:
    told = {**asdict(dry()), "more": 1, "holds": {"": {"until": 7.0, "more": 1}}}
    told["lanes"] = {OPERATIONS: {"left": 3.0, "more": 1}, "another": {}}
    assert Account.of(told) == Account({OPERATIONS: Bucket(3.0)}, {"": Hold(7.0)})
    assert Account.of({}) == Account()
