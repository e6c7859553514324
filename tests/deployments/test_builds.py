"""What images are built from, when nothing has to be built, and builds that are stopped."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from deployments import actions, environments
from deployments.checks import InvalidRequirements
from deployments.models import Environment, RegistryLogin
from deployments.types import EnvironmentState
from portal import operations
from portal.models import Operation
from portal.problems import Invalid
from portal.types import OperationState
from tests.compute.azure import Azure

from .conftest import client_for

PIP = {"pip": ["numpy"]}


@pytest.fixture(autouse=True)
def all_pages(artifact_folder: Any, settings: Any) -> None:
    """The whole portal's addresses, not only those of deployments."""
    settings.ROOT_URLCONF = "portal.urls"


def dockerfile(wanted: dict[str, Any]) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(environments.context(wanted))) as tar:
        file = tar.extractfile("Dockerfile")
        assert file is not None
        return file.read().decode().splitlines()


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ({**PIP, "python": "3.12"}, "python:3.12-slim"),
        ({**PIP, "python": "3.12", "base_image": "r.azurecr.io/python:{python}-slim"}, "r.azurecr.io/python:3.12-slim"),
        ({"conda": "dependencies: [numpy]"}, "mambaorg/micromamba:2-debian12-slim"),
        ({"conda": "dependencies: [numpy]", "base_image": "r.azurecr.io/micromamba:2"}, "r.azurecr.io/micromamba:2"),
    ],
)
def test_an_image_is_built_on_the_base_that_was_chosen(given: dict[str, Any], base: str) -> None:
    assert dockerfile(environments.spec(**given))[1] == f"FROM {base}"


def test_another_base_is_another_content() -> None:
    plain, other = environments.spec(**PIP), environments.spec(**PIP, base_image="python:3.11")
    assert environments.content_hash(plain) != environments.content_hash(other)
    named = environments.spec(**PIP, base_image="python:{python}-slim")
    assert environments.content_hash(plain) == environments.content_hash(named)


@pytest.mark.parametrize("base", ["no image", "python\nRUN evil", "python:{version}", "x" * 501])
def test_a_base_that_is_no_image_name_is_refused(base: str) -> None:
    with pytest.raises(InvalidRequirements, match="is no image name"):
        environments.spec(**PIP, base_image=base)


def test_an_image_that_is_taken_as_it_is_has_no_base() -> None:
    with pytest.raises(InvalidRequirements, match="a:1 is taken as it is"):
        environments.spec(image="a:1", base_image="python:3.11")


def test_the_portals_own_base_is_stored_with_the_environment(home: Any, author: Any, settings: Any) -> None:
    settings.BASE_IMAGE = "mirror.example.com/python:{python}-slim"
    row = actions.environment_register(workspace=home, name="np", actor=author, **PIP)
    own = actions.environment_register(workspace=home, name="np", actor=author, base_image="python:3.11", **PIP)
    image = actions.environment_register(workspace=home, name="np", actor=author, image="a:1")
    assert [each.spec.get("base") for each in (row, own, image)] == [
        "mirror.example.com/python:3.11-slim", "python:3.11", None,
    ]  # fmt: skip
    settings.BASE_IMAGE = ""
    row.refresh_from_db()
    assert dockerfile(row.spec)[1] == "FROM mirror.example.com/python:3.11-slim"


def test_a_base_is_given_in_both_doors(home: Any, author: Any) -> None:
    url = f"/api/v1/workspaces/{home.slug}/environments/"
    made = client_for(author).post(url, {"name": "np", "base_image": "python:3.11", **PIP}, format="json")
    assert (made.status_code, made.json()["spec"]["base"]) == (201, "python:3.11")
    page = Client()
    page.force_login(author)
    form = {"name": "np", "made_of": "pip", "python": "3.11", "requirements": "numpy", "base_image": "python:{x}"}
    refused = page.post(f"/w/{home.slug}/new/environment/", form)
    assert (refused.status_code, b"is no image name" in refused.content) == (422, True)
    assert page.post(f"/w/{home.slug}/new/environment/", {**form, "base_image": "python:3.12"}).status_code == 302
    assert b"python:3.12" in page.get(f"/w/{home.slug}/environments/np/2/").content


def test_what_is_built_already_says_from_what_its_image_comes(home: Any, author: Any, environment: Environment) -> None:
    twin = actions.environment_register(workspace=home, name="twin", actor=author, pip=["scikit-learn==1.7.2"])
    assert (twin.state, twin.image, twin.same_as) == (EnvironmentState.SUCCEEDED, environment.image, "sk:1")
    with pytest.raises(Invalid, match="twin:1 is built already. It has the content of sk:1"):
        actions.environment_build(environment=twin, actor=author)
    page = Client()
    page.force_login(author)
    assert b"sk:1 has the same content" in page.get(f"/w/{home.slug}/environments/twin/1/").content


def turn(op: Operation, times: int) -> None:
    for _ in range(times):
        Operation.objects.filter(pk=op.pk).update(due_at=timezone.now())
        operations.advance(str(op.pk))
    op.refresh_from_db()


def test_content_that_was_built_while_this_waited_is_a_hit_and_the_log_says_so(
    azure: Azure, home: Any, author: Any, django_capture_on_commit_callbacks: Any
) -> None:
    rows = [actions.environment_register(workspace=home, name=name, actor=author, **PIP) for name in ("a", "b")]
    first, second = (actions.environment_build(environment=row, actor=author) for row in rows)
    azure.blobs["/blob/log"] = b"done\n"
    turn(first, 8)
    turn(second, 3)
    assert (second.state, len(azure.runs)) == (OperationState.SUCCEEDED, 1)
    words = "b:1 has the content of a:1, which is built: its image is used, nothing is built anew."
    assert words in list(second.log.values_list("text", flat=True))


def test_a_base_image_is_read_with_the_workspaces_login_for_its_registry_and_no_other_goes_along(
    azure: Azure, home: Any, author: Any, django_capture_on_commit_callbacks: Any
) -> None:
    for server in ("base.example.com", "other.example.com"):
        RegistryLogin.objects.create(workspace=home, server=server, username="puller", password=f"p-{server}")
    azure.blobs["/blob/log"] = b"done\n"
    row = actions.environment_register(
        workspace=home, name="a", actor=author, base_image="base.example.com/python:3.11", **PIP
    )
    op = actions.environment_build(environment=row, actor=author)
    turn(op, 8)
    (run,) = azure.runs
    sent = run["credentials"]["customRegistries"]
    assert list(sent) == ["base.example.com"]
    assert sent["base.example.com"]["password"] == {"value": "p-base.example.com", "type": "Opaque"}
    assert run["credentials"]["sourceRegistry"] == {"loginMode": "Default"}
    told = str([op.input, op.memo, *op.log.values_list("text", flat=True), row.spec])
    assert "p-base" not in told


def test_a_cancel_stops_the_run_but_not_one_that_another_waits_for(
    azure: Azure, home: Any, author: Any, django_capture_on_commit_callbacks: Any
) -> None:
    azure.run_status = "Running"
    rows = [actions.environment_register(workspace=home, name=name, actor=author, **PIP) for name in ("a", "b")]
    first, second = (actions.environment_build(environment=row, actor=author) for row in rows)
    for op in (first, second):
        turn(op, 2)
    assert len(azure.runs) == 1
    operations.cancel(op=first, actor=author)
    turn(first, 3)
    assert (first.state, azure.run_status) == (OperationState.CANCELLED, "Running")
    operations.cancel(op=second, actor=author)
    turn(second, 4)
    rows[1].refresh_from_db()
    assert (second.state, azure.run_status) == (OperationState.CANCELLED, "Canceled")
    assert (rows[1].state, second.memo["run"]) == (EnvironmentState.FAILED, "")


def test_the_log_fragment_ends_its_polling_when_the_build_has_ended(home: Any, viewer: Any, environment: Any) -> None:
    page = Client()
    page.force_login(viewer)
    url = f"/w/{home.slug}/environments/sk/1/log/"
    Environment.objects.update(state=EnvironmentState.BUILDING, log="step 1")
    running = page.get(url)
    assert (running.status_code, b"step 1" in running.content, b"every 1s" in running.content) == (200, True, True)
    Environment.objects.update(state=EnvironmentState.SUCCEEDED)
    over = page.get(url)
    assert (over.status_code, b"every 1s" in over.content) == (286, False)
