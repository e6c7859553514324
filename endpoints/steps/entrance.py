"""Where callers find a gateway: its load balancer's address, or a port of the nodes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings

from compute.models import ComputeTarget
from endpoints import gateway as builder
from endpoints.models import Gateway
from endpoints.steps import publish

if TYPE_CHECKING:
    from compute.cluster import Cluster

KINDS_OF_ADDRESS = ("ExternalIP", "InternalIP")
AZURES = "Waiting for the load balancer's address"
OTHERS = (
    "The load balancer has no address yet. Where a cluster gives none (kind, bare metal without MetalLB), change the "
    "entrance on the gateway's page: gateway_service NodePort, or the gateway_address that callers use"
)


@dataclass(frozen=True)
class Entrance:
    """An address with the ports of http and https."""

    address: str
    http_port: int
    https_port: int


def missing(target: ComputeTarget) -> str:
    """What to say while there is none."""
    return AZURES if target.is_azure else OTHERS


def find(cluster: Cluster, row: Gateway) -> Entrance | None:
    """Where the gateway can be reached; an address that somebody gave counts before one that the cluster shows."""
    found = cluster.observe("Service", namespace=publish.namespace(row), name=builder.COMPONENT)
    if not found:
        return None
    wanted = str((row.compute_target.config.get("gateway") or {}).get("address") or "")
    if (found[0].get("spec") or {}).get("type") == "NodePort":
        ports = {port.get("name"): int(port.get("nodePort") or 0) for port in found[0]["spec"].get("ports") or []}
        address = wanted or _of_node(cluster.observe("Node"))
        is_open = bool(address) and all(ports.values())
        return Entrance(address, ports.get("http", 0), ports.get("https", 0)) if is_open else None
    address = wanted or _of_balancer(found[0])
    return Entrance(address, settings.GATEWAY_HTTP_PORT, settings.GATEWAY_HTTPS_PORT) if address else None


def _of_balancer(service: dict[str, Any]) -> str:
    for ingress in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []:
        return str(ingress.get("ip") or ingress.get("hostname") or "")
    return ""


def _of_node(nodes: Iterable[dict[str, Any]]) -> str:
    """The outer address of a node, else an inner one: every node has the port."""
    rows = [row for node in nodes for row in (node.get("status") or {}).get("addresses") or []]
    for kind in KINDS_OF_ADDRESS:
        for row in rows:
            if row.get("type") == kind and row.get("address"):
                return str(row["address"])
    return ""
