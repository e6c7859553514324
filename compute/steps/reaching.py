"""Reach a cluster that is to be left: one that is gone or was never entered counts as empty, and force passes one that
keeps us out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from compute import queries
from compute.cluster import Cluster
from compute.models import ComputeTarget
from compute.types import ComputeState
from portal.models import Operation
from portal.problems import Held, Problem, Retryable

TRIES = 4
Answer = TypeVar("Answer")


def reached(op: Operation, target: ComputeTarget, work: Callable[[Cluster], Answer]) -> Answer | None:
    """What `work` gives with the open cluster; None when that is gone, or was given up: then no later step tries again.

    Only force gives up, after four tries, with a warning. Raises Retryable, or the Problem of a refusal without force.
    """
    is_untouched = "nodes" not in target.observed  # its nodes are seen before anything of ours is put there
    if target.state == ComputeState.MISSING or is_untouched or op.memo.get("unreachable"):
        op.memo["unreachable"] = True
        return None
    try:
        answer = work(queries.open_cluster(target))
    except queries.ClusterMissing:
        op.memo["unreachable"] = True
        return None
    except Held:
        raise
    except (Problem, Retryable) as trouble:
        if not op.input.get("force"):
            raise
        _give_up(op, target, trouble)
        return None
    op.memo.pop("silent", None)
    return answer


def _give_up(op: Operation, target: ComputeTarget, trouble: Problem | Retryable) -> None:
    silent = op.memo["silent"] = op.memo.get("silent", 0) + 1
    if silent < TRIES:
        raise trouble if isinstance(trouble, Retryable) else Retryable(trouble.detail)
    op.memo["unreachable"] = True
    words = f"What the portal has in {target.cluster_name} was not taken out: {trouble.detail}"
    op.memo["warnings"] = [*op.memo.get("warnings", []), words]
