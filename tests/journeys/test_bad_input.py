"""What people get wrong, on a real home: sentence, step, evidence, no lock left, and what served serves on."""

from __future__ import annotations

import html
import http.client
import io
import json
import re
import secrets
import socket
import tarfile
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from portal.launcher.demo import traffic
from portal.launcher.demo.client import Api
from tests.journeys.crash.house import ENDED, Caller, House, until
from tests.journeys.test_contract import Answer, ask, signed_in

Json = dict[str, Any]
pytestmark = [pytest.mark.journey, pytest.mark.timeout(600)]
MARK = "cut-here"
MULTIPART = f"multipart/form-data; boundary={MARK}"
FORM = "application/x-www-form-urlencoded"
MISSING = "joblib==0.0.99"
RAISES = 'def init():\n    raise ValueError("weights.bin has 3 layers, not 5")\n\n\ndef run(data):\n    return 1\n'
GOOD = "def init():\n    pass\n\n\ndef run(data):\n    return {says!r}\n"
HUGE: Json = {"containerResourceRequirements": {"cpu": 3.9, "memoryInGB": 1}}  # a node of 4 vCPUs can give 3.86
OPEN: Json = {"authEnabled": False}
MINE = ("bad-init", "bad-pip", "steady", "many")


def good(says: str) -> str:
    """An entry script whose answers tell it from others."""
    return GOOD.format(says=says)


def what(script: str, environment: str = "iris:1", **config: Any) -> Json:
    """What a deployment is made of."""
    least = {"numReplicas": 1, "containerResourceRequirements": {"cpu": 0.1, "memoryInGB": 0.3}}
    code = {"files": {"score.py": script}}
    return {
        "environment": environment, "entry_script": "score.py", "code": code, "deployment_config": {**least, **config},
    }  # fmt: skip


@pytest.fixture(scope="module")
def known(told: House) -> Json:
    return dict(json.loads(told.file("credentials.json").read_text()))


@pytest.fixture(scope="module")
def api(told: House) -> Api:
    return told.api()


@pytest.fixture(scope="module")
def cookie(known: Json) -> str:
    return signed_in(known)


class Doors:
    """REST and pages of one workspace, as they answer to what is wrong."""

    def __init__(self, known: Json, cookie: str) -> None:
        self.root, self.cookie = known["http_url"], cookie
        self.bearer = {"Authorization": f"Bearer {known['api_token']}"}
        self.csrf = re.findall(r"csrftoken=(\w+)", cookie)[0]
        self.home = known["workspace"]

    def rest(self, path: str, body: Any, method: str = "POST", **more: str) -> Answer:
        return ask(f"{self.root}/api/v1/workspaces/{self.home}/{path}", method, body, **self.bearer, **more)

    def page(self, path: str, fields: Json) -> Answer:
        """A form sent as a browser sends it."""
        body = urllib.parse.urlencode({"csrfmiddlewaretoken": self.csrf, **fields})
        return ask(f"{self.root}/w/{self.home}/{path}", "POST", body, Cookie=self.cookie, Content_Type=FORM)

    def upload(self, door: str, fields: Json, *files: tuple[str, bytes], keep: int | None = None) -> Answer | None:
        """A model by REST or page; with `keep` only so many bytes are sent. No answer when the line is cut (-1)."""
        more = {"csrfmiddlewaretoken": self.csrf} if door == "page" else {}
        path = f"/w/{self.home}/new/model/" if door == "page" else f"/api/v1/workspaces/{self.home}/models/"
        body = form({**more, **fields}, *files)
        headers = {"Cookie": self.cookie} if door == "page" else self.bearer
        return send(self.root, path, headers, body, len(body) if keep is None else keep)


def form(fields: Json, *files: tuple[str, bytes]) -> bytes:
    """A multipart body."""
    parts = [
        f'--{MARK}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n'.encode() for n, v in fields.items()
    ]
    for name, content in files:
        head = f'--{MARK}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        parts += [head.encode(), b"Content-Type: application/octet-stream\r\n\r\n", content, b"\r\n"]
    return b"".join([*parts, f"--{MARK}--\r\n".encode()])


def send(root: str, path: str, headers: Json, body: bytes, keep: int) -> Answer | None:
    """Send the first `keep` bytes of a body and end the sending; the answer. Minus: hang up without reading one."""
    parts = urllib.parse.urlsplit(root)
    lines = {"Host": parts.netloc, "Content-Type": MULTIPART, "Content-Length": len(body), "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in {**lines, **headers}.items())
    with socket.create_connection((parts.hostname or "", parts.port or 0), 30) as line:
        line.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body[: abs(keep)])
        if keep < 0:
            return None
        line.shutdown(socket.SHUT_WR)
        found = http.client.HTTPResponse(line, method="POST")
        found.begin()
        return Answer(found)


@pytest.fixture(scope="module")
def doors(known: Json, cookie: str) -> Doors:
    return Doors(known, cookie)


def state_of_models(told: House, api: Api) -> tuple[Any, ...]:
    """What an upload could leave: a model, a blob, a line of history, a temporary file."""
    blobs = sorted(str(path) for path in told.file("artifacts").rglob("*") if path.is_file())
    history = [row["at"] for row in api.get("audit/?page_size=200")["items"] if row["action"].startswith("model.")]
    parts = sorted(path.name for path in told.file("tmp").iterdir() if path.is_file())
    return [(row["name"], row["version"]) for row in api.get("models/")["items"]], blobs, history, parts


@pytest.mark.parametrize("door", ["rest", "page"])
def test_an_upload_that_is_cut_off_leaves_nothing_and_the_next_one_works(
    told: House, api: Api, doors: Doors, door: str
) -> None:
    before = state_of_models(told, api)
    files = [(f"{name}.bin", secrets.token_bytes(1_500_000)) for name in "ab"]
    fields = {"name": f"cut-{door}"}
    whole = len(form(fields, *files))
    for keep in (700_000, whole - 1_000_000):  # in the first file; in the second, when the first is there whole
        answer = doors.upload(door, fields, *files, keep=keep)
        assert answer is not None
        assert answer.status == 400
        assert re.search(rf"cut off after {keep} of \d+ bytes\. Nothing was kept: send it again", answer.text)
        doors.upload(door, fields, *files, keep=-keep)
    until(lambda: state_of_models(told, api) == before, 10, "something of the uploads is left")
    again = doors.upload(door, fields, *files)
    assert again is not None
    assert again.status == (302 if door == "page" else 201), again.text
    row = api.get(f"models/cut-{door}/1/")
    assert row["size"] == sum(len(content) for _, content in files)
    api.call("DELETE", f"models/cut-{door}/1/")
    until(lambda: state_of_models(told, api)[::3] == before[::3], 10, "a temporary file is left")


def archive(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> bytes:
    """A tar.gz with a good file and one more."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for path, type_, target in (("model/good.bin", tarfile.REGTYPE, ""), (name, kind, to)):
            info = tarfile.TarInfo(path)
            info.type, info.linkname, info.size = type_, target, 4 if type_ == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"data"))
    return made.getvalue()


BAD_TARS = [
    (archive("model/../../evil.bin"), "'model/../../evil.bin' leads out of its folder by '..'"),
    (archive("/etc/evil"), "'/etc/evil' is an absolute path"),
    (archive("model/link", tarfile.SYMTYPE, "/etc/passwd"), "model/link is a link to /etc/passwd"),
    (archive("model/hard", tarfile.LNKTYPE, "model/good.bin"), "model/hard is a link to model/good.bin"),
    (archive("model/pipe", tarfile.FIFOTYPE), "model/pipe is a device or pipe"),
    (archive("model/more.bin")[:-20], "This is no whole tar.gz"),
]


def test_a_tar_that_leads_out_or_links_is_refused_alike_by_rest_and_page(told: House, api: Api, doors: Doors) -> None:
    before = state_of_models(told, api)
    for content, words in BAD_TARS:
        answer = doors.upload("rest", {"name": "tar"}, ("model.tar.gz", content))
        page = doors.upload("page", {"name": "tar"}, ("model.tar.gz", content))
        assert answer is not None
        assert page is not None
        same_sentence(answer, page, words)
    until(lambda: state_of_models(told, api) == before, 10, "something of the tars is left")


def same_sentence(rest: Answer, page: Answer, words: str) -> None:
    """Both doors say no with the same words and status."""
    detail = rest.json()["detail"]
    assert words in detail
    assert rest.status == page.status == 422, (rest.text, page.status)
    assert detail in html.unescape(page.text), detail


BAD_SCRIPTS = [
    ("def init():\n    pass\n", "score.py defines no run()"),
    ("def run(data):\n    return 1\n", "score.py defines no init()"),
    ("import os\n", "score.py defines no init() and run()"),
    ("def init():\n    pass\n\ndef run(data)\n    return 1\n", "score.py does not parse: line 4: expected ':'"),
]


def rows_of(api: Api) -> list[Any]:
    """Everything that a refused deployment or change could leave."""
    lists = ("operations/?page_size=200", "services/", "endpoints/", "compute-targets/", "audit/?page_size=200")
    return [[row.get("id") or row.get("name") or row["at"] for row in api.get(path)["items"]] for path in lists]


def refused_scripts() -> list[tuple[Json, Json, str]]:
    """A service by REST, the same by form, and words of the refusal."""
    found = []
    for script, words in BAD_SCRIPTS:
        body = {"name": "none", "compute_target": "demo", **what(script)}
        fields = {**DEPLOY_FORM, "code": script}
        found.append((body, fields, words))
    both = {"numReplicas": 2, "autoScaler": {"autoscaleEnabled": True, "minReplicas": 1}}
    body = {"name": "none", "compute_target": "demo", **what(good("x")), "deployment_config": both}
    found.append((body, {**DEPLOY_FORM, "deployment_config": json.dumps(both)}, "numReplicas"))
    return found


DEPLOY_FORM = {
    "name": "none", "compute_target": "demo", "environment": "iris:1", "entry_script": "score.py",
    "code": good("x"), "scaling": "fixed", "replicas": "1", "cpu": "0.1", "memory": "0.3", "auth": "Key",
}  # fmt: skip


def test_rules_are_refused_with_one_sentence_by_rest_and_page_and_nothing_changes(api: Api, doors: Doors) -> None:
    before = rows_of(api)
    for body, fields, words in refused_scripts():
        same_sentence(doors.rest("services/", body), doors.page("new/service/", fields), words)
    small = {"name": "small", "purpose": "FastProd", "vm_size": "Standard_D4s_v3", "node_count": 2}
    rest = doors.rest("compute-targets/", small)
    same_sentence(rest, doors.page("new/compute/", small), "Standard_D4s_v3")
    assert all(number in rest.json()["detail"] for number in ("4", "2", "8", "12", "3"))
    shown = api.get("endpoints/demo/")
    split = {"v1": {"traffic_percentile": 60}, "v2": {"traffic_percentile": 60}}
    rest = doors.rest("endpoints/demo/traffic/", {"generation": shown["generation"], "versions": split}, "PATCH")
    draft = {"generation": shown["generation"], "share-v1": "60", "share-v2": "60"}
    same_sentence(rest, doors.page("endpoints/demo/traffic/", draft), "120")
    assert rows_of(api) == before
    assert api.get("endpoints/demo/")["generation"] == shown["generation"]


@dataclass
class Told:
    """What the stories of bad deployments left to look at."""

    ops: dict[str, Json] = field(default_factory=dict)
    shown: dict[str, Json] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    callers: dict[str, Caller] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)


def ended(api: Api, accepted: Json) -> Json:
    """The operation when it is over, however."""
    got: Json = {}

    def over() -> bool:
        got.update(api.get(accepted["url"]))
        return got["state"] in ENDED

    until(over, 150, f"{accepted['kind']} of {accepted['target']} did not end", 0.3)
    return got


class Story:
    """Operations one after the other; the first of `note` names what is kept."""

    def __init__(self, api: Api, told: Told) -> None:
        self.api, self.told = api, told

    def do(self, note: str, method: str, path: str, body: Any = None, shown: str = "") -> Json:
        """A change and its end; `shown` is what to look at afterwards."""
        self.told.ops[note] = done = ended(self.api, self.api.call(method, path, body))
        if shown:
            self.told.shown[note] = self.api.get(shown)
        return done

    def answer(self, note: str, name: str, key: str = "") -> None:
        """What a service or endpoint answers now."""
        uri = self.api.get(name)["scoring_uri"]
        link = traffic.connect(uri)
        version, problem, said = traffic.ask(link, uri, key, b"{}")
        link.close()
        self.told.answers[note] = problem or (version, said)

    def calls(self, name: str, key: str = "", path: str = "services/{}/") -> Any:
        """A client that scores without end."""
        self.told.callers[name] = caller = Caller(self.api.get(path.format(name))["scoring_uri"], key, pause=0.1)
        return caller.scoring()

    def bad_init(self) -> None:
        """A new service whose init() raises; then repaired."""
        primary, secondary = (f"planted-{secrets.token_hex(12)}" for _ in range(2))
        self.told.keys += [primary, secondary]
        bad = what(RAISES, keys={"primaryKey": primary, "secondaryKey": secondary})
        self.do(
            "init", "POST", "services/", {"name": "bad-init", "compute_target": "demo", **bad}, "services/bad-init/"
        )
        self.do("init repaired", "PATCH", "services/bad-init/", {"code": what(good("whole"))["code"]})
        self.answer("init repaired", "services/bad-init/", primary)

    def bad_pip(self) -> None:
        """A new service whose environment cannot be built; built again, run again; then another environment."""
        version = self.api.call("POST", "environments/", {"name": "bad-pip", "pip": [MISSING]})["version"]
        name, path = f"bad-pip:{version}", f"environments/bad-pip/{version}/"
        body = {"name": "bad-pip", "compute_target": "demo", **what(good("built"), name, **OPEN)}
        self.do("pip", "POST", "services/", body, path)
        self.told.shown["pip service"] = self.api.get("services/bad-pip/")
        built = self.do("pip build", "POST", f"{path}build/", None, path)
        self.do("pip retry", "POST", f"operations/{built['id']}/retry/", None, path)
        self.do("pip repaired", "PATCH", "services/bad-pip/", {"environment": "iris:1"})
        self.answer("pip repaired", "services/bad-pip/")

    def steady(self) -> None:
        """A service that serves while an update raises (which asks for keys, too) and one cannot be built."""
        path = "services/steady/"
        body = {"name": "steady", "compute_target": "demo", **what(good("first"), **OPEN)}
        self.do("steady", "POST", "services/", body)
        with self.calls("steady"):
            locked = what(RAISES, authEnabled=True)
            self.do("update init", "PATCH", path, {each: locked[each] for each in ("code", "deployment_config")}, path)
            self.answer("update init", path)
            row = self.api.call("POST", "environments/", {"name": "bad-pip", "pip": [MISSING, "numpy"]})
            self.do("update pip", "PATCH", path, {"environment": f"bad-pip:{row['version']}"}, path)
            self.answer("update pip", path)
            self.do("update good", "PATCH", path, {"code": what(good("second"))["code"]}, path)
            self.answer("update good", path)

    def many(self) -> None:
        """An endpoint that serves while no node can hold its second version, nor an update of its first."""
        path = "endpoints/many/"
        body = {"name": "many", "compute_target": "demo", "version": "v1", **what(good("first"), **OPEN)}
        self.do("many", "POST", "endpoints/", body)
        with self.calls("many", path="endpoints/{}/"):
            second = {"version": "v2", "traffic_percentile": 50, **what(good("second"), **HUGE)}
            self.do("size", "POST", f"{path}versions/", second, path)
            self.do(
                "update size", "PATCH", f"{path}versions/v1/", {"deployment_config": second["deployment_config"]}, path
            )
            self.answer("update size", path)
            self.do("version removed", "DELETE", f"{path}versions/v2/", None, path)


@pytest.fixture(scope="module")
def ran(told: House, api: Api) -> Iterator[Told]:
    """All stories at the same time, beside the demo's endpoint, which a client calls throughout."""
    kept, demo = Told(), json.loads(told.file("demo.json").read_text())
    story = Story(api, kept)
    stories: list[Callable[[], None]] = [story.bad_init, story.bad_pip, story.steady, story.many]
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(len(stories)))
        kept.callers["demo"] = Caller(
            demo["scoring_uri"], demo["keys"]["primary"], body=json.dumps(demo["sample"]).encode(), pause=0.1
        )
        stack.enter_context(kept.callers["demo"].scoring())
        for running in [pool.submit(each) for each in stories]:
            running.result()
    yield kept
    paths = [f"{'endpoints' if name == 'many' else 'services'}/{name}/" for name in MINE]
    for accepted in [api.call("DELETE", path) for path in paths if api.find(path)]:
        assert ended(api, accepted)["state"] == "Succeeded"


def failed(op: Json, state: str, step: str, *words: str) -> Json:
    """The error of an operation that ended rightly: state, step, words of its sentence, and evidence."""
    error = dict(op["error"] or {})
    assert (op["state"], error.get("step")) == (state, step), op
    assert [(row["name"]) for row in op["steps"] if row["state"] == "failed"] == [step]
    assert [word for word in words if word not in error["detail"]] == [], error["detail"]
    assert error["evidence"]
    return error


def test_requirements_that_cannot_be_installed_fail_the_build_with_its_log(ran: Told, api: Api, doors: Doors) -> None:
    error = failed(ran.ops["pip"], "Failed", "await_environment", "bad-pip:", f"no version of {MISSING}")
    assert MISSING in error["evidence"]
    assert "uv pip install" in error["evidence"]
    for note in ("pip", "pip build", "pip retry"):
        assert (ran.shown[note]["state"], ran.shown[note]["reason"]) == ("Failed", error["detail"])
        assert failed(ran.ops[note], "Failed", "await_environment")["detail"] == error["detail"]
    assert ran.ops["pip build"]["id"] == ran.ops["pip retry"]["id"]
    service = ran.shown["pip service"]
    assert (service["state"], service["reason"]) == ("Failed", error["detail"])
    log = api.get(f"environments/bad-pip/{ran.shown['pip']['version']}/log/")
    assert MISSING in json.dumps(log)
    assert ran.ops["pip repaired"]["state"] == "Succeeded"
    assert ran.answers["pip repaired"] == ("v1", "built")


def test_an_init_that_raises_fails_the_wait_for_replicas_with_its_traceback(ran: Told) -> None:
    cause = "ValueError: weights.bin has 3 layers, not 5"
    error = failed(ran.ops["init"], "Failed", "await_replicas", "init() failed", cause)
    assert re.search(r"Traceback.*score\.py\", line 2, in init.*" + re.escape(cause), error["evidence"], re.DOTALL)
    shown = ran.shown["init"]
    assert (shown["state"], shown["reason"]) == ("Failed", error["detail"])
    assert "callers get 503" in shown["versions"]["v1"]["note"]
    assert ran.ops["init repaired"]["state"] == "Succeeded"
    assert ran.answers["init repaired"] == ("v1", "whole")


def test_replicas_that_no_node_can_hold_are_unschedulable_with_the_numbers(ran: Told) -> None:
    event = r"0/\d nodes are available: \d Insufficient cpu\."
    for note, state in (("size", "Failed"), ("update size", "RolledBack")):
        error = failed(ran.ops[note], state, "await_replicas", "asks for 3.9 CPU, 1 GiB of memory")
        assert error["code"] == "unschedulable"
        assert re.search(event + r" The most that one node has free: CPU [\d.]+ \(aks-", error["detail"])
        assert re.search("Warning FailedScheduling: " + event, error["evidence"])


def test_a_failed_update_leaves_what_served_and_says_so(ran: Told) -> None:
    steps = {"update init": "await_replicas", "update pip": "await_environment", "update size": "await_replicas"}
    revisions = {"update init": 2, "update pip": 3, "update size": 2}
    for note, step in steps.items():
        error = failed(ran.ops[note], "RolledBack", step)
        assert ran.ops[note]["steps"][-1]["name"] == "restore_workload"
        shown = ran.shown[note]
        row = shown["versions"]["v1"]
        assert (shown["state"], row["state"], row["revision"], row["effective_share"]) == ("Healthy", "Healthy", 1, 100)
        assert row["reason"] == f"The change to revision {revisions[note]} failed: {error['detail']}"
        assert shown["auth"] == "None"
        assert ran.answers[note] == ("v1", "first")
    last = ran.shown["update good"]["versions"]["v1"]
    assert (ran.ops["update good"]["state"], ran.answers["update good"]) == ("Succeeded", ("v1", "second"))
    assert (last["state"], last["reason"], last["revision"]) == ("Healthy", "", 4)


def test_a_version_that_fails_gets_none_of_the_share_that_it_was_given(ran: Told) -> None:
    shown = ran.shown["size"]["versions"]
    assert (shown["v2"]["state"], shown["v2"]["reason"]) == ("Unschedulable", ran.ops["size"]["error"]["detail"])
    assert (shown["v2"]["traffic_percentile"], shown["v2"]["effective_share"]) == (50, 0)
    assert shown["v2"]["note"] == "v2 has no ready replica: its 50 % goes to v1."
    assert shown["v1"]["effective_share"] == 100
    assert set(ran.callers["many"].counted) == {"v1"}
    assert ran.ops["version removed"]["state"] == "Succeeded"
    assert set(ran.shown["version removed"]["versions"]) == {"v1"}


def test_no_request_failed_while_others_went_wrong(ran: Told) -> None:
    assert {name: caller.failures for name, caller in ran.callers.items() if caller.failures} == {}
    assert min(sum(caller.counted.values()) for caller in ran.callers.values()) > 50


def test_nothing_keeps_a_target_busy(ran: Told, api: Api) -> None:
    rows = [row for row in api.get("operations/?page_size=200")["items"] if row["target"].startswith(MINE)]
    assert len(rows) == len({op["id"] for op in ran.ops.values()})
    assert [row for row in rows if row["state"] not in ENDED] == []


def test_the_page_of_a_failed_operation_shows_step_sentence_and_evidence(ran: Told, known: Json, cookie: str) -> None:
    for note in ("pip", "init", "size", "update init"):
        op = ran.ops[note]
        page = ask(f"{known['http_url']}/w/{known['workspace']}/operations/{op['id']}/", Cookie=cookie)
        text = html.unescape(page.text)
        assert op["error"]["detail"] in text
        assert op["error"]["evidence"].splitlines()[-1] in text
        assert 'class="failed"' in text


def test_no_secret_is_in_what_went_wrong(ran: Told, told: House, known: Json, api: Api) -> None:
    files = ("arm_token", "blob_key", "broker_password", "sandbox_admin_token", "secret_key", "secret_keys")
    secret = [
        *ran.keys,
        known["api_token"],
        known["password"],
        *(told.file(name).read_text().strip() for name in files),
    ]
    secret += [path.read_text() for path in told.file("sandbox", "pods").rglob("token/token")]
    jobs = [f"operations/{op['id']}/{end}" for op in ran.ops.values() for end in ("", "log/")]
    places = {path: json.dumps(api.get(path)) for path in ["audit/?page_size=200", *jobs]}
    places |= {note: json.dumps(shown) for note, shown in ran.shown.items()}
    assert len(secret) > len(files) + 4
    assert [place for place, text in places.items() for mark in secret if mark in text] == []
