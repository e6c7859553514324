"""What REST takes: the wish for a cluster, for an attach, for another node count, for a detach."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from compute import options, sizes
from compute.types import Purpose
from portal import http


class EdgeIn(http.Shape):
    """How callers reach what runs there."""

    load_balancer = serializers.DictField(
        required=False,
        help_text="internal (or type: PublicIp, InternalLoadBalancer) with subnet, or dns_label; ip, or ip_name of a "
        "public address, with ip_resource_group; sku (standard).",
    )
    tls = serializers.DictField(
        child=serializers.CharField(), required=False, help_text="cname or leaf_domain; certificate and key (PEM)."
    )


class CreateIn(EdgeIn):
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


class KubeconfigIn(http.Shape):
    """A newer kubeconfig of the same cluster."""

    kubeconfig = serializers.CharField(trim_whitespace=False, write_only=True, help_text="Kept encrypted, never shown.")


class AttachIn(EdgeIn):
    """A wish to attach a cluster: cluster_id, or resource_group and cluster_name; or any other by its kubeconfig."""

    name = serializers.CharField()
    cluster_id = serializers.CharField(default="", allow_blank=True)
    resource_group = serializers.CharField(default="", allow_blank=True, max_length=90)
    cluster_name = serializers.CharField(default="", allow_blank=True, max_length=63)
    purpose = serializers.ChoiceField(choices=Purpose.choices, default=Purpose.FAST_PROD)
    authorize_range = serializers.CharField(default="", allow_blank=True)
    kubeconfig = serializers.CharField(
        default="", allow_blank=True, trim_whitespace=False,
        help_text="Of any Kubernetes, YAML or JSON, all inline. Kept encrypted, never shown.",
    )  # fmt: skip
    region = serializers.RegexField(
        options.REGION_LABEL, default="", allow_blank=True,
        help_text="With kubeconfig: a label for where the cluster is; the workspace's region by default.",
    )  # fmt: skip
    gateway_service = serializers.ChoiceField(
        choices=options.GATEWAY_SERVICES, default="", allow_blank=True,
        help_text="With kubeconfig: how the gateway is reached; LoadBalancer by default.",
    )  # fmt: skip
    gateway_address = serializers.CharField(
        default="", allow_blank=True, max_length=options.LONGEST_ADDRESS,
        help_text="With kubeconfig: the address that callers use, where the cluster gives none.",
    )  # fmt: skip


class ScaleIn(http.Shape):
    """A wish for another node count."""

    node_count = serializers.IntegerField()
    generation = serializers.IntegerField(required=False)


class DetachIn(http.Shape):
    """A wish to forget a cluster."""

    force = serializers.BooleanField(default=False)


KUBECONFIG_EXAMPLE = """apiVersion: v1
kind: Config
current-context: slipway
clusters: [{name: k3s, cluster: {server: "https://k3s.example.com:6443", certificate-authority-data: LS0tLS1…}}]
users: [{name: slipway, user: {token: eyJhbGciOi…}}]
contexts: [{name: slipway, context: {cluster: k3s, user: slipway}}]
"""
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
    "load_balancer": {"type": "PublicIp", "sku": "standard", "dns_label": "scores"},
    "vnet": {
        "subscription_id": "11111111-2222-3333-4444-555555555555",
        "resource_group": "network",
        "name": "hub",
        "subnet": "nodes",
    },
    "service_cidr": "10.8.0.0/16",
    "dns_service_ip": "10.8.0.10",
}


def create_wish(data: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `compute_target_create` from a parsed body."""
    config = {name: data[name] for name in sorted(options.KNOWN) if name in data}
    return {"config": config, **{name: value for name, value in data.items() if name not in config}}
