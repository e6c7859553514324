"""Which steps each kind of operation has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from portal.models import Operation
from portal.types import OperationKind, Wait

StepFunction = Callable[[Operation], Wait | None]
Settle = Callable[[Operation], None]


@dataclass(frozen=True)
class Step:
    """One idempotent function and the seconds it may take in all, waits included."""

    function: StepFunction
    seconds: int

    @property
    def name(self) -> str:
        """What pages and logs call it, e.g. "await_nodes"."""
        return self.function.__name__


@dataclass(frozen=True)
class Plan:
    """The steps of one kind; `undo` runs when a step fails; `settle` writes the end into our rows, without I/O."""

    steps: tuple[Step, ...]
    undo: tuple[Step, ...] = ()
    settle: Settle | None = None


_plans: dict[str, Plan] = {}


def define(
    kind: OperationKind,
    *steps: tuple[StepFunction, int],
    undo: tuple[tuple[StepFunction, int], ...] = (),
    settle: Settle | None = None,
) -> None:
    """Say what an operation of `kind` does: `(function, seconds allowed)` in order.

    With `undo`, a failure runs those steps next and the operation ends RolledBack. `settle(op)` is called once, in the
    transaction that ends the operation, whatever the end: it only writes rows.
    """
    if kind in _plans:
        raise ValueError(f"{kind} is defined twice")
    _plans[kind] = Plan(
        tuple(Step(function, seconds) for function, seconds in steps),
        tuple(Step(function, seconds) for function, seconds in undo),
        settle,
    )


def plan_of(kind: str) -> Plan:
    """The plan of a kind. Raises KeyError when no app defined it."""
    return _plans[kind]


def step_names(op: Operation) -> list[str]:
    """The names of the steps that this operation goes through, in order; while undoing, those of the undo."""
    plan = plan_of(op.kind)
    return [step.name for step in (plan.undo if op.is_undoing else plan.steps)]
