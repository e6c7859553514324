"""The worker dies at every step of every plan: each operation ends rightly, and the cloud sees each change once.

The steps are those of `operations.define`; the operations run in this process against the home's pretend cloud.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from compute import queries as compute
from compute.arm import Arm
from deployments.manifests import workload_name
from deployments.models import Deployment, Environment
from endpoints.models import Endpoint, Gateway
from portal import actions
from portal.models import Operation, User, Workspace
from portal.operations.plans import plan_of
from portal.types import ACTIVE_STATES, OperationKind
from tests.journeys.crash.house import House, score, target, until, what
from tests.journeys.crash.killer import MOMENTS, Killer

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300), pytest.mark.django_db(transaction=True)]
RAISING = "def init():\n    raise RuntimeError('no model')\n\n\ndef run(data):\n    return data\n"


@pytest.fixture
def owner(house: House, settings: Any, tmp_path: Any, live_server: Any) -> Iterator[APIClient]:
    """The REST API of a workspace in this process, on the home's pretend cloud."""
    known = json.loads(house.file("credentials.json").read_text())
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8"]
    settings.URL_FOR_CLUSTERS = live_server.url
    settings.GATEWAY_HTTP_PORT, settings.GATEWAY_HTTPS_PORT = 8080, 8443
    settings.STORAGES = {
        **settings.STORAGES,
        "artifacts": {
            "BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path)},
        },
    }  # fmt: skip
    compute._open.clear()
    user = User.objects.create(username="owner")
    team = actions.team_create(slug="steps", name="Steps", owner=user)
    actions.workspace_create(
        team=team, slug="steps", name="steps", subscription_id=known["subscription_id"],
        resource_group=known["resource_group"], region="westeurope", registry="slipwaysandbox", actor=user,
        arm_endpoint=known["arm_url"],
        arm_credential=json.dumps({"kind": "static", "token": known["arm_token"]}),
        arm_ca_file=known["ca_file"],
    )  # fmt: skip
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {actions.token_create(user=user, name='t')[1]}")
    yield client
    end_pods(house)


def end_pods(house: House) -> None:
    """The clusters of a test go, as their pods would go on to ask its server."""
    mine = [row for row in house.admin("GET", "state")["clusters"] if row["name"].startswith("steps-")]
    for row in mine:
        house.admin("DELETE", f"arm/clusters/slipway/{row['name']}")
    ids = {row["id"] for row in mine}
    until(lambda: not [pod for pod in house.admin("GET", "state")["pods"] if pod["cluster"] in ids], 30, "no pods")


def ask(owner: APIClient, method: str, path: str, body: Any = None) -> Any:
    answer = getattr(owner, method)(f"/api/v1/workspaces/steps/{path}", body, format="json")
    assert answer.status_code < 300, answer.content
    return answer.json() if answer.content else None


def script() -> list[tuple[OperationKind, str, str, Callable[[APIClient], Any]]]:
    """One operation of each kind, in an order in which each finds what it needs."""
    kind = OperationKind
    service = {"name": "one", "compute_target": "steps", **what("namer:1")}
    endpoint = {"name": "two", "compute_target": "steps", "version": "v1", **what("namer:1")}
    pool = {"name": "extra", "vm_size": "Standard_D2s_v3"}
    bounds = {"min_count": 2, "max_count": 3}

    def split(owner: APIClient) -> Any:
        generation = ask(owner, "get", "endpoints/two/")["generation"]
        return {"generation": generation, "versions": {"v2": {"traffic_percentile": 50}}}

    return [
        (kind.COMPUTE_CREATE, "post", "compute-targets/", lambda _: target("steps")),
        (kind.ENVIRONMENT_BUILD, "post", "environments/bare/1/build/", lambda _: {}),
        (kind.SERVICE_CREATE, "post", "services/", lambda _: service),
        (kind.SERVICE_UPDATE, "patch", "services/one/", lambda _: what("namer:2")),
        (kind.ENDPOINT_CREATE, "post", "endpoints/", lambda _: endpoint),
        (kind.VERSION_CREATE, "post", "endpoints/two/versions/", lambda _: {"version": "v2", **what("namer:2")}),
        (kind.ENDPOINT_UPDATE, "patch", "endpoints/two/traffic/", split),
        (kind.GATEWAY_UPDATE, "post", "compute-targets/steps/gateway/certificate/", lambda _: {"made": True}),
        (kind.VERSION_UPDATE, "patch", "endpoints/two/versions/v2/", lambda _: what("namer:1")),
        (kind.ENDPOINT_PUT_BACK, "post", "endpoints/two/put-back/", lambda _: {}),
        (kind.GATEWAY_PUT_BACK, "post", "compute-targets/steps/gateway/put-back/", lambda _: {}),
        (kind.VERSION_DELETE, "delete", "endpoints/two/versions/v2/", lambda _: None),
        (kind.ENDPOINT_DELETE, "delete", "endpoints/two/", lambda _: None),
        (kind.SERVICE_DELETE, "delete", "services/one/", lambda _: None),
        (kind.POOL_ADD, "post", "compute-targets/steps/pools/", lambda _: pool),
        (kind.POOL_SCALE, "post", "compute-targets/steps/pools/extra/scale/", lambda _: {"count": 2}),
        (kind.POOL_REMOVE, "delete", "compute-targets/steps/pools/extra/", lambda _: None),
        (kind.COMPUTE_SCALE, "post", "compute-targets/steps/scale/", lambda _: {"node_count": 2}),
        (
            kind.COMPUTE_AUTOSCALER,
            "post",
            "compute-targets/steps/autoscaler/",
            lambda _: bounds,
        ),
        (kind.COMPUTE_STOP, "post", "compute-targets/steps/stop/", lambda _: {}),
        (kind.COMPUTE_START, "post", "compute-targets/steps/start/", lambda _: {}),
        (kind.COMPUTE_DETACH, "post", "compute-targets/steps/detach/", lambda _: {}),
        (kind.COMPUTE_ATTACH, "post", "compute-targets/attach/", given),
        (kind.COMPUTE_KUBECONFIG, "put", "compute-targets/steps/kubeconfig/", kubeconfig),
        (kind.COMPUTE_DETACH, "post", "compute-targets/steps/detach/", lambda _: {}),
        (kind.COMPUTE_ATTACH, "post", "compute-targets/attach/", attachment),
        (kind.COMPUTE_DELETE, "delete", "compute-targets/steps/?force=true", lambda _: None),
    ]


def cluster_name() -> str:
    """What the cluster is called in Azure."""
    return f"steps-{Operation.objects.get(kind=OperationKind.COMPUTE_CREATE).input['target_id']}"


def attachment(owner: APIClient) -> Any:
    return {"name": "steps", "resource_group": "slipway", "cluster_name": cluster_name(), "purpose": "DevTest"}


def kubeconfig(owner: APIClient) -> Any:
    """What somebody fetched from Azure by hand."""
    content = compute.arm_of(Workspace.objects.get()).credentials("slipway", cluster_name())
    return {"kubeconfig": content.decode()}


def given(owner: APIClient) -> Any:
    return {"name": "steps", "purpose": "DevTest", **kubeconfig(owner)}


class Ledger:
    """What the cloud changed in each step of an operation for the portal's sake; nudges of pods do not count."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._began: dict[tuple[bool, int], dict[str, int]] = {}

    def watch(self, op: Operation) -> None:
        """Note where the cloud's logs stand when a step begins."""
        if (op.is_undoing, op.step) not in self._began:
            self._began[op.is_undoing, op.step] = self._now()

    def _now(self) -> dict[str, int]:
        return {log: len(self._house.noted(log)) for log in ("arm", "kube")}

    def steps(self) -> dict[tuple[bool, int], Counter[str]]:
        """(undoing, step) -> how often each object was changed, by method and path."""
        ends = [*list(self._began.values())[1:], self._now()]
        spans = zip(self._began.items(), ends, strict=True)
        return {step: self._changes(since, until) for (step, since), until in spans}

    def _changes(self, since: dict[str, int], until: dict[str, int]) -> Counter[str]:
        lines = [line for log, count in since.items() for line in self._house.noted(log)[count : until[log]]]
        paths = [f"{line['method']} {line['path']}" for line in lines if line["user"] in ("arm", "clusterUser")]
        return Counter(path for path in paths if not re.search(r"/pods/|/listCluster|Url$", path))


def each_once(steps: Iterable[Counter[str]]) -> Counter[str]:
    """No step changed anything twice; what all of them did. A step may publish to the gateway what another did not."""
    total: Counter[str] = Counter()
    for seen in steps:
        assert not seen or max(seen.values()) == 1, seen
        total += seen
    again = {path for path, count in total.items() if count > 1}
    assert {path.rpartition("/")[2] for path in again} <= {"gateway-config", "gateway-secret"}, again
    return total


def furnish(owner: APIClient, **environment: Any) -> None:
    """Two models and an environment that is not built."""
    for content in (b"one", b"two"):
        body = {"name": "namer", "paths": "name.txt", "files": SimpleUploadedFile("name.txt", content)}
        assert owner.post("/api/v1/workspaces/steps/models/", body, format="multipart").status_code == 201
    ask(owner, "post", "environments/", {"name": "bare", **environment})


def struck_everywhere(killer: Killer, steps: int, *, undoing: bool = False) -> None:
    """The worker died before each of the steps, and between its call and the commit."""
    struck = {(moment, step) for moment, undo, step, _ in killer.met if undo == undoing}
    everywhere = {(moment, step) for moment in MOMENTS[:1] + MOMENTS[2:3] for step in range(steps)}
    assert struck >= everywhere, everywhere - struck


def nobody_holds_anything() -> None:
    """No operation runs, and nobody has a lease."""
    assert not Operation.objects.filter(state__in=ACTIVE_STATES).exists()
    assert not Operation.objects.filter(leased_until__isnull=False).exists()
    assert not Gateway.objects.filter(leased_until__isnull=False).exists()


def test_a_worker_killed_at_every_step_of_every_plan(
    owner: APIClient, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(owner, pip=["joblib>=1"])  # not the content that the house has built: it is built while the worker dies
    steps = script()
    assert {kind for kind, *_ in steps} == set(OperationKind), "a kind of operation is missing here"
    killer = Killer(monkeypatch, MOMENTS)
    found = spy_on_searches(monkeypatch)
    for kind, method, path, body in steps:
        ledger = Ledger(house)
        ask(owner, method, path, body(owner))
        op = killer.run(Operation.objects.get(state__in=ACTIVE_STATES), ledger.watch)
        assert (op.kind, op.state) == (kind, "Succeeded"), (op.error, op.memo)
        struck_everywhere(killer, len(plan_of(kind).steps))
        seen = each_once(ledger.steps().values())
        nobody_holds_anything()
        if kind == OperationKind.ENDPOINT_UPDATE:
            assert [path.rpartition("/")[2] for path in seen] == ["gateway-config"]
        if kind == OperationKind.ENVIRONMENT_BUILD:
            assert None in found, "the build that the dead worker had queued was over before anyone looked for it"
            assert found[-1] == Environment.objects.get(name="bare").run_id
            assert [count for path, count in seen.items() if path.endswith("/scheduleRun")] == [1]


def spy_on_searches(patch: pytest.MonkeyPatch) -> list[str | None]:
    """What the searches for a build that a dead worker may have queued answer from now on."""
    answers: list[str | None] = []
    real = Arm.build_find

    def search(this: Arm, *args: Any) -> str | None:
        answers.append(real(this, *args))
        return answers[-1]

    patch.setattr(Arm, "build_find", search)
    return answers


def broken(plain: dict[str, Any]) -> dict[str, Any]:
    """The same deployment with a script that cannot start."""
    return {**plain, "code": {"files": {"score.py": RAISING}}}


def test_a_worker_killed_at_every_step_of_undoing_a_change(
    owner: APIClient, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each plan with undo steps fails late by a script that raises, and is cancelled at its last step."""
    plain, kind = {"compute_target": "steps", **what("namer:1", authEnabled=False)}, OperationKind
    undoable = {kind.SERVICE_UPDATE: "services/one/", kind.VERSION_UPDATE: "endpoints/two/versions/v1/"}
    assert set(undoable) == {each for each in OperationKind if plan_of(each).undo}, "a plan with undo is missing here"
    furnish(owner, pip=["joblib"])
    plainly = Killer(monkeypatch, ())
    for path, body in (
        ("compute-targets/", target("steps")), ("environments/bare/1/build/", {}),
        ("services/", {"name": "one", **plain}), ("endpoints/", {"name": "two", "version": "v1", **plain}),
    ):  # fmt: skip
        ask(owner, "post", path, body)
        op = plainly.run(Operation.objects.get(state__in=ACTIVE_STATES))
        assert op.state == "Succeeded", op.error
    killer = Killer(monkeypatch, MOMENTS)
    for plan, path in undoable.items():
        undo(owner, house, killer, (plan, path), broken(what("namer:2")), "RolledBack")
        undo(owner, house, killer, (plan, path), what("namer:2"), "Cancelled")
        row = Endpoint.objects.get(name=path.split("/")[1])
        assert row.state == "Healthy"
        until(partial(is_answered_by, row.scoring_uri, "one"), 20, "what served before serves alone")


def is_answered_by(uri: str, model: str) -> bool:
    return {score(uri)["model"] for _ in range(5)} == {model}


def undo(
    owner: APIClient, house: House, killer: Killer, what_is_changed: tuple[OperationKind, str], body: Any, ending: str
) -> None:
    """Change, let it fail or cancel it at its last step, and die at every step of the way back."""
    kind, path = what_is_changed
    last = len(plan_of(kind).steps) - 1
    ledger = Ledger(house)

    def watch(op: Operation) -> None:
        ledger.watch(op)
        if ending == "Cancelled" and op.step == last and not op.is_cancel_requested:
            ask(owner, "post", f"operations/{op.pk}/cancel/")

    ask(owner, "patch", path, body)
    op = killer.run(Operation.objects.get(state__in=ACTIVE_STATES), watch)
    assert (op.kind, op.state) == (kind, ending), (op.error, op.memo)
    struck_everywhere(killer, len(plan_of(kind).undo), undoing=True)
    assert ("after a change outside", True) in {(moment, undoing) for moment, undoing, *_ in killer.met}
    each_once(seen for (undoing, _), seen in ledger.steps().items() if not undoing)
    back = each_once(seen for (undoing, _), seen in ledger.steps().items() if undoing)
    deployment = Deployment.objects.get(pk=op.input["deployment_id"])
    assert deployment.revision == deployment.serving_revision < op.input["revision"]
    assert [count for path, count in back.items() if path.endswith(f"/deployments/{workload_name(deployment)}")] == [1]
    nobody_holds_anything()
