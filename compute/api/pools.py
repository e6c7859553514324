"""REST doors of node pools: list, add, show, remove, scale, adopt."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute import placed, pool_table, queries, sizes
from compute.actions import pools as pool_actions
from compute.api.shapes import AcceptedOut
from compute.api.targets import flag
from compute.types import ComputeState, PoolMode
from portal import http
from portal.types import Role


class PoolOut(http.Shape):
    """A node pool. The first is the compute target itself: it is scaled there, and stays."""

    name = serializers.CharField()
    is_first = serializers.BooleanField()
    mode = serializers.ChoiceField(choices=PoolMode.choices)
    state = serializers.ChoiceField(choices=ComputeState.choices)
    reason = serializers.CharField(allow_blank=True)
    vm_size = serializers.CharField()
    vcpus = serializers.IntegerField(help_text="Of one node.")
    memory_gb = serializers.FloatField(help_text="Of one node.")
    gpus = serializers.IntegerField(help_text="Of one node.")
    count = serializers.IntegerField(help_text="Wanted; while the autoscaler is on, Azure sets it.")
    min_count = serializers.IntegerField(allow_null=True, help_text="Of the autoscaler; null: it is off.")
    max_count = serializers.IntegerField(allow_null=True)
    observed_count = serializers.IntegerField(allow_null=True, help_text="As Azure had it last.")
    nodes_ready = serializers.IntegerField()
    zones = serializers.ListField(child=serializers.CharField())
    labels = serializers.DictField(child=serializers.CharField())
    taints = serializers.ListField(child=serializers.CharField())
    os_disk_gb = serializers.IntegerField(help_text="0: the size's own.")
    usd_hour = serializers.FloatField(allow_null=True, help_text=f"Estimate, prices of {sizes.PRICES_FROM}.")
    generation = serializers.IntegerField()
    is_adopted = serializers.BooleanField(help_text="Somebody made it in Azure; it was seen there.")


class PoolsOut(http.Shape):
    """All node pools of a cluster."""

    items = PoolOut(many=True)
    next = serializers.CharField(allow_null=True)


class PoolDetailOut(PoolOut):
    """A node pool, and the deployments that ask for it."""

    deployments = serializers.ListField(child=serializers.CharField())


class PoolIn(http.Shape):
    """A wish for a further node pool."""

    name = serializers.CharField(help_text="1 to 12 lower-case letters and digits, beginning with a letter.")
    vm_size = serializers.CharField(default=sizes.DEFAULT_SIZE)
    count = serializers.IntegerField(default=1)
    mode = serializers.ChoiceField(choices=PoolMode.choices, default=PoolMode.USER.value)
    min_count = serializers.IntegerField(required=False, help_text="With max_count: the autoscaler is on.")
    max_count = serializers.IntegerField(required=False)
    zones = serializers.ListField(child=serializers.CharField(), required=False, help_text="Out of 1, 2, 3.")
    labels = serializers.DictField(child=serializers.CharField(allow_blank=True), required=False)
    taints = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="key=value:NoSchedule; deployments there tolerate it."
    )
    os_disk_gb = serializers.IntegerField(required=False, help_text="Of a node, 30 to 2048; the size's own by default.")


class PoolScaleIn(http.Shape):
    """A wish for another count, or for an autoscaler with these bounds; without bounds it is off."""

    count = serializers.IntegerField(required=False)
    min_count = serializers.IntegerField(required=False)
    max_count = serializers.IntegerField(required=False)
    generation = serializers.IntegerField(required=False)


GPU_POOL = {
    "name": "gpu1", "vm_size": "Standard_NC4as_T4_v3", "min_count": 0, "max_count": 2, "count": 1,
    "taints": ["sku=gpu:NoSchedule"], "labels": {"team": "vision"}, "zones": ["1"], "os_disk_gb": 128,
}  # fmt: skip
SHOWN = {
    **GPU_POOL, "is_first": False, "mode": "User", "state": "Succeeded", "reason": "", "vcpus": 4, "memory_gb": 28,
    "gpus": 1, "observed_count": 1, "nodes_ready": 1, "usd_hour": 0.658, "generation": 1, "is_adopted": False,
}  # fmt: skip


class NodePools(http.ApiView):
    """The node pools of a compute target."""

    @extend_schema(
        operation_id="workspaces_compute_targets_pools_list",
        responses=PoolsOut,
        examples=[OpenApiExample("With GPUs", value={"items": [SHOWN], "next": None}, response_only=True)],
    )
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """List node pools, the target's own first; those that others made in Azure are among them."""
        target = queries.compute_target(actor=self.actor(request), workspace=workspace, name=name, needs=Role.READER)
        return Response({"items": pool_table.rows(target), "next": None})

    @extend_schema(
        request=PoolIn,
        responses={202: AcceptedOut},
        examples=[
            OpenApiExample("Two small nodes", value={"name": "extra", "count": 2}, request_only=True),
            OpenApiExample("GPUs, with an autoscaler", value=GPU_POOL, request_only=True),
        ],
    )
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Add a node pool: size, zones, quota and subnet are looked at first."""
        actor = self.actor(request)
        target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
        return http.accepted(pool_actions.pool_add(target=target, actor=actor, **PoolIn.parse(request.data)))


class NodePool(http.ApiView):
    """One node pool."""

    @extend_schema(
        responses=PoolDetailOut,
        examples=[OpenApiExample("With GPUs", value={**SHOWN, "deployments": ["iris-v2"]}, response_only=True)],
    )
    def get(self, request: Request, workspace: str, name: str, pool: str) -> Response:
        """Show a node pool with the deployments that ask for it."""
        target = queries.compute_target(actor=self.actor(request), workspace=workspace, name=name, needs=Role.READER)
        shown = _shown(target, pool)
        return Response({**shown, "deployments": placed.on_pool(target=target, pool=pool)})

    @extend_schema(parameters=[OpenApiParameter("force", bool)], responses={202: AcceptedOut})
    def delete(self, request: Request, workspace: str, name: str, pool: str) -> Response:
        """Take a node pool away with its nodes. 409 names what asks for it, unless forced."""
        actor = self.actor(request)
        force = flag(request.query_params.get("force", "false"))
        target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
        row = _row(target, pool)
        return http.accepted(pool_actions.pool_remove(pool=row, actor=actor, force=force))


class ScalePool(http.ApiView):
    """Change the count of a node pool, or its autoscaler."""

    @extend_schema(
        request=PoolScaleIn,
        responses={202: AcceptedOut},
        examples=[
            OpenApiExample("Four nodes", value={"count": 4, "generation": 1}, request_only=True),
            OpenApiExample("By the load", value={"min_count": 0, "max_count": 4}, request_only=True),
        ],
    )
    def post(self, request: Request, workspace: str, name: str, pool: str) -> Response:
        """Scale; with a generation, 412 when somebody was faster."""
        actor = self.actor(request)
        target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
        data, row = PoolScaleIn.parse(request.data), _row(target, pool)
        return http.accepted(pool_actions.pool_scale(pool=row, actor=actor, **data))


class AdoptPool(http.ApiView):
    """Take over what somebody set in Azure."""

    @extend_schema(request=None, responses=PoolOut)
    def post(self, request: Request, workspace: str, name: str, pool: str) -> Response:
        """Take Azure's count and bounds as the wanted ones; nothing is changed in Azure. 409 when they are."""
        actor = self.actor(request)
        target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
        pool_actions.pool_adopt(pool=_row(target, pool), actor=actor)
        target.refresh_from_db()
        return Response(_shown(target, pool))


def _row(target: Any, pool: str) -> Any:
    pool_actions.refuse_first(target, pool)
    return queries.node_pool(target=target, name=pool)


def _shown(target: Any, pool: str) -> dict[str, Any]:
    if pool == queries.first_pool(target):
        return pool_table.first(target)
    return pool_table.further(target, queries.node_pool(target=target, name=pool))
