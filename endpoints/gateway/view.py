"""What the gateway is built from: plain values, no rows."""

from __future__ import annotations

from dataclasses import dataclass, field

from endpoints.types import AuthMode


@dataclass(frozen=True)
class VersionView:
    """One version: its replicas' Service ("namespace/name"), its weight of 10,000, and its limits.

    `is_routed` is false while the version is only loaded: Envoy knows its replicas, no request goes there.
    """

    name: str
    service: str
    weight: int
    timeout_ms: int = 60_000
    concurrency: int = 1
    queue: int = 32
    is_routed: bool = True


@dataclass(frozen=True)
class EndpointView:
    """One scoring URI. `keys` are (slot, key). If any version is routed, the weights of the routed ones add to 10,000;
    if none is, the URI is unknown."""

    name: str
    auth: AuthMode
    audience: str
    keys: tuple[tuple[str, str], ...] = field(repr=False, default=())
    versions: tuple[VersionView, ...] = ()


@dataclass(frozen=True)
class GatewayView:
    """One gateway with all that it serves. Ports are those of its load balancer."""

    target_id: int
    workspace: str
    endpoints: tuple[EndpointView, ...]
    namespaces: tuple[str, ...]
    jwks: str
    issuer: str
    probe_secret: str = field(repr=False)
    tls_certificate: str = ""
    tls_key: str = field(repr=False, default="")
    replicas: int = 1
    http_port: int = 80
    https_port: int = 443
    envoy_image: str = "envoyproxy/envoy:v1.40-latest"
    companion_image: str = "slipway/inference-base:1"
    is_https_only: bool = False
    is_internal: bool = False
    subnet: str = ""
    is_node_port: bool = False
    api_ports: tuple[int, ...] = (443, 6443)
    dns_label: str = ""
    ip: str = ""
    ip_name: str = ""
    ip_resource_group: str = ""
