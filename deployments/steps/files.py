"""Addresses of code and models for the deployment's Secret, so that new pods start without the portal."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from deployments import artifacts, queries
from deployments.models import Deployment
from portal.problems import Retryable
from portal.storage import StorageAway

LAST = timedelta(days=6)  # an identity signs for 7 days at most


@dataclass(frozen=True)
class Addresses:
    """JSON texts by revision. `mark` changes with what they are made of; all is empty without a Blob storage."""

    files: tuple[tuple[int, str], ...] = ()
    mark: str = ""
    until: datetime | None = None

    def keep(self, row: Deployment) -> None:
        """Note what is in the Secret now."""
        Deployment.objects.filter(pk=row.pk).update(files_mark=self.mark, files_until=self.until)


def addresses(row: Deployment, *more: int) -> Addresses:
    """Signed anew, for each revision that may have pods. Raises Retryable while the storage does not answer."""
    if not artifacts.is_direct():
        return Addresses()
    until = timezone.now() + LAST
    try:
        files = tuple((number, _signed(row, number, until)) for number in _numbers(row, *more))
    except StorageAway as trouble:
        raise Retryable(trouble.detail) from None
    return Addresses(files, mark(row, *more), until)


def _numbers(row: Deployment, *more: int) -> list[int]:
    return sorted({row.revision, row.serving_revision, *more} - {0})


def _signed(row: Deployment, number: int, until: datetime) -> str:
    items = queries.files_of(revision=queries.revision_of(deployment=row, number=number))
    return json.dumps([{**item, "url": artifacts.direct_url(str(item["sha256"]), until)} for item in items])


def mark(row: Deployment, *more: int) -> str:
    """Changes with the revisions, the storage and its key; empty where the storage signs nothing."""
    if not artifacts.is_direct():
        return ""
    text = json.dumps([_numbers(row, *more), settings.STORAGES["artifacts"]], default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
