"""A real home for crash journeys: what runs in it, whom to kill, what its pretend cloud noted, and a scoring client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portal.launcher import ports
from portal.launcher.demo import traffic
from portal.launcher.demo.client import Api
from portal.launcher.processes import ROOT

SCRIPT = """
import os


def init():
    global name
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "name.txt")) as file:
        name = file.read()


def run(data):
    return {"model": name}
"""
CLUSTER = "crash"
ENDED = ("Succeeded", "Failed", "Cancelled", "TimedOut", "RolledBack")


def until(check: Callable[[], Any], seconds: float, what: str, pause: float = 0.2) -> Any:
    """Wait for a true answer; fails with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(pause)
    return found


class House:
    """A home on ports of its own with short times; without coverage, which takes a third of its processes' time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        ours = ("SLIPWAY_", "DATABASE_", "ARM_", "DJANGO_", "COVERAGE_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        http = ports.draw(set())
        self.env = {
            **kept, "SLIPWAY_HOME": str(path), "SLIPWAY_HTTP_PORT": str(http),
            "SLIPWAY_HTTPS_PORT": str(ports.draw({http})), "SLIPWAY_OPERATION_LEASE_SECONDS": "6",
            "SANDBOX_CREATE_SECONDS": "4", "SANDBOX_SCALE_SECONDS": "1", "SANDBOX_DELETE_SECONDS": "1",
        }  # fmt: skip

    def run(self, *words: str) -> None:
        """A command of the launcher."""
        command = [sys.executable, "-m", "portal.launcher", *words]
        done = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr

    def file(self, *parts: str) -> Path:
        """A path in the home."""
        return self.path.joinpath(*parts)

    def api(self) -> Api:
        """The REST API as the owner."""
        return Api(json.loads(self.file("credentials.json").read_text()), lambda _: None)

    def pids(self) -> dict[str, int]:
        """What the supervisor keeps alive and is ready."""
        rows = json.loads(self.file("run", "state.json").read_text())["processes"]
        return {row["name"]: row["pid"] for row in rows if row["state"] == "running"}

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the pretend cloud itself."""
        port = json.loads(self.file("home.json").read_text())["ports"]["arm"]
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://127.0.0.1:{port}/sandbox/{path}", data, method=method)
        token = self.file("sandbox_admin_token").read_text().strip()
        request.add_header("Authorization", f"Bearer {token}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            return json.loads(answer.read())

    def noted(self, kind: str, start: int = 0) -> list[dict[str, Any]]:
        """What the pretend cloud noted of ARM ("arm") or its clusters ("kube"): requests that changed something.

        `start`: the byte of the file to begin at.
        """
        with self.file("sandbox", f"requests-{kind}.jsonl").open("rb") as file:
            file.seek(start)
            lines = [line for line in file.read().split(b"\n")[:-1] if line]
        return [line for line in map(json.loads, lines) if line["effective"]]

    def kill(self, name: str) -> None:
        """SIGKILL one of the supervisor's processes."""
        os.kill(self.pids()[name], signal.SIGKILL)


@dataclass
class Caller:
    """A client that scores without end over one kept-open connection, and notes every answer that was not 200."""

    uri: str
    key: str
    counted: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[float, str]] = field(default_factory=list)
    last_good: float = 0.0
    body: bytes = b"{}"
    pause: float = 0.05

    @contextmanager
    def scoring(self) -> Iterator[Caller]:
        """Score while the block runs."""
        over = threading.Event()
        thread = threading.Thread(target=self._work, args=(over,))
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()

    def _work(self, over: threading.Event) -> None:
        link = traffic.connect(self.uri)
        while not over.is_set():
            version, problem, _ = traffic.ask(link, self.uri, self.key, self.body)
            if problem:
                self.failures.append((time.monotonic(), problem))
            else:
                self.counted[version] += 1
                self.last_good = time.monotonic()
            time.sleep(self.pause)
        link.close()


def furnish(house: House) -> None:
    """The cluster, two models, and `main` with v1 and v2."""
    api = house.api()
    making = api.call("POST", "compute-targets/", target(CLUSTER, 3))
    for content in (b"one", b"two"):
        api.upload("models/", {"name": "namer", "paths": "name.txt"}, ("name.txt", content))
    api.call("POST", "environments/", {"name": "bare", "pip": ["joblib"]})
    building = api.call("POST", "environments/bare/1/build/")
    api.follow(making["url"])
    api.follow(building["url"])
    api.do("POST", "endpoints/", {"name": "main", "compute_target": CLUSTER, "version": "v1", **what("namer:1")})
    api.do("POST", "endpoints/main/versions/", {"version": "v2", "traffic_percentile": 0, **what("namer:2")})


def target(name: str, nodes: int = 1) -> dict[str, Any]:
    """A compute target as REST takes it."""
    return {
        "name": name, "purpose": "DevTest", "node_count": nodes, "vm_size": "Standard_D4s_v3",
        "region": "westeurope", "resource_group": "slipway",
    }  # fmt: skip


def what(model: str, **config: Any) -> dict[str, Any]:
    """What a deployment is made of.

    The longest queue is as long as it can be, however long a score takes: what the gateway learns of that changes
    nothing that is published.
    """
    least = {
        "numReplicas": 1, "maxQueueWaitMs": 3_600_000,
        "containerResourceRequirements": {"cpu": 0.1, "memoryInGB": 0.3},
    }  # fmt: skip
    return {
        "models": [model], "environment": "bare:1", "entry_script": "score.py",
        "code": {"files": {"score.py": SCRIPT}}, "deployment_config": {**least, **config},
    }  # fmt: skip


def move(api: Api, endpoint: str, share: float) -> dict[str, Any]:
    """Ask for a share of v2 (percent); the accepted operation."""
    generation = api.get(f"endpoints/{endpoint}/")["generation"]
    body = {"generation": generation, "versions": {"v2": {"traffic_percentile": share}}}
    return dict(api.call("PATCH", f"endpoints/{endpoint}/traffic/", body))


def score(uri: str) -> Any:
    """The answer of an endpoint that needs no key."""
    link = traffic.connect(uri)
    _, problem, answer = traffic.ask(link, uri, "", b"{}")
    link.close()
    assert not problem, problem
    return answer


def follow(api: Api, url: str, pause: float = 0.2) -> None:
    """Wait until an operation has succeeded."""

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = api.get(url)
        return found if found["state"] in ENDED else None

    operation = until(ended, 90, f"{url} has ended", pause)
    assert operation["state"] == "Succeeded", operation["error"]
