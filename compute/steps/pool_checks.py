"""Look before a node pool is asked of Azure: our rules, size, zones, quota and addresses. One list for all doors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compute import platforms, pools, preflight
from compute.actions import pools as pool_actions
from compute.models import ComputeTarget, NodePool
from compute.steps.preflight import Wish, attempt, conclude, further, pool_findings
from compute.steps.waiting import arm_for, patient, present_view, target_of
from compute.types import ClusterView, Finding
from portal.models import Operation
from portal.problems import Conflict, Problem, Retryable
from portal.types import OperationKind, Wait


class PoolGone(Conflict):
    code, title = "pool_gone", "The node pool is gone"


def pool_of(op: Operation) -> NodePool:
    """The node pool that the operation is about, as the operation wants it. Raises PoolGone."""
    found = NodePool.objects.select_related("target__workspace").filter(pk=op.input["pool_id"]).first()
    if found is None:
        raise PoolGone(f"The node pool {op.input['pool']} of {op.target_name} is gone: there is nothing to do.")
    for name, value in (op.input.get("wish") or {}).items():
        setattr(found, name, value)
    return found


@patient
def check_pool(op: Operation) -> Wait | None:
    """Fail with all findings when Azure has no size, quota, zone or addresses for the nodes that come on top."""
    if op.memo.get("accepted"):
        return None
    target, pool = target_of(op), pool_of(op)
    arm = arm_for(target)
    view = present_view(target, arm)
    there = view.node_pool(pool.name)
    if op.kind == OperationKind.POOL_ADD and there is not None:
        return None
    have = there.count if there else 0
    if there is None or further(pool.count, pool.min_count, pool.max_count, have)[1]:
        conclude(op, *pool_findings(target.workspace, arm, _wish(target, pool, view, have)))
    return None


def add_findings(*, target: ComputeTarget, wish: Mapping[str, Any]) -> list[Finding]:
    """All findings about a further pool: our own rules first, then what Azure says. At most 15 s; nothing is changed.

    `wish` has the keyword arguments of `pool_add`.
    """
    platforms.refuse_without_azure(target, pool_actions.NO_POOLS)
    pool, findings = rule_findings(target=target, wish=wish)
    arm = arm_for(target)
    try:
        view = present_view(target, arm)
    except (Problem, Retryable) as trouble:
        return [*findings, preflight.unknown("cluster_unknown", f"The cluster {target.cluster_name}", trouble.detail)]
    taken = pool_actions.PoolTaken.code
    if view.node_pool(pool.name) is not None and taken not in {each.code for each in findings}:
        words = f"Azure has a node pool {pool.name} on {target.cluster_name} already."
        findings.append(Finding(taken, preflight.ERROR, words, "Take another name."))
    asked = _wish(target, pool, view, 0)
    return findings + pool_findings(target.workspace, arm, asked)[0]


def rule_findings(*, target: ComputeTarget, wish: Mapping[str, Any]) -> tuple[NodePool, list[Finding]]:
    """The pool that a wish describes, not stored, and every rule of ours that it breaks; Azure is not asked."""
    wish = {**pool_actions.DEFAULTS, **wish}
    problems: list[Problem] = []
    for check in pools.checks(wish):
        attempt(problems, check)
    size = attempt(problems, lambda: pool_actions.size_for(target, wish))
    attempt(problems, lambda: pool_actions.check_usable(target))
    attempt(problems, lambda: pool_actions.check_free(target, wish["name"]))
    given = {name: wish[name] for name in pool_actions.FIELDS if wish.get(name) is not None}
    pool = NodePool(target=target, name=wish["name"], **given)
    pool.vm_size = size.name if size else wish["vm_size"]
    return pool, [preflight.rule(problem) for problem in problems]


def _wish(target: ComputeTarget, pool: NodePool, view: ClusterView, have: int) -> Wish:
    """The nodes that come on top of those that the pool has, as a preflight looks at them."""
    now, most = further(pool.count, pool.min_count, pool.max_count, have)
    options: dict[str, Any] = {
        "zones": pool.zones, "subnet_id": subnet_of(view), "network_mode": "flat" if view.is_flat else "overlay",
        "autoscaler": {"max_count": most}, "cluster_id": target.cluster_id,
    }  # fmt: skip
    return Wish(target.subscription_id, target.resource_group, target.region, pool.vm_size, now, options=options)


def subnet_of(view: ClusterView) -> str:
    """The subnet of the cluster's nodes; all pools have the same, or none."""
    return view.own_pool.subnet_id if view.own_pool else ""
