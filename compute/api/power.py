"""REST doors of power and of the autoscaler: start, stop, by the load or by a count."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute import queries
from compute.actions import power as power_actions
from compute.api.shapes import AcceptedOut
from portal import http
from portal.types import Role


class StartIn(http.Shape):
    """A wish to start a stopped cluster."""

    generation = serializers.IntegerField(required=False)


class StopIn(http.Shape):
    """A wish to stop a cluster."""

    force = serializers.BooleanField(default=False, help_text="Although what runs on it stops answering.")
    generation = serializers.IntegerField(required=False)


class AutoscalerIn(http.Shape):
    """A wish for an autoscaler of the cluster's own pool with these bounds, or for a fixed count: then it is off."""

    min_count = serializers.IntegerField(required=False)
    max_count = serializers.IntegerField(required=False)
    node_count = serializers.IntegerField(required=False, help_text="Switches the autoscaler off.")
    generation = serializers.IntegerField(required=False)


class Start(http.ApiView):
    """Start a stopped cluster."""

    @extend_schema(
        request=StartIn,
        responses={202: AcceptedOut},
        examples=[
            OpenApiExample("Start", value={}, request_only=True),
            OpenApiExample("Only as it was seen", value={"generation": 4}, request_only=True),
        ],
    )
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Start: the nodes come back, and what ran there answers again. 409 when it runs already."""
        actor = self.actor(request)
        target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
        data = StartIn.parse(request.data)
        return http.accepted(power_actions.compute_target_start(target=target, actor=actor, **data))


class Stop(http.ApiView):
    """Stop a cluster."""

    @extend_schema(
        request=StopIn,
        responses={202: AcceptedOut},
        examples=[
            OpenApiExample("Nothing runs there", value={}, request_only=True),
            OpenApiExample("Although services stop answering", value={"force": True}, request_only=True),
        ],
    )
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Stop: its nodes cost nothing until it is started. 409 names what would stop answering, unless forced."""
        actor = self.actor(request)
        target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
        data = StopIn.parse(request.data)
        return http.accepted(power_actions.compute_target_stop(target=target, actor=actor, **data))


class Autoscaler(http.ApiView):
    """The autoscaler of a cluster's own pool."""

    @extend_schema(
        request=AutoscalerIn,
        responses={202: AcceptedOut},
        examples=[
            OpenApiExample("By the load", value={"min_count": 3, "max_count": 6}, request_only=True),
            OpenApiExample("Off, four nodes", value={"node_count": 4, "generation": 2}, request_only=True),
        ],
    )
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Switch the autoscaler on, change its bounds, or switch it off; the quota for the most nodes is looked at."""
        actor = self.actor(request)
        target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
        data = AutoscalerIn.parse(request.data)
        return http.accepted(power_actions.compute_target_autoscale(target=target, actor=actor, **data))
