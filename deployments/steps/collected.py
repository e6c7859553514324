"""The store of collected requests, looked after by beat: old and deleted days leave it, small parts become large ones.

Each of these may be killed anywhere: rows are the truth, a part that no row names goes with its day's folder.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import date, timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone

from deployments import collected
from deployments.models import CollectedDay, CollectedPart, CollectingReplica
from portal import audit
from portal.models import Workspace
from portal.problems import Problem

log = structlog.get_logger(__name__)
WORK_SECONDS = 40.0  # of one task, well below its limit
GRACE = timedelta(minutes=1)  # a part of a deleted day may be on its way into the store
READING = timedelta(minutes=15)  # somebody may be reading the small parts of a large one
MANY, SMALL = 40, 8 * collected.MIB


def tidy() -> None:
    """All that is due, as far as the time goes; the rest next minute."""
    end = time.monotonic() + WORK_SECONDS
    expire()
    for work in (remove_forgotten(), remove_replaced(), merge()):
        for _ in work:
            if time.monotonic() > end:
                return


def expire() -> None:
    """Forget days that are older than their workspace keeps them, and replicas that cannot come again."""
    now = timezone.now()
    for home in Workspace.objects.select_related("team").filter(collected_days__isnull=False).distinct():
        first = now.date() - timedelta(days=home.collection_days)
        rows = CollectedDay.objects.filter(workspace=home, forgotten_at=None, day__lt=first)
        _forget(home, list(rows.values_list("pk", flat=True)), first)
    CollectingReplica.objects.filter(told_at__lt=now - collected.OLDEST - timedelta(days=1)).delete()


@transaction.atomic
def _forget(home: Workspace, found: list[int], first: date) -> None:
    if found:
        CollectedDay.objects.filter(pk__in=found).update(forgotten_at=timezone.now())
        about = {"days": len(found), "before": str(first), "kept_days": home.collection_days}
        audit.record(action="collected.expired", on=home, actor=None, before=about)


def remove_forgotten() -> Iterator[None]:
    """Take the parts of deleted days out of the store, then forget their rows."""
    rows = CollectedDay.objects.select_related("workspace").filter(forgotten_at__lt=timezone.now() - GRACE)
    for row in rows.order_by("pk"):
        try:
            collected.remove_all(collected.folder_of(row))
        except (OSError, Problem) as error:
            log.warning("collected_not_removed", day=row.pk, error=str(error))
        else:
            row.delete()
        yield


def merge() -> Iterator[None]:
    """Make one part of the small ones of each day that is over, or that has many."""
    today = timezone.now().date()
    is_small = Q(parts__size__lt=SMALL, parts__replaced_at=None)
    rows = CollectedDay.objects.select_related("workspace").filter(forgotten_at=None)
    rows = rows.annotate(small=Count("parts", filter=is_small))
    # A replica brings the last of a day some time after midnight.
    over = Q(day__lt=today - timedelta(days=1), small__gt=1)
    for row in rows.filter(over | Q(small__gt=MANY)).order_by("pk"):
        try:
            _merge(row)
        except (OSError, Problem) as error:
            log.warning("collected_not_merged", day=row.pk, error=str(error))
        yield


def _merge(row: CollectedDay) -> None:
    parts = list(row.parts.filter(size__lt=SMALL, replaced_at=None).order_by("at", "pk"))
    name = f"{collected.folder_of(row)}/merged-{uuid.uuid4().hex}.jsonl"
    with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as file:
        for data in collected.chunks(part.path for part in parts):
            file.write(data)
        size = file.tell()
        file.seek(0)
        collected.save_file(name, file)
    if not _replaced(parts, CollectedPart(day=row, path=name, size=size, at=parts[0].at)):
        collected.storage().delete(name)


@transaction.atomic
def _replaced(parts: list[CollectedPart], by: CollectedPart) -> bool:
    """Let one part stand for others; not when another worker was faster."""
    by.lines = sum(part.lines for part in parts)
    rows = CollectedPart.objects.filter(pk__in=[part.pk for part in parts], replaced_at=None)
    if rows.update(replaced_at=timezone.now()) != len(parts):
        transaction.set_rollback(True)
        return False
    by.save()
    return True


def remove_replaced() -> Iterator[None]:
    """Take parts whose lines are in a larger one out of the store."""
    rows = CollectedPart.objects.filter(replaced_at__lt=timezone.now() - READING).order_by("pk")
    for row in rows[:1000]:
        try:
            collected.storage().delete(row.path)
        except (OSError, Problem) as error:
            log.warning("collected_not_removed", part=row.pk, error=str(error))
        else:
            row.delete()
        yield
