"""Two homes side by side do the whole story at the same time, and leave nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from portal.launcher import status
from portal.launcher.demo import traffic
from portal.launcher.processes import ROOT
from tests.journeys import spy
from tests.journeys.crash.house import House

pytestmark = [pytest.mark.journey, pytest.mark.timeout(600)]
ROW = re.compile(r"^(v2 at 20 %|v2 promoted)(?:, again)? +(v1|v2) +([\d.]+)% +[\d.]+% +(\d+) +(\d+)  ", re.MULTILINE)


def run(house: House, *words: str) -> str:
    """A command of the launcher by somebody whose files are open to all; what it printed."""
    command = [sys.executable, "-m", "portal.launcher", *words]
    place = house.path.parent if house.path.name == ".slipway" else ROOT
    done = subprocess.run(command, cwd=place, env=house.env, capture_output=True, text=True, timeout=400, umask=0)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Traces:
    """What a running home has in the system: its processes, and its listening sockets by inode."""

    processes: set[tuple[int, str]]
    sockets: set[str]

    @classmethod
    def of(cls, house: House) -> Traces:
        pids = spy.tree(int(house.file("run", "lock").read_text()))
        return cls({(pid, began(pid)) for pid in pids}, {row.inode for row in spy.table()} & set(spy.owners(pids)))

    def left(self) -> list[str]:
        """What of it is still there."""
        alive = [f"process {pid}" for pid, start in self.processes if status.is_alive(pid) and began(pid) == start]
        return alive + [f"socket {row.host}:{row.port}" for row in spy.table() if row.inode in self.sockets]


def began(pid: int) -> str:
    """When a process began (ticks since the start of the machine): tells a process from a later one with its number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def belonging_to(path: Path) -> list[str]:
    """Processes of anybody that name the home in what they run, where they are, or what they were told."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            places = [os.readlink(process / name) for name in ("cwd", "exe")]
        except OSError:
            continue
        if (
            os.fsencode(f"{path}/") in said
            or f"SLIPWAY_HOME={path}\0".encode() in said
            or any(place.startswith(f"{path}/") for place in places)
        ):
            found.append(process.name)
    return found


def open_to_others(path: Path) -> list[str]:
    """Files, folders and sockets below a folder, and itself, that others than its owner could use by their mode."""
    every = [path, *path.rglob("*")]
    return [str(each) for each in every if not each.is_symlink() and each.lstat().st_mode & 0o077]


def assert_good(told: str) -> None:
    """The table has both phases, each version with as many answers as the gateway counted, and nothing to complain."""
    rows = ROW.findall(told)
    assert {(phase, version, float(share)) for phase, version, share, _, _ in rows} == {
        ("v2 at 20 %", "v1", 80), ("v2 at 20 %", "v2", 20), ("v2 promoted", "v1", 0), ("v2 promoted", "v2", 100),
    }, told  # fmt: skip
    assert all(client == gateway for *_, client, gateway in rows), told
    assert "NOT GOOD" not in told
    assert "All 2000 answers came from the right model" in told


def scored(house: House) -> traffic.Count:
    """What ten scoring requests to the endpoint of a home got."""
    demo = json.loads(house.file("demo.json").read_text())
    body = json.dumps(demo["sample"]).encode()
    return traffic.send(demo["scoring_uri"], demo["keys"]["primary"], [body] * 10, lambda *_: True)


def git(place: Path, *words: str) -> str:
    """What git answers there; who commits is nobody."""
    command = ["git", "-c", "user.name=nobody", "-c", "user.email=", *words]
    return subprocess.run(command, cwd=place, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The work tree as it is, as a clone of its own: what others do to ours meanwhile is not seen there."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git work tree, so that no git status can stay clean")
    for name in git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "as it is")
    return tmp_path


@pytest.fixture
def homes(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, House]]:
    """One in a checkout, as most people have it, and one elsewhere."""
    houses = House(checkout / ".slipway"), House(tmp_path_factory.mktemp("right") / "home")
    try:
        yield houses
    finally:
        for house in houses:
            house.run("down")


def test_two_homes_do_the_whole_story_at_once_and_leave_nothing(homes: tuple[House, House], checkout: Path) -> None:
    left, right = homes
    with ThreadPoolExecutor(2) as both:
        list(both.map(run, homes, ("up", "up"), ("--detach", "--detach")))
        for told in (both.submit(run, left, "demo"), both.submit(run, right, "demo", "--keep")):
            assert_good(told.result())
    traces = {house: Traces.of(house) for house in homes}
    assert all(len(each.processes) > 6 and len(each.sockets) >= 4 for each in traces.values())
    assert all(belonging_to(house.path) for house in homes)
    with ThreadPoolExecutor(1) as other:
        stopping = other.submit(run, left, "down")
        answered = list(iter(lambda: None if stopping.done() else scored(right), None))
        assert stopping.result().startswith("Slipway is stopped")
    assert traces[left].left() + belonging_to(left.path) == []
    answered.append(scored(right))
    assert [count.failures for count in answered if count.failures] == []
    assert right.api().get("endpoints/demo/")["generation"]
    run(right, "down")
    assert traces[right].left() + belonging_to(right.path) == []
    assert " passed" in run(left, "test", "tests/endpoints/test_tasks.py")
    assert git(checkout, "status", "--porcelain") == ""
    for house in homes:
        assert not Path(json.loads(house.file("home.json").read_text())["sockets"]).exists()
        assert open_to_others(house.path) == []
