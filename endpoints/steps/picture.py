"""Rows -> the picture that the gateway is built from."""

from __future__ import annotations

from dataclasses import replace

from django.conf import settings

from compute.types import Purpose
from deployments import manifests
from deployments.config import DeploymentConfig
from deployments.models import Deployment
from endpoints import counters, keys, queries, traffic
from endpoints.gateway import EndpointView, GatewayView, VersionView
from endpoints.models import Endpoint, EndpointVersion, Gateway
from endpoints.types import AuthMode


def draw(gateway: Gateway) -> GatewayView:
    """Everything that the gateway of this row should know now."""
    target = gateway.compute_target
    found = (
        Endpoint.objects.filter(compute_target=target).order_by("name").prefetch_related("versions__deployment", "keys")
    )
    endpoints = [(endpoint, list(endpoint.versions.all())) for endpoint in found]
    namespaces = {row.deployment.namespace for _, rows in endpoints for row in rows}
    balancer = target.config.get("load_balancer") or {}
    return GatewayView(
        target_id=target.pk,
        workspace=target.workspace.slug,
        endpoints=tuple(
            _endpoint(endpoint, rows) for endpoint, rows in endpoints if any(row.is_loaded for row in rows)
        ),
        namespaces=tuple(sorted(namespaces)),
        jwks=keys.jwks([key.public_jwk for key in queries.signing_keys()]),
        issuer=keys.ISSUER,
        probe_secret=gateway.probe_secret,
        tls_certificate=gateway.tls_certificate,
        tls_key=gateway.tls_key,
        replicas=1 if target.purpose == Purpose.DEV_TEST else 2,
        http_port=settings.GATEWAY_HTTP_PORT,
        https_port=settings.GATEWAY_HTTPS_PORT,
        envoy_image=settings.ENVOY_IMAGE,
        companion_image=settings.INFERENCE_IMAGE,
        is_internal=bool(balancer.get("internal")),
        subnet=str(balancer.get("subnet") or ""),
    )


def _endpoint(endpoint: Endpoint, rows: list[EndpointVersion]) -> EndpointView:
    weights = _weights(rows)
    return EndpointView(
        name=endpoint.name,
        auth=AuthMode(endpoint.auth),
        audience=keys.audience_of(endpoint.pk),
        keys=tuple((key.slot, key.value) for key in sorted(endpoint.keys.all(), key=lambda key: key.slot)),
        versions=tuple(_version(row, weights.get(row.name, 0)) for row in rows if row.is_loaded),
    )


def _weights(rows: list[EndpointVersion]) -> dict[str, int]:
    """Weights by health. When nobody is healthy, as if all were: the gateway then answers 503 by itself and goes on
    the moment a replica is ready, without waiting for the portal."""
    split = [row.traffic() for row in rows]
    shares = traffic.shares(split)
    if not any(shares.values()):
        routed = {row.name: row.is_routed for row in rows}
        shares = traffic.shares([replace(version, serves=routed[version.name]) for version in split])
    return traffic.weights(shares)


def _version(row: EndpointVersion, weight: int) -> VersionView:
    deployment = row.deployment
    config = config_of(deployment)
    return VersionView(
        name=row.name,
        service=f"{deployment.namespace}/{manifests.service_name(deployment)}",
        weight=weight,
        timeout_ms=config.scoring_timeout_ms,
        concurrency=config.max_concurrent_requests,
        queue=counters.queue_length(
            config.max_queue_wait_ms, row.expected_ms, deployment.wanted_replicas, config.max_concurrent_requests
        ),
        is_routed=row.is_routed,
    )


def config_of(deployment: Deployment) -> DeploymentConfig:
    """The configuration of the revision that is wanted now."""
    revision = deployment.revisions.get(number=deployment.revision)
    return DeploymentConfig.parse(revision.config)
