"""Routes -> Envoy's files and the gateway's Kubernetes objects. Pure, ordered, hashed."""

from endpoints.gateway.files import FILES, IN_SECRET, Files, build, expected, held
from endpoints.gateway.objects import (
    COMPONENT,
    HOLDERS,
    PROBE_HEADER,
    PROBE_PORT,
    SELECTOR,
    install,
    name_of,
    numbers_url,
    published,
)
from endpoints.gateway.view import EndpointView, GatewayView, VersionView

__all__ = [
    "COMPONENT",
    "FILES",
    "HOLDERS",
    "IN_SECRET",
    "PROBE_HEADER",
    "PROBE_PORT",
    "SELECTOR",
    "EndpointView",
    "Files",
    "GatewayView",
    "VersionView",
    "build",
    "expected",
    "held",
    "install",
    "name_of",
    "numbers_url",
    "published",
]
