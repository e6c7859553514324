"""Whose secrets stay secret: users' code, who has no credential, and what is written down, against a real home."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from compute.sandbox.kubelet import confine
from endpoints.gateway import PROBE_PORT
from portal.launcher.demo.client import Api
from tests.journeys import spy
from tests.journeys.crash.house import House, until
from tests.journeys.test_contract import ask, signed_in

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
OPEN_PATHS = ("/healthz", "/readyz", "/sign-in/")
WITHOUT = (
    ("GET", "/"), ("GET", "/api/v1/workspaces/"), ("GET", "/api/v1/schema/"), ("GET", "/api/v1/docs/"),
    ("POST", "/api/v1/workspaces/main/compute-targets/"), ("GET", "/tokens/"), ("GET", "/w/main/"),
    ("GET", "/api/v1/fetch/1/1/"), ("GET", "/api/v1/blobs/" + "a" * 64 + "/"),
    ("GET", "/subscriptions"), ("GET", "/subscriptions/x/resourceGroups?api-version=2021-04-01"),
    ("GET", "/sandbox/clock"), ("POST", "/sandbox/clock"), ("POST", "/sandbox/faults"), ("GET", "/sandbox/requests"),
    ("GET", "/version"), ("GET", "/api"), ("GET", "/readyz"), ("GET", "/api/v1/secrets"), ("GET", "/metrics"),
    ("GET", "/clusters/demo/api/v1/secrets"), ("GET", "/v2/"), ("GET", "/ready"), ("GET", "/stats"),
    ("GET", "/config_dump"), ("POST", "/quitquitquit"), ("POST", "/api/v1/service/demo/score"),
    ("PUT", "/"), ("DELETE", "/api/v1/workspaces/main/"), ("OPTIONS", "/"), ("HEAD", "/"), ("POST", "/tokens/"),
    ("PATCH", "/sandbox/faults"), ("OPTIONS", "/api/v1/tokens/"), ("POST", "/w/main/new/compute/"), ("POST", "/v2/"),
    ("GET", "/api/v1/service/demo/swagger.json"), ("POST", "/api/v1/service/none/score"),
)  # fmt: skip


@pytest.fixture(scope="module")
def known(told: House) -> dict[str, Any]:
    return dict(json.loads(told.file("credentials.json").read_text()))


@pytest.fixture(scope="module")
def supervisor(told: House) -> int:
    return int(told.file("run", "lock").read_text())


@pytest.fixture(scope="module")
def marks(told: House, known: dict[str, Any]) -> dict[str, str]:
    """Every secret of this home, and some of our own that are planted at the spy."""
    files = (
        "arm_token",
        "blob_key",
        "broker_password",
        "sandbox_admin_token",
        "secret_key",
        "secret_keys",
        "metrics_token",
    )
    return {
        "password": known["password"],
        "API token": known["api_token"],
        "wrong password": "wrong-" + secrets.token_hex(12),
        "primary key": "primary-" + secrets.token_hex(12),
        "secondary key": "secondary-" + secrets.token_hex(12),
        **{name: told.file(name).read_text().strip() for name in files},
    }


@pytest.fixture(scope="module")
def nosy(told: House, marks: dict[str, str]) -> str:
    """The address of a model that tries what it is told, behind the planted keys."""
    api = told.api()
    keys = {"primaryKey": marks["primary key"], "secondaryKey": marks["secondary key"]}
    config = {"numReplicas": 1, "containerResourceRequirements": {"cpu": 0.1, "memoryInGB": 0.3}, "keys": keys}
    body = {
        "name": "spy", "compute_target": "demo", "environment": "iris:1", "entry_script": "score.py",
        "code": {"files": {"score.py": spy.SCORE}}, "deployment_config": config,
    }  # fmt: skip
    if not api.find("services/spy/"):
        api.do("POST", "services/", body)
    for slot in ("primary", "secondary"):
        api.do("POST", "services/spy/keys/regenerate/", {"slot": slot, "value": marks[f"{slot} key"]})
    uri = str(api.get("services/spy/")["scoring_uri"])
    headers = {"Authorization": f"Bearer {marks['secondary key']}"}
    until(lambda: ask(uri, "POST", [], **headers).status == 200, 20, "the spy does not answer")
    return uri


def tried(uri: str, marks: dict[str, str], wishes: list[tuple[str, str]]) -> dict[str, str]:
    """What the spy got for each wish."""
    answer = ask(uri, "POST", wishes, Authorization=f"Bearer {marks['primary key']}")
    assert answer.status == 200, answer.text
    return {f"{verb} {what}": got for (verb, what), got in zip(wishes, answer.json(), strict=True)}


needs_landlock = pytest.mark.skipif(not confine.landlock_abi(), reason="this kernel has no Landlock")


@needs_landlock
def test_users_code_reads_no_file_of_the_home_and_no_other_deployments_code(
    told: House, nosy: str, marks: dict[str, str]
) -> None:
    names = (
        "credentials.json", "demo.json", "portal.db", "portal.db-wal", "secret_key", "secret_keys", "arm_token",
        "broker_password", "sandbox_admin_token", "run/broker.conf", "tls/server.key", "sandbox/sandbox.db",
    )  # fmt: skip
    files = [path for path in map(told.file, names) if path.exists()]
    codes = [path for path in told.file("sandbox", "pods").rglob("score.py") if path.read_text() != spy.SCORE]
    blobs = [path for path in told.file("artifacts").rglob("*") if path.is_file()]
    assert len(files) == len(names)
    assert codes
    assert blobs
    wishes = [("read", str(path)) for path in [*files, *codes, *blobs]]
    wishes += [("folder", str(path)) for path in (told.path, told.file("sandbox", "pods"), told.file("artifacts"))]
    wishes += [("write", str(told.file("credentials.json"))), ("write", str(told.file("new-file")))]
    got = tried(nosy, marks, wishes)
    assert {what: said for what, said in got.items() if said != "PermissionError"} == {}
    own = tried(nosy, marks, [("read", "/etc/hosts"), ("read", "/proc/self/environ")])
    assert [said[:5] for said in own.values()] == ["read "] * 2


@needs_landlock
def test_users_code_sees_the_environment_of_no_other_process_of_ours(
    told: House, supervisor: int, nosy: str, marks: dict[str, str]
) -> None:
    pods = told.file("sandbox", "pods")
    cwds = {pid: cwd(pid) for pid in spy.tree(supervisor)}
    mine = {pid for pid, place in cwds.items() if (Path(place) / "score.py").exists() and is_spy(Path(place))}
    others = [pid for pid in cwds if pid not in mine]
    assert told.pids()["sandbox"] in others
    assert any(cwds[pid].startswith(str(pods)) for pid in others)
    got = tried(nosy, marks, [("read", f"/proc/{pid}/environ") for pid in others])
    refused = {"PermissionError", "FileNotFoundError", "ProcessLookupError"}
    assert {what: said for what, said in got.items() if said not in refused} == {}
    assert list(got.values()).count("PermissionError") > len(others) / 2


def cwd(pid: int) -> str:
    """Where a process is."""
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""


def is_spy(folder: Path) -> bool:
    """Whether the spy's code runs here."""
    return (folder / "score.py").read_text() == spy.SCORE


def test_users_code_gets_nothing_from_the_broker_and_the_pretend_cloud(
    told: House, known: dict[str, Any], nosy: str, marks: dict[str, str]
) -> None:
    broker = Path(json.loads(told.file("home.json").read_text())["sockets"]) / "broker"
    assert broker.is_socket()
    api = f"{known['http_url']}/api/v1/workspaces/"
    wishes = [("unix", str(broker)), ("web", f"{known['arm_url']}/subscriptions?api-version=2021-04-01"), ("web", api)]
    got = list(tried(nosy, marks, wishes).values())
    assert got[0] == "PermissionError" or "NOAUTH" in got[0]
    assert got[1:] == ["401", "401"]


def test_every_port_asks_for_a_credential(told: House, supervisor: int, nosy: str, known: dict[str, Any]) -> None:
    found = spy.listeners(supervisor)
    ours = {urllib.parse.urlsplit(url).port for url in (known["http_url"], known["https_url"], known["arm_url"])}
    asked = [at for at in found if not at.is_replica]
    assert ours <= {at.port for at in asked}
    assert len(asked) < len(found), "no replica was found among the listeners"
    assert {at.host.split(".")[0] for at in found} == {"127"}, "something listens on more than loopback"
    wrong = [
        (f"{at.host}:{at.port}", method, path, status, text[:200])
        for at in asked
        for method, path in WITHOUT
        for status, headers, text in [spy.ask(at, method, path, "{}" if method == "POST" else "")]
        if not is_refusal(path, status, headers) and not (at.port == PROBE_PORT and tells_sums_only(path, text))
    ]
    assert wrong == []


def tells_sums_only(path: str, text: str) -> bool:
    """The gateway's page for scrapers: open, as it names no service, version or replica."""
    labels = set(re.findall(r'(\w+)="([^"]*)"', text))
    known = {("envoy_http_conn_manager_prefix", "scoring")} | {
        ("envoy_response_code_class", str(each)) for each in range(1, 6)
    }
    return (
        path == "/metrics"
        and "envoy_http_downstream_rq_total" in text
        and {pair for pair in labels if pair[0] != "le"} <= known
    )


def is_refusal(path: str, status: int, headers: dict[str, str]) -> bool:
    """401 or 404; a page leads to the sign-in form; health is open."""
    leads_to_form = status == 302 and headers.get("Location", headers.get("location", "")).startswith("/sign-in/")
    return status in (401, 404) or leads_to_form or (path in OPEN_PATHS and status == 200)


def test_no_secret_is_written_anywhere_or_shown(
    told: House, supervisor: int, known: dict[str, Any], nosy: str, marks: dict[str, str]
) -> None:
    api = told.api()
    api.call("POST", "services/spy/score/", {"body": []})
    wrong = {"username": known["username"], "password": marks["wrong password"]}
    with pytest.raises(AssertionError):
        signed_in({**known, **wrong})
    cookie = signed_in(known)
    every = {**marks, "session": re.findall(r"sessionid=(\w+)", cookie)[0]}
    places = {f"argv of {pid}": spy.argv(pid) for pid in spy.tree(supervisor)}
    places |= {str(path): path.read_text(errors="replace") for path in written(told)}
    places |= {f"page {path}": ask(known["http_url"] + path, Cookie=cookie).text for path in pages(api)}
    places |= {f"rest {path}": json.dumps(api.get(path)) for path in answers(api)}
    assert len(places) > 60
    shown = [(name, place) for name, mark in every.items() for place, text in places.items() if mark in text]
    assert shown == []


def written(told: House) -> list[Path]:
    """The logs of everything, what the pretend cloud noted, and the logs of pods."""
    found = [
        *told.file("logs").iterdir(),
        *told.file("sandbox").glob("requests-*"),
        *told.file("sandbox", "pods").rglob("*.log"),
    ]
    assert len(found) > 10
    return found


def pages(api: Api) -> list[str]:
    """Every page of the workspace that a link leads to, two lists and the things in them."""
    root = "/w/main/"
    lists = [
        root + word + "/"
        for word in ("compute", "models", "environments", "services", "endpoints", "operations", "history")
    ]
    jobs = [f"{root}operations/{row['id']}/" for row in api.get("operations/")["items"]]
    things = [
        "compute/demo/",
        "services/spy/",
        "endpoints/demo/",
        "endpoints/demo/versions/v1/",
        "environments/iris/1/",
    ]
    return ["/tokens/", root, *lists, *jobs, *(root + thing for thing in things)]


def answers(api: Api) -> list[str]:
    """What REST shows without being asked for a secret."""
    jobs = [f"operations/{row['id']}/{end}" for row in api.get("operations/")["items"] for end in ("", "log/")]
    spies = [f"services/spy/{end}" for end in ("", "logs/", "events/", "revisions/", "metrics/")]
    return ["audit/?page_size=200", "compute-targets/demo/", "", "environments/iris/1/log/", *spies, *jobs]


def test_the_database_holds_no_secret_in_the_clear(told: House, marks: dict[str, str], nosy: str) -> None:
    with sqlite3.connect(f"file:{told.file('portal.db')}?mode=ro", uri=True) as database:
        text = "\n".join(database.iterdump())
    assert "spy" in text
    assert [name for name, mark in marks.items() if mark in text] == []
