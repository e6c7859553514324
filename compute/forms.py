"""What the forms of compute's pages send, as the actions take it. Empty fields are left out."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from compute import options
from compute.types import PoolMode, Purpose
from portal.http import Shape
from portal.problems import Invalid, InvalidShape

MOST_BYTES = 1_048_576
TEXTS = ("identity", "network_mode", "subnet_id", "service_cidr", "dns_service_ip", "docker_bridge_cidr")


class ScaleForm(Shape):
    """The node slider."""

    node_count = serializers.IntegerField()
    generation = serializers.IntegerField()


class EdgeForm(Shape):
    """How callers reach what runs there."""

    internal = serializers.CharField(required=False, allow_blank=True)
    balancer_subnet = serializers.CharField(required=False, allow_blank=True)
    dns_label = serializers.CharField(required=False, allow_blank=True)
    balancer_ip = serializers.CharField(required=False, allow_blank=True)
    ip_name = serializers.CharField(required=False, allow_blank=True)
    ip_resource_group = serializers.CharField(required=False, allow_blank=True)
    leaf_domain = serializers.CharField(required=False, allow_blank=True)
    cname = serializers.CharField(required=False, allow_blank=True)
    certificate = serializers.CharField(required=False, allow_blank=True)
    key = serializers.CharField(required=False, allow_blank=True)


class CreateForm(EdgeForm):
    """The create form. Empty means: not said."""

    name = serializers.CharField()
    purpose = serializers.ChoiceField(choices=Purpose.choices)
    vm_size = serializers.CharField()
    other_size = serializers.CharField(required=False, allow_blank=True)
    node_count = serializers.IntegerField(required=False)
    region = serializers.RegexField(r"^[A-Za-z0-9 ]{2,50}$", required=False, allow_blank=True)
    resource_group = serializers.RegexField(r"^[-\w.()]{0,89}[-\w()]$", required=False, allow_blank=True)
    kubernetes_version = serializers.CharField(required=False, allow_blank=True)
    min_count = serializers.CharField(required=False, allow_blank=True)
    max_count = serializers.CharField(required=False, allow_blank=True)
    authorized_ip_ranges = serializers.CharField(required=False, allow_blank=True)
    private_cluster = serializers.CharField(required=False, allow_blank=True)
    subnet_id = serializers.CharField(required=False, allow_blank=True)
    service_cidr = serializers.CharField(required=False, allow_blank=True)
    dns_service_ip = serializers.CharField(required=False, allow_blank=True)
    docker_bridge_cidr = serializers.CharField(required=False, allow_blank=True)
    network_mode = serializers.CharField(required=False, allow_blank=True)
    identity = serializers.CharField(required=False, allow_blank=True)
    zones = serializers.CharField(required=False, allow_blank=True)
    os_disk_gb = serializers.CharField(required=False, allow_blank=True)
    tags = serializers.CharField(required=False, allow_blank=True)
    check = serializers.CharField(required=False, allow_blank=True)


class KubeconfigForm(Shape):
    """A kubeconfig, pasted or as a file."""

    kubeconfig = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    kubeconfig_file = serializers.FileField(required=False, allow_empty_file=True)


class AttachForm(KubeconfigForm, EdgeForm):
    """The attach form."""

    name = serializers.CharField()
    purpose = serializers.ChoiceField(choices=Purpose.choices)
    picked = serializers.CharField(required=False, allow_blank=True)
    cluster_id = serializers.CharField(required=False, allow_blank=True)
    authorize_range = serializers.CharField(required=False, allow_blank=True)
    region = serializers.RegexField(options.REGION_LABEL, required=False, allow_blank=True)
    gateway_service = serializers.ChoiceField(choices=options.GATEWAY_SERVICES, required=False, allow_blank=True)
    gateway_address = serializers.CharField(required=False, allow_blank=True, max_length=options.LONGEST_ADDRESS)
    check = serializers.CharField(required=False, allow_blank=True)


class PoolForm(Shape):
    """The form that adds a node pool. Empty means: not said."""

    name = serializers.CharField()
    mode = serializers.ChoiceField(choices=PoolMode.choices)
    vm_size = serializers.CharField()
    other_size = serializers.CharField(required=False, allow_blank=True)
    count = serializers.IntegerField()
    min_count = serializers.CharField(required=False, allow_blank=True)
    max_count = serializers.CharField(required=False, allow_blank=True)
    zones = serializers.CharField(required=False, allow_blank=True)
    labels = serializers.CharField(required=False, allow_blank=True)
    taints = serializers.CharField(required=False, allow_blank=True)
    os_disk_gb = serializers.CharField(required=False, allow_blank=True)
    check = serializers.CharField(required=False, allow_blank=True)


class PoolScaleForm(Shape):
    """A pool's count, or the bounds of its autoscaler."""

    count = serializers.CharField(required=False, allow_blank=True)
    min_count = serializers.CharField(required=False, allow_blank=True)
    max_count = serializers.CharField(required=False, allow_blank=True)
    generation = serializers.IntegerField()


def create_wish(posted: Any) -> dict[str, Any]:
    """Keyword arguments of `compute_target_create`. Raises InvalidShape (400)."""
    data = {name: value for name, value in CreateForm.parse(posted).items() if value != ""}
    plain = ("name", "purpose", "vm_size", "node_count", "region", "resource_group", "kubernetes_version")
    wish = {name: data[name] for name in plain if name in data}
    wish["vm_size"] = data.get("other_size", data["vm_size"])
    config: dict[str, Any] = {name: data[name] for name in TEXTS if name in data}
    if "min_count" in data or "max_count" in data:
        config["autoscaler"] = {name: _whole(data.get(name, ""), name) for name in ("min_count", "max_count")}
    if "authorized_ip_ranges" in data:
        config["authorized_ip_ranges"] = data["authorized_ip_ranges"].replace(",", " ").split()
    if "zones" in data:
        config["zones"] = data["zones"].replace(",", " ").split()
    if "os_disk_gb" in data:
        config["os_disk_gb"] = _number(data["os_disk_gb"], "os_disk_gb")
    if "private_cluster" in data:
        config["private_cluster"] = True
    return wish | {"config": config | _edge(data), "tags": tags(data.get("tags", ""))}


def _edge(data: dict[str, Any]) -> dict[str, Any]:
    """Load balancer and TLS, of what is not empty."""
    names = {"balancer_subnet": "subnet", "balancer_ip": "ip"}
    fields = ("balancer_subnet", "dns_label", "balancer_ip", "ip_name", "ip_resource_group")
    balancer: dict[str, Any] = {names.get(name, name): data[name] for name in fields if data.get(name)}
    balancer |= {"internal": True} if data.get("internal") else {}
    tls = {name: data[name] for name in ("leaf_domain", "cname", "certificate", "key") if data.get(name)}
    found = {"load_balancer": balancer, "tls": tls}
    return {name: values for name, values in found.items() if values}


def attach_wish(posted: Any, files: Any) -> dict[str, Any]:
    """What `attaching.wish_of` takes: a pasted id counts before a picked one."""
    data = AttachForm.parse({**posted.dict(), **files.dict()})
    wish = {name: data.get(name, "") for name in ("authorize_range", "region", "gateway_service", "gateway_address")}
    return {
        "name": data["name"], "purpose": data["purpose"], "kubeconfig": _kubeconfig(data),
        "cluster_id": data.get("cluster_id") or data.get("picked", ""), **_edge(data), **wish,
    }  # fmt: skip


def kubeconfig(posted: Any, files: Any) -> str:
    """The kubeconfig of a form that has nothing else. Raises InvalidShape (400)."""
    return _kubeconfig(KubeconfigForm.parse({**posted.dict(), **files.dict()}))


def _kubeconfig(data: dict[str, Any]) -> str:
    """A file counts before what was pasted. More than is read anyway is not taken into memory."""
    file = data.get("kubeconfig_file")
    if file is None:
        return str(data.get("kubeconfig") or "")
    content = file.read(MOST_BYTES + 1)
    try:
        return str(content.decode())
    except UnicodeDecodeError:
        raise InvalidShape("kubeconfig_file is no text. Give the kubeconfig as it is, in YAML or JSON.") from None


def pool_wish(posted: Any) -> dict[str, Any]:
    """Keyword arguments of `pool_add`. Raises InvalidShape (400)."""
    data = {name: value for name, value in PoolForm.parse(posted).items() if value != ""}
    wish = {name: data[name] for name in ("name", "mode", "count")} | _bounds(data)
    wish["vm_size"] = data.get("other_size", data["vm_size"])
    if "zones" in data:
        wish["zones"] = data["zones"].replace(",", " ").split()
    if "taints" in data:
        wish["taints"] = data["taints"].replace(",", " ").split()
    if "os_disk_gb" in data:
        wish["os_disk_gb"] = _number(data["os_disk_gb"], "os_disk_gb")
    return wish | {"labels": _pairs(data.get("labels", ""), "labels")}


def pool_scale_wish(posted: Any) -> dict[str, Any]:
    """Keyword arguments of `pool_scale`: bounds count before a count. Raises InvalidShape (400)."""
    data = {name: value for name, value in PoolScaleForm.parse(posted).items() if value != ""}
    bounds = _bounds(data)
    count = {"count": _number(data["count"], "count")} if "count" in data and not bounds else {}
    return {**bounds, **count, "generation": data["generation"]}


def autoscaler_wish(posted: Any) -> dict[str, Any]:
    """Keyword arguments of `compute_target_autoscale`: bounds count before a count. Raises InvalidShape (400)."""
    wish = pool_scale_wish(posted)
    return {("node_count" if name == "count" else name): value for name, value in wish.items()}


def _bounds(data: dict[str, Any]) -> dict[str, int]:
    if "min_count" not in data and "max_count" not in data:
        return {}
    return {name: _whole(data.get(name, ""), name) for name in ("min_count", "max_count")}


def confirmed(posted: Any, name: str) -> bool:
    """Whether what runs there goes too. Raises Invalid (422) unless the name was typed."""
    typed = posted.get("confirm", "").strip()
    if typed != name:
        raise Invalid(f"Type {name} to confirm; you typed {typed!r}.")
    return bool(posted.get("force") == "on")


def tags(text: str) -> dict[str, str]:
    """Lines of name=value. Raises InvalidShape (400) for a line without =."""
    return _pairs(text, "tags")


def _pairs(text: str, what: str) -> dict[str, str]:
    found = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise InvalidShape(f"{what}: {line!r} is not name=value.")
        found[name.strip()] = value.strip()
    return found


def _number(text: str, name: str) -> int:
    if not text.isdigit():
        raise InvalidShape(f"{name} is {text!r}: give a whole number.")
    return int(text)


def _whole(text: str, name: str) -> int:
    if not text.isdigit():
        raise InvalidShape(f"{name} is {text!r}: the autoscaler needs both a smallest and a largest count.")
    return int(text)
