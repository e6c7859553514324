"""A team and its workspace that a module's tests begin with, always under the same ids (`tests/kept.py`)."""

from __future__ import annotations

import pytest

from portal.models import Team, Workspace
from tests import factories, kept


@pytest.fixture
def blue(db: None) -> Team:
    kept.once("blue", lambda: factories.team("blue"))
    return Team.objects.get(slug="blue")


@pytest.fixture
def workspace(blue: Team) -> Workspace:
    kept.once("lab", lambda: factories.workspace(blue))
    return Workspace.objects.get(slug="lab")
