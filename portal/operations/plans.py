"""Which steps each kind of operation has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from portal.models import Operation
from portal.types import OperationKind, Wait

StepFunction = Callable[[Operation], Wait | None]
Settle = Callable[[Operation], None]
Check = Callable[[Operation], None]
Words = tuple[StepFunction, int] | tuple[StepFunction, int, tuple[int, int]]


@dataclass(frozen=True)
class Step:
    """One idempotent function, the seconds it may take in all, waits included, and those that are documented."""

    function: StepFunction
    seconds: int
    usual: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """What pages and logs call it, e.g. "await_nodes"."""
        return self.function.__name__


@dataclass(frozen=True)
class Abort:
    """How the work outside is stopped when somebody cancels from the step `since` to the end of `until`, by a step.

    It raises TooLate when that work had ended: then the operation goes on, and ends as the work did.
    """

    function: StepFunction
    seconds: int
    since: StepFunction
    until: StepFunction


class TooLate(Exception):
    """What was to be aborted had ended, or cannot be stopped any more; `detail` says which."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True)
class Plan:
    """The steps of one kind; `undo` runs when a step fails; `settle` writes the end into our rows, without I/O."""

    steps: tuple[Step, ...]
    undo: tuple[Step, ...] = ()
    settle: Settle | None = None
    abort: Step | None = None
    abort_steps: range = range(0)
    check: Check | None = None

    def steps_of(self, op: Operation) -> tuple[Step, ...]:
        """Those that the operation goes through now: forward, or while undoing, the abort if it is one and the undo."""
        if not op.is_undoing:
            return self.steps
        return (self.abort, *self.undo) if self.abort and op.memo.get(ABORTING) else self.undo

    def aborts(self, op: Operation) -> bool:
        """Whether a cancel now has work outside to stop."""
        has_begun = op.step > self.abort_steps.start or op.deadline_at is not None
        return has_begun and op.step in self.abort_steps


ABORTING = "_aborting"  # in the memo, while and after work outside is stopped
_plans: dict[str, Plan] = {}


def define(
    kind: OperationKind,
    *steps: Words,
    undo: tuple[Words, ...] = (),
    settle: Settle | None = None,
    abort: Abort | None = None,
    check: Check | None = None,
) -> None:
    """Say what an operation of `kind` does: `(function, seconds allowed)` in order.

    A third member is the usual time as documented, from and to, in seconds: `(await_created, 3600, (240, 720))`.

    With `undo`, a failure runs those steps next and the operation ends RolledBack. `settle(op)` is called once, in the
    transaction that ends the operation, whatever the end: it only writes rows. With `abort`, a cancel stops what
    runs outside first. `check(op)` is called before a failed operation is run again: it raises the Problem that asking
    anew would raise, and may bring `op.input` up to date.
    """
    if kind in _plans:
        raise ValueError(f"{kind} is defined twice")
    _plans[kind] = Plan(
        tuple(Step(*words) for words in steps),
        tuple(Step(*words) for words in undo),
        settle,
        Step(abort.function, abort.seconds) if abort else None,
        _span([words[0] for words in steps], abort) if abort else range(0),
        check,
    )


def _span(steps: list[StepFunction], abort: Abort) -> range:
    return range(steps.index(abort.since), steps.index(abort.until) + 1)


def plan_of(kind: str) -> Plan:
    """The plan of a kind. Raises KeyError when no app defined it."""
    return _plans[kind]


def step_names(op: Operation) -> list[str]:
    """The names of the steps that this operation goes through, in order; while undoing, those of the undo."""
    return [step.name for step in plan_of(op.kind).steps_of(op)]
