"""Which steps each kind of operation has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from portal.models import Operation
from portal.types import OperationKind, Wait

StepFunction = Callable[[Operation], Wait | None]
Settle = Callable[[Operation], None]
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
class Plan:
    """The steps of one kind; `undo` runs when a step fails; `settle` writes the end into our rows, without I/O."""

    steps: tuple[Step, ...]
    undo: tuple[Step, ...] = ()
    settle: Settle | None = None


_plans: dict[str, Plan] = {}


def define(
    kind: OperationKind,
    *steps: Words,
    undo: tuple[Words, ...] = (),
    settle: Settle | None = None,
) -> None:
    """Say what an operation of `kind` does: `(function, seconds allowed)` in order.

    A third member is the usual time as documented, from and to, in seconds: `(await_created, 3600, (240, 720))`.

    With `undo`, a failure runs those steps next and the operation ends RolledBack. `settle(op)` is called once, in the
    transaction that ends the operation, whatever the end: it only writes rows.
    """
    if kind in _plans:
        raise ValueError(f"{kind} is defined twice")
    _plans[kind] = Plan(
        tuple(Step(*words) for words in steps),
        tuple(Step(*words) for words in undo),
        settle,
    )


def plan_of(kind: str) -> Plan:
    """The plan of a kind. Raises KeyError when no app defined it."""
    return _plans[kind]


def step_names(op: Operation) -> list[str]:
    """The names of the steps that this operation goes through, in order; while undoing, those of the undo."""
    plan = plan_of(op.kind)
    return [step.name for step in (plan.undo if op.is_undoing else plan.steps)]
