"""The story: cluster, models, endpoint, second version, 20 % of real traffic, promotion, more nodes."""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from portal.launcher.demo import models, traffic
from portal.launcher.demo.client import Api, Refused
from portal.launcher.errors import Stop
from portal.launcher.home import Home, write_private

REQUESTS = 1000
MODEL_OF = {"v1": "linear", "v2": "forest"}
COUNTER_SECONDS = 30
VM_SIZE, NODES = "Standard_D4s_v3", 3


@dataclass
class Line:
    """One row of the table at the end."""

    phase: str
    version: str
    wanted: float
    client: int
    total: int
    gateway: int
    low: int
    high: int

    @property
    def is_good(self) -> bool:
        """Within the 99 % interval, and the gateway counted what we counted."""
        return self.low <= self.client <= self.high and self.client == self.gateway


@dataclass
class Story:
    """What the demo knows while it runs."""

    home: Home
    api: Api
    known: dict[str, Any]
    name: str
    trained: models.Trained
    keys: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """One line of progress with the seconds since the start."""
        print(f"[{time.monotonic() - self.began:5.0f} s] {text}", flush=True)

    @property
    def endpoint(self) -> str:
        """The endpoint's path below the workspace."""
        return f"endpoints/{self.name}/"

    def shown(self) -> dict[str, Any]:
        """The endpoint as REST shows it."""
        return dict(self.api.get(self.endpoint))


def run(home: Home, credentials: dict[str, Any], *, keep: bool) -> int:
    """Tell the story on a running portal; 0 when everything was as it should be."""
    print("Training two scikit-learn models (once per home) …", flush=True)
    name = "demo" if keep else f"demo-{secrets.token_hex(3)}"
    story = Story(home, Api(credentials), credentials, name, models.train(home))
    try:
        prepare_cluster(story)
        deploy(story)
        measure(story, "v2 at 20 %", {"v1": 80, "v2": 20})
        promote(story)
        measure(story, "v2 promoted", {"v1": 0, "v2": 100})
        scale(story)
        if keep:
            leave(story)
    finally:
        if not keep:
            clean_up(story)
    return report(story)


def prepare_cluster(story: Story) -> None:
    """A cluster, made if it is not there yet."""
    path = f"compute-targets/{story.name}/"
    if story.api.find(path):
        story.say(f"Cluster {story.name} is there already.")
        return
    story.say(f"Creating an AKS cluster {story.name} with {NODES} nodes of {VM_SIZE}")
    body = {
        "name": story.name, "vm_size": VM_SIZE, "node_count": NODES, "purpose": "FastProd",
        "region": "westeurope", "resource_group": story.known["resource_group"],
    }  # fmt: skip
    story.api.do("POST", "compute-targets/", body)


def deploy(story: Story) -> None:
    """Models, environment, the endpoint with v1, and v2 beside it at 20 %."""
    if story.api.find(story.endpoint):
        story.say(f"Removing the endpoint {story.name} of an earlier run")
        story.api.do("DELETE", story.endpoint)
    numbers = {version: register(story, kind) for version, kind in MODEL_OF.items()}
    what: dict[str, Any] = {
        "environment": environment(story),
        "entry_script": "score.py",
        "code": {"files": {"score.py": models.SCORE}},
        "deployment_config": {
            "containerResourceRequirements": {"cpu": 0.1, "memoryInGB": 0.5},
            # On a small machine more replicas only take the CPU that scoring needs.
            "autoScaler": {"autoscaleEnabled": True, "minReplicas": 1, "maxReplicas": 2},
        },
    }
    story.say("Deploying v1 to an endpoint (the first time, the registry builds the environment)")
    head = {"name": story.name, "compute_target": story.name, "version": "v1"}
    story.api.do("POST", "endpoints/", {**head, "models": [numbers["v1"]], **what})
    story.say("Deploying v2 beside it, without traffic")
    story.api.do(
        "POST",
        f"{story.endpoint}versions/",
        {"version": "v2", "models": [numbers["v2"]], "traffic_percentile": 0, **what},
    )
    story.say("Moving 20 % of the traffic to v2")
    split(story, {"v2": {"traffic_percentile": 20}})
    story.keys = story.api.call("POST", f"{story.endpoint}keys/")


def register(story: Story, kind: str) -> str:
    """Upload a model, unless the newest version of it is the same; "name:version"."""
    name = f"iris-{kind}"
    newest = story.api.find(f"models/{name}/")
    size = len(story.trained.pickles[kind])
    rows = newest["items"] if newest else []
    if rows and rows[0]["size"] == size:
        return f"{name}:{rows[0]['version']}"
    fields = {"name": name, "paths": "model.pkl", "framework": "ScikitLearn", "description": "Made by ./slipway demo"}
    row = story.api.upload("models/", fields, ("model.pkl", story.trained.pickles[kind]))
    story.say(f"Registered model {name}:{row['version']} ({size:,} bytes)")
    return f"{name}:{row['version']}"


def environment(story: Story) -> str:
    """The scoring environment, registered once; "name:version"."""
    rows = story.api.get("environments/?name=iris")["items"]
    pip = list(models.PACKAGES)
    found = next((row for row in rows if row["spec"].get("pip") == pip and row["state"] != "Failed"), None)
    row = found or story.api.call("POST", "environments/", {"name": "iris", "pip": pip})
    return f"iris:{row['version']}"


def split(story: Story, versions: dict[str, Any]) -> None:
    """Change the traffic; it is in force one second after the operation's end at the latest."""
    story.api.do(
        "PATCH", f"{story.endpoint}traffic/", {"generation": story.shown()["generation"], "versions": versions}
    )
    time.sleep(1)


def measure(story: Story, phase: str, wanted: dict[str, float]) -> None:
    """Send requests and note who answered. Outside the 99 % interval (1 fair draw of 100) it is drawn again."""
    story.say(f"Sending {REQUESTS} scoring requests: {phase}")
    lines = _draw(story, phase, wanted)
    if not all(line.low <= line.client <= line.high for line in lines):
        story.say("Outside the 99 % interval; drawing once more")
        lines = _draw(story, f"{phase}, again", wanted)
    story.lines += lines


def _draw(story: Story, phase: str, wanted: dict[str, float]) -> list[Line]:
    bodies = [story.trained.body(index) for index in range(REQUESTS)]
    count = traffic.send(story.shown()["scoring_uri"], story.keys["primary"], bodies, _judge(story))
    if count.failures:
        story.complaints.append(f"{phase}: {len(count.failures)} requests failed, the first with {count.failures[0]}")
    if count.wrong:
        story.complaints.append(f"{phase}: {count.wrong} answers differ from the model loaded directly")
    before = story.counted.copy()
    story.counted.update(count.versions)
    seen = _gateway_counts(story)
    return [
        Line(phase, version, share, count.versions[version], count.total, seen[version] - before[version],
             *traffic.interval(share, count.total))
        for version, share in wanted.items()
    ]  # fmt: skip


def _judge(story: Story) -> Any:
    def is_right(version: str, index: int, answer: Any) -> bool:
        return version in MODEL_OF and story.trained.is_right(MODEL_OF[version], index, answer)

    return is_right


def _gateway_counts(story: Story) -> Counter[str]:
    """What the gateway counted since the endpoint began; waits until it has caught up with the client."""
    until = time.monotonic() + COUNTER_SECONDS
    while True:
        seen: Counter[str] = Counter()
        for sample in story.api.get(f"{story.endpoint}metrics/")["samples"]:
            seen[sample["version"]] += int(sample["requests"])
        if seen == story.counted or time.monotonic() > until:
            return seen
        time.sleep(1)


def promote(story: Story) -> None:
    """All traffic to v2, which becomes the default."""
    story.say("Promoting v2: all traffic, and the default")
    split(story, {"v1": {"traffic_percentile": 0}, "v2": {"traffic_percentile": 100, "is_default": True}})


def scale(story: Story) -> None:
    """One node more, or back to where it began when an earlier run added it."""
    path = f"compute-targets/{story.name}/"
    wanted = NODES + 1 if story.api.get(path)["node_count"] == NODES else NODES
    story.say(f"Scaling the cluster to {wanted} nodes")
    story.api.do("POST", f"{path}scale/", {"node_count": wanted})
    until = time.monotonic() + 60
    while (found := story.api.get(path)["observed"].get("nodes_ready")) != wanted:
        if time.monotonic() > until:
            story.complaints.append(f"the cluster shows {found} ready nodes, not {wanted}")
            return
        time.sleep(1)
    story.say(f"{wanted} nodes are ready")


def leave(story: Story) -> None:
    """Leave the endpoint up, with both versions in use, and write down how to reach it."""
    split(story, {"v1": {"traffic_percentile": 20}, "v2": {"traffic_percentile": 80}})
    shown = story.shown()
    target = story.api.get(f"compute-targets/{story.name}/")
    kept = {
        "workspace": story.known["workspace"],
        "resource_group": target["resource_group"],
        "compute_target": story.name,
        "cluster": target["cluster_name"],
        "endpoint": story.name,
        "scoring_uri": shown["scoring_uri"],
        "keys": {slot: story.keys[slot] for slot in ("primary", "secondary")},
        "versions": {name: row["effective_share"] for name, row in shown["versions"].items()},
        "default": shown["default_version"],
        "sample": json.loads(story.trained.body(0)),
    }
    write_private(story.home.file("demo.json"), json.dumps(kept, indent=1) + "\n")
    story.say(f"The endpoint stays up: {kept['scoring_uri']} (keys in {story.home.file('demo.json')})")


def clean_up(story: Story) -> None:
    """Take away what this run made; what cannot be taken away is said."""
    for path in (story.endpoint, f"compute-targets/{story.name}/"):
        try:
            if story.api.find(path):
                story.say(f"Removing {path.rstrip('/')}")
                story.api.do("DELETE", path)
        except Refused as refusal:
            story.complaints.append(f"{path} stays: {refusal}")
        except Stop as error:
            story.say(f"{path} stays: {error}")


def report(story: Story) -> int:
    """The table and the verdict."""
    print(f"\n{'phase':<20} {'version':<8} {'wanted':>8} {'answered':>9} {'client':>7} {'gateway':>8}  99 % interval")
    for line in story.lines:
        percent = 100 * line.client / line.total if line.total else 0.0
        print(
            f"{line.phase:<20} {line.version:<8} {line.wanted:>7.1f}% {percent:>8.1f}% {line.client:>7}"
            f" {line.gateway:>8}  {line.low}–{line.high}{'' if line.is_good else '   <- not as it should be'}"
        )
    bad = [f"{line.phase}: {line.version} answered {line.client} times" for line in story.lines if not line.is_good]
    for complaint in [*story.complaints, *bad]:
        print(f"NOT GOOD: {complaint}")
    if story.complaints or bad or not story.lines:
        return 1
    total = sum(line.client for line in story.lines)
    print(f"All {total} answers came from the right model and equal those of the models loaded directly.")
    return 0
