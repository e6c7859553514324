"""Routes -> Envoy's files and the gateway's Kubernetes objects. Pure, ordered, hashed."""

from endpoints.gateway.files import Files, build, expected
from endpoints.gateway.objects import (
    COMPONENT,
    PROBE_HEADER,
    PROBE_PORT,
    SELECTOR,
    install,
    name_of,
    namespace_of,
    published,
)
from endpoints.gateway.view import EndpointView, GatewayView, VersionView

__all__ = [
    "COMPONENT",
    "PROBE_HEADER",
    "PROBE_PORT",
    "SELECTOR",
    "EndpointView",
    "Files",
    "GatewayView",
    "VersionView",
    "build",
    "expected",
    "install",
    "name_of",
    "namespace_of",
    "published",
]
