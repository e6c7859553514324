"""Addresses of code and models in the deployment's Secret: what pods do with them, and how they are renewed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.utils import timezone

from deployments import actions, artifacts, manifests, steps
from deployments.actions.models import Upload
from deployments.models import Artifact, Deployment
from deployments.types import DeploymentSpec
from tests.blobs import Blobs

from .conftest import SCORE
from .test_steps import job, place

PROGRAM = Path(__file__).parents[2] / "deployments" / "pod" / "fetch.py"
NOWHERE = "http://127.0.0.1:9/api/v1/fetch/1/1/"


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blobs]:
    with Blobs(tmp_path_factory.mktemp("blob")).running() as made:
        yield made


@pytest.fixture
def on_blob(account: Blobs, artifact_folder: Path, settings: Any) -> Iterator[Blobs]:
    storage = {"BACKEND": "compute.blobs.BlobStorage", "OPTIONS": account.options()}
    settings.STORAGES = {**settings.STORAGES, "artifacts": storage}
    yield account
    account.do(account.faults.clear)


@pytest.fixture
def deployment(on_blob: Blobs, azure: Any, home: Any, target: Any, spec: Any, author: Any) -> Deployment:
    uploads = [Upload("model.pkl", io.BytesIO(b"pickle"), 6)]
    model = actions.model_register(workspace=home, name="iris", uploads=uploads, actor=author)
    wanted = DeploymentSpec([model], spec.environment, "score.py", spec.code, {"numReplicas": 1})
    row = actions.deployment_create(workspace=home, target=target, name="iris", spec=wanted, actor=author)
    steps.apply_workload(job(row))
    Deployment.objects.update(serving_revision=1)
    row.refresh_from_db()
    return row


def secret(azure: Any, row: Deployment) -> dict[str, str]:
    """What the cluster has, as a pod reads it."""
    data = azure.objects[place(row, "secrets")]["data"]
    return {name: b64decode(text).decode() for name, text in data.items()}


def fetch(
    folder: Path, held: dict[str, str], url: str = NOWHERE, revision: int = 1
) -> subprocess.CompletedProcess[str]:
    """The init container, with the Secret mounted as its manifest says; it does not wait between its tries."""
    (folder / "token").mkdir(parents=True, exist_ok=True)
    for key, path in (("token", "token"), (f"files-{revision}", "files.json")):
        if key in held:
            (folder / "token" / path).write_text(held[key])
    program = f"import runpy, time; time.sleep = lambda _: None; runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    env = {"SLIPWAY_FETCH_URL": url, "PATH": os.environ["PATH"]}
    return subprocess.run([sys.executable, "-c", program], cwd=folder, env=env, capture_output=True, text=True)


def test_a_pod_gets_its_files_while_the_portal_is_down_and_says_no_address(
    azure: Any, deployment: Deployment, tmp_path: Path
) -> None:
    held = secret(azure, deployment)
    done = fetch(tmp_path / "pod", held)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "pod/app/score.py").read_text() == SCORE
    assert (tmp_path / "pod/app/azureml-models/iris/1/model.pkl").read_bytes() == b"pickle"
    assert "sig=" not in done.stdout + done.stderr
    again = fetch(tmp_path / "pod", held)
    assert "model.pkl: it is there already" in again.stdout
    assert json.dumps(held["files-1"])[1:-1] not in json.dumps(azure.objects[place(deployment, "configmaps")])


def test_what_was_changed_in_the_storage_is_refused_by_its_hash(
    azure: Any, deployment: Deployment, tmp_path: Path
) -> None:
    name = artifacts.path_of(Artifact.objects.get(size=6).digest)
    artifacts.storage().delete(name)
    artifacts.storage().save(name, ContentFile(b"pickl3"))
    done = fetch(tmp_path / "pod", secret(azure, deployment))
    assert done.returncode == 1
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("fetch failed: azureml-models/iris/1/model.pkl arrived damaged: its SHA-256 is ")
    assert last.endswith("What lies in the storage is not what was registered.")
    assert not (tmp_path / "pod/app/azureml-models/iris/1/model.pkl").exists()
    artifacts.storage().delete(name)


def test_without_the_storage_the_portal_is_asked_and_both_are_named_when_neither_answers(
    azure: Any, deployment: Deployment, account: Blobs, live_server: Any, settings: Any, tmp_path: Path
) -> None:
    settings.URL_FOR_CLUSTERS = live_server.url
    held = secret(azure, deployment)
    dead = {**held, "files-1": held["files-1"].replace(account.url, "http://127.0.0.1:9/slipwaysandbox")}
    done = fetch(tmp_path / "one", dead, f"{live_server.url}/api/v1/fetch/{deployment.pk}/1/")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The Blob storage cannot be reached at http://127.0.0.1:9/slipwaysandbox" in done.stdout
    over = {**held, "files-1": held["files-1"].replace("sig=", "sig=0")}
    done = fetch(tmp_path / "two", over)
    last = done.stdout.strip().splitlines()[-1]
    assert (done.returncode, last.count("The portal cannot be reached")) == (1, 1)
    assert "The Blob storage answered 403 at" in last
    assert "sig=" not in done.stdout + done.stderr


def test_a_transfer_that_breaks_off_goes_on_where_it_ended(
    azure: Any, deployment: Deployment, tmp_path: Path, serve_in_halves: str
) -> None:
    held = secret(azure, deployment)
    items = [each for each in json.loads(held["files-1"]) if each["size"] == 6]
    items[0]["url"] = serve_in_halves
    done = fetch(tmp_path / "pod", {**held, "files-1": json.dumps(items)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "pod/app/azureml-models/iris/1/model.pkl").read_bytes() == b"pickle"


@pytest.fixture
def serve_in_halves() -> Iterator[str]:
    """A server that hangs up after three bytes of six; where it goes on from is what the client asks for."""
    import http.server
    import threading

    class Half(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(6 - start))
            self.end_headers()
            self.wfile.write(b"pickle"[start : start + 3])

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Half)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/x"
    server.shutdown()


def test_each_revision_that_may_have_pods_keeps_addresses_of_its_own(
    azure: Any, deployment: Deployment, home: Any, author: Any, spec: Any
) -> None:
    changed = DeploymentSpec([], spec.environment, "score.py", spec.code, {"numReplicas": 1})
    actions.deployment_revise(deployment=deployment, actor=author, spec=changed)
    deployment.refresh_from_db()
    steps.apply_workload(job(deployment))
    held = secret(azure, deployment)
    assert sorted(held) == ["files-1", "files-2", "token"]
    assert [len(json.loads(held[f"files-{number}"])) for number in (1, 2)] == [2, 1]
    pod = azure.objects[place(deployment, "deployments", group="/apis/apps/v1")]["spec"]["template"]["spec"]
    (mounted,) = [each["secret"] for each in pod["volumes"] if each["name"] == "token"]
    assert mounted["items"][1] == {"key": "files-2", "path": "files.json"}
    assert mounted["optional"]


def test_addresses_are_renewed_days_before_they_end_and_nothing_else_is_touched(
    azure: Any, deployment: Deployment
) -> None:
    assert steps.due() == []
    azure.objects[place(deployment, "secrets")]["data"]["files-1"] = "b2xk"
    before, objects = secret(azure, deployment), dict(azure.objects)
    Deployment.objects.update(files_until=timezone.now() + timedelta(days=4))
    assert steps.due() == [deployment.pk]
    steps.renew(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.files_until > timezone.now() + timedelta(days=5)
    after = secret(azure, deployment)
    assert after["token"] == before["token"]
    assert "sig=" in after["files-1"]
    changed = [path for path, each in azure.objects.items() if each is not objects.get(path)]
    assert changed == [place(deployment, "secrets")]
    assert steps.due() == []


def test_another_key_or_no_storage_at_all_comes_into_the_secret_at_once(
    azure: Any, deployment: Deployment, account: Blobs, settings: Any, tmp_path: Path
) -> None:
    options = account.options(account_key="YW5vdGhlcg==")
    settings.STORAGES = {**settings.STORAGES, "artifacts": {"BACKEND": "compute.blobs.BlobStorage", "OPTIONS": options}}
    assert steps.due() == [deployment.pk]
    settings.STORAGES = {
        **settings.STORAGES,
        "artifacts": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path)}},
    }
    assert steps.due() == [deployment.pk]
    steps.renew(deployment.pk)
    assert sorted(secret(azure, deployment)) == ["token"]
    assert steps.due() == []


def test_a_secret_that_is_not_ours_is_not_written_over(azure: Any, deployment: Deployment) -> None:
    Deployment.objects.update(files_mark="old", fetch_token_digest="0" * 64)
    before = secret(azure, deployment)
    steps.renew(deployment.pk)
    assert secret(azure, deployment) == before


def test_the_addresses_stand_in_the_secret_only(deployment: Deployment) -> None:
    from deployments import queries
    from deployments.steps.files import addresses
    from deployments.steps.workload import view_of

    view = view_of(deployment, queries.revision_of(deployment=deployment), "t")
    from dataclasses import replace

    for item in manifests.build(replace(view, files=addresses(deployment).files)):
        assert item["kind"] == "Secret" or "sig=" not in json.dumps(item)


def test_artifacts_of_a_folder_are_copied_to_the_storage_and_what_is_lost_is_named(
    on_blob: Blobs, home: Any, author: Any, artifact_folder: Path, settings: Any
) -> None:
    folder = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(artifact_folder)}}
    on_blob_now = settings.STORAGES
    settings.STORAGES = {**on_blob_now, "artifacts": folder}
    uploads = [Upload("model.pkl", io.BytesIO(b"only in the folder"), 18)]
    row = actions.model_register(workspace=home, name="old", uploads=uploads, actor=author)
    settings.STORAGES = on_blob_now
    name = artifacts.path_of(row.artifact.digest)
    assert not storages["artifacts"].exists(name)
    call_command("copy_artifacts", str(artifact_folder))
    with artifacts.open_blob(row.artifact.digest) as stream:
        assert stream.read() == b"only in the folder"
    (artifact_folder / name).unlink()
    call_command("copy_artifacts", str(artifact_folder))
    storages["artifacts"].delete(name)
    with pytest.raises(CommandError, match=row.artifact.digest):
        call_command("copy_artifacts", str(artifact_folder))
