"""REST doors of what Azure has to offer: VM sizes of a region, and clusters to attach."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute import queries, sizes
from portal import http
from portal import queries as portal
from portal.problems import InvalidShape
from portal.types import Role


class SizeOut(http.Shape):
    """A VM size with its estimated price in the region."""

    name = serializers.CharField()
    vcpus = serializers.IntegerField()
    memory_gb = serializers.FloatField()
    gpus = serializers.IntegerField()
    family = serializers.CharField()
    usd_hour = serializers.FloatField(allow_null=True)
    smallest_fastprod_count = serializers.IntegerField()


class VmSizes(http.ApiView):
    """The VM sizes of a region."""

    @extend_schema(
        responses=SizeOut(many=True), parameters=[OpenApiParameter(name) for name in ("region", "search", "min_gpus")]
    )
    def get(self, request: Request, workspace: str) -> Response:
        """List sizes with estimated prices; filter by a part of the name, or by GPUs."""
        home = portal.workspace(actor=self.actor(request), slug=workspace, needs=Role.READER)
        region = request.query_params.get("region") or home.region
        search = request.query_params.get("search", "").lower()
        gpus = _number(request.query_params.get("min_gpus", "0"), "min_gpus")
        found = queries.vm_sizes(home, region.lower().replace(" ", ""))
        rows = [_size(each, region) for each in found if search in each.name.lower() and each.gpus >= gpus]
        return Response({"items": rows, "next": None, "prices_from": sizes.PRICES_FROM})


class Clusters(http.ApiView):
    """The clusters of the subscription, to attach."""

    @extend_schema(responses={200: serializers.JSONField()})
    def get(self, request: Request, workspace: str) -> Response:
        """List the managed clusters that Azure shows the workspace."""
        home = portal.workspace(actor=self.actor(request), slug=workspace, needs=Role.OPERATOR)
        fields = (
            "id", "name", "resource_group", "region", "provisioning_state", "power_state", "kubernetes_version",
            "vm_size", "node_count",
        )  # fmt: skip
        rows = [{name: getattr(view, name) for name in fields} for view in queries.clusters(home)]
        return Response({"items": rows, "next": None})


def _size(size: Any, region: str) -> dict[str, Any]:
    fields = ("name", "vcpus", "memory_gb", "gpus", "family")
    return {
        **{name: getattr(size, name) for name in fields},
        "usd_hour": sizes.price(size=size, count=1, region=region),
        "smallest_fastprod_count": sizes.smallest_count(size),
    }


def _number(text: str, name: str) -> int:
    if not text.isdigit() or len(text) > 3:
        raise InvalidShape(f"{name} is {text!r}: give a whole number.")
    return int(text)
