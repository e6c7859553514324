"""The pages of models and environments at their door."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from deployments.models import Environment, RegisteredModel
from portal.models import Operation, User, Workspace
from portal.types import OperationKind
from tests import page_rows


@pytest.fixture(autouse=True)
def all_pages(artifact_folder: Any, settings: Any) -> None:
    """The whole portal's addresses, not only those of deployments."""
    settings.ROOT_URLCONF = "portal.urls"


@pytest.fixture
def visitor(client: Client, contributor: User) -> Client:
    client.force_login(contributor)
    return client


def upload(name: str, content: bytes = b"weights") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def test_a_file_becomes_the_next_version_of_a_model(visitor: Client, workspace: Workspace) -> None:
    form = {"name": "iris", "framework": "ScikitLearn", "framework_version": "1.5", "description": "first"}
    visitor.post("/w/lab/new/model/", form | {"files": upload("model.pkl")})
    response = visitor.post("/w/lab/new/model/", form | {"files": upload("model.pkl", b"other")})
    assert response["Location"] == "/w/lab/models/iris/2/"
    found = RegisteredModel.objects.get(version=2)
    assert (found.size, found.files[0]["path"], found.framework) == (5, "model.pkl", "ScikitLearn")
    assert b"model.pkl" in visitor.get("/w/lab/models/iris/2/").content


def test_a_folder_keeps_its_paths(visitor: Client, workspace: Workspace) -> None:
    form = {
        "name": "bert",
        "folder": [upload("a.bin"), upload("b.bin", b"b")],
        "paths": ["bert/a.bin", "bert/sub/b.bin"],
    }
    assert visitor.post("/w/lab/new/model/", form).status_code == 302
    assert [each["path"] for each in RegisteredModel.objects.get().files] == ["bert/a.bin", "bert/sub/b.bin"]


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"name": "iris"}, "There are no files"),
        ({"name": "no spaces", "files": io.BytesIO(b"x")}, "cannot be the name of a model"),
        ({"name": "iris", "folder": [io.BytesIO(b"x")], "paths": ["a", "b"]}, "came with 2 paths"),
        ({"name": "iris", "folder": [io.BytesIO(b"x")], "paths": ["../up"]}, "../up"),
    ],
)
def test_a_refused_upload_says_why_and_registers_nothing(
    visitor: Client, workspace: Workspace, form: dict[str, Any], sentence: str
) -> None:
    response = visitor.post("/w/lab/new/model/", form)
    assert response.status_code in (400, 422)
    assert sentence in response.content.decode()
    assert f'value="{form["name"]}"' in response.content.decode()
    assert not RegisteredModel.objects.exists()


def test_a_model_in_use_is_not_deleted_and_its_users_are_named(visitor: Client, workspace: Workspace) -> None:
    model = page_rows.model(workspace)
    endpoint = page_rows.endpoint(page_rows.target(workspace))
    page_rows.version(endpoint, "v1", is_default=True, models=(model,))
    response = visitor.post("/w/lab/models/iris/1/delete/")
    assert response.status_code == 409
    assert b"iris:1 is used by iris-v1" in response.content
    assert RegisteredModel.objects.exists()


def test_a_model_that_nothing_uses_is_deleted(visitor: Client, workspace: Workspace) -> None:
    page_rows.model(workspace)
    assert visitor.post("/w/lab/models/iris/1/delete/")["Location"] == "/w/lab/models/"
    assert not RegisteredModel.objects.exists()


def test_a_reader_registers_nothing(client: Client, workspace: Workspace, reader: User) -> None:
    client.force_login(reader)
    assert client.post("/w/lab/new/model/", {"name": "iris", "files": upload("m")}).status_code == 403
    assert client.post("/w/lab/new/environment/", {"name": "sk"}).status_code == 403


@pytest.mark.parametrize(
    ("form", "spec"),
    [
        ({"made_of": "pip", "requirements": "numpy<3\r\njoblib\r\n"}, {"python": "3.12", "pip": ["numpy<3", "joblib"]}),
        ({"made_of": "image", "image": "example/scoring:1", "requirements": "x"}, {"image": "example/scoring:1"}),
    ],
)
def test_an_environment_is_made_of_what_was_chosen(
    visitor: Client, workspace: Workspace, form: dict[str, str], spec: dict[str, Any]
) -> None:
    response = visitor.post("/w/lab/new/environment/", {"name": "sk", "python": "3.12", **form})
    assert response["Location"] == "/w/lab/environments/sk/1/"
    assert Environment.objects.get().spec == spec


def test_wrong_requirements_are_refused_by_line_and_kept(visitor: Client, workspace: Workspace) -> None:
    form = {"name": "sk", "python": "3.11", "made_of": "pip", "requirements": "numpy==\n"}
    response = visitor.post("/w/lab/new/environment/", form)
    assert response.status_code == 422
    assert response.content.decode().count("numpy==") >= 2
    assert not Environment.objects.exists()


def test_an_environment_is_built_on_demand_and_its_log_is_shown(visitor: Client, workspace: Workspace) -> None:
    page_rows.environment(workspace, state="NotBuilt", image="", log="step 1 of 4")
    assert b"step 1 of 4" in visitor.get("/w/lab/environments/sklearn/1/").content
    visitor.post("/w/lab/environments/sklearn/1/build/")
    assert Operation.objects.get().kind == OperationKind.ENVIRONMENT_BUILD


def test_lists_take_few_queries_however_long_they_are(
    visitor: Client, workspace: Workspace, django_assert_max_num_queries: Any
) -> None:
    for number in range(1, 40):
        page_rows.model(workspace, version=number)
        page_rows.environment(workspace, version=number)
    with django_assert_max_num_queries(12):
        visitor.get("/w/lab/models/")
    with django_assert_max_num_queries(12):
        visitor.get("/w/lab/environments/")
