"""What others changed in a cluster, and putting it back."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute import queries as compute
from endpoints import actions
from endpoints.api import shapes
from endpoints.api.endpoints import KindView
from portal import http
from portal.types import Role


class WorkloadDriftOut(http.Shape):
    """What others changed on a compute target: of the gateway, and by service or endpoint."""

    gateway = shapes.ChangedOut(many=True)
    endpoints = serializers.DictField(child=shapes.ChangedOut(many=True))


class PutBack(KindView):
    """Undo what others changed."""

    @extend_schema(request=None, responses={202: shapes.EndpointAcceptedOut})
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Apply what is wanted again, over what others changed or deleted in the cluster."""
        endpoint = self.found(request, workspace, name, Role.CONTRIBUTOR)
        return http.accepted(actions.endpoint_put_back(endpoint=endpoint, actor=self.actor(request)))


class WorkloadDrift(http.ApiView):
    """What others changed of what runs on a compute target."""

    @extend_schema(responses=WorkloadDriftOut)
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """List it, as it was seen last; the cluster is not asked."""
        target = compute.compute_target(actor=self.actor(request), workspace=workspace, name=name, needs=Role.READER)
        return Response(compute.workload_drift(target=target))


class GatewayPutBack(http.ApiView):
    """Undo what others changed of a gateway."""

    @extend_schema(request=None, responses={202: shapes.EndpointAcceptedOut})
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Apply the gateway again, over what others changed or deleted in the cluster."""
        actor = self.actor(request)
        target = compute.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
        return http.accepted(actions.gateway_put_back(target=target, actor=actor))
