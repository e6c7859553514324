"""A portal to measure, and a way to tell what was measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portal.launcher import ports
from portal.launcher.demo import models, story, traffic
from portal.launcher.demo.client import Api
from portal.launcher.home import Home
from portal.launcher.processes import ROOT


@dataclass(frozen=True)
class Result:
    """One figure with its limit and how it was taken."""

    name: str
    figures: str
    how: str = ""
    is_good: bool = True

    def line(self) -> str:
        """For the terminal."""
        how = f"  [{self.how}]" if self.how else ""
        return f"{'ok    ' if self.is_good else 'MISSED'} {self.name}: {self.figures}{how}"


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` percent of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


class Portal:
    """A portal in a home of its own, started when it is first needed."""

    def __init__(self, home: Path, *, seed: int = 1, operations: int = 200) -> None:
        self.path, self.seed, self.operations = home, seed, operations
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "DATABASE_", "ARM_"))
        }
        self.env = {
            **kept,
            "SLIPWAY_HOME": str(home),
            "SLIPWAY_HTTP_PORT": str(ports.draw(set())),
            "SLIPWAY_HTTPS_PORT": str(ports.draw(set())),
        }
        self._story: story.Story | None = None

    def run(self, *words: str, **more: str) -> float:
        """A command of the launcher; how many seconds it took."""
        began = time.monotonic()
        command = [sys.executable, "-m", "portal.launcher", *words]
        subprocess.run(command, cwd=ROOT, env={**self.env, **more}, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - began

    def up(self, **more: str) -> float:
        """Start it, unless it runs; seconds."""
        return self.run("up", "--detach", **more)

    def down(self) -> None:
        """Stop it, if it was ever started."""
        if self.path.exists():
            self.run("down")

    def forget(self) -> None:
        """Stop it and begin anew with an empty home."""
        self.down()
        shutil.rmtree(self.path, ignore_errors=True)
        self._story = None

    @property
    def home(self) -> Home:
        """Its home."""
        return Home(self.path, json.loads((self.path / "home.json").read_text()))

    @property
    def credentials(self) -> dict[str, Any]:
        """Its credentials."""
        return dict(json.loads((self.path / "credentials.json").read_text()))

    @property
    def api(self) -> Api:
        """Its REST API."""
        return Api(self.credentials, lambda text: None)

    def pids(self) -> dict[str, int]:
        """Its processes."""
        command = [sys.executable, "-m", "portal.launcher", "status", "--json"]
        text = subprocess.run(command, cwd=ROOT, env=self.env, check=True, capture_output=True, text=True).stdout
        return {row["name"]: row["pid"] for row in json.loads(text)["processes"]}

    def endpoint(self) -> story.Story:
        """The demo's endpoint with two versions of real models, made once."""
        if self._story is None:
            self.up()
            told = story.Story(self.home, self.api, self.credentials, "bench", models.train(self.home))
            story.prepare_cluster(told)
            story.deploy(told)
            self._story = told
        return self._story


class Load:
    """Scoring requests without a pause from a few threads, until it is stopped."""

    def __init__(self, told: story.Story, threads: int = 2) -> None:
        self._told, self._uri = told, told.shown()["scoring_uri"]
        self._stop, self.failures, self.answered = threading.Event(), [], 0
        self.times: list[float] = []
        self._threads = [threading.Thread(target=self._work) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        link, body = traffic.connect(self._uri), self._told.trained.body(0)
        while not self._stop.is_set():
            began = time.monotonic()
            _, problem, _ = traffic.ask(link, self._uri, self._told.keys["primary"], body)
            self.times.append((time.monotonic() - began) * 1000)
            self.answered += 1
            if problem:
                self.failures.append(problem)
        link.close()
