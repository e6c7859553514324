"""Rules of network policies: what may leave a pod, as the API takes them. Pure.

Most rules are by port, not by address: a policy knows no names, an API server or a storage account has no address that
stays, and with some network plug-ins (Cilium) a block of addresses does not mean nodes and pods.
"""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]
EVERYWHERE = ("0.0.0.0/0", "::/0")
# Where clouds hand out machine identities, and Azure's agent. They answer by http: other ports than 80 are safe.
METADATA = tuple(ipaddress.IPv4Network(text) for text in ("168.63.129.16/32", "169.254.0.0/16"))
HTTP, HTTPS = 80, 443


def to_dns() -> Json:
    """Names: a cluster's DNS is in a pod, on each machine, or on both."""
    return {"ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]}


def to_ports(*ports: int) -> Json:
    """TCP to these ports, wherever they are."""
    return {"ports": [{"port": port, "protocol": "TCP"} for port in dict.fromkeys(ports)]}


def to_block(cidr: str, port: int = 0) -> Json:
    """TCP to a block of addresses, one port or (0) all that is sent; never to the cloud's metadata."""
    network = ipaddress.ip_network(cidr)
    cut = [str(each) for each in METADATA if isinstance(network, ipaddress.IPv4Network) and each.subnet_of(network)]
    ports = {"ports": [{"port": port, "protocol": "TCP"}]} if port else {}
    return {"to": [{"ipBlock": {"cidr": str(network), **({"except": cut} if cut else {})}}], **ports}


def to_pods() -> Json:
    """Everything to pods of the cluster."""
    return {"to": [{"namespaceSelector": {}}]}


def to_url(url: str) -> list[Json]:
    """To where an URL is: by its address when it has one, else by its port."""
    parts = urlsplit(url)
    port = parts.port or (HTTPS if parts.scheme == "https" else HTTP)
    try:
        address = ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        if port != HTTP:
            return [to_ports(port)]
        return [*(to_block(cidr, port) for cidr in EVERYWHERE), {**to_pods(), **to_ports(port)}]
    return [to_block(f"{address}/{address.max_prefixlen}", port)]
