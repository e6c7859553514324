"""The objects of a deployment around its pods: one builder per kind. Pure."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from compute import hardening
from compute.names import MANAGED
from deployments.manifests import collect
from deployments.manifests.pod import INSIGHTS, INSIGHTS_KEY, PORT, START_SECONDS, pod
from deployments.manifests.view import (
    DeploymentView,
    files_key,
    login_name,
    match,
    pod_labels,
    quota_name,
    workload_name,
)
from portal import insights

Json = dict[str, Any]
READY_SECONDS = 2  # an old replica stays until the new one was ready that long
PROGRAM = Path(__file__).parent.parent / "pod" / "fetch.py"


def build(view: DeploymentView) -> list[Json]:
    """The objects in the order in which they can be applied."""
    return [*around(view), *within(view)]


def within(view: DeploymentView) -> list[Json]:
    """What belongs to the deployment alone."""
    return [_secret(view), _config_map(view), _service(view), _budget(view), _deployment(view)]


def around(view: DeploymentView) -> list[Json]:
    """What the settings of the workspace decide: it can be applied by itself, and rolls no pod."""
    return [
        hardening.namespace(view.namespace, {}),
        hardening.priority_class(hardening.REPLICA_PRIORITY),
        *([_quota(view)] if view.quota else []),
        _login(view),
        _policy(view),
    ]


def _object(view: DeploymentView, version: str, kind: str) -> Json:
    labels = {**pod_labels(view), "slipway.dev/revision": str(view.revision)}
    metadata = {"name": workload_name(view), "namespace": view.namespace, "labels": labels}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _secret(view: DeploymentView) -> Json:
    texts = {"token": view.fetch_token, **{files_key(revision): text for revision, text in view.files}}
    if view.insights:
        texts |= {INSIGHTS_KEY: insights.key_of(view.insights), INSIGHTS: view.insights}
    if view.collect:
        texts[collect.KEY] = view.collect.token
    data = {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
    return _object(view, "v1", "Secret") | {"type": "Opaque", "data": data}


def _config_map(view: DeploymentView) -> Json:
    programs = {"fetch.py": PROGRAM.read_text(), **(collect.programs() if view.collect else {})}
    return _object(view, "v1", "ConfigMap") | {"data": {**programs, "ca.crt": view.ca}}


def _service(view: DeploymentView) -> Json:
    port = {"name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP"}
    return _object(view, "v1", "Service") | {
        "spec": {"clusterIP": "None", "selector": match(view), "ports": [port]},
    }


def _quota(view: DeploymentView) -> Json:
    meta = {
        "name": quota_name(view.workspace), "namespace": view.namespace,
        "labels": {**MANAGED, "slipway.dev/workspace": view.workspace},
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": dict(view.quota)}}


def _login(view: DeploymentView) -> Json:
    """Also without a login: pods name it from the start, so that one that is given later reaches new replicas."""
    secret = _object(view, "v1", "Secret")
    secret["metadata"]["name"] = login_name(view)
    data = {".dockerconfigjson": base64.b64encode(view.login.encode()).decode()}
    return secret | {"type": "kubernetes.io/dockerconfigjson", "data": data}


def _policy(view: DeploymentView) -> Json:
    """Only the gateway of the workspace reaches replicas, else callers could go round its keys; what leaves them is
    what they need, and what the workspace allows.
    """
    gateway = {
        "namespaceSelector": {"matchLabels": {"slipway.dev/workspace": view.workspace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "slipway-gateway"}},
    }
    urls = [view.fetch_url, *view.storage_urls, *(insights.places(view.insights) if view.insights else ())]
    urls += [view.collect.url] if view.collect else []
    return _object(view, "networking.k8s.io/v1", "NetworkPolicy") | {
        "spec": {
            "podSelector": {"matchLabels": match(view)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [gateway], "ports": [{"port": PORT, "protocol": "TCP"}]}],
            "egress": view.outgoing.rules(urls),
        },
    }


def _budget(view: DeploymentView) -> Json:
    return _object(view, "policy/v1", "PodDisruptionBudget") | {"spec": hardening.budget(match(view))}


def _deployment(view: DeploymentView) -> Json:
    labels = {**pod_labels(view), "slipway.dev/revision": str(view.revision)}
    template = collect.added(pod(view), view.collect, workload_name(view))
    spec: Json = {
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": START_SECONDS + 60,
        "minReadySeconds": READY_SECONDS,
        "selector": {"matchLabels": match(view)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {
            "metadata": {"labels": labels},
            "spec": template,
        },
    }
    if view.config.num_replicas is not None:
        spec["replicas"] = view.config.num_replicas
    return _object(view, "apps/v1", "Deployment") | {"spec": spec}
