"""Rows -> the picture that the gateway is built from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from django.conf import settings
from django.db.models import F

from deployments import manifests
from deployments.config import DeploymentConfig
from deployments.models import Deployment, Revision
from endpoints import counters, keys, queries, traffic
from endpoints.gateway import EndpointView, GatewayView, VersionView
from endpoints.models import Endpoint, EndpointVersion, Gateway
from endpoints.types import AuthMode

BALANCER = ("subnet", "dns_label", "ip", "ip_name", "ip_resource_group")


def draw(gateway: Gateway) -> GatewayView:
    """Everything that the gateway of this row should know now."""
    target = gateway.compute_target
    found = (
        Endpoint.objects.filter(compute_target=target).order_by("name").prefetch_related("versions__deployment", "keys")
    )
    endpoints = [(endpoint, list(endpoint.versions.all())) for endpoint in found]
    configs = configs_of([row.deployment for _, rows in endpoints for row in rows])
    namespaces = {row.deployment.namespace for _, rows in endpoints for row in rows}
    balancer = target.config.get("load_balancer") or {}
    return GatewayView(
        target_id=target.pk,
        workspace=target.workspace.slug,
        endpoints=tuple(
            _endpoint(endpoint, rows, configs) for endpoint, rows in endpoints if any(row.is_loaded for row in rows)
        ),
        namespaces=tuple(sorted(namespaces)),
        jwks=keys.jwks([key.public_jwk for key in queries.signing_keys()]),
        issuer=keys.ISSUER,
        probe_secret=gateway.probe_secret,
        tls_certificate=gateway.certificate,
        tls_key=target.tls_key or gateway.tls_key,
        replicas=queries.replicas(target),
        http_port=settings.GATEWAY_HTTP_PORT,
        https_port=settings.GATEWAY_HTTPS_PORT,
        envoy_image=settings.ENVOY_IMAGE,
        companion_image=settings.INFERENCE_IMAGE,
        is_https_only=queries.is_https_only(target),
        is_internal=bool(balancer.get("internal")),
        is_node_port=(target.config.get("gateway") or {}).get("service") == "NodePort",
        api_ports=tuple(settings.API_SERVER_PORTS),
        **{name: str(balancer.get(name) or "") for name in BALANCER},
    )


def signature(gateway: Gateway) -> str:
    """Changes whenever the picture may: cheap to ask each second, where drawing is not."""
    rows = EndpointVersion.objects.filter(endpoint__compute_target_id=gateway.compute_target_id).order_by("pk")
    facts = rows.values_list(
        "pk", "endpoint__generation", "endpoint__auth", "traffic_percentile", "is_default", "is_loaded", "is_routed",
        "expected_ms", "deployment__revision", "deployment__wanted_replicas", "hosts", "deployment__ready_replicas",
    )  # fmt: skip
    told = [[*map(str, row[:-2]), (row[-1] if row[-2] is None else row[-2]) > 0] for row in facts]
    kids = list(queries.signing_keys().values_list("kid", flat=True))
    return hashlib.sha256(json.dumps([told, kids, gateway.certificate]).encode()).hexdigest()


def _endpoint(endpoint: Endpoint, rows: list[EndpointVersion], configs: Mapping[int, DeploymentConfig]) -> EndpointView:
    weights = _weights(rows)
    return EndpointView(
        name=endpoint.name,
        auth=AuthMode(endpoint.auth),
        audience=keys.audience_of(endpoint.pk),
        keys=tuple((key.slot, key.value) for key in sorted(endpoint.keys.all(), key=lambda key: key.slot)),
        versions=tuple(
            _version(row, weights.get(row.name, 0), configs[row.deployment_id]) for row in rows if row.is_loaded
        ),
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


def _version(row: EndpointVersion, weight: int, config: DeploymentConfig) -> VersionView:
    deployment = row.deployment
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


def configs_of(found: Iterable[Deployment]) -> dict[int, DeploymentConfig]:
    """Deployment id -> the configuration of the revision that is wanted now."""
    ids = [deployment.pk for deployment in found]
    rows = Revision.objects.filter(deployment_id__in=ids, number=F("deployment__revision"))
    return {pk: DeploymentConfig.parse(config) for pk, config in rows.values_list("deployment_id", "config")}


def config_of(deployment: Deployment) -> DeploymentConfig:
    """The configuration of one deployment."""
    return configs_of([deployment])[deployment.pk]
