from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from portal.launcher import ports
from portal.launcher.errors import Stop
from portal.launcher.home import Home


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture(autouse=True)
def _free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HTTP_PORT", str(ports.draw(set())))
    monkeypatch.setenv("SLIPWAY_HTTPS_PORT", str(ports.draw(set())))


def test_a_busy_port_is_named_with_the_setting_that_changes_it(
    home: Home, busy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_HTTPS_PORT", str(busy))
    with pytest.raises(Stop, match=rf"port {busy} .*SLIPWAY_HTTPS_PORT"):
        ports.choose(home)


def test_one_port_for_http_and_https_is_refused_before_anything_starts(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_HTTPS_PORT", str(ports.number("SLIPWAY_HTTP_PORT", 0)))
    with pytest.raises(Stop, match="http and https cannot share port"):
        ports.choose(home)


@pytest.mark.parametrize("text", ["http", "0", "70000", "-1"])
def test_a_port_that_is_none_is_refused(home: Home, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HTTP_PORT", text)
    with pytest.raises(Stop, match="give a port from 1 to 65535"):
        ports.choose(home)


def test_the_sandbox_keeps_its_ports_from_start_to_start(home: Home) -> None:
    first = ports.choose(home)
    assert ports.choose(home) == first
    assert len(set(first.values())) == 4


def test_a_sandbox_port_that_somebody_took_is_drawn_anew(home: Home, busy: int) -> None:
    known = ports.choose(home)
    home.remember(ports={**known, "arm": busy})
    assert ports.choose(home)["arm"] != busy
