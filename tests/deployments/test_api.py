"""The REST doors of models, environments, code, and what pods fetch."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory
from rest_framework.test import APIClient

from deployments import actions
from deployments.models import Artifact, Deployment, Environment, RegisteredModel
from deployments.types import DeploymentSpec
from portal.models import AuditEvent, Operation, User, Workspace
from portal.secrets import fingerprint

from .conftest import SCORE, client_for
from .test_archives import FILE, tar_gz

MODELS = "/api/v1/workspaces/vision-dev/models/"
ENVIRONMENTS = "/api/v1/workspaces/vision-dev/environments/"


def file(name: str = "model.pkl", content: bytes = b"pickle") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def upload(client: APIClient, *files: Any, **more: Any) -> Any:
    headers = {name: more.pop(name) for name in list(more) if name.startswith("HTTP_")}
    return client.post(MODELS, {"name": "iris", "files": list(files), **more}, format="multipart", **headers)


@pytest.fixture
def deployment(home: Workspace, target: Any, environment: Environment, author: User, us: APIClient) -> Deployment:
    assert upload(us, file()).status_code == 201
    code = actions.code_upload(workspace=home, files={"score.py": SCORE, "lib/a.py": "A = 1\n"}, actor=author)
    spec = DeploymentSpec(list(RegisteredModel.objects.all()), environment, "score.py", code, {})
    return actions.deployment_create(workspace=home, target=target, name="iris", spec=spec, actor=author)


def test_a_model_is_registered_with_versions_1_2_3_and_audited(us: APIClient) -> None:
    for version in (1, 2):
        answer = upload(us, file(), tags='{"stage": "test"}', framework="ScikitLearn")
        assert answer.status_code == 201, answer.content
        assert answer["Location"] == f"{MODELS}iris/{version}/"
    body = us.get(f"{MODELS}iris/2/").json()
    assert (body["version"], body["size"], body["tags"], body["created_by"]) == (2, 6, {"stage": "test"}, "author")
    assert body["files"] == [{"path": "model.pkl", "size": 6, "sha256": body["sha256"]}]
    assert Artifact.objects.count() == 1
    assert AuditEvent.objects.filter(action="model.registered").count() == 2
    assert [row["version"] for row in us.get(f"{MODELS}iris/").json()["items"]] == [2, 1]
    assert len(us.get(f"{MODELS}?search=scikit").json()["items"]) == 2


def test_an_idempotency_key_of_an_upload_is_bound_to_its_bytes(us: APIClient) -> None:
    first = upload(us, file(), HTTP_IDEMPOTENCY_KEY="k")
    again = upload(us, file(), HTTP_IDEMPOTENCY_KEY="k")
    assert (first.status_code, again.status_code, again.get("Idempotent-Replay")) == (201, 201, "true")
    assert upload(us, file(content=b"other!"), HTTP_IDEMPOTENCY_KEY="k").status_code == 409
    assert RegisteredModel.objects.count() == 1


def test_several_files_with_paths_make_a_folder(us: APIClient) -> None:
    answer = upload(us, file("a"), file("b"), paths=["m/a", "m/sub/b"])
    assert [item["path"] for item in answer.json()["files"]] == ["m/a", "m/sub/b"]
    assert Artifact.objects.get().is_archive


def test_a_tar_gz_is_taken_as_a_folder_and_downloads_as_it_came(us: APIClient) -> None:
    content = tar_gz(("m/a", b"abc", FILE)).getvalue()
    assert upload(us, file("m.tar.gz", content)).json()["files"][0]["path"] == "m/a"
    assert b"".join(us.get(f"{MODELS}iris/1/download/").streaming_content) == content


@pytest.mark.parametrize(
    ("files", "more", "status", "words"),
    [
        ([], {}, 422, "no files"),
        ([file()], {"name": "../x"}, 422, "cannot be the name"),
        ([file(), file()], {"paths": ["a"]}, 400, "2 files and 1 paths"),
        ([file(), file("b")], {"paths": ["a", "../b"]}, 422, "'..'"),
        ([file("m.tar.gz", b"no tar")], {}, 422, "no whole tar.gz"),
        ([file()], {"tags": "no json"}, 400, "tags is no JSON"),
        ([file()], {"tags": '{"a": 1}'}, 422, "JSON object of texts"),
        ([file()], {"colour": "red"}, 400, "Unknown: colour"),
        ([file()], {"sha256": "0" * 64}, 422, "SHA-256"),
    ],
)
def test_bad_uploads_are_refused_with_a_sentence_and_leave_nothing(
    us: APIClient, artifact_folder: Path, files: list[Any], more: dict[str, Any], status: int, words: str
) -> None:
    for each in files:
        each.seek(0)
    answer = upload(us, *files, **more)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.content
    assert not RegisteredModel.objects.exists()
    assert not [item for item in artifact_folder.rglob("*") if item.is_file()]


def test_an_upload_that_is_cut_off_leaves_nothing(us: APIClient, artifact_folder: Path, tmp_path: Path) -> None:
    request = RequestFactory().post(MODELS, {"name": "iris", "files": file(content=b"x" * 100_000)})
    whole, kind = request.body, request.META["CONTENT_TYPE"]
    for length in (len(whole) // 2, len(whole) - 4):
        answer = us.generic("POST", MODELS, whole[:length], content_type=kind)
        assert answer.status_code == 400
        assert answer.json()["code"] == "upload_cut_off"
    assert not RegisteredModel.objects.exists()
    assert not [item for item in tmp_path.rglob("*") if item.is_file()]


def test_readers_see_models_but_register_none_and_strangers_see_nothing(
    us: APIClient, viewer: User, outsider: User
) -> None:
    upload(us, file())
    assert client_for(viewer).get(f"{MODELS}iris/1/").status_code == 200
    assert upload(client_for(viewer), file()).status_code == 403
    assert client_for(outsider).get(f"{MODELS}iris/1/").status_code == 404
    assert us.get(f"{MODELS}iris/9/").status_code == 404


def test_properties_of_a_model_are_write_once_and_tags_are_not(us: APIClient) -> None:
    upload(us, file(), properties='{"run": "1"}')
    ok = us.patch(f"{MODELS}iris/1/", {"tags": {"a": "b"}, "properties": {"run": "1", "x": "y"}}, format="json")
    assert (ok.json()["tags"], ok.json()["properties"]) == ({"a": "b"}, {"run": "1", "x": "y"})
    refused = us.patch(f"{MODELS}iris/1/", {"properties": {"run": "2"}}, format="json")
    assert refused.status_code == 422
    assert "run cannot change" in refused.json()["detail"]


def test_deleting_the_last_use_of_a_blob_removes_it(
    us: APIClient, artifact_folder: Path, django_capture_on_commit_callbacks: Any
) -> None:
    upload(us, file())
    upload(us, file())
    for version, left in ((1, 1), (2, 0)):
        with django_capture_on_commit_callbacks(execute=True):
            assert us.delete(f"{MODELS}iris/{version}/").status_code == 204
        assert len([item for item in artifact_folder.rglob("*") if item.is_file()]) == left


def test_a_model_in_use_is_not_deleted_and_its_users_are_named(us: APIClient, deployment: Deployment) -> None:
    answer = us.delete(f"{MODELS}iris/1/")
    assert answer.status_code == 409
    assert answer.json()["deployments"] == ["iris"]


def test_an_environment_is_registered_and_its_build_is_an_operation(us: APIClient) -> None:
    answer = us.post(ENVIRONMENTS, {"name": "sk", "requirements": "scikit-learn\n"}, format="json")
    assert answer.status_code == 201
    assert answer.json()["spec"] == {"python": "3.11", "pip": ["scikit-learn"]}
    started = us.post(f"{ENVIRONMENTS}sk/1/build/")
    assert started.status_code == 202
    assert Operation.objects.get().kind == "environment.build"
    busy = us.post(f"{ENVIRONMENTS}sk/1/build/")
    assert (busy.status_code, busy.json()["operation"]) == (409, str(Operation.objects.get().pk))
    assert us.get(f"{ENVIRONMENTS}sk/1/log/").json() == {"state": "NotBuilt", "log": ""}
    assert us.get(f"{ENVIRONMENTS}?name=sk").json()["items"][0]["version"] == 1


def test_an_image_needs_no_build_and_equal_content_is_built_once(us: APIClient, environment: Environment) -> None:
    image = us.post(ENVIRONMENTS, {"name": "own", "image": "registry.example.com/a:1"}, format="json").json()
    assert (image["state"], image["image"]) == ("Succeeded", "registry.example.com/a:1")
    assert us.post(f"{ENVIRONMENTS}own/1/build/").status_code == 422
    twin = us.post(ENVIRONMENTS, {"name": "twin", "pip": ["scikit-learn==1.7.2"]}, format="json").json()
    assert (twin["state"], twin["image"]) == ("Succeeded", environment.image)


def test_bad_requirements_are_refused_at_the_door(us: APIClient) -> None:
    answer = us.post(ENVIRONMENTS, {"name": "sk", "pip": ["numpy", "numpy=2"]}, format="json")
    assert answer.status_code == 422
    assert "Line 2, 'numpy=2'" in answer.json()["detail"]
    assert not Environment.objects.exists()


def test_code_is_uploaded_and_named_by_its_digest(us: APIClient, viewer: User) -> None:
    url = "/api/v1/workspaces/vision-dev/code/"
    answer = us.post(url, {"files": [file("score.py", SCORE.encode())]}, format="multipart")
    assert answer.status_code == 201
    assert Artifact.objects.get().digest == answer.json()["digest"]
    refused = client_for(viewer).post(url, {"files": [file("score.py", b"x")]}, format="multipart")
    assert refused.status_code == 403


def test_a_pod_trades_its_token_for_urls_that_give_the_very_bytes(deployment: Deployment) -> None:
    Deployment.objects.update(fetch_token_digest=fingerprint("secret-token"))
    client, url = APIClient(), f"/api/v1/fetch/{deployment.pk}/1/"
    answer = client.get(url, HTTP_AUTHORIZATION="Bearer secret-token")
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
    code, model = answer.json()
    assert (code["kind"], code["path"]) == ("tar", "")
    assert (model["kind"], model["path"], model["size"]) == ("file", "azureml-models/iris/1/model.pkl", 6)
    path = re.sub(r"^http://[^/]+", "", model["url"])
    blob = client.get(path)
    assert (b"".join(blob.streaming_content), blob["Cache-Control"]) == (b"pickle", "no-store")
    assert client.get(path.replace("signature=", "signature=0")).status_code == 404
    assert client.get(path.partition("?")[0]).status_code == 404


@pytest.mark.parametrize("header", [{}, {"HTTP_AUTHORIZATION": "Bearer wrong"}, {"HTTP_AUTHORIZATION": "Bearer "}])
def test_without_the_right_token_a_fetch_is_404(deployment: Deployment, header: dict[str, str]) -> None:
    Deployment.objects.update(fetch_token_digest=fingerprint("secret-token"))
    assert APIClient().get(f"/api/v1/fetch/{deployment.pk}/1/", **header).status_code == 404
    Deployment.objects.update(fetch_token_digest="")
    assert APIClient().get(f"/api/v1/fetch/{deployment.pk}/1/", **header).status_code == 404


def test_the_program_of_the_init_container_lays_the_files_out(
    deployment: Deployment, live_server: Any, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess
    import sys

    settings.URL_FOR_CLUSTERS = live_server.url
    Deployment.objects.update(fetch_token_digest=fingerprint("secret-token"))
    pod = tmp_path / "pod"
    (pod / "token").mkdir(parents=True)
    (pod / "token" / "token").write_text("secret-token")
    program = Path(__file__).parents[2] / "deployments" / "pod" / "fetch.py"
    env = {
        "SLIPWAY_FETCH_URL": f"{live_server.url}/api/v1/fetch/{deployment.pk}/1/",
        "http_proxy": "http://127.0.0.1:9",
    }
    for _ in range(2):  # a second start of the container finds what the first left
        done = subprocess.run([sys.executable, str(program)], cwd=pod, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (pod / "app/score.py").read_text() == SCORE
    assert (pod / "app/lib/a.py").exists()
    assert (pod / "app/azureml-models/iris/1/model.pkl").read_bytes() == b"pickle"
    assert "signature" not in done.stdout
    (pod / "token" / "token").write_text("wrong")
    done = subprocess.run([sys.executable, str(program)], cwd=pod, env=env, capture_output=True, text=True)
    assert (done.returncode, "answered 404" in done.stdout) == (1, True)


def test_memory_does_not_grow_with_the_upload(us: APIClient, tmp_path: Path) -> None:
    import tracemalloc

    body = io.BytesIO()
    body.write(b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nbig\r\n--b\r\nContent-Disposition: ')
    body.write(b'form-data; name="files"; filename="m"\r\n\r\n' + bytes(30_000_000) + b"\r\n--b--\r\n")
    request = RequestFactory().post(MODELS, b"", content_type="multipart/form-data; boundary=b")
    from deployments.uploads import StreamedMultiPart

    request.META["CONTENT_LENGTH"] = str(body.tell())
    body.seek(0)
    tracemalloc.start()
    kind = "multipart/form-data; boundary=b"
    found = StreamedMultiPart().parse(body, kind, {"request": request})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.files["files"].size == 30_000_000
    assert peak < 3_000_000, peak
