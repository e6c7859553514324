"""The gateway of a compute target: where callers reach it, and the certificate that it shows them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute import options
from compute import queries as compute
from endpoints import actions, queries
from endpoints.api import shapes
from endpoints.types import GatewayState
from portal import http
from portal.problems import InvalidShape
from portal.types import Role


class CertificateOut(http.Shape):
    """What callers are shown."""

    made_by = serializers.ChoiceField(["owner", "issuer", "itself"], help_text="Who signed it, as the portal knows.")
    subject = serializers.CharField()
    issuer = serializers.CharField()
    names = serializers.ListField(child=serializers.CharField())
    begins_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    days_left = serializers.IntegerField()
    fingerprint = serializers.CharField(help_text="SHA-256 of the certificate, hexadecimal.")
    is_seen = serializers.BooleanField(help_text="Whether every gateway pod was seen to show it.")
    note = serializers.CharField(help_text="What people should know of its end; mostly empty.")


class GatewayOut(http.Shape):
    """A gateway."""

    state = serializers.ChoiceField(GatewayState.choices)
    host = serializers.CharField(help_text="The name that clients call; empty: the address.")
    address = serializers.CharField()
    http_port = serializers.IntegerField(allow_null=True, help_text="Null where only TLS is taken.")
    https_port = serializers.IntegerField()
    is_internal = serializers.BooleanField()
    replicas = serializers.IntegerField()
    certificate = CertificateOut(allow_null=True)


class CertificateIn(http.Shape):
    """An own certificate with its chain and key, or `made`: the portal makes one."""

    certificate = serializers.CharField(required=False, trim_whitespace=False, help_text="PEM, the server's first.")
    key = serializers.CharField(required=False, trim_whitespace=False, help_text="PEM, without a password.")
    cname = serializers.CharField(required=False, default="", allow_blank=True, help_text="What clients call from now.")
    made = serializers.BooleanField(required=False, default=False)

    @classmethod
    def parse(cls, data: Any) -> dict[str, Any]:
        """One of both. Raises InvalidShape."""
        found = super().parse(data)
        if found["made"] and found.keys() & {"certificate", "key"}:
            raise InvalidShape("Give certificate and key, or made: true; not both.")
        if not found["made"] and not {"certificate", "key"} <= found.keys():
            raise InvalidShape("Give certificate and key (PEM), or made: true.")
        return found


class GatewayDetail(http.ApiView):
    """The gateway of a compute target."""

    @extend_schema(responses=GatewayOut)
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """Show the gateway; Absent before the first service."""
        target = compute.compute_target(actor=self.actor(request), workspace=workspace, name=name, needs=Role.READER)
        return Response(queries.gateway_shown(target=target))


class EntranceIn(http.Shape):
    """How callers reach the gateway of a cluster outside of Azure."""

    gateway_service = serializers.ChoiceField(choices=options.GATEWAY_SERVICES, default="", allow_blank=True)
    gateway_address = serializers.CharField(
        default="", allow_blank=True, max_length=options.LONGEST_ADDRESS,
        help_text="What callers use; empty: what the Service or a node shows.",
    )  # fmt: skip


class Entrance(http.ApiView):
    """How callers reach the gateway of a cluster outside of Azure."""

    @extend_schema(request=EntranceIn, responses={202: shapes.EndpointAcceptedOut})
    def put(self, request: Request, workspace: str, name: str) -> Response:
        """By a load balancer or by a port of the nodes; 409 for an AKS cluster, which has Azure's load balancer."""
        actor = self.actor(request)
        target = compute.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
        return http.accepted(actions.entrance_set(target=target, actor=actor, **EntranceIn.parse(request.data)))


class Certificate(http.ApiView):
    """The certificate that callers are shown."""

    @extend_schema(request=CertificateIn, responses={202: shapes.EndpointAcceptedOut})
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Replace it while scoring goes on: by an own one, or by one that the portal makes."""
        actor = self.actor(request)
        target = compute.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
        data = CertificateIn.parse(request.data)
        if data.pop("made"):
            return http.accepted(actions.certificate_make(target=target, actor=actor))
        return http.accepted(actions.certificate_set(target=target, actor=actor, **data))
