"""Set-up that all tests share."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache

from portal import operations
from portal.models import Membership, Operation, Team, User, Workspace
from portal.types import ACTIVE_STATES, Role
from tests import factories

HOMES = ("house", "told")  # session-wide homes: tests that share one stay in one process


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process when several run side by side, and let the long stories begin first."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_home(item) or f"{item.path.parent.name}/{item.path.stem}"))
    items.sort(key=_turn)


def _home(item: pytest.Item) -> str:
    return next((name for name in HOMES if name in getattr(item, "fixturenames", ())), "")


def _turn(item: pytest.Item) -> int:
    if _home(item):
        return HOMES.index(_home(item))
    return 2 if any(item.get_closest_marker(name) for name in ("journey", "browser")) else 3


@pytest.fixture(autouse=True)
def no_leftovers() -> None:
    """Row ids repeat between tests, so what one cached must not meet the next."""
    cache.clear()


@pytest.fixture
def blue(db: Any) -> Team:
    return factories.team("blue")


@pytest.fixture
def workspace(blue: Team) -> Workspace:
    return factories.workspace(blue)


@pytest.fixture
def owner(blue: Team) -> User:
    return factories.member(blue, Role.OWNER)


@pytest.fixture
def operator(blue: Team) -> User:
    return factories.member(blue, Role.OPERATOR)


@pytest.fixture
def contributor(blue: Team) -> User:
    return factories.member(blue, Role.CONTRIBUTOR)


@pytest.fixture
def reader(blue: Team) -> User:
    return factories.member(blue, Role.READER)


@pytest.fixture
def stranger(db: Any) -> User:
    made = factories.member(factories.team("red"), Role.OWNER)
    factories.workspace(Membership.objects.get(user=made).team, "elsewhere", resource_group="other")
    return made


@pytest.fixture
def run_operations(db: Any) -> Any:
    """Advance every active operation in this process until all have ended; waits are skipped."""

    def run(rounds: int = 200) -> None:
        for _ in range(rounds):
            active = Operation.objects.filter(state__in=ACTIVE_STATES)
            if not active:
                return
            active.update(due_at=operations.engine.database_now())
            for op in active:
                operations.advance(str(op.pk))
        raise AssertionError("an operation did not end")

    return run
