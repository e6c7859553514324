"""Exchanges of long operations with Azure: what its answers may look like, and what becomes of the operation."""

from __future__ import annotations

import re
from datetime import timedelta
from email.utils import format_datetime

import pytest
from django.utils import timezone
from structlog.testing import capture_logs

from compute.arm import Arm, ArmAccess, session
from compute.models import ComputeTarget
from portal.models import AuditEvent, Operation, OperationLog
from tests.compute import azure as double
from tests.compute.azure import SUB, TOKEN, ArmDoor
from tests.compute.conftest import step_once

CLUSTER = "compute-targets/"
SIGNED = "&t=638&c=" + "MIIHpTCC%2BBo%3D" * 220 + "&s=a%2Bb%2F_-x~y&h=Z9&z=1&a=2"


@pytest.fixture
def begin(call, azure):
    """Start a create; runs until Azure has accepted it."""

    def run() -> Operation:
        assert call("operator", "post", CLUSTER, {"name": "one"}).status_code == 202
        return until(lambda op: bool(op.memo.get("accepted")))

    return run


def until(is_there, most: int = 30) -> Operation:
    op = Operation.objects.get()
    for _ in range(most):
        if is_there(op):
            return op
        step_once(op)
    raise AssertionError(f"not reached: {op.state} {op.step} {op.note} {op.memo} {op.error}")


def poll_of(status: str | None = None, **more) -> dict:
    return {
        "name": "another-guid",
        "startTime": "2026-01-01T00:00:00Z",
        **({"status": status} if status else {}),
        **more,
    }


def puts(azure) -> list[str]:
    return [name for verb, name in azure.changes if verb == "PUT"]


def ended(state: str) -> Operation:
    op = Operation.objects.get()
    assert op.state == state, (op.error, op.note)
    return op


@pytest.fixture
def signed(monkeypatch):
    """Azure's operation URLs since 2023: a signature of 3,000 characters in the query."""
    plain = ArmDoor.answer

    def answer(door, status, body=None, headers=None):
        if headers and "Azure-AsyncOperation" in headers:
            headers = {**headers, "Azure-AsyncOperation": headers["Azure-AsyncOperation"] + SIGNED}
        return plain(door, status, body, headers)

    monkeypatch.setattr(ArmDoor, "answer", answer)


def test_a_signed_url_of_3600_characters_is_stored_whole_polled_verbatim_and_shown_nowhere(
    call, azure, signed, begin, run_all
):
    with capture_logs() as logs:
        op = begin()
        url = op.memo["operation_url"]
        run_all()
    assert len(url) > 3600
    assert url.endswith(SIGNED)
    assert {polled for polled in azure.polls} == {url.removeprefix(azure.url)}
    ended("Succeeded")
    shown = [str(logs), *OperationLog.objects.values_list("text", flat=True), *map(str, AuditEvent.objects.values())]
    shown += [
        str(call("owner", "get", f"{path}").data) for path in (f"operations/{op.pk}/", "operations/", f"{CLUSTER}one/")
    ]
    assert not [text for text in shown if "MIIHpTCC" in text]


@pytest.mark.parametrize("word", ["succeeded", "SUCCEEDED", "Succeeded"])
def test_the_final_word_counts_in_any_letter_case(word, azure, begin, run_all):
    begin()
    for job in azure.operations.values():
        azure.clusters[job["cluster"]]["properties"]["provisioningState"] = word
    azure.fail("poll", (200, poll_of(word)))
    run_all()
    ended("Succeeded")
    assert len(azure.polls) == 1


@pytest.mark.parametrize(
    "word", ["inprogress", "ReconcilingDNS", "CreatingAgentPool: 0/1 nodes completed", "Succeeding", "Ausgeführt"]
)
def test_any_other_word_means_that_azure_is_still_at_it_and_is_told(word, azure, begin, run_all):
    begin()
    azure.fail("poll", (200, poll_of(word)))
    op = until(lambda op: op.note == f"Azure: {word}")
    assert op.state == "Running"
    run_all()
    ended("Succeeded")


@pytest.mark.parametrize("status", ["InProgress", "Succeeded"])
def test_an_error_beside_another_status_than_failed_is_no_failure(status, azure, begin, run_all):
    begin()
    error = {"code": "NotLatestOperation", "message": "a newer operation exists"}
    azure.fail("poll", (200, poll_of(status, error=error)))
    run_all()
    ended("Succeeded")


@pytest.mark.parametrize("status", ["Failed", "failed"])
def test_a_late_failure_in_a_200_ends_with_the_innermost_reason(status, call, azure, begin, run_all):
    begin()
    inner = {"code": "QuotaExceeded", "message": "Cores needed 12, left 4"}
    outer = {"code": "CreateVMSSAgentPoolFailed", "message": "pool failed", "details": [{**inner, "details": None}]}
    azure.fail("poll", (200, poll_of(status, error=outer)))
    run_all()
    assert "pool failed: Cores needed 12, left 4 (QuotaExceeded)" in ended("Failed").error["detail"]
    assert "Cores needed 12" in call("reader", "get", f"{CLUSTER}one/").data["reason"]
    assert len(puts(azure)) == 1


def test_canceled_in_azure_ends_failed_and_says_so(azure, begin, run_all):
    begin()
    azure.fail("poll", (200, poll_of("Canceled")))
    run_all()
    assert "ended it as Canceled" in ended("Failed").error["detail"]


@pytest.mark.parametrize(
    "refusal",
    [
        {"code": "BadRequest", "message": "no room", "details": None, "subcode": "Odd"},
        {"error": {"code": "BadRequest", "message": "no room", "details": []}},
    ],
    ids=["unwrapped", "wrapped"],
)
def test_both_shapes_of_a_refusal_give_the_same_words(refusal, azure, call, run_all):
    call("operator", "post", CLUSTER, {"name": "one"})
    azure.fail("PUT", (400, refusal))
    run_all()
    assert ended("Failed").error["detail"] == "no room (BadRequest)"
    assert puts(azure) == []


def test_a_refusal_by_policy_is_told_with_its_code(azure, call, run_all):
    call("operator", "post", CLUSTER, {"name": "one"})
    info = [{"type": "PolicyViolation", "info": {"policyDefinitionDisplayName": "Only Europe"}}]
    said = {"code": "RequestDisallowedByPolicy", "message": "disallowed by 'Only Europe'", "additionalInfo": info}
    azure.fail("PUT", (403, {"error": said}))
    run_all()
    error = ended("Failed").error
    assert "disallowed by 'Only Europe'" in error["detail"]
    assert error["azure_code"] == "RequestDisallowedByPolicy"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b"[]", b"null"])
def test_trouble_with_an_odd_body_is_waited_out(status, body, azure, begin, run_all):
    begin()
    azure.fail("poll", *[(status, body, {"Content-Type": "text/html"})] * 7)
    run_all()
    ended("Succeeded")
    assert len(puts(azure)) == 1


def test_without_retry_after_polls_are_5_seconds_apart_growing_to_30(azure, begin):
    azure.retry_after = None
    op = begin()
    azure.fail("poll", *[(200, poll_of("InProgress"))] * 9)
    waits = [round(step_once(op)) for _ in range(10)][1:]
    assert waits == sorted(waits)
    assert waits[-1] == 30
    assert min(waits) >= 5


def test_retry_after_in_seconds_is_obeyed(azure, begin):
    op = begin()
    azure.fail("poll", *[(200, poll_of("InProgress"), {"Retry-After": "17"})] * 3)
    step_once(op)
    assert 16 < step_once(op) <= 17


def test_retry_after_as_a_date_is_obeyed(azure, begin):
    op = begin()
    when = format_datetime(timezone.now() + timedelta(seconds=40), usegmt=True)
    azure.fail("poll", *[(200, poll_of("InProgress"), {"Retry-After": when})] * 3)
    step_once(op)
    assert 35 < step_once(op) <= 41


@pytest.mark.parametrize("text", ["soon", "-5", "1e9999", "", "Mon, 99 Foo 2026 00:00:00 GMT", "²"])
def test_a_retry_after_that_is_no_time_counts_as_none(text, azure, begin):
    op = begin()
    azure.fail("poll", *[(200, poll_of("InProgress"), {"Retry-After": text.encode().decode("latin-1")})] * 3)
    step_once(op)
    assert 4 < step_once(op) <= 8


@pytest.mark.parametrize(("given", "least"), [("21", 20), (None, 0)])
def test_a_throttled_poll_waits_as_asked_and_costs_nothing_else(given, least, azure, begin, run_all):
    op = begin()
    headers = {"Retry-After": given} if given else {}
    azure.fail("poll", *[(429, {"error": {"code": "TooManyRequests", "message": "slow"}}, headers)] * 2)
    step_once(op)
    assert least < step_once(op) <= 30
    run_all()
    ended("Succeeded")
    assert len(puts(azure)) == 1


@pytest.mark.parametrize("headers", [{"Retry-After": "9"}, {}])
def test_a_throttled_put_is_repeated_and_has_one_effect(headers, azure, call, run_all):
    call("operator", "post", CLUSTER, {"name": "one"})
    azure.fail("PUT", (429, {"error": {"code": "SubscriptionRequestsThrottled", "message": "slow"}}, headers))
    run_all()
    ended("Succeeded")
    assert len(puts(azure)) == 1


def test_when_the_operation_url_is_gone_the_cluster_itself_tells(azure, begin, run_all):
    begin()
    azure.fail("poll", (404, {"error": {"code": "NotFound", "message": "expired"}}))
    run_all()
    ended("Succeeded")
    assert len(azure.polls) == 1
    assert len(puts(azure)) == 1


def test_a_cluster_that_failed_while_its_operation_url_was_gone_is_failed(azure, begin, run_all):
    begin()
    azure.fail("poll", (404, b""))
    azure.operations.clear()
    for cluster in azure.clusters.values():
        cluster["properties"]["provisioningState"] = "Failed"
    run_all()
    assert "as Failed, without a reason" in ended("Failed").error["detail"]


def test_a_202_with_a_body_that_names_no_status_is_still_running(azure, begin):
    op = begin()
    azure.fail("poll", *[(202, {"id": "x"})] * 3)
    step_once(op)
    step_once(op)
    assert op.note == "Azure: InProgress"


@pytest.mark.parametrize("final", [(204, None), (200, {"id": "x", "properties": {"provisioningState": "Succeeded"}})])
def test_an_answer_with_a_location_only_is_followed_there(final, azure, call, run_all, monkeypatch):
    plain = ArmDoor.answer

    def answer(door, status, body=None, headers=None):
        headers = dict(headers or {})
        if url := headers.pop("Azure-AsyncOperation", None):
            headers["Location"] = url.replace("/operations/", "/operationresults/operations/")
        return plain(door, status, body, headers)

    monkeypatch.setattr(ArmDoor, "answer", answer)
    call("operator", "post", CLUSTER, {"name": "one"})
    until(lambda op: bool(op.memo.get("accepted")))
    for cluster in azure.clusters.values():
        cluster["properties"]["provisioningState"] = "Succeeded"
    azure.fail("poll", (202, None), (202, None), final)
    run_all()
    ended("Succeeded")
    assert len(azure.polls) == 3
    assert "operationresults" in azure.polls[0]


def test_an_operation_url_of_another_host_gets_no_token(azure, call, run_all, monkeypatch):
    plain = ArmDoor.answer

    def answer(door, status, body=None, headers=None):
        if headers and "Azure-AsyncOperation" in headers:
            headers = {"Azure-AsyncOperation": "https://evil.example/operations/1"}
        return plain(door, status, body, headers)

    monkeypatch.setattr(ArmDoor, "answer", answer)
    call("operator", "post", CLUSTER, {"name": "one"})
    run_all()
    assert "another host" in ended("Failed").error["detail"]
    assert azure.polls == []


def test_a_put_whose_answer_was_lost_is_not_sent_again(azure, call, run_all):
    call("operator", "post", CLUSTER, {"name": "one"})
    azure.fail("PUT", "lost")
    run_all()
    ended("Succeeded")
    assert len(puts(azure)) == 1


def test_another_operation_that_azure_began_itself_is_waited_for(azure, call, run_all):
    call("operator", "post", CLUSTER, {"name": "one"})
    run_all()
    Operation.objects.all().delete()
    azure.changes.clear()
    said = "An UpgradingNodeImage operation (id 1f2e) is in progress, started 2026-01-01"
    azure.fail("PUT", *[(409, {"code": "OperationNotAllowed", "message": said, "details": None, "subcode": ""})] * 3)
    call("operator", "post", f"{CLUSTER}one/scale/", {"node_count": 5})
    op = until(lambda op: "UpgradingNodeImage" in op.note)
    assert op.state == "Running"
    run_all()
    ended("Succeeded")
    assert len(puts(azure)) == 1


def test_a_pool_that_changed_meanwhile_is_read_anew_and_put_again(azure, call, run_all):
    call("operator", "post", CLUSTER, {"name": "one"})
    run_all()
    Operation.objects.all().delete()
    azure.changes.clear()
    azure.fail("PUT", (412, {"code": "PreconditionFailed", "message": "etag mismatch", "details": None}))
    call("operator", "post", f"{CLUSTER}one/scale/", {"node_count": 5})
    run_all()
    ended("Succeeded")
    assert len(puts(azure)) == 1


def test_a_list_is_followed_over_pages_even_an_empty_one(azure, call):
    mine, theirs = azure.cluster("mine"), azure.cluster("theirs")
    base = f"{azure.url}/subscriptions/x/providers/Microsoft.ContainerService/managedClusters?api-version=1&$skiptoken="
    pages = [{"value": [mine], "nextLink": f"{base}1"}, {"value": [], "nextLink": f"{base}2"}, {"value": [theirs]}]
    azure.fail("GET", *[(200, page) for page in pages])
    arm = Arm(ArmAccess(azure.url, SUB, f'{{"kind": "static", "token": "{TOKEN}"}}'))
    assert [view.name for view in arm.clusters()] == ["mine", "theirs"]


UNREGISTERED = {
    "error": {
        "code": "MissingSubscriptionRegistration",
        "message": "The subscription is not registered to use namespace 'Microsoft.ContainerService'.",
    }
}


@pytest.fixture
def registrations(monkeypatch):
    """What was asked of `…/providers/{namespace}/register`, and what Azure answers to it."""
    asked: list[str] = []
    answers: list[tuple] = []
    plain = ArmDoor.account

    def account(door, lower):
        if not re.fullmatch(r"/subscriptions/[^/]+/providers/[^/]+/register", lower):
            return plain(door, lower)
        asked.append(lower.split("/")[-2])
        return door.answer(*(answers.pop(0) if answers else (200, {"registrationState": "Registering"})))

    monkeypatch.setattr(ArmDoor, "account", account)
    return asked, answers


def test_a_missing_registration_is_asked_for_once_without_holding_a_worker(azure, call, run_all, registrations):
    asked, _ = registrations
    azure.fail("PUT", *[(409, UNREGISTERED)] * 3)
    call("operator", "post", CLUSTER, {"name": "one"})
    began = timezone.now()
    until(lambda op: "Registering Microsoft.ContainerService" in op.note)
    run_all()
    ended("Succeeded")
    assert asked == ["microsoft.containerservice"]
    assert len(puts(azure)) == 1
    assert timezone.now() - began < timedelta(seconds=9)


def test_trouble_while_registering_is_waited_out_like_any_other(azure, call, run_all, registrations):
    asked, answers = registrations
    answers.extend([(503, {"error": {"code": "ServiceUnavailable", "message": "later"}})] * 7)
    azure.fail("PUT", *[(409, UNREGISTERED)] * 8)
    call("operator", "post", CLUSTER, {"name": "one"})
    until(lambda op: op.memo.get("troubles") == 7)
    run_all()
    ended("Succeeded")
    assert (len(asked), len(puts(azure))) == (8, 1)


def test_who_may_not_register_is_told_what_to_run(azure, call, run_all, registrations):
    _, answers = registrations
    answers.append((403, {"error": {"code": "AuthorizationFailed", "message": "no register/action"}}))
    azure.fail("PUT", (409, UNREGISTERED))
    call("operator", "post", CLUSTER, {"name": "one"})
    run_all()
    detail = ended("Failed").error["detail"]
    assert "az provider register --namespace Microsoft.ContainerService" in detail
    assert ComputeTarget.objects.get().state == "Failed"


def test_a_token_that_ends_in_the_middle_is_renewed_and_the_work_goes_on(azure, begin, run_all, monkeypatch):
    begin()
    monkeypatch.setattr(double, "TOKEN", "the-next-token")
    made: list[str] = []

    def renewed(text, ca_file):
        made.append(text)
        return session.StaticToken("the-next-token")

    monkeypatch.setattr(session, "_made", renewed)
    run_all()
    ended("Succeeded")
    assert (len(made), len(puts(azure))) == (1, 1)


def test_a_token_that_azure_refuses_also_anew_ends_the_operation_with_the_reason(azure, begin, run_all, monkeypatch):
    begin()
    monkeypatch.setattr(double, "TOKEN", "a-token-that-nobody-has")
    run_all()
    assert "nor a fresh one" in ended("Failed").error["detail"]
    assert len(puts(azure)) == 1
