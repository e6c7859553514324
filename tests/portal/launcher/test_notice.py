"""What is said about the sandbox, at the start and on the pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from compute.sandbox.kubelet import confine
from portal.launcher import notice, processes
from portal.launcher.home import Home

PORTS = {"http": 1, "https": 2, "arm": 3, "kube": 4}


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """The answer is kept for the life of a launcher: here each test is one."""
    notice.confinement.cache_clear()
    yield
    notice.confinement.cache_clear()


def test_the_launcher_asks_the_wrapper_that_runs_users_code() -> None:
    assert notice.confinement() == confine.status()


def test_it_is_said_in_one_line_and_on_every_page_that_code_is_not_confined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_CONFINE", "off")
    for text in (notice.at_start(), notice.on_pages()):
        assert text.startswith("Sandbox, not confined: SANDBOX_CONFINE is off. ")
        assert "runs as your" in text
        assert "\n" not in text


@pytest.mark.skipif(not confine.landlock_abi(), reason="this kernel has no Landlock")
def test_where_it_is_confined_both_say_whose_user_the_code_runs_as() -> None:
    for text in (notice.at_start(), notice.on_pages()):
        assert text.startswith("Sandbox")
        assert text.endswith(" user, confined.")


def test_a_home_whose_arm_is_elsewhere_has_no_sandbox_to_warn_of(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes.portal_env(home, PORTS)["SLIPWAY_SANDBOX_NOTICE"] == notice.on_pages()
    monkeypatch.setenv("ARM_ENDPOINT", "https://management.example.com")
    monkeypatch.setenv("ARM_TOKEN", "t")
    assert processes.portal_env(home, PORTS)["SLIPWAY_SANDBOX_NOTICE"] == ""
