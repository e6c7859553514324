"""Collected requests in the portal: what is taken, what people see and do with it, and how the store is kept."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from compute.models import ComputeTarget
from deployments import collected, queries
from deployments.models import CollectedDay, CollectedPart, Collecting, CollectingReplica, Deployment
from deployments.steps import collected as steps
from portal.models import AuditEvent, User, Workspace
from portal.secrets import fingerprint
from tests.deployments.conftest import client_for

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


@pytest.fixture
def row(home: Workspace, target: ComputeTarget) -> Deployment:
    return Deployment.objects.create(
        workspace=home, compute_target=target, name="iris", namespace="n", revision=1, ready_replicas=1,
        collect_token_digest=fingerprint("token"),
    )  # fmt: skip


def bring(row: Deployment, *texts: str, token: str = "token", **facts: Any) -> Any:
    """What a replica's collector sends; without texts only a word."""
    given = {
        "replica": "iris-abc",
        "dropped": 0,
        "waiting_parts": 0,
        "waiting_bytes": 0,
        "waiting_seconds": 0,
        "full": 0,
    }
    if texts:
        last = CollectingReplica.objects.filter(deployment=row, name=facts.get("replica", "iris-abc")).first()
        given |= {"sequence": last.sequence + 1 if last else 1, "day": f"{timezone.now():%Y-%m-%d}"}
    query = "&".join(f"{name}={value}" for name, value in {**given, **facts}.items())
    body = "".join(text if text.endswith("\n") else json.dumps({"text": text}) + "\n" for text in texts)
    return APIClient().post(
        f"/api/v1/collect/{row.pk}/?{query}", body, content_type="application/x-ndjson",
        headers={"Authorization": f"Bearer {token}"},
    )  # fmt: skip


def read(us: APIClient, home: Workspace, day: CollectedDay) -> list[str]:
    answer = us.get(f"/api/v1/workspaces/{home.slug}/collected/{day.pk}/lines/")
    assert answer.status_code == 200
    return [json.loads(line)["text"] for line in b"".join(answer.streaming_content).splitlines()]


def warning(row: Deployment) -> str:
    found = queries.collection(deployment=Deployment.objects.select_related("collecting").get(pk=row.pk))
    return str(found["warning"]) if found else ""


# --- what is taken


def test_a_part_is_taken_once_and_told_by_day(row: Deployment, us: APIClient, home: Workspace) -> None:
    assert bring(row, "a", "b").json() == {"taken": 1}
    assert bring(row, "a", "b", sequence=1).json() == {"taken": 1}
    assert bring(row, "c", replica="iris-def").json() == {"taken": 1}
    day = CollectedDay.objects.get()
    assert (day.lines, day.size, day.service, day.lost) == (3, 42, "iris", 0)
    assert read(us, home, day) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("facts", "status", "says"),
    [
        ({"token": "other"}, 404, "There is nothing here."), ({"token": ""}, 404, "There is nothing here."),
        ({"replica": "../x"}, 400, "replica"), ({"dropped": -1}, 400, "dropped"), ({"day": "someday"}, 400, "day"),
        ({"day": "2001-01-01"}, 422, "lines as old as that are not taken"), ({"sequence": 0}, 400, "sequence"),
        ({"day": "2101-01-01"}, 422, "The day 2101-01-01 is not from"), ({"more": 1}, 400, "Unknown: more"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused_and_nothing_is_kept(
    row: Deployment, facts: dict[str, Any], status: int, says: str
) -> None:
    answer = bring(row, "a", **facts)
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.content
    assert not CollectedDay.objects.exists()


def test_a_part_has_at_most_8_mib(row: Deployment) -> None:
    answer = bring(row, "x" * collected.LARGEST_PART)
    assert (answer.status_code, answer.json()["code"]) == (413, "part_too_large")


def test_lines_that_are_no_json_objects_are_left_out_and_counted(row: Deployment) -> None:
    assert bring(row, "a", "[1]\n", "no json\n", '{"text": "b"}\n').json() == {"taken": 1}
    day = CollectedDay.objects.get()
    assert (day.lines, day.lost) == (2, 2)
    assert "2 lines lost" in warning(row)
    assert b"".join(queries.parts_of(names=[day.parts.get().path])) == b'{"text": "a"}\n{"text": "b"}\n'


def test_what_is_over_the_days_limit_is_not_kept_but_counted_and_an_owner_can_raise_it(
    row: Deployment, home: Workspace
) -> None:
    Workspace.objects.filter(pk=home.pk).update(collection_daily_mib=1)
    assert "full" not in bring(row, "x" * 700_000).json()
    assert bring(row, "y" * 700_000, "z").json() == {"taken": 2, "full": 600}
    day = CollectedDay.objects.get()
    assert (day.lines, day.lost) == (1, 2)
    assert f"2 lines lost since {timezone.now():%Y-%m-%d}" in warning(row)
    assert "1 MiB a day are kept of a version. An Owner can raise that" in warning(row)
    Workspace.objects.filter(pk=home.pk).update(collection_daily_mib=2)
    assert "full" not in bring(row, "y" * 700_000).json()


def test_losses_that_a_replica_tells_are_counted_once(row: Deployment) -> None:
    for dropped in (3, 3, 5):
        bring(row, dropped=dropped, waiting_bytes=31_000_000)
    assert CollectedDay.objects.get().lost == 5
    assert "5 lines lost" in warning(row)
    assert "iris-abc has 29.6 MiB waiting, of 32 at most" in warning(row)


class FullDisk(FileSystemStorage):
    """A store without room."""

    def _save(self, name: str, content: Any) -> str:
        raise OSError(28, "No space left on device")


class SlowDisk(FileSystemStorage):
    """A store that hangs until it is told to go on."""

    go_on = threading.Event()

    def _save(self, name: str, content: Any) -> str:
        assert self.go_on.wait(20)
        return str(super()._save(name, content))


class Overtaken(FileSystemStorage):
    """While a part is being stored another process brings the same one."""

    def _save(self, name: str, content: Any) -> str:
        saved = str(super()._save(name, content))
        CollectingReplica.objects.update(sequence=1)
        return saved


def use(settings: Any, backend: type, place: Any) -> None:
    name = f"{__name__}.{backend.__name__}"
    settings.STORAGES = {**settings.STORAGES, "collected": {"BACKEND": name, "OPTIONS": {"location": str(place)}}}


def test_a_store_that_is_full_says_so_at_once_and_keeps_nothing_from_the_replica(
    row: Deployment, settings: Any, tmp_path: Any
) -> None:
    before = settings.STORAGES
    use(settings, FullDisk, tmp_path)
    answer = bring(row, "a")
    assert (answer.status_code, answer.json()["code"]) == (507, "store_full")
    assert "nothing is lost yet" in warning(row)
    assert "The store refused: No space left on device. Replicas keep it and try again." in warning(row)
    settings.STORAGES = before
    assert bring(row, "a").json() == {"taken": 1}
    assert CollectedDay.objects.get().lines == 1


def test_a_part_that_two_bring_at_once_is_kept_by_the_faster_one(row: Deployment, settings: Any, tmp_path: Any) -> None:
    use(settings, Overtaken, tmp_path / "twins")
    assert bring(row, "a").json() == {"taken": 1}
    assert CollectedDay.objects.get().lines == 0
    assert not [path for path in (tmp_path / "twins").rglob("*") if path.is_file()]


@pytest.mark.django_db(transaction=True)
def test_a_store_that_hangs_holds_one_call_and_others_are_told_to_come_again(
    row: Deployment, settings: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collected, "SLOW_SECONDS", 0.2)
    SlowDisk.go_on.clear()
    use(settings, SlowDisk, tmp_path)
    answers: list[Any] = []
    first = threading.Thread(target=lambda: answers.append(bring(row, "a")))
    first.start()
    time.sleep(0.5)
    assert bring(row, "b", replica="iris-def").json()["code"] == "store_busy"
    assert "The store is slow: it takes" in warning(row)
    assert bring(row).status_code == 200  # a word needs no store
    SlowDisk.go_on.set()
    first.join(20)
    assert answers[0].json() == {"taken": 1}
    assert bring(row, "b", replica="iris-def").json() == {"taken": 1}
    assert CollectedDay.objects.get().lines == 2


# --- when people are warned


def state(**more: Any) -> Collecting:
    given = {"is_on": True, "told_at": NOW, "since": NOW - timedelta(hours=1), "lost": 12, "reason": "Why."}
    return Collecting(**{**given, **more})


def test_a_warning_tells_how_much_is_lost_since_when_and_goes_five_minutes_after_the_last_loss() -> None:
    told = collected.warning(state(troubled_at=NOW - timedelta(minutes=4)), NOW, ready=1)
    assert told == "Data collection: 12 lines lost since 2026-11-30 11:00 UTC. Why."
    assert collected.warning(state(troubled_at=NOW - timedelta(minutes=6)), NOW, ready=1) == ""


def test_a_new_loss_after_a_calm_begins_to_count_anew() -> None:
    again = collected.noted(state(troubled_at=NOW - timedelta(minutes=4)), NOW, 3, "Now.")
    assert (again["lost"], again["since"]) == (15, NOW - timedelta(hours=1))
    anew = collected.noted(state(troubled_at=NOW - timedelta(minutes=6)), NOW, 3, "Now.")
    assert (anew["lost"], anew["since"], anew["reason"]) == (3, NOW, "Now.")


def test_replicas_that_are_ready_and_say_nothing_are_warned_about() -> None:
    quiet = state(told_at=NOW - timedelta(minutes=6), troubled_at=None)
    assert "no replica has reported since 2026-11-30 11:54 UTC" in collected.warning(quiet, NOW, ready=2)
    assert collected.warning(quiet, NOW, ready=0) == ""
    assert collected.warning(state(told_at=NOW, troubled_at=None), NOW, ready=2) == ""
    assert collected.warning(state(told_at=NOW - timedelta(hours=1), is_on=False), NOW, ready=2) == ""
    assert collected.warning(None, NOW, ready=2) == ""


# --- what people see and do


def test_days_are_listed_by_page_and_by_whose_they_are(row: Deployment, us: APIClient, home: Workspace) -> None:
    today = timezone.now().date()
    for age in range(3):
        make_day(home, today - timedelta(days=age), lines=age)
    make_day(home, today, service="churn", version="v1", source=8)
    root = f"/api/v1/workspaces/{home.slug}/collected/"
    first = us.get(f"{root}?service=iris&page_size=2").json()
    assert [(item["day"], item["lines"], item["bytes"]) for item in first["items"]] == [
        (str(today), 0, 5), (str(today - timedelta(days=1)), 1, 5),
    ]  # fmt: skip
    assert [item["lines"] for item in us.get(first["next"]).json()["items"]] == [2]
    assert [item["service"] for item in us.get(f"{root}?version=v1").json()["items"]] == ["churn"]


def make_day(home: Workspace, day: date, **more: Any) -> CollectedDay:
    given = {"service": "iris", "version": "v2", "source": 7, "lines": 1, "size": 5, **more}
    return CollectedDay.objects.create(workspace=home, day=day, **given)


def test_a_download_is_written_to_history_and_a_reader_has_none(
    row: Deployment, us: APIClient, viewer: User, home: Workspace, author: User
) -> None:
    bring(row, "a")
    day = CollectedDay.objects.get()
    where = f"/api/v1/workspaces/{home.slug}/collected/{day.pk}/lines/"
    assert client_for(viewer).get(where).status_code == 403
    assert not AuditEvent.objects.filter(action="collected.downloaded").exists()
    answer = us.get(where)
    assert answer["Content-Disposition"] == f'attachment; filename="iris-{day.day}.jsonl"'
    assert answer["Content-Type"] == "application/x-ndjson"
    event = AuditEvent.objects.get(action="collected.downloaded")
    assert (event.actor_name, event.target_name, event.after) == (
        "author",
        f"iris {day.day}",
        {"lines": 1, "bytes": 14},
    )


def test_a_deleted_day_is_gone_for_people_at_once_and_from_the_store_after_a_minute(
    row: Deployment, us: APIClient, home: Workspace, artifact_folder: Any
) -> None:
    bring(row, "a")
    day = CollectedDay.objects.get()
    where = f"/api/v1/workspaces/{home.slug}/collected/{day.pk}/"
    assert us.delete(where).json() == {"days": 1, "lines": 1, "bytes": 14}
    assert us.get(where).status_code == 404
    assert us.get(f"{where}lines/").status_code == 404
    event = AuditEvent.objects.get(action="collected.deleted")
    assert event.before == {"service": "iris", "version": "all", "days": 1, "lines": 1, "bytes": 14}
    bring(row, "b")  # the same day again, in a folder of its own
    steps.tidy()
    assert CollectedDay.objects.count() == 2
    CollectedDay.objects.filter(pk=day.pk).update(forgotten_at=timezone.now() - timedelta(minutes=2))
    steps.tidy()
    left = CollectedDay.objects.get()
    assert read(us, home, left) == ["b"]
    files = [path.read_text() for path in (artifact_folder.parent / "collected").rglob("*") if path.is_file()]
    assert files == ['{"text": "b"}\n']


def test_all_of_a_version_or_service_is_deleted_by_name_and_nothing_else(us: APIClient, home: Workspace) -> None:
    today = timezone.now().date()
    make_day(home, today)
    make_day(home, today, version="v1", source=9)
    make_day(home, today, service="churn", source=8)
    root = f"/api/v1/workspaces/{home.slug}/collected/"
    assert us.delete(root).status_code == 400
    assert us.delete(f"{root}?service=nothing").status_code == 404
    assert us.delete(f"{root}?service=iris&version=v1").json()["days"] == 1
    assert [item["version"] for item in us.get(f"{root}?service=iris").json()["items"]] == ["v2"]
    assert us.delete(f"{root}?service=iris").json()["days"] == 1
    assert [item["service"] for item in us.get(root).json()["items"]] == ["churn"]


def test_what_was_collected_outlives_its_deployment(row: Deployment, us: APIClient, home: Workspace) -> None:
    bring(row, "a")
    row.delete()
    assert read(us, home, CollectedDay.objects.get()) == ["a"]
    assert not Collecting.objects.exists()


# --- how the store is kept


def test_days_older_than_the_workspace_keeps_them_are_deleted(home: Workspace) -> None:
    Workspace.objects.filter(pk=home.pk).update(collection_days=3)
    today = timezone.now().date()
    for age in range(6):
        make_day(home, today - timedelta(days=age))
    steps.expire()
    left = CollectedDay.objects.filter(forgotten_at=None).order_by("-day").values_list("day", flat=True)
    assert list(left) == [today - timedelta(days=age) for age in range(4)]
    event = AuditEvent.objects.get(action="collected.expired")
    assert (event.actor_name, event.before["days"], event.before["kept_days"]) == ("portal", 2, 3)


def test_small_parts_of_a_day_that_is_over_become_one_and_no_line_is_lost_or_doubled(
    row: Deployment, us: APIClient, home: Workspace, artifact_folder: Any
) -> None:
    for number in range(5):
        bring(row, f"{number}")
    day = CollectedDay.objects.get()
    assert list(steps.merge()) == []  # the day goes on, and five are few
    CollectedDay.objects.update(day=day.day - timedelta(days=2))
    place = artifact_folder.parent / "collected"
    before = read(us, home, day)
    assert len(list(steps.merge())) == 1
    assert read(us, home, day) == before == ["0", "1", "2", "3", "4"]
    assert list(steps.merge()) == []
    assert day.parts.filter(replaced_at=None).count() == 1
    assert len(list(place.rglob("*.jsonl"))) == 6  # who reads the small ones reads on
    CollectedPart.objects.filter(replaced_at__isnull=False).update(replaced_at=timezone.now() - timedelta(hours=1))
    assert len(list(steps.remove_replaced())) == 5
    assert len(list(place.rglob("*.jsonl"))) == 1


def test_a_part_that_no_row_knows_goes_with_its_day(row: Deployment, artifact_folder: Any) -> None:
    bring(row, "a")
    day = CollectedDay.objects.select_related("workspace").get()
    collected.save(f"{collected.folder_of(day)}/stored-before-the-process-was-killed.jsonl", b"{}")
    CollectedDay.objects.update(forgotten_at=timezone.now() - timedelta(minutes=2))
    steps.tidy()
    assert not CollectedDay.objects.exists()
    assert not [path for path in (artifact_folder.parent / "collected").rglob("*") if path.is_file()]


def test_a_store_that_does_not_delete_is_asked_again(row: Deployment, settings: Any, tmp_path: Any) -> None:
    bring(row, "a")
    before = settings.STORAGES
    CollectedDay.objects.update(forgotten_at=timezone.now() - timedelta(minutes=2))
    (tmp_path / "file").touch()
    use(settings, FullDisk, tmp_path / "file")
    steps.tidy()
    assert CollectedDay.objects.count() == 1
    settings.STORAGES = before
    steps.tidy()
    assert not CollectedDay.objects.exists()


def test_a_part_that_the_store_has_lost_breaks_the_download_instead_of_being_left_out(row: Deployment) -> None:
    bring(row, "a")
    path = CollectedPart.objects.get().path
    collected.storage().delete(path)
    with pytest.raises(FileNotFoundError):
        b"".join(queries.parts_of(names=[path]))


def test_the_token_ends_with_the_last_replica(row: Deployment) -> None:
    assert bring(row, "a").status_code == 200
    Deployment.objects.filter(pk=row.pk).update(collect_token_digest="")
    assert bring(row, "b").status_code == 404


# --- pages


@pytest.fixture
def visitor(client: Client, settings: Any, author: User) -> Client:
    settings.ROOT_URLCONF = "portal.urls"
    client.force_login(author)
    return client


def test_the_page_lists_downloads_and_deletes(visitor: Client, row: Deployment, home: Workspace) -> None:
    bring(row, "a")
    day = CollectedDay.objects.get()
    page = f"/w/{home.slug}/collected/"
    assert f"{day.day}" in visitor.get(page).content.decode()
    answer = visitor.post(f"{page}{day.pk}/download/")
    assert b"".join(answer.streaming_content) == b'{"text": "a"}\n'  # type: ignore[attr-defined]
    refused = visitor.post(f"{page}delete/", {"service": "iris", "version": "", "confirm": "iri"})
    assert (refused.status_code, "Type iris to confirm" in refused.content.decode()) == (422, True)
    assert visitor.post(f"{page}{day.pk}/delete/").status_code == 302
    assert "Nothing is collected" in visitor.get(page).content.decode()
    bring(row, "b")
    assert visitor.post(f"{page}delete/", {"service": "iris", "confirm": "iris"}).status_code == 302
    assert not queries.collected_days(workspace=home).exists()


def test_the_list_takes_few_queries_however_long_it_is(
    visitor: Client, home: Workspace, django_assert_max_num_queries: Any
) -> None:
    for age in range(60):
        make_day(home, timezone.now().date() - timedelta(days=age))
    with django_assert_max_num_queries(12):
        visitor.get(f"/w/{home.slug}/collected/")
