"""REST door of the preflight."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, PolymorphicProxySerializer, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from compute import preflight
from compute.api.findings import PreflightOut, told
from compute.api.wishes import AttachIn, CreateIn, create_wish
from compute.steps import attach
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


class Preflight(http.ApiView):
    """What Azure and the portal's rules would say to a create or an attach."""

    @extend_schema(
        request=PolymorphicProxySerializer("PreflightIn", [CreateIn, AttachPreflightIn], None),
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
        ],
    )  # fmt: skip
    def post(self, request: Request, workspace: str) -> Response:
        """Check a create (sizes, zones, quotas, version, permissions, subnet), or with `attach` an attach; nothing is
        made or changed. It takes up to 15 s, an attach up to 30 s.
        """
        home = portal.workspace(actor=self.actor(request), slug=workspace, needs=Role.OPERATOR)
        if isinstance(request.data, dict) and "attach" in request.data:
            wish = AttachPreflightIn.parse(request.data)["attach"]
            findings = attach.attach_findings(workspace=home, wish=wish)
        else:
            findings = checks.wish_findings(workspace=home, wish=create_wish(CreateIn.parse(request.data)))
        return Response(told(findings))
