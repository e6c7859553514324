"""Chaos in small: workers are killed and Azure refuses or drops a tenth, and every operation ends right, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import chaos
from benchmarks.base import Portal

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]


def test_every_operation_ends_right_while_workers_die_and_azure_refuses_a_tenth(tmp_path: Path) -> None:
    portal = Portal(tmp_path / "home")
    try:
        portal.up(**chaos.TIMES)
        storm = chaos.rage(portal, seed=7, operations=20)
    finally:
        portal.down()
    assert storm.wrong == [], "\n".join(chaos.table(storm))
    assert len(storm.done) == 20
    assert sum(storm.struck.values()) > 0
