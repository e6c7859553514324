from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portal.launcher.processes import ROOT
from portal.launcher.status import is_alive

LITTLE = Path(__file__).with_name("little.py")


def until(check: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


class Running:
    """A supervisor in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.popen = subprocess.Popen([sys.executable, str(LITTLE), str(folder)], env=env, stdout=subprocess.DEVNULL)
        until(lambda: len(self.pids()) == 2 and (folder / "grandchild").exists() and bool(self.grandchild()))

    def pids(self) -> dict[str, int]:
        try:
            rows = json.loads((self.folder / "run" / "state.json").read_text())["processes"]
        except (OSError, ValueError):
            return {}
        return {row["name"]: row["pid"] for row in rows if row["pid"]}

    def grandchild(self) -> int:
        return int((self.folder / "grandchild").read_text() or 0)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    found = Running(tmp_path)
    yield found
    if found.popen.poll() is None:
        found.popen.terminate()
        found.popen.wait(30)
    if is_alive(found.grandchild()):
        os.kill(found.grandchild(), signal.SIGKILL)


def test_a_killed_process_comes_back_under_a_new_pid(running: Running) -> None:
    before = running.pids()
    os.kill(before["first"], signal.SIGKILL)
    until(lambda: running.pids().get("first", before["first"]) != before["first"])
    assert running.pids()["second"] == before["second"]


def test_a_process_that_dies_again_and_again_waits_longer_each_time(running: Running) -> None:
    gaps = []
    for _ in range(3):
        pid = running.pids()["first"]
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: running.pids().get("first", pid) != pid)
        gaps.append(time.monotonic() - began)
    assert gaps[2] > gaps[0] + 0.5


def test_stop_leaves_no_process_not_even_one_in_a_session_of_its_own(running: Running) -> None:
    everyone = [*running.pids().values(), running.grandchild()]
    running.popen.terminate()
    assert running.popen.wait(30) == 0
    assert [pid for pid in everyone if is_alive(pid)] == []
    assert not (running.folder / "run" / "state.json").exists()


def test_its_processes_end_when_the_supervisor_is_killed(running: Running) -> None:
    pids = list(running.pids().values())
    running.popen.kill()
    running.popen.wait()
    until(lambda: not any(is_alive(pid) for pid in pids))
