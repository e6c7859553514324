"""Services, endpoints, versions and traffic."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from compute import queries as compute
from endpoints import actions, queries
from endpoints.api import shapes, show, spec
from endpoints.types import EndpointKind, VersionChange
from portal import http
from portal import queries as portal
from portal.problems import InvalidShape
from portal.types import Role

SPLIT = OpenApiExample(
    "20 % to v2", request_only=True, value={"generation": 3, "versions": {"v2": {"traffic_percentile": 20}}}
)


class KindView(http.ApiView):
    """A door that serves either services or endpoints."""

    kind: ClassVar[EndpointKind] = EndpointKind.VERSIONED

    def found(self, request: Request, workspace: str, name: str, needs: Role) -> Any:
        """The service or endpoint of the path."""
        return queries.endpoint(actor=self.actor(request), workspace=workspace, name=name, needs=needs, kind=self.kind)


def wanted(data: dict[str, Any]) -> VersionChange:
    """What a request wants of one version's traffic."""
    return VersionChange(data.get("traffic_percentile"), data.get("is_default"), data.get("is_control"))


class EndpointList(KindView):
    """Services or endpoints of a workspace."""

    is_whole = True

    @extend_schema(responses=shapes.EndpointRowOut(many=True))
    def get(self, request: Request, workspace: str) -> Response:
        """List them by name; `?compute_target=` shows those on one."""
        home = portal.workspace(actor=self.actor(request), slug=workspace, needs=Role.READER)
        rows = queries.endpoints(workspace=home, kind=self.kind, target=request.query_params.get("compute_target", ""))
        return http.page(self, rows, show.line, ordering=("name", "pk"))

    @extend_schema(request=shapes.EndpointIn, responses={202: shapes.EndpointAcceptedOut})
    def post(self, request: Request, workspace: str) -> Response:
        """Deploy a new one. 202 with the operation to follow."""
        actor, is_service = self.actor(request), self.kind == EndpointKind.SERVICE
        home = portal.workspace(actor=actor, slug=workspace, needs=Role.CONTRIBUTOR)
        data = (shapes.ServiceIn if is_service else shapes.EndpointIn).parse(request.data)
        target = compute.compute_target(
            actor=actor, workspace=workspace, name=data["compute_target"], needs=Role.CONTRIBUTOR
        )
        draft = spec.draft(home, data, actor)
        if is_service:
            return http.accepted(actions.service_create(workspace=home, target=target, draft=draft, actor=actor))
        op = actions.endpoint_create(
            workspace=home, target=target, draft=draft, version=data["version"], wanted=wanted(data), actor=actor
        )
        return http.accepted(op)


class EndpointDetail(KindView):
    """One service or endpoint."""

    is_whole = True

    @extend_schema(responses=shapes.EndpointOut)
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """Show it with versions, shares and generation."""
        return Response(show.detail(self.found(request, workspace, name, Role.READER)))

    @extend_schema(request=shapes.ChangeIn, responses={200: shapes.EndpointOut, 202: shapes.EndpointAcceptedOut})
    def patch(self, request: Request, workspace: str, name: str) -> Response:
        """Change description, tags, auth mode; of a service also models, code, environment, configuration.

        200 with the result when nothing has to be deployed, else 202 with the operation to follow.
        """
        endpoint, actor = self.found(request, workspace, name, Role.CONTRIBUTOR), self.actor(request)
        data = shapes.ChangeIn.parse(request.data)
        if spec.has_deployment(data) and self.kind != EndpointKind.SERVICE:
            raise InvalidShape("An endpoint's models, code and configuration are its versions': change a version.")
        wanted_change = spec.change(endpoint, data, actor)
        op = actions.endpoint_change(endpoint=endpoint, change=wanted_change, actor=actor)
        if op is not None:
            return http.accepted(op)
        return Response(show.detail(self.found(request, workspace, name, Role.READER)))

    @extend_schema(responses={202: shapes.EndpointAcceptedOut})
    def delete(self, request: Request, workspace: str, name: str) -> Response:
        """Delete it with all its versions."""
        endpoint = self.found(request, workspace, name, Role.CONTRIBUTOR)
        return http.accepted(actions.endpoint_delete(endpoint=endpoint, actor=self.actor(request)))


class EndpointTraffic(KindView):
    """The split of an endpoint."""

    @extend_schema(request=shapes.TrafficIn, responses={202: shapes.EndpointAcceptedOut}, examples=[SPLIT])
    def patch(self, request: Request, workspace: str, name: str) -> Response:
        """Change percentiles, default and control. 412 with the present split if somebody was faster."""
        endpoint = self.found(request, workspace, name, Role.CONTRIBUTOR)
        data = shapes.TrafficIn.parse(request.data)
        changes = {version: wanted(change) for version, change in data["versions"].items()}
        op = actions.endpoint_set_traffic(
            endpoint=endpoint, wanted=changes, generation=data["generation"], actor=self.actor(request)
        )
        return http.accepted(op)


class VersionList(KindView):
    """The versions of an endpoint."""

    is_whole = True

    @extend_schema(responses=shapes.VersionOut(many=True))
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """List them, the oldest first."""
        endpoint = self.found(request, workspace, name, Role.READER)
        return Response({"items": [show.version(row) for row in queries.version_rows(endpoint=endpoint)], "next": None})

    @extend_schema(request=shapes.VersionIn, responses={202: shapes.EndpointAcceptedOut})
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Deploy one more version; it takes its share once it is healthy."""
        endpoint, actor = self.found(request, workspace, name, Role.CONTRIBUTOR), self.actor(request)
        data = shapes.VersionIn.parse(request.data)
        spec.refuse_access(endpoint, data.get("deployment_config"))
        op = actions.version_create(
            endpoint=endpoint, name=data["version"], spec=spec.whole(endpoint.workspace, data, actor),
            wanted=wanted(data), generation=data.get("generation"), actor=actor,
        )  # fmt: skip
        return http.accepted(op)


class VersionDetail(KindView):
    """One version of an endpoint."""

    is_whole = True

    @extend_schema(responses=shapes.VersionOut)
    def get(self, request: Request, workspace: str, name: str, version: str) -> Response:
        """Show it."""
        endpoint = self.found(request, workspace, name, Role.READER)
        row = queries.version(endpoint=endpoint, name=version)
        rows = queries.version_rows(endpoint=endpoint)
        return Response(show.version(next(found for found in rows if found.version.pk == row.pk)))

    @extend_schema(request=shapes.DeployIn, responses={202: shapes.EndpointAcceptedOut})
    def patch(self, request: Request, workspace: str, name: str, version: str) -> Response:
        """Roll it to other models, code, environment or configuration; what is left out stays."""
        endpoint, actor = self.found(request, workspace, name, Role.CONTRIBUTOR), self.actor(request)
        data = shapes.DeployIn.parse(request.data)
        row = queries.version(endpoint=endpoint, name=version)
        spec.refuse_access(endpoint, data.get("deployment_config"))
        wanted_spec = spec.changed(endpoint, row, data, actor)
        return http.accepted(actions.version_update(endpoint=endpoint, version=row, spec=wanted_spec, actor=actor))

    @extend_schema(responses={202: shapes.EndpointAcceptedOut})
    def delete(self, request: Request, workspace: str, name: str, version: str) -> Response:
        """Delete it; its share goes to the default. `?generation=` checks that nothing changed meanwhile."""
        endpoint = self.found(request, workspace, name, Role.CONTRIBUTOR)
        given = request.query_params.get("generation")
        if given is not None and not given.isdigit():
            raise InvalidShape(f"generation is {given!r}: give the number that the endpoint shows.")
        op = actions.version_delete(
            endpoint=endpoint, version=queries.version(endpoint=endpoint, name=version),
            generation=int(given) if given else None, actor=self.actor(request),
        )  # fmt: skip
        return http.accepted(op)
