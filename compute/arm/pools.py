"""Node pools of a cluster: put one, change its count or bounds, take it away."""

from __future__ import annotations

from typing import Any

from compute.arm import shape
from compute.arm.client import accepted
from compute.arm.errors import ArmNotFound, ArmRefused, translated
from compute.arm.session import Session
from compute.types import Accepted, PoolSpec

# Azure's own facts; a node image that is given asks for that image, old or new.
NOT_OURS = ("eTag", "provisioningState", "currentOrchestratorVersion", "nodeImageVersion")


class Pools:
    """Agent pools; each call is one request, or a read and a write of the whole.

    A write of the whole raises ArmChanged when somebody changed the pool between the two.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, group: str, cluster: str, spec: PoolSpec) -> Accepted:
        """Ask for a pool to be made, or made again."""
        return self._put(group, cluster, spec.name, {"properties": shape.pool_body(spec)})

    def resize(self, group: str, cluster: str, name: str, count: int, bounds: tuple[int, int] | None) -> Accepted:
        """Ask for another count, or for an autoscaler with these bounds; everything else of the pool stays.

        With bounds `count` does not matter: the nodes that are there stay, as far as the bounds allow.
        """
        properties, etag = self._read(group, cluster, name)
        for key in ("minCount", "maxCount"):
            properties.pop(key, None)
        properties["enableAutoScaling"] = bounds is not None
        if bounds is None:
            properties["count"] = count
        else:
            there = min(max(int(properties.get("count") or 0), bounds[0]), bounds[1])
            properties |= {"minCount": bounds[0], "maxCount": bounds[1], "count": there}
        return self._put(group, cluster, name, {"properties": properties}, etag)

    def scale(self, group: str, cluster: str, name: str, count: int) -> Accepted:
        """Ask for another count; everything else of the pool stays, its autoscaler too."""
        properties, etag = self._read(group, cluster, name)
        return self._put(group, cluster, name, {"properties": properties | {"count": count}}, etag)

    def delete(self, group: str, cluster: str, name: str, *, ignore_budgets: bool) -> Accepted:
        """Ask for a pool to be taken away with its nodes; status 204 when there is none.

        `ignore_budgets`: pods that have nowhere else to go do not hold it up.
        """
        begin = self._session.clusters.agent_pools.begin_delete
        more: Any = {"ignore_pod_disruption_budget": True} if ignore_budgets else {}
        try:
            return accepted(lambda hook: begin(group, cluster, name, polling=False, raw_response_hook=hook, **more))
        except ArmNotFound:
            return Accepted(204)

    def abort(self, group: str, cluster: str, name: str) -> None:
        """Ask Azure to stop what it does with the pool."""
        begin = self._session.clusters.agent_pools.begin_abort_latest_operation
        accepted(lambda hook: begin(group, cluster, name, polling=False, raw_response_hook=hook))

    def _read(self, group: str, cluster: str, name: str) -> tuple[dict[str, Any], str]:
        """What of a pool can be written back, and the mark of this state of it."""
        with translated():
            now: Any = self._session.clusters.agent_pools.get(group, cluster, name).as_dict()
        properties = now.get("properties")
        if not properties:
            raise ArmRefused(f"Azure shows the node pool {name} of {cluster} without properties.")
        kept = {key: value for key, value in properties.items() if key not in NOT_OURS}
        return kept, str(properties.get("eTag") or "")

    def _put(self, group: str, cluster: str, name: str, body: Any, etag: str = "") -> Accepted:
        from azure.core import MatchConditions

        begin = self._session.clusters.agent_pools.begin_create_or_update
        only: Any = {"etag": etag, "match_condition": MatchConditions.IfNotModified} if etag else {}
        return accepted(lambda hook: begin(group, cluster, name, body, polling=False, raw_response_hook=hook, **only))
