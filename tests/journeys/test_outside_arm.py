"""A second home that is given the first one's ARM, and whose own sandbox does not confine: what it says and does."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from portal.launcher.processes import ROOT
from tests.journeys.crash.house import House, target
from tests.journeys.test_contract import Proxy, Rest, ask, cluster_url, follow, signed_in

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Guest:
    """The second home, what its `up` printed, and the credentials of both."""

    house: House
    said: str
    known: dict[str, Any]
    first: dict[str, Any]


def up(house: House, **more: str) -> subprocess.CompletedProcess[str]:
    """`up --detach` with more in its environment."""
    command = [sys.executable, "-m", "portal.launcher", "up", "--detach"]
    return subprocess.run(command, cwd=ROOT, env={**house.env, **more}, capture_output=True, text=True, timeout=200)


@pytest.fixture(scope="module")
def guest(told: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    first = json.loads(told.file("credentials.json").read_text())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Proxy,), {"arm": first["arm_url"]}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    house = House(tmp_path_factory.mktemp("guest") / "home")
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        done = up(house, ARM_ENDPOINT=url, ARM_TOKEN=first["arm_token"], SANDBOX_CONFINE="off")
        assert done.returncode == 0, done.stderr
        known = json.loads(house.file("credentials.json").read_text())
        yield Guest(house, done.stdout, known, {**first, "arm_url": url})
    finally:
        house.run("down")
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_first_workspace_has_the_arm_that_the_environment_gave(guest: Guest) -> None:
    for name in ("arm_url", "arm_token", "subscription_id"):
        assert guest.known[name] == guest.first[name]
    shown = {row["name"] for row in Rest(guest.known).ask("clusters/").json()["items"]}
    assert json.loads((guest.house.path / "home.json").read_text())["subscription_id"] != guest.first["subscription_id"]
    assert {name for name in shown if name.startswith("demo")}


def test_a_created_target_is_made_there_and_not_in_the_own_sandbox(guest: Guest) -> None:
    rest = Rest(guest.known)
    answer = rest.ask("compute-targets/", "POST", target("guest"))
    assert answer.status == 202, answer.text
    assert follow(rest, answer.headers["Location"])[-1] == "Succeeded"
    row = rest.ask("compute-targets/guest/").json()
    url = cluster_url(guest.first, row["cluster_name"], row["resource_group"])
    token = {"Authorization": f"Bearer {guest.first['arm_token']}"}
    assert ask(url, **token).json()["properties"]["agentPoolProfiles"][0]["count"] == 1
    assert guest.house.admin("GET", "state")["clusters"] == []
    gone = rest.ask("compute-targets/guest/", "DELETE")
    assert follow(rest, gone.headers["Location"])[-1] == "Succeeded"
    assert ask(url, **token).status == 404


def test_up_says_in_one_line_that_code_is_not_confined_and_so_does_every_page(guest: Guest) -> None:
    lines = [line for line in guest.said.splitlines() if "not confined" in line]
    assert len(lines) == 1
    assert "runs as your own user" in lines[0]
    cookie = signed_in(guest.known)
    for path in ("/sign-in/", "/w/main/", "/w/main/compute/", "/tokens/", "/nothing/", "/api/v1/docs/"):
        page = ask(guest.known["http_url"] + path, **({} if path == "/sign-in/" else {"Cookie": cookie}))
        assert 'role="note">Sandbox, not confined' in page.text, path


def test_plain_http_to_another_machine_is_refused_in_one_sentence(tmp_path: Path) -> None:
    house = House(tmp_path / "home")
    refused = up(house, ARM_ENDPOINT="http://192.0.2.1:8000", ARM_TOKEN="t")
    assert refused.returncode != 0
    assert refused.stderr.count("\n") == 1
    assert "http://192.0.2.1:8000: give https, or http on 127.0.0.1" in refused.stderr
    assert "ready" not in refused.stdout
    assert {row["state"] for row in rows(house)} == {"stopped"}


def rows(house: House) -> list[dict[str, Any]]:
    """What `status --json` shows."""
    command = [sys.executable, "-m", "portal.launcher", "status", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=house.env, capture_output=True, text=True, timeout=60)
    return list(json.loads(done.stdout)["processes"])
