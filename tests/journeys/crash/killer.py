"""Kills the engine at every step of an operation: before, after each change outside, before and after the commit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from compute.arm import Arm
from compute.arm.pools import Pools
from compute.cluster.transport import Transport
from portal import operations
from portal.models import Operation
from portal.operations import engine
from portal.types import ACTIVE_STATES

CHANGING = ("PUT", "POST", "PATCH", "DELETE", "ARM")
ARM_CHANGES = [
    *((Arm, name) for name in ("put_cluster", "start", "stop", "authorize", "delete", "abort", "build_start")),
    *((Pools, name) for name in ("put", "scale", "resize", "delete", "abort")),
]
SECONDS = 120  # for one operation
MOMENTS = ("before the step", "after a change outside", "between call and commit", "after the commit")


class Killed(BaseException):
    """Nothing of ours catches this, as nothing catches SIGKILL."""


class Killer:
    """Strikes once at each point that it meets. `met` are the points: (moment, undoing, step, what was changed)."""

    def __init__(self, patch: pytest.MonkeyPatch, moments: tuple[str, ...]) -> None:
        self.met: set[tuple[str, bool, int, str]] = set()
        self._moments, self._op = moments, None
        self._before(patch, "_run", "before the step")
        self._before(patch, "_go_on", "between call and commit")
        self._before(patch, "_end", "before the step")
        self._before(patch, "ring", "after the commit")
        self._after(patch, Transport, "request", lambda method, path, **_: f"{method} {path}")
        for owner, name in ARM_CHANGES:
            self._after(patch, owner, name, lambda *_, what=f"ARM {owner.__name__} {name}", **__: what)

    def strike(self, moment: str, step: int, what: str = "") -> None:
        """Die here, unless we did before."""
        point = (moment, bool(self._op and self._op.is_undoing), step, what)
        if self._op is None or moment not in self._moments or point in self.met:
            return
        self.met.add(point)
        raise Killed

    def _before(self, patch: pytest.MonkeyPatch, name: str, moment: str) -> None:
        real = getattr(engine, name)

        def deadly(op: Operation, *args: Any, **kwargs: Any) -> Any:
            self.strike(moment, op.step, name)
            return real(op, *args, **kwargs)

        patch.setattr(engine, name, deadly)

    def _after(self, patch: pytest.MonkeyPatch, owner: Any, name: str, told: Callable[..., str]) -> None:
        real = getattr(owner, name)

        def deadly(this: Any, *args: Any, **kwargs: Any) -> Any:
            answer = real(this, *args, **kwargs)
            what = told(*args, **kwargs)
            if self._op is not None and what.startswith(CHANGING):
                self.strike("after a change outside", self._op.step, what)
            return answer

        patch.setattr(owner, name, deadly)

    def run(self, op: Operation, each: Callable[[Operation], None] = lambda _: None) -> Operation:
        """Advance the operation to its end; after each death its lease is over at once and the engine goes on.

        `each` is called before each advance.
        """
        self.met.clear()
        end = time.monotonic() + SECONDS
        while op.state in ACTIVE_STATES:
            assert time.monotonic() < end, (op.kind, op.step, op.note)
            each(op)
            Operation.objects.filter(pk=op.pk).update(due_at=timezone.now(), leased_until=None)
            op.refresh_from_db()
            self._op = op
            try:
                operations.advance(str(op.pk))
            except Killed:
                continue
            finally:
                self._op = None
                op.refresh_from_db()
            time.sleep(0.1)
        return op
