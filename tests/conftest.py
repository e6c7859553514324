"""Set-up that all tests share."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from hypothesis import settings

from portal import operations
from portal.models import Membership, Operation, Team, User, Workspace
from portal.types import ACTIVE_STATES, Role
from tests import factories

settings.register_profile("on any machine", deadline=None)
settings.load_profile("on any machine")
# homes that many files share, one in a folder; each is gone before the next is made
TURNS = {"house": 0, "yard": 0, "told": 2}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep together what shares a home, so that no home idles while others are tested.

    On PostgreSQL only what may ask the database runs: pytest-django lets nothing else near it, so the rest can tell
    nothing new there.
    """
    items.sort(key=_turn)
    if connection.vendor == "postgresql":
        idle = [item for item in items if not _may_ask_database(item)]
        config.hook.pytest_deselected(items=idle)
        items[:] = [item for item in items if _may_ask_database(item)]


def _may_ask_database(item: pytest.Item) -> bool:
    opening = {"db", "transactional_db", "live_server"}
    return item.get_closest_marker("django_db") is not None or bool(opening & set(getattr(item, "fixturenames", ())))


def _turn(item: pytest.Item) -> tuple[int, str, bool]:
    names = getattr(item, "fixturenames", ())
    turn = next((turn for home, turn in TURNS.items() if home in names), 1)
    return turn, "" if turn else str(item.path.parent), "later" in names  # nobody takes a home back from the future


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
