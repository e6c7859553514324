"""What is looked at before anything starts."""

from __future__ import annotations

import pytest

from portal.launcher import ports, starting
from portal.launcher.errors import Stop
from portal.launcher.home import Home


def test_broken_credentials_are_named_before_the_database_is_touched(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = ports.draw(set())
    monkeypatch.setenv("SLIPWAY_HTTP_PORT", str(http))
    monkeypatch.setenv("SLIPWAY_HTTPS_PORT", str(ports.draw({http})))
    home.file("credentials.json").write_text("{")
    with pytest.raises(Stop, match=r"^\S+credentials\.json cannot be read"):
        starting.prepare(home)
    assert not home.file("portal.db").exists()
