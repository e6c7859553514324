"""What the tests of endpoints share."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from portal import operations
from portal.models import Operation, User
from portal.types import ACTIVE_STATES
from tests import factories


@pytest.fixture(autouse=True)
def own_artifacts(tmp_path: Path, settings: Any) -> None:
    """Code that a test uploads stays with the test."""
    folder = {**settings.STORAGES["artifacts"], "OPTIONS": {"location": str(tmp_path / "artifacts")}}
    settings.STORAGES = {**settings.STORAGES, "artifacts": folder}


@pytest.fixture
def client_of() -> Callable[[User], APIClient]:
    """A REST client with a token of the user."""
    return factories.client


@pytest.fixture
def run_operations(db: Any) -> Callable[[], None]:
    """Advance all operations until they end, with real time passing: a real Envoy has to follow."""

    def run(seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while active := list(Operation.objects.filter(state__in=ACTIVE_STATES)):
            assert time.monotonic() < end, active
            Operation.objects.filter(pk__in=[op.pk for op in active]).update(due_at=operations.engine.database_now())
            for op in active:
                operations.advance(str(op.pk))
            time.sleep(0.01)

    return run
