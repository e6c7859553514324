"""The worker dies at every step of every plan: each operation ends rightly, and the cloud sees each change once.

The steps are those of `operations.define`; the operations run in this process against the home's pretend cloud.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from compute import queries as compute
from portal import actions
from portal.models import Operation, User
from portal.operations.plans import plan_of
from portal.types import ACTIVE_STATES, OperationKind
from tests.journeys.crash.house import House, target, what
from tests.journeys.crash.killer import MOMENTS, Killer

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300), pytest.mark.django_db(transaction=True)]
# The gateway's two files: a publisher that dies in a write leaves no note of it, so that the next one writes the same
# routes again under a later counter, on purpose (endpoints/steps/publish.py).
AGAIN = re.compile("/gateway-(config|secret)$")


@pytest.fixture
def owner(house: House, settings: Any, tmp_path: Any, live_server: Any) -> APIClient:
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
    return client


def ask(owner: APIClient, method: str, path: str, body: Any = None) -> Any:
    answer = getattr(owner, method)(f"/api/v1/workspaces/steps/{path}", body, format="json")
    assert answer.status_code < 300, answer.content
    return answer.json() if answer.content else None


def script() -> list[tuple[OperationKind, str, str, Callable[[APIClient], Any]]]:
    """One operation of each kind, in an order in which each finds what it needs."""
    kind = OperationKind
    service = {"name": "one", "compute_target": "steps", **what("namer:1")}
    endpoint = {"name": "two", "compute_target": "steps", "version": "v1", **what("namer:1")}

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
        (kind.VERSION_UPDATE, "patch", "endpoints/two/versions/v2/", lambda _: what("namer:1")),
        (kind.VERSION_DELETE, "delete", "endpoints/two/versions/v2/", lambda _: None),
        (kind.ENDPOINT_DELETE, "delete", "endpoints/two/", lambda _: None),
        (kind.SERVICE_DELETE, "delete", "services/one/", lambda _: None),
        (kind.COMPUTE_SCALE, "post", "compute-targets/steps/scale/", lambda _: {"node_count": 2}),
        (kind.COMPUTE_DETACH, "post", "compute-targets/steps/detach/", lambda _: {}),
        (kind.COMPUTE_ATTACH, "post", "compute-targets/attach/", attachment),
        (kind.COMPUTE_DELETE, "delete", "compute-targets/steps/?force=true", lambda _: None),
    ]


def attachment(owner: APIClient) -> Any:
    created = Operation.objects.get(kind=OperationKind.COMPUTE_CREATE)
    cluster = f"steps-{created.input['target_id']}"
    return {"name": "steps", "resource_group": "slipway", "cluster_name": cluster, "purpose": "DevTest"}


def changes(house: House, since: dict[str, int]) -> Counter[str]:
    """What the cloud changed since for the portal's sake, by method and path; nudges of pods do not count."""
    lines = [line for kind, count in since.items() for line in house.noted(kind)[count:]]
    paths = [f"{line['method']} {line['path']}" for line in lines if line["user"] in ("arm", "clusterUser")]
    return Counter(path for path in paths if not re.search(r"/pods/|/listCluster|Url$", path))


def test_a_worker_killed_at_every_step_of_every_plan(
    owner: APIClient, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content in (b"one", b"two"):
        body = {"name": "namer", "paths": "name.txt", "files": SimpleUploadedFile("name.txt", content)}
        assert owner.post("/api/v1/workspaces/steps/models/", body, format="multipart").status_code == 201
    ask(owner, "post", "environments/", {"name": "bare", "pip": ["joblib"]})
    steps = script()
    assert {kind for kind, *_ in steps} == set(OperationKind), "a kind of operation is missing here"
    killer = Killer(monkeypatch, MOMENTS)
    for kind, method, path, body in steps:
        since = {log: len(house.noted(log)) for log in ("arm", "kube")}
        ask(owner, method, path, body(owner))
        op = killer.run(Operation.objects.get(state__in=ACTIVE_STATES))
        assert (op.kind, op.state) == (kind, "Succeeded"), (op.error, op.memo)
        names = [step.name for step in plan_of(kind).steps]
        struck = {(moment, step) for moment, _, step, _ in killer.met}
        everywhere = {(moment, step) for moment in MOMENTS[:1] + MOMENTS[2:3] for step in range(len(names))}
        assert struck >= everywhere, everywhere - struck
        seen = changes(house, since)
        assert not {path: count for path, count in seen.items() if count > 1 and not AGAIN.search(path)}
