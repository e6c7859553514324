"""What scripts and checks around the product rely on, line by line, against a real home after `demo --keep`."""

from __future__ import annotations

import base64
import html
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.launcher.demo import traffic
from portal.launcher.processes import ROOT
from tests.journeys.crash.house import ENDED, House, target, until

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
KUBECTL = shutil.which("kubectl")
SDK_STATES = {"NotStarted", "Running", *ENDED} - {"RolledBack"}
MEMBERS = {
    "http_url", "https_url", "ca_file", "username", "password", "api_token", "subscription_id", "resource_group",
    "workspace", "arm_url", "arm_token",
}  # fmt: skip


@pytest.fixture
def known(told: House) -> dict[str, Any]:
    """credentials.json."""
    return dict(json.loads(told.file("credentials.json").read_text()))


@pytest.fixture
def demo(told: House) -> dict[str, Any]:
    """demo.json."""
    return dict(json.loads(told.file("demo.json").read_text()))


class Answer:
    """A response that has been read."""

    def __init__(self, found: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.text = found.status, found.headers, found.read().decode()

    def json(self) -> Any:
        return json.loads(self.text)


def ask(url: str, method: str = "GET", body: Any = None, ca: str = "", **headers: str) -> Answer:
    """One request; no redirect is followed."""
    parts = urllib.parse.urlsplit(url)
    link = traffic.connect(url, ca)
    if body is not None and not isinstance(body, str):
        body, headers = json.dumps(body), {"Content-Type": "application/json", **headers}
    where = parts.path + (f"?{parts.query}" if parts.query else "")
    link.request(method, where, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = Answer(link.getresponse())
    link.close()
    return answer


class Rest:
    """The REST API with the token of credentials.json."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.root, self.token = known["http_url"], known["api_token"]
        self.home = f"{self.root}/api/v1/workspaces/{known['workspace']}/"

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        url = self.root + path if path.startswith("/") else self.home + path
        return ask(url, method, body, Authorization=f"Bearer {self.token}", **headers)


@pytest.fixture
def rest(known: dict[str, Any]) -> Rest:
    return Rest(known)


def private(path: Path) -> bool:
    """Whether only its owner can read and write a file."""
    return stat.S_IMODE(path.stat().st_mode) == 0o600


def launcher(told: House, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command of the launcher with its output."""
    command = [sys.executable, "-m", "portal.launcher", *words]
    return subprocess.run(command, cwd=ROOT, env={**told.env, **more}, capture_output=True, text=True, timeout=120)


def test_credentials_are_private_complete_and_belong_to_an_owner(
    told: House, known: dict[str, Any], rest: Rest
) -> None:
    assert private(told.file("credentials.json"))
    assert set(known) - {"arm_ca_file"} == MEMBERS
    assert rest.ask("").json()["your_role"] == "Owner"
    assert rest.ask("").json()["slug"] == known["workspace"]
    assert rest.ask("").json()["resource_group"] == known["resource_group"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_ca_file_verifies_the_https_address(known: dict[str, Any], host: str) -> None:
    port = urllib.parse.urlsplit(known["https_url"]).port
    context = ssl.create_default_context(cafile=known["ca_file"])
    with socket.create_connection(("127.0.0.1", port or 0), 10) as plain:
        assert context.wrap_socket(plain, server_hostname=host).version()


def test_health_needs_no_sign_in_on_either_address(known: dict[str, Any]) -> None:
    assert ask(known["http_url"] + "/healthz").status == 200
    assert ask(known["https_url"] + "/healthz", ca=known["ca_file"]).status == 200


def test_the_demo_leaves_a_file_that_is_enough_to_score(told: House, demo: dict[str, Any]) -> None:
    assert private(told.file("demo.json"))
    assert set(demo) == {
        "workspace", "resource_group", "compute_target", "cluster", "endpoint", "scoring_uri", "keys", "versions",
        "default", "sample",
    }  # fmt: skip
    assert set(demo["keys"]) == {"primary", "secondary"}
    assert sum(demo["versions"].values()) == 100
    assert demo["default"] in demo["versions"]
    for key in demo["keys"].values():
        assert ask(demo["scoring_uri"], "POST", demo["sample"], Authorization=f"Bearer {key}").status == 200
    assert ask(demo["scoring_uri"], "POST", demo["sample"]).status == 401


def cluster_url(known: dict[str, Any], name: str, group: str, more: str = "") -> str:
    """Where a cluster is in ARM."""
    return (
        f"{known['arm_url']}/subscriptions/{known['subscription_id']}/resourceGroups/{group}/providers/"
        f"Microsoft.ContainerService/managedClusters/{name}{more}?api-version=2025-05-01"
    )


def test_the_cluster_of_the_demo_is_known_to_arm_by_that_name(known: dict[str, Any], demo: dict[str, Any]) -> None:
    url = cluster_url(known, demo["cluster"], demo["resource_group"])
    assert ask(url, Authorization=f"Bearer {known['arm_token']}").json()["name"] == demo["cluster"]
    assert ask(url).status == 401
    assert ask(url, Authorization="Bearer wrong").status == 401


def kubeconfig(known: dict[str, Any], name: str, group: str) -> bytes:
    """A cluster's kubeconfig, as ARM hands it out."""
    url = cluster_url(known, name, group, "/listClusterUserCredential")
    found = ask(url, "POST", Authorization=f"Bearer {known['arm_token']}").json()
    return base64.b64decode(found["kubeconfigs"][0]["value"])


@pytest.mark.kubectl
@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed: apt-get install kubernetes-client")
def test_a_kubeconfig_from_arm_works_from_anywhere(known: dict[str, Any], demo: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    config.write_bytes(kubeconfig(known, demo["cluster"], demo["resource_group"]))
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [str(KUBECTL), "--kubeconfig", str(config), "get", "nodes", "-o", "name"]
    done = subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("node/")


class Proxy(http.server.BaseHTTPRequestHandler):
    """Passes requests on to ARM under the proxy's own name."""

    arm = ""

    def _pass_on(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length).decode() if length else None
        kept = ("Authorization", "Content-Type", "Host")
        headers = {name: self.headers[name] for name in kept if name in self.headers}
        answer = ask(self.arm + self.path, self.command, body, **headers)
        self.send_response(answer.status)
        for name in ("Azure-AsyncOperation", "Location", "Content-Type", "Retry-After"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(answer.text.encode())))
        self.end_headers()
        self.wfile.write(answer.text.encode())

    do_GET = do_POST = do_PUT = do_DELETE = _pass_on  # noqa: N815  (http.server looks for these names)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def proxied(known: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The credentials with ARM behind a proxy."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Proxy,), {"arm": known["arm_url"]}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield {**known, "arm_url": f"http://127.0.0.1:{server.server_port}"}
    server.shutdown()
    thread.join()
    server.server_close()


def test_arm_works_through_a_proxy_and_names_it_in_its_addresses(proxied: dict[str, Any], demo: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {proxied['arm_token']}"}
    url = cluster_url(proxied, "by-proxy", demo["resource_group"])
    pool = {"name": "nodepool1", "count": 1, "vmSize": "Standard_D2s_v3", "mode": "System"}
    properties = {"dnsPrefix": "by-proxy", "agentPoolProfiles": [pool]}
    body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": properties}
    made = ask(url, "PUT", body, **headers)
    assert made.status == 201, made.text
    follow = made.headers["Azure-AsyncOperation"]
    assert follow.startswith(proxied["arm_url"] + "/")
    until(lambda: ask(follow, **headers).json()["status"] == "Succeeded", 60, "the cluster is not made", 0.5)
    gone = ask(url, "DELETE", **headers)
    assert gone.status == 202
    assert gone.headers["Location"].startswith(proxied["arm_url"] + "/")


def test_status_is_json_and_works_while_web_is_dead_and_a_change_begun_then_succeeds(
    told: House, demo: dict[str, Any]
) -> None:
    before = {row["name"]: row["pid"] for row in json.loads(launcher(told, "status", "--json").stdout)["processes"]}
    assert set(before) >= {"web", "worker", "beat", "broker", "sandbox"}
    os.kill(before["web"], signal.SIGKILL)
    said = launcher(told, "status", "--json")
    assert said.returncode == 0
    assert all(set(row) == {"name", "pid", "state"} for row in json.loads(said.stdout)["processes"])
    api = told.api()  # asks again while web is away
    shown = api.get(f"endpoints/{demo['endpoint']}/")
    split = {"generation": shown["generation"], "versions": {"v1": {"traffic_percentile": 0}}}
    assert api.do("PATCH", f"endpoints/{demo['endpoint']}/traffic/", split)["state"] == "Succeeded"
    until(lambda: told.pids().get("web", before["web"]) != before["web"], 30, "web has no new pid")


def test_up_on_a_running_portal_does_no_harm(told: House, known: dict[str, Any]) -> None:
    before = told.pids()
    again = launcher(told, "up")
    assert (again.returncode, "runs already" in again.stdout) == (0, True)
    assert told.pids() == before
    assert json.loads(told.file("credentials.json").read_text()) == known


def test_up_on_an_occupied_port_says_so_in_one_sentence_and_leaves_no_process(told: House, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = launcher(told, "up", "--detach", SLIPWAY_HOME=str(tmp_path / "other"), SLIPWAY_HTTP_PORT=port)
    assert refused.returncode != 0
    assert refused.stderr.count("\n") == 1
    assert port in refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr
    assert not [link for link in Path("/proc").glob("[0-9]*/environ") if str(tmp_path / "other") in environ(link)]


def environ(path: Path) -> str:
    """The environment of a process, as far as we may see it."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def test_the_schema_answers_json_to_who_asks_for_it(rest: Rest) -> None:
    answer = rest.ask("/api/v1/schema/", Accept="application/json")
    assert (answer.status, answer.json()["openapi"][:3]) == (200, "3.1")


def test_rest_paths_work_without_their_last_slash(rest: Rest, demo: dict[str, Any]) -> None:
    for path in ("", "endpoints/", f"endpoints/{demo['endpoint']}/", "compute-targets/", "/api/v1/schema/"):
        assert rest.ask(path.rstrip("/") if path else f"/api/v1/workspaces/{demo['workspace']}").status == 200
    answer = rest.ask(f"endpoints/{demo['endpoint']}/traffic", "PATCH", {"generation": 0, "versions": {}})
    assert answer.status in (400, 412, 422)


def test_a_traffic_change_is_followed_by_its_location_and_in_force_one_second_after_its_end(
    rest: Rest, demo: dict[str, Any]
) -> None:
    path = f"endpoints/{demo['endpoint']}/"
    for share, only in ((100, "v1"), (0, "v2")):
        generation = rest.ask(path).json()["generation"]
        wanted = {"v1": {"traffic_percentile": share}, "v2": {"traffic_percentile": 0}}
        answer = rest.ask(f"{path}traffic/", "PATCH", {"generation": generation, "versions": wanted})
        assert answer.status == 202, answer.text
        where = answer.headers["Location"]
        states = follow(rest, where)
        assert set(states) <= SDK_STATES
        assert states[-1] == "Succeeded"
        time.sleep(1)
        assert set(scored(demo, 100)) == {only}
        stale = rest.ask(f"{path}traffic/", "PATCH", {"generation": generation, "versions": wanted})
        assert stale.status == 412


def follow(rest: Rest, where: str) -> list[str]:
    """The states of an operation up to its last."""
    states: list[str] = []
    where = urllib.parse.urlsplit(where).path
    until(lambda: states.append(rest.ask(where).json()["state"]) or states[-1] in ENDED, 60, "no end")
    return states


def scored(demo: dict[str, Any], count: int) -> Counter[str]:
    """Who answered."""
    bodies = [json.dumps(demo["sample"]).encode()] * count
    found = traffic.send(demo["scoring_uri"], demo["keys"]["primary"], bodies, lambda *_: True)
    assert found.failures == []
    return found.versions


def test_a_compute_target_is_made_from_the_six_members(rest: Rest, known: dict[str, Any]) -> None:
    body = target("six")
    assert set(body) == {"name", "vm_size", "node_count", "purpose", "region", "resource_group"}
    answer = rest.ask("compute-targets/", "POST", body)
    assert answer.status == 202, answer.text
    assert follow(rest, answer.headers["Location"])[-1] == "Succeeded"
    gone = rest.ask("compute-targets/six/", "DELETE")
    assert gone.status == 202
    assert follow(rest, gone.headers["Location"])[-1] == "Succeeded"


def signed_in(known: dict[str, Any]) -> str:
    """The cookies of a browser that filled in the sign-in form."""
    form = ask(known["http_url"] + "/sign-in/")
    names = set(re.findall(r'<input[^>]*name="(\w+)"', form.text))
    assert {"username", "password", "csrfmiddlewaretoken"} <= names
    assert re.search(r'<button[^>]*type="submit"|<button(?![^>]*type=)', form.text)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
    assert token is not None
    csrf = re.search(r"csrftoken=([^;]+)", str(form.headers["Set-Cookie"]))
    assert csrf is not None
    fields = {"csrfmiddlewaretoken": token[1], "username": known["username"], "password": known["password"]}
    answer = ask(
        known["http_url"] + "/sign-in/", "POST", urllib.parse.urlencode(fields), Cookie=csrf[0],
        Content_Type="application/x-www-form-urlencoded",
    )  # fmt: skip
    assert answer.status == 302
    return "; ".join(
        re.findall(r"(?:^|\s)((?:sessionid|csrftoken)=[^;]+)", "\n".join(answer.headers.get_all("Set-Cookie") or []))
    )


def test_each_page_has_one_main_is_readable_without_scripts_and_says_what_it_may_load(
    known: dict[str, Any], demo: dict[str, Any]
) -> None:
    cookie, root = signed_in(known), f"/w/{known['workspace']}/"
    named = {
        f"{root}compute/{demo['compute_target']}/": demo["compute_target"],
        f"{root}models/iris-forest/": "iris-forest",
    }
    named |= {f"{root}endpoints/{demo['endpoint']}/": demo["scoring_uri"], f"{root}endpoints/": demo["endpoint"]}
    named |= {f"{root}{word}/": "iris" for word in ("models", "environments")}
    named |= {
        root: "Overview",
        f"{root}operations/": "Succeeded",
        f"{root}history/": known["username"],
        "/tokens/": "credentials.json",
    }
    for path, word in named.items():
        page = ask(known["http_url"] + path, Cookie=cookie)
        assert page.status == 200, path
        whole = re.findall(r"<main.*?</main>", page.text, re.DOTALL)
        assert (len(whole), page.text.count("<main")) == (1, 1), path
        assert word in html.unescape(re.sub(r"<script.*?</script>", "", whole[0], flags=re.DOTALL)), path
        assert_headers(page)


def assert_headers(page: Answer) -> None:
    policy = page.headers["Content-Security-Policy"]
    assert "default-src" in policy
    assert "unsafe-" not in policy
    assert re.fullmatch(r"app;dur=\d+(\.\d+)?", page.headers["Server-Timing"])


def test_a_page_of_one_who_is_not_signed_in_leads_to_the_form(known: dict[str, Any]) -> None:
    answer = ask(known["http_url"] + f"/w/{known['workspace']}/")
    assert (answer.status, answer.headers["Location"][:9]) == (302, "/sign-in/")
    assert_headers(answer)


def test_the_readme_sets_up_with_three_commands_and_ci_runs_the_tests() -> None:
    readme = (ROOT / "README.md").read_text()
    block = next(part for part in re.findall(r"```\w*\n(.*?)```", readme, re.DOTALL) if "git clone" in part)
    commands = [line.split("#")[0].strip() for line in block.splitlines() if line.split("#")[0].strip()]
    assert [command.split()[0] for command in commands] == ["git", "cd", "./slipway"]
    assert commands[-1] == "./slipway up"
    assert "./slipway test" in (ROOT / ".ci" / "run").read_text()
