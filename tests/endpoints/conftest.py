"""What the tests of endpoints share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def own_artifacts(tmp_path: Path, settings: Any) -> None:
    """Code that a test uploads stays with the test."""
    folder = {**settings.STORAGES["artifacts"], "OPTIONS": {"location": str(tmp_path / "artifacts")}}
    settings.STORAGES = {**settings.STORAGES, "artifacts": folder}
