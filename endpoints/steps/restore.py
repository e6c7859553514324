"""Put back what others changed or deleted of an endpoint's workloads."""

from __future__ import annotations

from deployments import steps as deployments
from deployments.models import Deployment
from deployments.steps.health import SETTLED
from portal.models import Operation
from portal.types import Wait


def _concerned(op: Operation) -> list[Deployment]:
    """Those that have served once: the rest waits for a change that brings it up."""
    rows = Deployment.objects.select_related("workspace", "compute_target__workspace").order_by("pk")
    return list(rows.filter(endpoint_version__endpoint_id=op.input["endpoint_id"], state__in=SETTLED))


def put_back_workloads(op: Operation) -> Wait | None:
    """Apply the wanted revision of each version again."""
    for row in _concerned(op):
        deployments.put_back(op, row)
    return None


def await_workloads(op: Operation) -> Wait | None:
    """Wait until the cluster runs what was applied, and nothing else."""
    return next(filter(None, map(deployments.rolled, _concerned(op))), None)
