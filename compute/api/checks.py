"""REST door of the preflight."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, PolymorphicProxySerializer, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute import attaching, preflight, queries
from compute.api.findings import PreflightOut, told
from compute.api.pools import GPU_POOL, PoolIn
from compute.api.wishes import AttachIn, CreateIn, create_wish
from compute.steps import attach, pool_checks
from compute.steps import preflight as checks
from portal import http
from portal import queries as portal
from portal.types import Role

QUOTA_EXAMPLE = {
    "code": "quota_region",
    "level": "error",
    "message": "3 × Standard_D3_v2 (4 vCPUs each) need 12 regional vCPUs in westeurope; 4 are left (96 of 100 in use).",
    "fix": f"{preflight.MORE_QUOTA} 8 more would do.",
    "facts": {"left": 4, "needed": 12, "limit": 100, "used": 96},
}


class AttachPreflightIn(http.Shape):
    """An attach to be checked."""

    attach = AttachIn()


class PoolCheckIn(PoolIn):
    """A further node pool of a compute target."""

    compute_target = serializers.CharField()


class PoolPreflightIn(http.Shape):
    """A further node pool to be checked."""

    pool = PoolCheckIn()


class Preflight(http.ApiView):
    """What Azure and the portal's rules would say to a create, an attach or a further node pool."""

    @extend_schema(
        request=PolymorphicProxySerializer("PreflightIn", [CreateIn, AttachPreflightIn, PoolPreflightIn], None),
        responses=PreflightOut,
        examples=[
            OpenApiExample(
                "Too little quota",
                value={"findings": [QUOTA_EXAMPLE], "passes": False},
                response_only=True,
                status_codes=["200"],
            ),
            OpenApiExample(
                "Attach", value={"attach": {"name": "theirs", "resource_group": "rg", "cluster_name": "aks"}},
                request_only=True,
            ),
            OpenApiExample(
                "A further node pool", value={"pool": {"compute_target": "prod-1", **GPU_POOL}}, request_only=True
            ),
        ],
    )  # fmt: skip
    def post(self, request: Request, workspace: str) -> Response:
        """Check a create (sizes, zones, quotas, version, permissions, subnet), with `attach` an attach, or with
        `pool` a further node pool; nothing is made or changed. It takes up to 15 s, an attach up to 30 s.
        """
        actor = self.actor(request)
        home = portal.workspace(actor=actor, slug=workspace, needs=Role.OPERATOR)
        if isinstance(request.data, dict) and "attach" in request.data:
            wish = attaching.wish_of(AttachPreflightIn.parse(request.data)["attach"])
            findings = attach.attach_findings(workspace=home, wish=wish)
        elif isinstance(request.data, dict) and "pool" in request.data:
            wish = PoolPreflightIn.parse(request.data)["pool"]
            name = wish.pop("compute_target")
            target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
            findings = pool_checks.add_findings(target=target, wish=wish)
        else:
            findings = checks.wish_findings(workspace=home, wish=create_wish(CreateIn.parse(request.data)))
        return Response(told(findings))
