"""The sandbox killed and started again: no orphans, and the same pods as before."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from podworld import random_block

HOST = Path(__file__).with_name("podhost.py")


class Host:
    def __init__(self, state: Path, block: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HOST), str(state), block], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def pods(self) -> list[dict[str, Any]]:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def ready(self, number: int, seconds: float = 20) -> list[dict[str, Any]]:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pods = self.pods()
            if len(pods) == number and all(pod["ready"] for pod in pods):
                return pods
            time.sleep(0.1)
        raise AssertionError(f"not {number} ready pods within {seconds} s: {pods}")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, str]:
    return tmp_path / "state", random_block()


def in_state(state: Path) -> list[int]:
    """The processes that have the state folder in their environment or on their command line."""
    mark = str(state).encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


async def test_a_killed_sandbox_leaves_no_process_and_its_pods_come_back_the_same(place: tuple[Path, str]) -> None:
    first = Host(*place)
    try:
        before = await asyncio.to_thread(first.ready, 2)
        # Two servers, two that left their sessions, the load balancer, the reaper and the host itself.
        assert len(in_state(place[0])) >= 6
    finally:
        first.kill()
    until = time.monotonic() + 3
    while (left := in_state(place[0])) and time.monotonic() < until:
        await asyncio.sleep(0.05)
    assert left == []
    began = time.monotonic()
    second = Host(*place)
    try:
        after = await asyncio.to_thread(second.ready, 2)
        assert time.monotonic() - began < 15
    finally:
        second.kill()
    assert {pod["uid"] for pod in after} == {pod["uid"] for pod in before}
    assert {pod["uid"]: pod["ip"] for pod in after} == {pod["uid"]: pod["ip"] for pod in before}
    assert [pod["row"]["restartCount"] for pod in after] == [1, 1]
    ended = after[0]["row"]["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (255, "Unknown")
    assert not {pid for pod in after for pid in pod["pids"]} & {pid for pod in before for pid in pod["pids"]}
