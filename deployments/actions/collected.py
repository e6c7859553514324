"""Collected requests: take what replicas bring, and delete days. What leaves the store leaves it in a worker."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from deployments import collected, queries
from deployments.collected import GATE, MIB, Report, StoreBusy, StoreFull
from deployments.models import CollectedDay, CollectedPart, Collecting, CollectingReplica, Deployment
from portal import audit
from portal.models import User, Workspace
from portal.problems import Invalid, NotFound, Problem

FULL_SECONDS = 600  # so long a replica sends nothing of a day that is full


def report_take(*, deployment: Deployment, report: Report, body: bytes) -> dict[str, Any]:
    """Take what a replica says and the part that it brings, each part once. Answers what it should know.

    Raises Invalid (422) for a day that is not to be had, StoreBusy (503), StoreFull (507); then nothing is taken.
    """
    now = timezone.now()
    replica, _ = CollectingReplica.objects.get_or_create(
        deployment=deployment, name=report.replica, defaults={"told_at": now}
    )
    _hear(deployment, replica, report, now)
    if report.day is None or report.sequence <= replica.sequence:
        return {"taken": report.sequence}
    _check_day(report, now)
    good, count, bad = collected.good_lines(body)
    day = _day(deployment, report.day)
    if day.size + len(good) > day.workspace.collection_daily_mib * MIB:
        _lose(deployment, day, count + bad, _full_text(day), now, (replica, report))
        return {"taken": report.sequence, "full": FULL_SECONDS}
    _keep(deployment, day, (replica, report), (good, count), now)
    if bad:
        _lose(deployment, day, bad, "Lines that are no JSON objects came from a replica.", now)
    return {"taken": report.sequence}


def _check_day(report: Report, now: datetime) -> None:
    first, last = (now - collected.OLDEST).date(), (now + timedelta(days=1)).date()
    if report.day is None or not first <= report.day <= last:
        raise Invalid(f"The day {report.day} is not from {first} to {last}: lines as old as that are not taken.")


def _full_text(day: CollectedDay) -> str:
    return (
        f"{day} is full: {day.workspace.collection_daily_mib:,} MiB a day are kept of a version. An Owner can raise "
        "that under Settings, or the deployment can take fewer samples."
    )


def _day(deployment: Deployment, day: Any) -> CollectedDay:
    service, version = queries.served_as(deployment=deployment)
    rows = CollectedDay.objects.select_related("workspace")
    row, _ = rows.get_or_create(
        source=deployment.pk, day=day, forgotten_at=None,
        defaults={"workspace": deployment.workspace, "service": service, "version": version},
    )  # fmt: skip
    return row


def _hear(deployment: Deployment, replica: CollectingReplica, report: Report, now: datetime) -> None:
    """Note that it lives, what it lost since it last said so, and whether it waits for long."""
    CollectingReplica.objects.filter(pk=replica.pk).update(told_at=now)
    if not Collecting.objects.filter(deployment=deployment).update(told_at=now):
        Collecting.objects.get_or_create(deployment=deployment, defaults={"told_at": now})
    more = report.dropped - replica.dropped
    counted = more > 0 and CollectingReplica.objects.filter(pk=replica.pk, dropped=replica.dropped).update(
        dropped=report.dropped
    )
    waiting = f"{report.replica} has {report.waiting_bytes / MIB:.1f} MiB waiting"
    if counted:
        day = _day(deployment, now.date())
        reason = f"Replicas dropped what they could not keep: {waiting}, of {collected.SPOOL_BYTES // MIB} at most."
        _lose(deployment, day, more, _full_text(day) if report.is_full else reason, now)
    elif report.waiting_seconds > collected.LATE_SECONDS:
        _lose(deployment, None, 0, f"It is late: {waiting}, for {report.waiting_seconds // 60} minutes.", now)


@transaction.atomic
def _lose(
    deployment: Deployment, day: CollectedDay | None, lines: int, reason: str, now: datetime,
    part: tuple[CollectingReplica, Report] | None = None,
) -> None:  # fmt: skip
    """Count lines that are gone, and with `part` that this one need not come again."""
    if part is not None and not _advance(*part):
        return
    state, _ = Collecting.objects.select_for_update().get_or_create(deployment=deployment)
    Collecting.objects.filter(pk=state.pk).update(**collected.noted(state, now, lines, reason))
    if day is not None and lines:
        CollectedDay.objects.filter(pk=day.pk).update(lost=F("lost") + lines)


def _advance(replica: CollectingReplica, report: Report) -> int:
    """Whether this call is the one that brings the part; another may be bringing the same."""
    rows = CollectingReplica.objects.filter(pk=replica.pk, sequence=replica.sequence)
    return rows.update(sequence=report.sequence)


def _keep(
    deployment: Deployment, day: CollectedDay, part: tuple[CollectingReplica, Report], lines: tuple[bytes, int],
    now: datetime,
) -> None:  # fmt: skip
    """Store the part first, then tell of it: killed in between, it comes again, and the first goes with its day."""
    body, count = lines
    try:
        path, took = _store(collected.part_name(collected.folder_of(day), part[1]), body)
    except StoreBusy as busy:
        if busy.extras["seconds"] > collected.SLOW_SECONDS:
            _lose(deployment, None, 0, _slow_text(busy.extras["seconds"]), now)
        raise
    except (OSError, Problem) as error:
        said = str(getattr(error, "strerror", None) or error).rstrip(".")
        reason = f"The store refused: {said}. Replicas keep it and try again."
        _lose(deployment, None, 0, reason, now)
        raise StoreFull(reason) from None
    if took > collected.SLOW_SECONDS:
        _lose(deployment, None, 0, _slow_text(took), now)
    if not _tell(day, part, CollectedPart(day=day, path=path, lines=count, size=len(body), at=now)) and path:
        collected.storage().delete(path)  # another call brought the same


def _slow_text(seconds: float) -> str:
    return f"The store is slow: it takes {seconds:.0f} s for one part. Replicas keep the rest and send it later."


def _store(name: str, body: bytes) -> tuple[str, float]:
    """Where it lies, and the seconds that it took."""
    with GATE.entered():
        began = time.monotonic()
        path = collected.save(name, body) if body else ""
        return path, time.monotonic() - began


@transaction.atomic
def _tell(day: CollectedDay, part: tuple[CollectingReplica, Report], row: CollectedPart) -> bool:
    """Whether the part is one more. Raises StoreBusy when its day was deleted meanwhile."""
    if not _advance(*part):
        return False
    rows = CollectedDay.objects.filter(pk=day.pk, forgotten_at__isnull=True)
    if not rows.update(lines=F("lines") + row.lines, size=F("size") + row.size, last_at=row.at):
        raise StoreBusy("The day was deleted just now. Send it again in a second.", seconds=0.0)
    if row.path:
        row.save()
    return True


@transaction.atomic
def collected_read(*, day: CollectedDay, actor: User) -> list[str]:
    """Note in history that somebody reads a day; answers the names of its parts, oldest first."""
    audit.record(action="collected.downloaded", on=day, actor=actor, after={"lines": day.lines, "bytes": day.size})
    return list(day.parts.filter(replaced_at=None).order_by("at", "pk").values_list("path", flat=True))


@transaction.atomic
def collected_forget(
    *, workspace: Workspace, actor: User | None, service: str, version: str = "", day: CollectedDay | None = None
) -> dict[str, int]:
    """Delete one day, or all of a service or version; a worker takes the parts out of the store within two minutes.

    Raises NotFound when there is nothing of it.
    """
    rows = queries.collected_days(workspace=workspace, service=service, version=version)
    found = list(rows.filter(pk=day.pk) if day is not None else rows)
    if not found:
        raise NotFound(f"Nothing is collected of {service} {version}".rstrip() + f" in {workspace.name}.")
    CollectedDay.objects.filter(pk__in=[row.pk for row in found]).update(forgotten_at=timezone.now())
    told = {"days": len(found), "lines": sum(row.lines for row in found), "bytes": sum(row.size for row in found)}
    on = found[0] if day is not None else workspace
    about = {"service": service, "version": version or "all", **told}
    audit.record(action="collected.deleted", on=on, actor=actor, before=about)
    return told
