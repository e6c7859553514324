"""A home in a temporary folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.launcher import home as homes
from portal.launcher.home import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A made home; its socket folder goes with it."""
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    made = homes.make()
    yield made
    shutil.rmtree(made.sockets, ignore_errors=True)
