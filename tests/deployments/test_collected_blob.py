"""Collected requests in Azure Blob: the real client library against the sandbox's Blob service, well, away and slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from compute.models import ComputeTarget
from deployments import collected
from deployments.models import CollectedDay, Deployment
from deployments.steps import collected as steps
from portal.models import Workspace
from portal.secrets import fingerprint
from tests.blobs import Blobs
from tests.deployments.test_collected import bring, read, warning

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blobs]:
    with Blobs(tmp_path_factory.mktemp("blob")).running() as made:
        yield made


@pytest.fixture
def row(home: Workspace, target: ComputeTarget, account: Blobs, settings: Any) -> Iterator[Deployment]:
    options = account.options(azure_container="collected")
    settings.STORAGES = {
        **settings.STORAGES, "collected": {"BACKEND": "compute.blobs.BlobStorage", "OPTIONS": options},
    }  # fmt: skip
    yield Deployment.objects.create(
        workspace=home, compute_target=target, name="iris", namespace="n", revision=1, ready_replicas=1,
        collect_token_digest=fingerprint("token"),
    )  # fmt: skip
    account.do(account.faults.clear)


def blobs(account: Blobs) -> list[str]:
    """What lies in the container."""
    return [name for name in account.do(lambda: list(account.store.containers.get("collected", {})))]


def test_parts_are_kept_read_merged_and_deleted_in_a_container_of_their_own(
    row: Deployment, us: APIClient, home: Workspace
) -> None:
    for number in range(3):
        bring(row, f"{number}")
    day = CollectedDay.objects.get()
    assert read(us, home, day) == ["0", "1", "2"]
    CollectedDay.objects.update(day=day.day - timedelta(days=2))
    assert len(list(steps.merge())) == 1
    assert read(us, home, day) == ["0", "1", "2"]
    place = collected.folder_of(CollectedDay.objects.select_related("workspace").get())
    assert len(collected.storage().listdir(place)[1]) == 1
    us.delete(f"/api/v1/workspaces/{home.slug}/collected/{day.pk}/")
    CollectedDay.objects.update(forgotten_at=timezone.now() - timedelta(minutes=2))
    steps.tidy()
    assert collected.storage().listdir(place) == ([], [])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 503, "code": "ServerBusy"}, "503 (ServerBusy)"),
        ({"status": 403, "code": "AuthorizationFailure"}, "403"),
    ],
)
def test_a_container_that_refuses_is_said_and_the_part_is_taken_when_it_is_well(
    row: Deployment, account: Blobs, fault: dict[str, Any], said: str
) -> None:
    account.do(account.faults.set, "blob.unavailable", {**fault, "container": "collected"})
    assert bring(row, "a").status_code == 507
    assert said in warning(row)
    assert "nothing is lost yet" in warning(row)
    account.do(account.faults.clear)
    assert bring(row, "a").json() == {"taken": 1}
    assert CollectedDay.objects.get().lines == 1


@pytest.mark.django_db(transaction=True)
def test_a_container_that_is_slow_holds_one_call_and_is_warned_of(
    row: Deployment, account: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collected, "SLOW_SECONDS", 0.2)
    account.do(account.faults.set, "blob.slow", {"seconds": 0.5, "container": "collected", "method": "PUT"})
    answers: list[Any] = []
    first = threading.Thread(target=lambda: answers.append(bring(row, "a")))
    first.start()
    time.sleep(0.4)
    assert bring(row, "b", replica="iris-def").json()["code"] == "store_busy"
    first.join(20)
    assert answers[0].json() == {"taken": 1}
    assert "The store is slow: it takes" in warning(row)
