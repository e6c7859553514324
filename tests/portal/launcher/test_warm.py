"""Processes that are forked from a supervisor which has loaded the product."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.launcher.processes import ROOT
from tests.portal.launcher.test_supervisor import LITTLE, until

MARK = "SLIPWAY_MARK_OF_THE_TEST"


def supervised(folder: Path, settings: str) -> Iterator[dict[str, object]]:
    """What a forked process tells of itself, under a supervisor that has a file open; all is ended afterwards."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), MARK: "supervisor"}
    told = folder / "told.json"
    with (folder / "open").open("w") as kept:
        running = subprocess.Popen(
            [sys.executable, str(LITTLE), str(folder), settings],
            env=env,
            pass_fds=[kept.fileno()],
            stderr=subprocess.PIPE,
        )
    try:
        until(told.exists, 60)
        yield {**json.loads(told.read_text()), "supervisor": running.pid}
    finally:
        running.terminate()
        running.communicate(timeout=30)


@pytest.fixture
def forked(tmp_path: Path) -> Iterator[dict[str, object]]:
    yield from supervised(tmp_path, "tests.settings")


@pytest.fixture
def executed(tmp_path: Path) -> Iterator[dict[str, object]]:
    yield from supervised(tmp_path, "no.such.settings")


def test_a_fork_has_its_own_session_environment_name_and_log_and_none_of_the_supervisors_files(
    forked: dict[str, object], tmp_path: Path
) -> None:
    assert forked["parent"] == forked["supervisor"]
    assert forked["session"] == forked["pid"]
    assert forked["mark"] == "process"
    assert forked["is_loaded"] is True
    assert forked["comm"] == "slipway-teller"
    assert forked["argv"] == ["teller", "--word"]
    assert forked["files"] == sorted([str(tmp_path / "logs" / "teller.log"), os.devnull])
    assert "said to the log" in (tmp_path / "logs" / "teller.log").read_text()


def test_what_cannot_be_loaded_is_executed_and_speaks_for_itself(executed: dict[str, object], tmp_path: Path) -> None:
    assert executed["is_loaded"] is False
    assert executed["mark"] == "process"
    assert executed["argv"][1:] == ["--word"]  # type: ignore[index]
