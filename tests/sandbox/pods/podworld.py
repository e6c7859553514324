"""A pretend cluster with real processes, for the tests beside this file."""

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compute.sandbox.clock import Clock
from compute.sandbox.controllers.manager import ControllerManager
from compute.sandbox.db import Db
from compute.sandbox.faults import Faults
from compute.sandbox.kube.clusters import Clusters, NodeSpec
from compute.sandbox.kube.store import Store
from compute.sandbox.kubelet.authority import Authority
from compute.sandbox.kubelet.manager import KubeletManager
from compute.sandbox.settings import Settings

CLUSTER = "c1"
SERVER = """
import http.server, os, signal, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ok = self.path != "/broken" and not (self.path == "/ready" and os.path.exists("unready"))
        body = os.environ.get("ANSWER", "hello").encode()
        self.send_response(200 if ok else 500)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        print("asked", self.path, flush=True)
server = http.server.ThreadingHTTPServer((os.environ["POD_IP"], 8080), Handler)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("listening", flush=True)
server.serve_forever()
"""


@dataclass
class Image:
    """An environment that pods can use."""

    path_bin: Path
    digest: str = "sha256:" + "0" * 64
    env: dict[str, str] = field(default_factory=dict)


class Images:
    """One image, `python:1`: the interpreter of the tests; and the same where a login is asked for."""

    def __init__(self, folder: Path) -> None:
        self._bin = folder / "python" / "bin"
        self._bin.mkdir(parents=True, exist_ok=True)
        if not (self._bin / "python").exists():
            (self._bin / "python").symlink_to(os.path.realpath(sys.executable))

    def resolve(self, name: str) -> Image | None:
        return Image(self._bin) if name in ("python:1", "r.example.com/python:1") else None

    def login(self, name: str) -> tuple[str, str] | None:
        return ("robot", "pa55") if name.startswith("r.example.com/") else None


class World:
    """One sandbox without its HTTP doors."""

    def __init__(self, state: Path, block: str) -> None:
        state.mkdir(parents=True, exist_ok=True)
        Authority(state / "home")
        self.settings = Settings.from_env(environment(state, block))
        self.db = Db(state / "sandbox.db")
        self.clock, self.faults = Clock(self.db), Faults(self.db)
        self.store = Store(self.db, self.clock)
        self.clusters = Clusters(self.store, self.settings, self.db)
        self.controllers = ControllerManager(self.store, self.clock, self.settings, self.faults, self.clusters)
        self.kubelet = KubeletManager(
            self.store, self.clock, self.settings, self.faults, self.clusters, Images(state / "images")
        )

    async def start(self, nodes: int = 1) -> "World":
        await self.controllers.start()
        await self.kubelet.start()
        if not self.clusters.exists(CLUSTER):
            self.clusters.ensure(CLUSTER, name="one", resource_group="rg", region="westeurope", version="1.33.5")
            await self.clusters.set_nodes(CLUSTER, [node(number) for number in range(nodes)])
        return self

    async def stop(self) -> None:
        await self.controllers.stop()
        await self.kubelet.stop()

    def make(self, resource: str, doc: dict[str, Any]) -> dict[str, Any]:
        doc["metadata"].setdefault("namespace", "default")
        return self.store.create(CLUSTER, resource, doc)

    def get(self, resource: str, name: str) -> dict[str, Any] | None:
        return self.store.get(CLUSTER, resource, "default", name)

    def pods(self, **labels: str) -> list[dict[str, Any]]:
        def wanted(pod: dict[str, Any]) -> bool:
            own = pod["metadata"].get("labels") or {}
            return all(own.get(name) == value for name, value in labels.items())

        return self.store.list(CLUSTER, "pods", "default", wanted)

    def ready(self, **labels: str) -> list[dict[str, Any]]:
        return [pod for pod in self.pods(**labels) if is_ready(pod) and not pod["metadata"].get("deletionTimestamp")]

    def events(self, reason: str) -> list[str]:
        found = self.store.list(CLUSTER, "events", where=lambda event: bool(event["reason"] == reason))
        return [event["message"] for event in found]

    def pids(self, name: str) -> list[int]:
        return [pid for row in self.kubelet.processes() if row["name"] == name for pid in row["pids"]]

    async def log(self, name: str, container: str = "main", **more: Any) -> str:
        found = self.kubelet.read_log(CLUSTER, "default", name, container, **more)
        return b"".join([part async for part in found]).decode()


def environment(state: Path, block: str) -> dict[str, str]:
    """Settings of a sandbox whose HTTP doors are not opened."""
    files = {name: str(state / "home/ca.crt") for name in ("TLS_CERT", "TLS_KEY", "CA_FILE")}
    tokens = {f"{name}_TOKEN_FILE": str(state / "none") for name in ("ARM", "ADMIN")}
    given = {**files, **tokens, "STATE": str(state), "BLOCK": block, "HTTP_PORT": "1", "HTTPS_PORT": "2"}
    given |= {"SUBSCRIPTION": "none", "RESOURCE_GROUPS": "rg"}
    return {f"SANDBOX_{name}": value for name, value in given.items()}


async def until(what: Callable[[], Any], seconds: float = 40) -> Any:
    """Wait until `what` gives something true, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        await asyncio.sleep(0.03)
    raise AssertionError(f"not true within {seconds} s")


def random_block() -> str:
    return f"127.{random.randint(64, 254)}.{random.randint(1, 254)}"


def node(number: int, vcpus: int = 4, **more: Any) -> NodeSpec:
    return NodeSpec(f"node-{number}", "default", "Standard_D4s_v5", vcpus, 16, **more)


def is_ready(pod: dict[str, Any]) -> bool:
    rows = (pod.get("status") or {}).get("conditions") or []
    return any(row["type"] == "Ready" and row["status"] == "True" for row in rows)


def container(code: str = SERVER, **more: Any) -> dict[str, Any]:
    ip = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    doc = {
        "name": "main",
        "image": "python:1",
        "workingDir": "/srv/app",
        "command": ["python", "-u", "-c", code],
        **more,
    }
    return {**doc, "env": [ip, *more.get("env", [])]}


def pod(name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    full = {"terminationGracePeriodSeconds": 5, "restartPolicy": "Always", "serviceAccountName": "default", **spec}
    return {
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {**full, "containers": list(containers) or [container()]},
        "status": {"phase": "Pending"},
    }


READY = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1}
PORTS = [{"name": "http", "containerPort": 8080}]


def deployment(name: str, replicas: int = 1, main: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    main = main or container(ports=PORTS, readinessProbe=READY)
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {**pod(name, main)["spec"]}}
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels}, "template": template,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "progressDeadlineSeconds": 600, **spec,
        },
    }  # fmt: skip
