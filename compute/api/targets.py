"""REST doors of compute targets: list, create, attach, show, scale, adopt, delete."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from compute import actions, attaching, queries
from compute.actions import given as given_actions
from compute.api.shapes import AcceptedOut, TargetOut, target_json
from compute.api.wishes import (
    CREATE_EXAMPLE,
    KUBECONFIG_EXAMPLE,
    AttachIn,
    CreateIn,
    KubeconfigIn,
    ScaleIn,
    create_wish,
)
from portal import http, operations
from portal import queries as portal
from portal.problems import InvalidShape
from portal.types import Role


class ComputeTargets(http.ApiView):
    """The compute targets of a workspace."""

    @extend_schema(
        responses=TargetOut(many=True), parameters=[OpenApiParameter(name) for name in ("state", "cursor", "page_size")]
    )
    def get(self, request: Request, workspace: str) -> Response:
        """List compute targets by name; filter by state."""
        home = portal.workspace(actor=self.actor(request), slug=workspace, needs=Role.READER)
        rows = queries.compute_targets(workspace=home)
        state = request.query_params.get("state", "")
        rows = rows.filter(state=state) if state else rows
        return http.page(self, rows, target_json, ordering=("name", "pk"))

    @extend_schema(
        request=CreateIn,
        responses={202: AcceptedOut},
        examples=[
            OpenApiExample("Small", value={"name": "trial", "purpose": "DevTest"}, request_only=True),
            OpenApiExample("Everything said", value=CREATE_EXAMPLE, request_only=True),
        ],
    )
    def post(self, request: Request, workspace: str) -> Response:
        """Create an AKS cluster."""
        actor = self.actor(request)
        home = portal.workspace(actor=actor, slug=workspace, needs=Role.OPERATOR)
        wish = create_wish(CreateIn.parse(request.data))
        queries.check_version(home, wish["kubernetes_version"], wish.get("region", ""))
        return http.accepted(actions.compute_target_create(workspace=home, actor=actor, **wish))


class Attach(http.ApiView):
    """Attach an existing cluster."""

    @extend_schema(
        request=AttachIn,
        responses={202: AcceptedOut},
        examples=[
            OpenApiExample("AKS", value={"name": "theirs", "cluster_name": "aks"}, request_only=True),
            OpenApiExample(
                "Any Kubernetes", value={"name": "edge", "kubeconfig": KUBECONFIG_EXAMPLE, "region": "plant 4"},
                request_only=True,
            ),
        ],
    )  # fmt: skip
    def post(self, request: Request, workspace: str) -> Response:
        """Attach an AKS cluster by resource id, or by resource group and name; any other by its kubeconfig."""
        actor = self.actor(request)
        home = portal.workspace(actor=actor, slug=workspace, needs=Role.OPERATOR)
        wish = attaching.wish_of(AttachIn.parse(request.data))
        return http.accepted(attaching.attach(workspace=home, actor=actor, wish=wish))


class Kubeconfig(http.ApiView):
    """The kubeconfig that was given for a cluster."""

    @extend_schema(
        request=KubeconfigIn,
        responses={202: AcceptedOut},
        examples=[OpenApiExample("Newer token", value={"kubeconfig": KUBECONFIG_EXAMPLE}, request_only=True)],
    )
    def put(self, request: Request, workspace: str, name: str) -> Response:
        """Replace it by a newer one of the same cluster; the old one is used until the newer was seen to work."""
        actor = self.actor(request)
        target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
        given = queries.given_cluster(KubeconfigIn.parse(request.data)["kubeconfig"])
        return http.accepted(given_actions.compute_target_replace_kubeconfig(target=target, actor=actor, given=given))


class ComputeTargetDetail(http.ApiView):
    """One compute target."""

    @extend_schema(responses=TargetOut)
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """Show a compute target with its nodes and the operation that runs on it."""
        target = queries.compute_target(actor=self.actor(request), workspace=workspace, name=name, needs=Role.READER)
        running = operations.active_on(target.ref)
        return Response({**target_json(target), "operation": running.pk if running else None})

    @extend_schema(parameters=[OpenApiParameter("force", bool)], responses={202: AcceptedOut})
    def delete(self, request: Request, workspace: str, name: str) -> Response:
        """Delete the cluster in Azure."""
        actor = self.actor(request)
        force = flag(request.query_params.get("force", "false"))
        target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
        return http.accepted(actions.compute_target_delete(target=target, actor=actor, force=force))


class Scale(http.ApiView):
    """Change the node count."""

    @extend_schema(request=ScaleIn, responses={202: AcceptedOut})
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Scale; with a generation, 412 when somebody was faster."""
        actor = self.actor(request)
        target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
        data = ScaleIn.parse(request.data)
        return http.accepted(actions.compute_target_scale(target=target, actor=actor, **data))


class Adopt(http.ApiView):
    """Take over what somebody set in Azure."""

    @extend_schema(request=None, responses=TargetOut)
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Take Azure's node count as the wanted one; nothing is changed in Azure. 409 when it is the wanted one."""
        actor = self.actor(request)
        target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
        actions.compute_target_adopt(target=target, actor=actor)
        target.refresh_from_db()
        return Response(target_json(target))


def flag(text: str) -> bool:
    """`?force=` as a truth value. Raises InvalidShape (400)."""
    if text.lower() not in ("true", "false", "1", "0"):
        raise InvalidShape(f"force is {text!r}: give true or false.")
    return text.lower() in ("true", "1")
