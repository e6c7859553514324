"""The engine of long work: every promise of its design."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from portal import operations, queries
from portal.models import AuditEvent, Operation, OperationLog
from portal.operations import engine, plans
from portal.problems import Conflict, Invalid, Retryable
from portal.types import OperationKind, OperationState, Wait

KIND = OperationKind.ENVIRONMENT_BUILD


class Steps:
    """Steps whose answers a test writes down beforehand; each call is counted."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.answers: dict[str, list[Any]] = {}

    def make(self, name: str) -> Any:
        def step(op: Operation) -> Wait | None:
            self.calls.append(name)
            op.memo[name] = op.memo.get(name, 0) + 1
            answer = self.answers.get(name, []).pop(0) if self.answers.get(name) else None
            if isinstance(answer, Exception):
                raise answer
            return answer

        step.__name__ = name
        return step


@pytest.fixture
def steps(monkeypatch: Any) -> Steps:
    made = Steps()
    monkeypatch.setattr(plans, "_plans", {})
    operations.define(KIND, (made.make("first"), 10), (made.make("second"), 10))
    return made


@pytest.fixture
def op(steps: Steps, workspace: Any, owner: Any) -> Operation:
    return begin(workspace, owner)


def begin(workspace: Any, owner: Any, **given: Any) -> Operation:
    with transaction.atomic():
        return operations.start(kind=KIND, on=workspace, actor=owner, **given)


def advance(op: Operation, times: int = 1) -> Operation:
    for _ in range(times):
        Operation.objects.filter(pk=op.pk).update(due_at=timezone.now())
        operations.advance(str(op.pk))
    op.refresh_from_db()
    return op


def test_one_call_runs_one_step(op: Operation, steps: Steps) -> None:
    assert advance(op).step == 1
    assert steps.calls == ["first"]
    assert op.state == OperationState.RUNNING


def test_an_operation_succeeds_after_its_last_step_and_history_says_so(op: Operation) -> None:
    advance(op, 3)
    assert op.state == OperationState.SUCCEEDED
    assert op.ended_at is not None
    assert AuditEvent.objects.filter(action="operation.ended", operation_id_text=str(op.pk)).count() == 1


def test_a_second_operation_on_a_busy_target_is_409_with_the_running_ones_id(
    op: Operation, workspace: Any, owner: Any
) -> None:
    with pytest.raises(operations.Busy) as refused:
        begin(workspace, owner)
    assert refused.value.status == 409
    assert refused.value.extras["operation"] == str(op.pk)
    assert Operation.objects.count() == 1


def test_a_step_that_waits_runs_again_later_and_its_note_is_written_once(op: Operation, steps: Steps) -> None:
    steps.answers["first"] = [Wait(30, "Waiting for nodes"), Wait(30, "Waiting for nodes")]
    advance(op, 2)
    assert (op.step, op.note) == (0, "Waiting for nodes")
    assert op.due_at > timezone.now() + timedelta(seconds=25)
    assert OperationLog.objects.filter(operation=op, text="Waiting for nodes").count() == 1


def test_an_operation_that_is_not_due_is_left_alone(op: Operation, steps: Steps) -> None:
    Operation.objects.filter(pk=op.pk).update(due_at=timezone.now() + timedelta(minutes=1))
    operations.advance(str(op.pk))
    assert steps.calls == []


def test_a_problem_ends_the_operation_and_frees_the_target(
    op: Operation, steps: Steps, workspace: Any, owner: Any
) -> None:
    steps.answers["first"] = [Invalid("3 nodes are too few; 4 would do.")]
    advance(op)
    assert op.state == OperationState.FAILED
    assert op.error["detail"] == "3 nodes are too few; 4 would do."
    assert op.error["step"] == "first"
    assert begin(workspace, owner).state == OperationState.NOT_STARTED


def test_a_bug_ends_the_operation_with_a_log_id_and_no_inner_text(op: Operation, steps: Steps) -> None:
    steps.answers["first"] = [ValueError("password=hunter2")]
    advance(op)
    assert op.error["status"] == 500
    assert "hunter2" not in str(op.error)


def test_trouble_outside_is_tried_five_times_with_growing_pauses(op: Operation, steps: Steps) -> None:
    steps.answers["first"] = [Retryable("no answer")] * 5
    pauses = []
    for _ in range(4):
        began = timezone.now()
        pauses.append((advance(op).due_at - began).total_seconds())
    assert [want <= pause < 2 * want for want, pause in zip((1, 2, 4, 8), pauses, strict=True)] == [True] * 4
    assert advance(op).state == OperationState.FAILED
    assert "tried 5 times" in op.error["detail"]


def test_retry_after_of_the_other_side_is_obeyed(op: Operation, steps: Steps) -> None:
    steps.answers["first"] = [Retryable("throttled", after=17)]
    began = timezone.now()
    assert 17 <= (advance(op).due_at - began).total_seconds() < 40


def test_a_step_past_its_deadline_times_out(op: Operation, steps: Steps) -> None:
    steps.answers["first"] = [Wait(1, "Waiting for nodes")]
    advance(op)
    Operation.objects.filter(pk=op.pk).update(deadline_at=timezone.now() - timedelta(seconds=1))
    advance(op)
    assert op.state == OperationState.TIMED_OUT
    assert "Waiting for nodes" in op.error["detail"]


def test_two_workers_never_run_one_step_at_once(op: Operation, steps: Steps) -> None:
    assert engine._claim(str(op.pk)) is not None
    operations.advance(str(op.pk))
    assert steps.calls == []


def test_the_step_of_a_dead_worker_goes_on_when_its_lease_is_over(op: Operation, steps: Steps) -> None:
    engine._claim(str(op.pk))
    assert list(operations.due()) == []
    Operation.objects.filter(pk=op.pk).update(leased_until=timezone.now() - timedelta(seconds=1))
    assert list(operations.due()) == [op]
    assert advance(op).step == 1


def test_a_worker_that_lost_its_lease_writes_nothing(op: Operation) -> None:
    held = engine._claim(str(op.pk))
    assert held is not None
    Operation.objects.filter(pk=op.pk).update(leased_until=timezone.now() - timedelta(seconds=1))
    engine._claim(str(op.pk))
    with pytest.raises(engine.LostLease):
        operations.remember(held, url="x")
    op.refresh_from_db()
    assert "url" not in op.memo


def test_a_lease_is_renewed_only_by_the_worker_that_has_it(op: Operation) -> None:
    held = engine._claim(str(op.pk))
    assert held is not None
    Operation.objects.filter(pk=op.pk).update(leased_until=timezone.now() - timedelta(seconds=1))
    operations.renew(held)
    assert list(operations.due()) == []
    Operation.objects.filter(pk=op.pk).update(leased_until=timezone.now() - timedelta(seconds=1))
    engine._claim(str(op.pk))
    with pytest.raises(engine.LostLease):
        operations.renew(held)


def test_what_a_step_remembers_is_stored_before_the_step_ends(op: Operation) -> None:
    held = engine._claim(str(op.pk))
    assert held is not None
    operations.remember(held, url="https://example.test/operations/1")
    assert Operation.objects.get(pk=op.pk).memo["url"] == "https://example.test/operations/1"


def test_cancel_acts_before_the_next_step_even_while_waiting(op: Operation, steps: Steps, owner: Any) -> None:
    steps.answers["first"] = [Wait(3600, "a long time")]
    advance(op)
    operations.cancel(op=op, actor=owner)
    operations.advance(str(op.pk))
    op.refresh_from_db()
    assert op.state == OperationState.CANCELLED
    with pytest.raises(Conflict):
        operations.cancel(op=op, actor=owner)


def test_only_the_newest_operation_on_a_target_is_run_again(
    op: Operation, steps: Steps, workspace: Any, owner: Any
) -> None:
    steps.answers["first"] = [Invalid("no")]
    advance(op)
    later = begin(workspace, owner)
    advance(later, 3)
    with pytest.raises(Conflict, match="only the newest operation on it can be run again") as refused:
        operations.retry(op=op, actor=owner)
    assert refused.value.extras["operation"] == str(later.pk)
    op.refresh_from_db()
    assert (op.state, operations.later_than(op), operations.later_than(later)) == (OperationState.FAILED, later, None)


def test_a_kind_checks_before_an_operation_is_run_again_and_may_bring_its_input_up_to_date(
    monkeypatch: Any, workspace: Any, owner: Any
) -> None:
    made, refusals = Steps(), [Invalid("Something runs there now.")]

    def check(op: Operation) -> None:
        op.input["before"] = 6
        if refusals:
            raise refusals.pop()

    monkeypatch.setattr(plans, "_plans", {})
    operations.define(KIND, (made.make("first"), 10), check=check)
    made.answers["first"] = [Invalid("no")]
    op = advance(begin(workspace, owner, before=3))
    with pytest.raises(Invalid, match="runs there now"):
        operations.retry(op=op, actor=owner)
    op.refresh_from_db()
    assert (op.state, op.input) == (OperationState.FAILED, {"before": 3})
    op = operations.retry(op=op, actor=owner)
    assert (op.state, op.input) == (OperationState.RUNNING, {"before": 6})


def test_what_somebody_else_has_set_can_be_taken_over_and_history_tells_what(
    op: Operation, steps: Steps, owner: Any
) -> None:
    steps.answers["second"] = [Invalid("no", claims=[{"manager": "kubectl-edit", "field": "spec.replicas"}])]
    advance(op, 2)
    assert op.state == OperationState.FAILED
    op = operations.retry(op=op, actor=owner, take_over=True)
    assert op.memo["take_over"] is True
    told = AuditEvent.objects.get(action="operation.retried").after
    assert told == {"take_over": [{"manager": "kubectl-edit", "field": "spec.replicas"}]}


def test_there_is_nothing_to_take_over_where_nobody_else_has_set_anything(
    op: Operation, steps: Steps, owner: Any
) -> None:
    steps.answers["second"] = [Invalid("no")]
    advance(op, 2)
    with pytest.raises(Conflict, match="nothing to take over"):
        operations.retry(op=op, actor=owner, take_over=True)
    op.refresh_from_db()
    assert op.state == OperationState.FAILED


def test_retry_goes_on_from_the_step_that_failed(op: Operation, steps: Steps, owner: Any) -> None:
    steps.answers["second"] = [Invalid("no")]
    advance(op, 2)
    operations.retry(op=op, actor=owner)
    advance(op, 2)
    assert op.state == OperationState.SUCCEEDED
    assert steps.calls == ["first", "second", "second"]


def test_only_a_failed_operation_can_be_run_again(op: Operation, owner: Any) -> None:
    with pytest.raises(Conflict):
        operations.retry(op=op, actor=owner)


def test_a_failure_runs_the_undo_steps_and_ends_rolled_back(monkeypatch: Any, workspace: Any, owner: Any) -> None:
    made, ends = Steps(), []
    monkeypatch.setattr(plans, "_plans", {})
    operations.define(KIND, (made.make("change"), 10), (made.make("check"), 10), undo=((made.make("restore"), 10),),
                      settle=lambda op: ends.append(op.state))  # fmt: skip
    made.answers["check"] = [Invalid("it does not start")]
    op = advance(begin(workspace, owner), 4)
    assert made.calls == ["change", "check", "restore"]
    assert op.state == OperationState.ROLLED_BACK
    assert op.error["detail"] == "it does not start"
    shown = [(row["name"], row["state"]) for row in queries.operation_steps(op=op)]
    assert shown == [("change", "done"), ("check", "failed"), ("restore", "done")]
    assert queries.operation_percent(op=op) == 50
    assert ends == [OperationState.ROLLED_BACK]


def aborting(monkeypatch: Any) -> Steps:
    """A plan of four steps, of which a cancel in the second and third stops work outside."""
    made = Steps()
    monkeypatch.setattr(plans, "_plans", {})
    first, second = made.make("first"), made.make("second")
    operations.define(
        KIND, (made.make("check"), 10), (first, 10), (second, 10), (made.make("third"), 10),
        abort=operations.Abort(made.make("stop"), 30, since=first, until=second),
    )  # fmt: skip
    return made


def test_a_cancel_stops_the_work_outside_by_a_step_that_may_wait(monkeypatch: Any, workspace: Any, owner: Any) -> None:
    made = aborting(monkeypatch)
    made.answers |= {"second": [Wait(60)], "stop": [Wait(5, "It stops")]}
    op = advance(begin(workspace, owner), 3)
    operations.cancel(op=op, actor=owner)
    op = advance(op, 2)
    assert (op.note, op.state) == ("It stops", OperationState.RUNNING)
    op = advance(op, 2)
    assert (op.state, made.calls) == (OperationState.CANCELLED, ["check", "first", "second", "stop", "stop"])
    shown = [(row["name"], row["state"]) for row in queries.operation_steps(op=op)]
    assert shown == [("check", "done"), ("first", "done"), ("second", "failed"), ("stop", "done")]


def test_a_cancel_that_came_too_late_goes_on_and_says_so(monkeypatch: Any, workspace: Any, owner: Any) -> None:
    made = aborting(monkeypatch)
    made.answers |= {"second": [Wait(60)], "stop": [operations.TooLate("It had ended.")]}
    op = advance(begin(workspace, owner), 3)
    operations.cancel(op=op, actor=owner)
    op = advance(op, 5)
    assert (op.state, made.calls) == (OperationState.SUCCEEDED, ["check", "first", "second", "stop", "second", "third"])
    assert op.warnings == ["Cancelled too late: It had ended."]
    assert not op.is_cancel_requested


@pytest.mark.parametrize("steps_done", [0, 1, 3])
def test_a_cancel_with_nothing_to_stop_outside_ends_at_once(
    steps_done: int, monkeypatch: Any, workspace: Any, owner: Any
) -> None:
    made = aborting(monkeypatch)
    op = advance(begin(workspace, owner), steps_done)
    operations.cancel(op=op, actor=owner)
    assert (advance(op).state, "stop" in made.calls) == (OperationState.CANCELLED, False)


def test_an_abort_that_never_ends_gives_up_at_its_own_deadline_and_the_operation_goes_on(
    monkeypatch: Any, workspace: Any, owner: Any
) -> None:
    made = aborting(monkeypatch)
    made.answers |= {"second": [Wait(60)], "stop": [Wait(5, "It stops")]}
    op = advance(begin(workspace, owner), 3)
    operations.cancel(op=op, actor=owner)
    op = advance(op, 2)
    Operation.objects.filter(pk=op.pk).update(deadline_at=timezone.now() - timedelta(seconds=1))
    op = advance(op)
    assert (op.state, op.step, op.deadline_at, op.is_cancel_requested) == (OperationState.RUNNING, 2, None, False)
    assert op.warnings == ["Cancelled too late: It was not stopped within 30 s."]
    assert advance(op, 5).state == OperationState.SUCCEEDED
