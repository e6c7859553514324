"""What a workspace decided anew, brought to what runs already: by beat, without rolling a pod."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog

from deployments import queries
from deployments.models import Deployment
from deployments.steps import around
from deployments.steps.workload import view_of
from deployments.types import DeploymentState
from portal.problems import Problem, Retryable

if TYPE_CHECKING:
    from compute.cluster import Cluster

log = structlog.get_logger(__name__)
SETTLED = (DeploymentState.HEALTHY, DeploymentState.UNHEALTHY)


def refresh(cluster: Cluster, found: Iterable[Deployment]) -> None:
    """Apply it for those whose cluster has an older decision. Trouble is logged, and tried again next time."""
    for row in Deployment.objects.select_related("workspace__team", "compute_target__workspace").filter(
        pk__in=[each.pk for each in found], state__in=SETTLED, revision__gt=0
    ):
        if not around.is_stale(row):
            continue
        try:
            revision = queries.revision_of(deployment=row, number=row.revision)
            around.apply(cluster, row, view_of(row, revision, ""))
        except (Problem, Retryable) as trouble:
            log.warning("refresh_failed", deployment=row.pk, error=trouble.detail)
