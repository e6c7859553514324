"""REST doors of compute targets, VM sizes and the clusters of the subscription."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute import actions, cost, options, preflight, queries, sizes
from compute.steps import attach as attaching
from compute.steps import leftovers
from compute.steps import preflight as checks
from compute.types import ComputeState, Purpose
from portal import http, operations
from portal import queries as portal
from portal.problems import InvalidShape
from portal.types import Role


class DriftOut(http.Shape):
    """One thing that Azure has otherwise than it is wanted here."""

    code = serializers.CharField()
    configured = serializers.CharField()
    azure = serializers.CharField()
    message = serializers.CharField()
    since = serializers.DateTimeField()


class CostOut(http.Shape):
    """The estimate for the nodes of all pools; null where a price is not known, 0 while the cluster is stopped."""

    usd_hour = serializers.FloatField(allow_null=True)
    usd_month = serializers.FloatField(allow_null=True)
    prices_from = serializers.DateField()


class TargetOut(http.Shape):
    """A compute target as REST shows it."""

    name = serializers.CharField()
    state = serializers.ChoiceField(choices=ComputeState.choices)
    reason = serializers.CharField()
    is_attached = serializers.BooleanField()
    purpose = serializers.ChoiceField(choices=Purpose.choices)
    generation = serializers.IntegerField()
    cluster_id = serializers.CharField()
    subscription_id = serializers.CharField()
    resource_group = serializers.CharField()
    cluster_name = serializers.CharField()
    region = serializers.CharField()
    vm_size = serializers.CharField()
    node_count = serializers.IntegerField()
    vcpus = serializers.IntegerField(help_text="Of one node.")
    memory_gb = serializers.FloatField(help_text="Of one node.")
    gpus = serializers.IntegerField(help_text="Of one node.")
    total_vcpus = serializers.IntegerField()
    usd_hour = serializers.FloatField(allow_null=True, help_text=f"Estimate, prices of {sizes.PRICES_FROM}.")
    cost = CostOut()
    kubernetes_version = serializers.CharField()
    config = serializers.JSONField()
    tags = serializers.JSONField()
    drift = DriftOut(many=True)
    observed = serializers.JSONField()
    observed_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField(allow_null=True)
    operation = serializers.UUIDField(required=False, allow_null=True)


class CreateIn(http.Shape):
    """A wish for a new cluster."""

    name = serializers.CharField()
    vm_size = serializers.CharField(default=sizes.DEFAULT_SIZE)
    node_count = serializers.IntegerField(required=False)
    purpose = serializers.ChoiceField(choices=Purpose.choices, default=Purpose.FAST_PROD)
    region = serializers.RegexField(r"^[A-Za-z0-9 ]{2,50}$", required=False)
    resource_group = serializers.RegexField(r"^[-\w.()]{0,89}[-\w()]$", required=False)
    kubernetes_version = serializers.CharField(default="", allow_blank=True)
    tags = serializers.DictField(child=serializers.CharField(allow_blank=True, max_length=256), default=dict)
    zones = serializers.ListField(child=serializers.CharField(), required=False, help_text="Out of 1, 2, 3.")
    identity = serializers.CharField(
        required=False, help_text="system (the default), or a user-assigned identity's resource id."
    )
    os_disk_gb = serializers.IntegerField(required=False, help_text="Of a node, 30 to 2048; the size's own by default.")
    autoscaler = serializers.DictField(
        child=serializers.IntegerField(), required=False, help_text="min_count and max_count."
    )
    authorized_ip_ranges = serializers.ListField(child=serializers.CharField(), required=False)
    private_cluster = serializers.BooleanField(required=False)
    load_balancer = serializers.DictField(
        required=False, help_text="internal (or type: PublicIp, InternalLoadBalancer), subnet, sku (standard)."
    )
    subnet_id = serializers.CharField(required=False)
    vnet = serializers.DictField(
        child=serializers.CharField(),
        required=False,
        help_text="In place of subnet_id: subscription_id, resource_group, name, subnet.",
    )
    network_mode = serializers.ChoiceField(
        choices=options.NETWORK_MODES, required=False, help_text="Pods with a range of their own, or in the subnet."
    )
    service_cidr = serializers.CharField(required=False)
    dns_service_ip = serializers.CharField(required=False, help_text="In service_cidr; its tenth by default.")
    docker_bridge_cidr = serializers.CharField(required=False, help_text="Accepted and dropped: Azure has it no more.")
    tls = serializers.DictField(child=serializers.CharField(), required=False)


class AttachIn(http.Shape):
    """A wish to attach a cluster: cluster_id, or resource_group and cluster_name."""

    name = serializers.CharField()
    cluster_id = serializers.CharField(default="", allow_blank=True)
    resource_group = serializers.CharField(default="", allow_blank=True, max_length=90)
    cluster_name = serializers.CharField(default="", allow_blank=True, max_length=63)
    purpose = serializers.ChoiceField(choices=Purpose.choices, default=Purpose.FAST_PROD)
    authorize_range = serializers.CharField(default="", allow_blank=True)


class ScaleIn(http.Shape):
    """A wish for another node count."""

    node_count = serializers.IntegerField()
    generation = serializers.IntegerField(required=False)


class DetachIn(http.Shape):
    """A wish to forget a cluster."""

    force = serializers.BooleanField(default=False)


class AcceptedOut(http.Shape):
    """Where to follow the long job."""

    operation = serializers.UUIDField()
    state = serializers.CharField()
    kind = serializers.CharField()
    target = serializers.CharField()
    url = serializers.CharField()
    warnings = serializers.ListField(child=serializers.CharField())


class SizeOut(http.Shape):
    """A VM size with its estimated price in the region."""

    name = serializers.CharField()
    vcpus = serializers.IntegerField()
    memory_gb = serializers.FloatField()
    gpus = serializers.IntegerField()
    family = serializers.CharField()
    usd_hour = serializers.FloatField(allow_null=True)
    smallest_fastprod_count = serializers.IntegerField()


CREATE_EXAMPLE = {
    "name": "prod-1",
    "vm_size": "Standard_D4s_v5",
    "node_count": 3,
    "purpose": "FastProd",
    "region": "westeurope",
    "resource_group": "models",
    "kubernetes_version": "1.33",
    "tags": {"cost-centre": "42"},
    "zones": ["1", "2", "3"],
    "identity": "system",
    "os_disk_gb": 128,
    "autoscaler": {"min_count": 3, "max_count": 6},
    "authorized_ip_ranges": ["203.0.113.0/24"],
    "load_balancer": {"type": "PublicIp", "sku": "standard"},
    "vnet": {
        "subscription_id": "11111111-2222-3333-4444-555555555555",
        "resource_group": "network",
        "name": "hub",
        "subnet": "nodes",
    },
    "service_cidr": "10.8.0.0/16",
    "dns_service_ip": "10.8.0.10",
}
QUOTA_EXAMPLE = {
    "code": "quota_region",
    "level": "error",
    "message": "3 × Standard_D3_v2 (4 vCPUs each) need 12 regional vCPUs in westeurope; 4 are left (96 of 100 in use).",
    "fix": f"{preflight.MORE_QUOTA} 8 more would do.",
    "facts": {"left": 4, "needed": 12, "limit": 100, "used": 96},
}


def create_wish(data: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `compute_target_create` from a parsed body."""
    config = {name: data[name] for name in sorted(options.KNOWN) if name in data}
    return {"config": config, **{name: value for name, value in data.items() if name not in config}}


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


class FindingOut(http.Shape):
    """One result of a preflight: `fix` says what to do, empty where nothing is; `facts` are the numbers."""

    code = serializers.CharField()
    level = serializers.ChoiceField(choices=["error", "warning", "ok"])
    message = serializers.CharField()
    fix = serializers.CharField(allow_blank=True)
    facts = serializers.DictField()


class PreflightOut(http.Shape):
    """All findings, and whether none of them is an error."""

    findings = FindingOut(many=True)
    passes = serializers.BooleanField()


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
            findings = attaching.attach_findings(workspace=home, wish=wish)
        else:
            findings = checks.wish_findings(workspace=home, wish=create_wish(CreateIn.parse(request.data)))
        told = [finding.as_dict() for finding in findings]
        return Response({"findings": told, "passes": preflight.passes(findings)})


class Attach(http.ApiView):
    """Attach an existing cluster."""

    @extend_schema(request=AttachIn, responses={202: AcceptedOut})
    def post(self, request: Request, workspace: str) -> Response:
        """Attach by resource id, or by resource group and name."""
        actor = self.actor(request)
        home = portal.workspace(actor=actor, slug=workspace, needs=Role.OPERATOR)
        data = AttachIn.parse(request.data)
        return http.accepted(actions.compute_target_attach(workspace=home, actor=actor, **data))


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
        force = _flag(request.query_params.get("force", "false"))
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


DERIVED = ("created_by", "operation", "usd_hour", "drift", "cost")


def target_json(target: Any) -> dict[str, Any]:
    """A compute target without its operation."""
    names = [str(name) for name in TargetOut().fields if str(name) not in DERIVED]
    return {
        **{name: getattr(target, name) for name in names},
        "usd_hour": usd_hour(target),
        "drift": target.observed.get("drift") or [],
        "cost": cost_of(target),
        "created_by": target.created_by.username if target.created_by else None,
    }


def cost_of(target: Any) -> dict[str, Any]:
    """The estimate for all pools as they are wanted, the others as Azure was seen to have them."""
    seen, main = target.observed.get("pools") or [], target.observed.get("pool")
    pools = [(target.vm_size, target.node_count), *((size, int(count)) for name, size, count in seen if name != main)]
    is_stopped = str(target.observed.get("power_state") or "").lower() == "stopped"
    return cost.estimate(pools=pools, region=target.region, is_stopped=is_stopped)


def usd_hour(target: Any) -> float | None:
    """The estimated price of the target's nodes; None where it is unknown."""
    try:
        size = sizes.find(target.vm_size)
    except (sizes.UnknownSize, sizes.FpgaSize):
        return None
    return sizes.price(size=size, count=target.node_count, region=target.region)


def _size(size: Any, region: str) -> dict[str, Any]:
    fields = ("name", "vcpus", "memory_gb", "gpus", "family")
    return {
        **{name: getattr(size, name) for name in fields},
        "usd_hour": sizes.price(size=size, count=1, region=region),
        "smallest_fastprod_count": sizes.smallest_count(size),
    }


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise InvalidShape(f"force is {text!r}: give true or false.")
    return text.lower() in ("true", "1")


def _number(text: str, name: str) -> int:
    if not text.isdigit() or len(text) > 3:
        raise InvalidShape(f"{name} is {text!r}: give a whole number.")
    return int(text)
