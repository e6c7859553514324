"""See that what a stopped cluster served answers again after its start."""

from __future__ import annotations

import time

from compute import queries as compute
from compute.models import ComputeTarget
from deployments import steps as deployments
from endpoints.models import EndpointVersion, Gateway
from endpoints.steps import install
from endpoints.types import GatewayState
from portal.models import Operation
from portal.problems import Held, Retryable
from portal.types import Wait

PATIENCE = 600  # seconds; what is not up by then may never have been
TROUBLE_PAUSE = 5.0  # seconds


def await_answers(op: Operation) -> Wait | None:
    """Wait until the gateway and every version that is loaded have a ready replica; a warning names what has none."""
    target = ComputeTarget.objects.select_related("workspace").get(pk=op.input["target_id"])
    row = Gateway.objects.select_related("compute_target__workspace").filter(compute_target=target).first()
    if row is None or row.state == GatewayState.ABSENT:
        return None
    wait = _look(target, row)
    if wait is None or time.time() < op.memo.setdefault("waking_since", time.time()) + PATIENCE:
        return wait
    words = f"Not answering yet ({wait.note}). The pages of what runs here say why."
    op.memo["warnings"] = [*op.memo.get("warnings", []), words]
    return None


def _look(target: ComputeTarget, row: Gateway) -> Wait | None:
    """What is waited for. An API server that comes and goes, as after a start, is waited for too."""
    try:
        return install.gateway_is_up(compute.open_cluster(target), row) or _replicas(target)
    except Held:
        raise
    except Retryable as trouble:
        return Wait(max(trouble.after or 0, TROUBLE_PAUSE), trouble.detail)


def _replicas(target: ComputeTarget) -> Wait | None:
    deployments.observe_target(target.pk)
    silent = _silent(target)
    return Wait(1, f"Waiting for {', '.join(silent)} to answer again") if silent else None


def _silent(target: ComputeTarget) -> list[str]:
    """Endpoints of which a loaded version has no ready replica, though it wants some."""
    rows = EndpointVersion.objects.filter(endpoint__compute_target=target, is_loaded=True, deployment__ready_replicas=0)
    names = rows.filter(deployment__wanted_replicas__gt=0).values_list("endpoint__name", flat=True)
    return sorted(set(names))
