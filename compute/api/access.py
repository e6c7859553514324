"""REST doors into a cluster and out of it: its kubeconfig, and its detach."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute import actions, queries
from compute.api.shapes import AcceptedOut
from compute.api.wishes import DetachIn
from compute.steps import leftovers
from portal import http
from portal.types import Role


class ObjectOut(http.Shape):
    """A Kubernetes object; namespace is empty for a namespace itself."""

    kind = serializers.CharField()
    namespace = serializers.CharField(allow_blank=True)
    name = serializers.CharField()


class KeptOut(http.Shape):
    """A namespace that stays, and what of others is in it."""

    namespace = serializers.CharField()
    because_of = serializers.ListField(child=serializers.CharField())


class DetachPlanOut(http.Shape):
    """What a detach takes out of the cluster; `unseen` says why that is not known."""

    objects = ObjectOut(many=True)
    kept = KeptOut(many=True)
    unseen = serializers.CharField(allow_blank=True)


DETACH_PLAN = {
    "objects": [{"kind": "ConfigMap", "namespace": "slipway-system", "name": "owner-1f0c2a9b-lab-7"}],
    "kept": [{"namespace": "models", "because_of": ["Deployment models/their-cache"]}],
    "unseen": "",
}


class Detach(http.ApiView):
    """Forget a cluster."""

    @extend_schema(
        responses=DetachPlanOut,
        examples=[OpenApiExample("Plan", value=DETACH_PLAN, response_only=True, status_codes=["200"])],
    )
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """List what a detach would take out of the cluster; nothing is removed."""
        target = queries.compute_target(actor=self.actor(request), workspace=workspace, name=name, needs=Role.OPERATOR)
        return Response(leftovers.detach_plan(target))

    @extend_schema(request=DetachIn, responses={202: AcceptedOut})
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Detach; the cluster stays in Azure."""
        actor = self.actor(request)
        target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
        data = DetachIn.parse(request.data)
        return http.accepted(actions.compute_target_detach(target=target, actor=actor, force=data["force"]))


class Credentials(http.ApiView):
    """The cluster's kubeconfig."""

    @extend_schema(request=None, responses={200: serializers.JSONField()})
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Fetch a kubeconfig from Azure now; written to the history."""
        actor = self.actor(request)
        target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
        content = queries.credentials(target=target)
        actions.compute_target_reveal(target=target, actor=actor)
        return Response({"kubeconfig": content.decode()}, headers={"Cache-Control": "no-store"})
