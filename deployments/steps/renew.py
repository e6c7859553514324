"""Fresh addresses in the Secrets of deployments, long before the old ones end. Pods read them when they start."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import timedelta

import structlog
from django.utils import timezone

from compute import queries as compute
from deployments import manifests
from deployments.models import Deployment
from deployments.steps import files
from deployments.types import DeploymentState
from portal.problems import Problem, Retryable
from portal.secrets import fingerprint

log = structlog.get_logger(__name__)
LEFT = timedelta(days=5)  # below that they are renewed: for so long the portal may be away


def due() -> list[int]:
    """Deployments whose addresses end within days, or are made of something else than they should be."""
    soon = timezone.now() + LEFT
    rows = Deployment.objects.exclude(state=DeploymentState.DELETING).filter(serving_revision__gt=0)
    return [row.pk for row in rows if row.files_mark != files.mark(row) or (row.files_until and row.files_until < soon)]


def renew(deployment_id: int) -> None:
    """Write fresh addresses into the Secret, and nothing else. Trouble is logged: there are days for the next try."""
    rows = Deployment.objects.select_related("workspace", "compute_target__workspace")
    row = rows.filter(pk=deployment_id).exclude(state=DeploymentState.DELETING).first()
    if row is None:
        return
    try:
        _renew(row)
    except (Problem, Retryable) as trouble:
        log.warning("files_not_renewed", deployment=row.pk, until=str(row.files_until), error=trouble.detail)


def _renew(row: Deployment) -> None:
    """Only over the Secret that was read: an operation that writes meanwhile has written fresh addresses itself."""
    cluster = compute.open_cluster(row.compute_target)
    found = cluster.observe("Secret", namespace=row.namespace, name=manifests.workload_name(row))
    held = (found[0].get("data") or {}) if found else {}
    if fingerprint(b64decode(held.get("token", "")).decode("ascii", "replace")) != row.fetch_token_digest:
        return  # it is being removed, or others changed it: the next change of the deployment mends that
    fresh = files.addresses(row)
    kept = {key: value for key, value in held.items() if not key.startswith(manifests.FILES)}
    texts = {manifests.files_key(number): b64encode(text.encode()).decode() for number, text in fresh.files}
    meta = {name: found[0]["metadata"].get(name) for name in ("name", "namespace", "labels", "resourceVersion")}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "data": {**kept, **texts}}
    cluster.apply([secret])
    fresh.keep(row)
