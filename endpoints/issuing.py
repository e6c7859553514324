"""The certificates that the portal makes for gateways: by the configured issuer, else signed by themselves."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings

from compute import certificates, edge
from compute.models import ComputeTarget


def names_of(target: ComputeTarget, address: str) -> list[str]:
    """What a made certificate is for: a name of our own, what clients call, and the load balancer's address."""
    found = (f"{target.name}.slipway.internal", edge.host(target.config, target.region), address)
    return [name for name in dict.fromkeys(found) if name]


def pair(names: list[str], now: datetime) -> tuple[str, str]:
    """Certificate chain and key. Raises IssuerTrouble when the configured issuer cannot sign."""
    if not settings.TLS_ISSUER_CERTIFICATE:
        return certificates.make(names, now)
    issuer = certificates.Issuer(settings.TLS_ISSUER_CERTIFICATE, settings.TLS_ISSUER_KEY)
    return certificates.make(names, now, settings.TLS_DAYS, issuer)
