"""What KEDA is given to scale a version by v1's rule: on the requests that the gateway has under way. Pure.

Why so and not by another scaler is in docs/adr/0015-who-scales-replicas.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from compute.names import MANAGED
from deployments import autoscale
from deployments.config import DeploymentConfig
from endpoints.gateway import PROBE_HEADER
from endpoints.gateway.routes import cluster_name

Json = dict[str, Any]
API = "keda.sh/v1alpha1"
KIND = autoscale.SCALED
SECRET_KEY = "probe"  # noqa: S105  (a name in a Secret)


@dataclass(frozen=True)
class ScalerView:
    """All that decides the objects: `workload` is the Kubernetes Deployment, `url` where the gateway's numbers are."""

    deployment: int
    workload: str
    namespace: str
    workspace: str
    endpoint: str
    version: str
    config: DeploymentConfig
    url: str
    secret: str = field(repr=False)


def build(view: ScalerView) -> list[Json]:
    """The objects in the order in which they can be applied."""
    (_, name), (_, login), (_, secret) = autoscale.things(view.workload)
    value = base64.b64encode(view.secret.encode()).decode()
    target = [{"parameter": "apiKey", "name": secret, "key": SECRET_KEY}]
    return [
        _object(view, "v1", "Secret", secret) | {"type": "Opaque", "data": {SECRET_KEY: value}},
        _object(view, API, "TriggerAuthentication", login) | {"spec": {"secretTargetRef": target}},
        _object(view, API, KIND, name) | {"spec": _spec(view, login)},
    ]


def mark(objects: list[Json]) -> str:
    """Changes when the objects do."""
    return hashlib.sha256(json.dumps(objects, sort_keys=True).encode()).hexdigest()


def _object(view: ScalerView, version: str, kind: str, name: str) -> Json:
    labels = {
        **MANAGED, "slipway.dev/workspace": view.workspace, "slipway.dev/deployment": str(view.deployment),
    }  # fmt: skip
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": view.namespace, "labels": labels},
    }


def _spec(view: ScalerView, login: str) -> Json:
    config = view.config
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": view.workload},
        "minReplicaCount": config.min_replicas,
        "maxReplicaCount": config.max_replicas,
        "pollingInterval": config.refresh_period_seconds,
        "cooldownPeriod": int(autoscale.QUIET_SECONDS),
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior(config.max_replicas)}},
        "triggers": [_trigger(view, login)],
    }


def _behavior(most: int) -> Json:
    """Up at once to any number, down to what a minute asked for."""
    at_once = {"type": "Pods", "value": most, "periodSeconds": 15}
    return {
        "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [at_once]},
        "scaleDown": {
            "stabilizationWindowSeconds": int(autoscale.QUIET_SECONDS), "selectPolicy": "Max", "policies": [at_once],
        },
    }  # fmt: skip


def _trigger(view: ScalerView, login: str) -> Json:
    """Replicas = requests under way ÷ (target utilization × requests that one replica takes), rounded up."""
    share = view.config.target_utilization / 100 * view.config.max_concurrent_requests
    return {
        "type": "metrics-api",
        "metricType": "AverageValue",
        "metadata": {
            "url": view.url,
            "valueLocation": cluster_name(view.endpoint, view.version),
            "targetValue": f"{share:g}",
            "authMode": "apiKey",
            "method": "header",
            "keyParamName": PROBE_HEADER,
        },
        "authenticationRef": {"name": login},
    }
