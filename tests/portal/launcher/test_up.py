"""`up`, `status`, `logs`, `token` and `down` with the real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.launcher import ports
from portal.launcher.processes import ROOT
from portal.launcher.status import is_alive

pytestmark = [pytest.mark.journey, pytest.mark.timeout(240)]


class Portal:
    """A home with ports of its own, driven as a person does."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.http, self.https = ports.draw(set()), ports.draw(set())
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "DATABASE_"))}
        self.env = {
            **kept,
            "SLIPWAY_HOME": str(home),
            "SLIPWAY_HTTP_PORT": str(self.http),
            "SLIPWAY_HTTPS_PORT": str(self.https),
            "HTTP_PROXY": "http://127.0.0.1:9",
            "https_proxy": "http://127.0.0.1:9",
        }

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "portal.launcher", *words]
        env = {**self.env, **more}
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, umask=0, timeout=200)

    def pids(self) -> dict[str, int]:
        state = self.home / "run" / "state.json"  # far cheaper than `status --json`
        rows = json.loads(state.read_text())["processes"] if state.exists() else []
        return {row["name"]: row["pid"] for row in rows if row["state"] == "running"}

    def credentials(self) -> dict[str, Any]:
        return dict(json.loads((self.home / "credentials.json").read_text()))

    def get(self, path: str, *, https: bool = False, token: str = "") -> int:
        known = self.credentials()
        context = ssl.create_default_context(cafile=known["ca_file"])
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        request = urllib.request.Request(known["https_url" if https else "http_url"] + path)
        request.add_header("Authorization", f"Bearer {token}") if token else None
        with opener.open(request, timeout=20) as answer:
            return int(answer.status)


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    found = Portal(tmp_path_factory.mktemp("up") / "home")
    started = found.run("up", "--detach")
    assert started.returncode == 0, started.stderr
    yield found
    found.run("down")


def wait_for(check: Any, seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


@pytest.fixture(autouse=True)
def _all_running(portal: Portal) -> None:
    wait_for(lambda: len(portal.pids()) == 6)


def test_everything_runs_and_the_credentials_work(portal: Portal) -> None:
    known = portal.credentials()
    assert set(portal.pids()) >= {"web", "worker", "beat", "broker", "sandbox"}
    assert portal.get("/healthz") == 200
    assert portal.get("/healthz", https=True) == 200
    assert portal.get(f"/api/v1/workspaces/{known['workspace']}/", token=known["api_token"]) == 200
    expected = {
        "http_url", "https_url", "ca_file", "username", "password", "api_token", "subscription_id", "resource_group",
        "workspace", "arm_url", "arm_token",
    }  # fmt: skip
    assert set(known) == expected


def test_no_file_of_the_home_can_be_read_by_others(portal: Portal) -> None:
    assert stat.S_IMODE(portal.home.stat().st_mode) == 0o700
    parts = [path for path in portal.home.rglob("*") if "images" not in path.parts and not path.is_symlink()]
    assert [path for path in parts if path.stat().st_mode & 0o077] == []


def test_a_second_up_does_no_harm(portal: Portal) -> None:
    before, known = portal.pids(), portal.credentials()
    again = portal.run("up", "--detach")
    assert again.returncode == 0
    assert "runs already" in again.stdout
    assert (portal.pids(), portal.credentials()) == (before, known)


def test_up_on_an_occupied_port_is_one_sentence_and_leaves_nothing(portal: Portal, tmp_path: Path) -> None:
    other = Portal(tmp_path / "other")
    refused = other.run("up", "--detach", SLIPWAY_HTTP_PORT=str(portal.http))
    assert refused.returncode != 0
    assert refused.stderr.count("\n") == 1
    assert f"port {portal.http} " in refused.stderr
    assert other.pids() == {}


def test_a_token_from_the_command_line_works_and_is_never_wider_than_asked(portal: Portal) -> None:
    made = portal.run("token", "create", "--role", "Reader", "--days", "1")
    assert portal.get("/api/v1/workspaces/", token=made.stdout.strip()) == 200
    refused = portal.run("token", "create", "--days", "9999")
    assert refused.returncode != 0
    assert "3650" in refused.stderr


def test_logs_names_what_there_is(portal: Portal) -> None:
    assert "ready" in portal.run("logs", "sandbox").stdout
    assert "There are: " in portal.run("logs", "nothing").stderr


def test_a_process_comes_back_under_a_new_pid(portal: Portal) -> None:
    """As do the others: `tests/journeys/crash/test_kills.py` kills each of them."""
    before = portal.pids()["web-tls"]
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: portal.pids().get("web-tls", before) != before)


def test_down_leaves_no_process_and_no_socket_and_up_comes_back_within_10_seconds(portal: Portal) -> None:
    pids = list(portal.pids().values())
    known = portal.credentials()
    sockets = Path(json.loads((portal.home / "home.json").read_text())["sockets"])
    assert portal.run("down").returncode == 0
    assert [pid for pid in pids if is_alive(pid)] == []
    assert not sockets.exists()
    assert {row["state"] for row in json.loads(portal.run("status", "--json").stdout)["processes"]} == {"stopped"}
    began = time.monotonic()
    assert portal.run("up", "--detach").returncode == 0
    assert time.monotonic() - began < 30  # 10 s on a quiet machine; tests share theirs
    assert portal.credentials() == known


def test_nothing_stays_when_the_supervisor_is_killed_and_up_goes_on(portal: Portal) -> None:
    pids = list(portal.pids().values())
    os.kill(int((portal.home / "run" / "lock").read_text()), signal.SIGKILL)
    wait_for(lambda: not any(is_alive(pid) for pid in pids))
    assert portal.run("up", "--detach").returncode == 0
    assert len(portal.pids()) == 6


def test_every_listener_is_on_loopback(portal: Portal) -> None:
    for port in (portal.http, portal.https):
        with socket.socket() as probe:
            probe.bind(("127.0.0.2", port))  # would fail if somebody listened on all addresses
