"""Shared set-up: a fresh pretend cluster for each test."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from podworld import World, random_block  # noqa: E402


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World(tmp_path / "state", random_block()).start()
    yield made
    await made.stop()
