"""Look anew before an operation that failed is run again: what was so when it was asked for may not be so now.

Each function raises the Problem that asking anew would raise, and brings what the operation would write back up to
date: others may have taken over what Azure has meanwhile.
"""

from __future__ import annotations

from typing import Any

from compute import actions, power
from compute.actions import pools as pool_actions
from compute.actions import power as power_actions
from compute.models import ComputeTarget, NodePool
from portal.models import Operation


def scale_again(op: Operation) -> None:
    """The count that is wanted now is the one before, unless it is this operation's own."""
    target = _target(op)
    _bring(op, "node_count_before", target.node_count, op.input["node_count"])


def start_again(op: Operation) -> None:
    """The power state that is wanted now is the one before, unless it is this operation's own."""
    _bring(op, "power_before", power.wanted(_target(op)).value, op.input["power"])


def stop_again(op: Operation) -> None:
    """Raises StopsAnswering for what was deployed since, or came by other workspaces."""
    power_actions.check_silenced(_target(op), op.input.get("endpoints") or [], int(op.input.get("others") or 0))
    start_again(op)


def autoscale_again(op: Operation) -> None:
    """The bounds and count that are wanted now are those before, unless they are this operation's own."""
    _bring(op, "before", power_actions.wanted_of(_target(op)), op.input["wish"])


def remove_again(op: Operation) -> None:
    """Raises InUse for what came to run on the target since."""
    actions.check_unused(_target(op), op.input.get("endpoints") or [])


def scale_pool_again(op: Operation) -> None:
    """As `scale_again`, for a further pool; one that is gone is told by the steps."""
    pool = NodePool.objects.filter(pk=op.input["pool_id"]).first()
    if pool is None:
        return
    now = {name: getattr(pool, name) for name in pool_actions.COUNTS}
    before = op.input["before"] if now == op.input["wish"] else now
    op.input["before"] = {**before, "state": pool.state}


def remove_pool_again(op: Operation) -> None:
    """Raises PoolInUse for what came to ask for the pool since, unless the removal was forced."""
    pool = NodePool.objects.select_related("target__workspace").filter(pk=op.input["pool_id"]).first()
    if pool is None:
        return
    if not op.input.get("force"):
        pool_actions.check_unused(pool)
    op.input["before"] = {"state": pool.state}


def _target(op: Operation) -> ComputeTarget:
    target = ComputeTarget.objects.select_related("workspace").get(pk=op.input["target_id"])
    op.input["state_before"] = target.state
    return target


def _bring(op: Operation, name: str, now: Any, wish: Any) -> None:
    if now != wish:
        op.input[name] = now
