"""A scikit-learn model on a pod of the real sandbox: built, fetched, started, scored; and an init() that raises."""

from __future__ import annotations

import gzip
import http.client
import http.server
import importlib.util
import io
import json
import os
import pickle
import secrets
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from compute import actions as compute_actions
from compute import queries as compute
from compute.models import ComputeTarget
from deployments import actions, steps
from deployments.actions.models import Upload
from deployments.models import Deployment, RegisteredModel
from deployments.types import DeploymentSpec
from portal import insights, operations
from portal.launcher import ports
from portal.models import Operation, User, Workspace
from portal.types import OperationState, Role, Wait
from tests.compute.azure import SUB

from .conftest import member

HAS_API = importlib.util.find_spec("compute.sandbox.kube.api") is not None
pytestmark = [
    pytest.mark.journey,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not HAS_API, reason="the sandbox has no Kubernetes API here"),
]
SCORE = """
import json, os, pickle

def init():
    global model
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.pkl"), "rb") as file:
        model = pickle.load(file)
    import sklearn
    print("sklearn", sklearn.__version__)

def run(data):
    return [sum(row) * model["factor"] for row in json.loads(data)["data"]]
"""
BROKEN = "def init():\n    raise ValueError('no such model: 42')\n\ndef run(data):\n    return 1\n"


@pytest.fixture
def sandbox(tmp_path: Path, settings: Any) -> Iterator[dict[str, Any]]:
    from tests.deployments.pki import write_pki

    folder = tmp_path / "sandbox"
    folder.mkdir(mode=0o700)
    pki = write_pki(folder)
    for name in ("arm", "admin"):
        (folder / f"{name}.token").write_text(secrets.token_urlsafe(24))
        (folder / f"{name}.token").chmod(0o600)
    http = ports.draw(set())
    listeners = {"HTTP_PORT": http, "HTTPS_PORT": ports.draw({http})}
    env = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "SANDBOX_STATE": str(folder / "state"),
        **{f"SANDBOX_{name}": str(port) for name, port in listeners.items()},
        "SANDBOX_TLS_CERT": str(pki["cert"]), "SANDBOX_TLS_KEY": str(pki["key"]), "SANDBOX_CA_FILE": str(pki["ca"]),
        "SANDBOX_ARM_TOKEN_FILE": str(folder / "arm.token"), "SANDBOX_ADMIN_TOKEN_FILE": str(folder / "admin.token"),
        "SANDBOX_BLOCK": "127.83.7", "SANDBOX_SUBSCRIPTION": SUB, "SANDBOX_RESOURCE_GROUPS": "g",
        "SANDBOX_CREATE_SECONDS": "1", "SANDBOX_INFERENCE_IMAGE": settings.INFERENCE_IMAGE,
        **{name: os.environ[name] for name in os.environ if name.startswith(("UV_", "PIP_", "SSL_", "HTTP"))},
    }  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "compute.sandbox"], env=env, stdout=log, stderr=log)
    try:
        until(lambda: listening(http), 20, lambda: (folder / "log").read_text())
        token = (folder / "arm.token").read_text()
        yield {"url": f"http://127.0.0.1:{http}", "token": token, "ca": str(pki["ca"]), "folder": folder}
    finally:
        process.terminate()
        process.wait(30)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(ready: Any, seconds: float, why: Any) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, why()
        time.sleep(0.1)


@pytest.fixture
def place(sandbox: dict[str, Any], home: Workspace, settings: Any, live_server: Any) -> Workspace:
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8"]
    settings.URL_FOR_CLUSTERS = live_server.url
    home.arm_endpoint, home.arm_ca_file = sandbox["url"], sandbox["ca"]
    home.arm_credential = json.dumps({"kind": "static", "token": sandbox["token"]})
    home.subscription_id, home.resource_group = SUB, "g"
    home.save()
    return home


def run(op: Operation, seconds: float = 120) -> Operation:
    """An operation to its end, at its own pace."""
    end = time.monotonic() + seconds
    while op.is_active:
        assert time.monotonic() < end, (op.step, op.note)
        Operation.objects.filter(pk=op.pk).update(due_at=timezone.now())
        operations.advance(str(op.pk))
        op.refresh_from_db()
        time.sleep(0.2)
    return op


def step(function: Any, op: Operation, seconds: float = 90) -> None:
    """One step, waits included."""
    end = time.monotonic() + seconds
    while isinstance(answer := function(op), Wait):
        assert time.monotonic() < end, answer.note
        time.sleep(0.2)


def job(row: Deployment) -> Operation:
    return Operation(workspace=row.workspace, kind="x", input={"deployment_id": row.pk, "revision": row.revision})


def score(address: str, rows: list[list[float]]) -> Any:
    connection = http.client.HTTPConnection(address, 5001, timeout=20)
    connection.request("POST", "/score", json.dumps({"data": rows}), {"content-type": "application/json"})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body
    return json.loads(body)


@pytest.mark.django_db(transaction=True)
def test_a_model_is_built_fetched_started_and_scored_and_a_broken_one_leaves_it_serving(
    place: Workspace, sandbox: dict[str, Any]
) -> None:
    operator: User = member(place, "op", Role.OPERATOR)
    created = compute_actions.compute_target_create(
        workspace=place, name="dev", actor=operator, purpose="DevTest", node_count=1
    )
    assert run(created).state == OperationState.SUCCEEDED, created.error
    target = ComputeTarget.objects.get()
    content = pickle.dumps({"factor": 2.0})
    uploads = [Upload("model.pkl", io.BytesIO(content), len(content))]
    actions.model_register(workspace=place, name="iris", uploads=uploads, actor=operator)
    environment = actions.environment_register(workspace=place, name="sk", actor=operator, pip=["scikit-learn"])
    built = run(actions.environment_build(environment=environment, actor=operator), 200)
    assert built.state == OperationState.SUCCEEDED, (built.error, (sandbox["folder"] / "log").read_text()[-3000:])
    environment.refresh_from_db()
    code = actions.code_upload(workspace=place, files={"score.py": SCORE}, actor=operator)
    spec = DeploymentSpec(list(RegisteredModel.objects.all()), environment, "score.py", code, {"numReplicas": 1})
    row = actions.deployment_create(workspace=place, target=target, name="iris", spec=spec, actor=operator)
    first = job(row)
    step(steps.apply_workload, first)
    step(steps.await_replicas, first)
    first.state = OperationState.SUCCEEDED
    steps.settle_deployment(first)
    cluster = compute.open_cluster(target)
    (pod,) = cluster.observe("Pod", namespace=row.namespace, selector=f"slipway.dev/deployment={row.pk}")
    assert score(pod["status"]["podIP"], [[1, 2], [3, 4]]) == [6.0, 14.0]

    bad = actions.code_upload(workspace=place, files={"score.py": BROKEN}, actor=operator)
    row.refresh_from_db()
    actions.deployment_revise(
        deployment=row, actor=operator, spec=DeploymentSpec([], environment, "score.py", bad, {"numReplicas": 1})
    )
    second = job(row)
    step(steps.apply_workload, second)
    with pytest.raises(steps.DeploymentFailed) as caught:
        step(steps.await_replicas, second)
    assert "no such model: 42" in caught.value.detail
    assert "Traceback" in caught.value.extras["evidence"]
    assert score(pod["status"]["podIP"], [[1, 1]]) == [4.0]
    step(steps.restore_workload, second)
    step(steps.await_replicas, first)
    until(lambda: steps.remove_from(cluster, row), 90, lambda: "pods are left")


TOLD = """
import os

CA = {ca!r}

def init():
    path = os.path.join(os.environ["TMPDIR"], "ca.pem")
    with open(path, "w") as file:
        file.write(CA)
    os.environ["REQUESTS_CA_BUNDLE"] = path  # the CA of the test's place is in no image

def run(data):
    return [1]
"""
TELEMETRY_KEY = "0a1b2c3d-1111-4222-8333-44445555beef"


class Ingestion(http.server.ThreadingHTTPServer):
    """Where telemetry goes: takes every item over https, as Application Insights answers, and keeps it."""

    def __init__(self, pki: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), IngestionDoor)
        self.items: list[dict[str, Any]] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki["cert"], pki["key"])
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class IngestionDoor(http.server.BaseHTTPRequestHandler):
    """Its one door."""

    server: Ingestion

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        found = json.loads(body)
        self.server.items += found
        told = json.dumps({"itemsReceived": len(found), "itemsAccepted": len(found), "errors": []}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def ingestion(sandbox: dict[str, Any]) -> Iterator[Ingestion]:
    folder = sandbox["folder"]
    server = Ingestion({"cert": folder / "cert.pem", "key": folder / "key.pem"})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.stop()


@pytest.mark.django_db(transaction=True)
def test_a_replica_sends_its_requests_to_application_insights_and_serves_on_when_that_is_away(
    place: Workspace, sandbox: dict[str, Any], ingestion: Ingestion
) -> None:
    operator: User = member(place, "op", Role.OPERATOR)
    address = f"https://127.0.0.1:{ingestion.server_port}/"
    place.app_insights = insights.checked(f"InstrumentationKey={TELEMETRY_KEY};IngestionEndpoint={address}")
    place.save()
    created = compute_actions.compute_target_create(
        workspace=place, name="dev", actor=operator, purpose="DevTest", node_count=1
    )
    assert run(created).state == OperationState.SUCCEEDED, created.error
    environment = actions.environment_register(workspace=place, name="sk", actor=operator, pip=["scikit-learn"])
    built = run(actions.environment_build(environment=environment, actor=operator), 200)
    assert built.state == OperationState.SUCCEEDED, built.error
    environment.refresh_from_db()
    script = TOLD.format(ca=Path(sandbox["ca"]).read_text())
    code = actions.code_upload(workspace=place, files={"score.py": script}, actor=operator)
    config = {"numReplicas": 1, "appInsightsEnabled": True}
    spec = DeploymentSpec([], environment, "score.py", code, config)
    row = actions.deployment_create(
        workspace=place, target=ComputeTarget.objects.get(), name="iris", spec=spec, actor=operator
    )
    first = job(row)
    step(steps.apply_workload, first)
    step(steps.await_replicas, first)
    cluster = compute.open_cluster(row.compute_target)
    (pod,) = cluster.observe("Pod", namespace=row.namespace, selector=f"slipway.dev/deployment={row.pk}")
    assert score(pod["status"]["podIP"], [[1]]) == [1]

    def requests() -> list[dict[str, Any]]:
        return [item for item in ingestion.items if item["data"]["baseType"] == "RequestData"]

    def log() -> str:
        return str(cluster.logs(row.namespace, pod["metadata"]["name"], "server", tail=100))

    until(requests, 40, log)
    (sent,) = requests()
    assert sent["iKey"] == TELEMETRY_KEY
    assert sent["data"]["baseData"]["properties"]["Service Name"] == "iris"
    assert sent["data"]["baseData"]["properties"]["Workspace Name"] == place.slug
    ingestion.stop()
    assert score(pod["status"]["podIP"], [[1]]) == [1]
    time.sleep(7)  # longer than the server gathers what it sends
    assert score(pod["status"]["podIP"], [[1]]) == [1]
    assert TELEMETRY_KEY not in log()
    assert TELEMETRY_KEY not in json.dumps([pod, built.memo])
    until(lambda: steps.remove_from(cluster, row), 90, lambda: "pods are left")
