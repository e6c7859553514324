"""A deployment -> its Kubernetes objects: one builder per kind, plain dicts. Pure."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from compute import pools
from compute.names import LINUX, MANAGED, clean
from deployments.config import DeploymentConfig
from portal import insights

Json = dict[str, Any]
HOME = "/srv/slipway"
PORT = 5001
USER = 1000
PRE_STOP_SECONDS = 2
SPARE_SECONDS = 5
INSIGHTS_KEY, INSIGHTS = "insights-key", "insights-connection"  # in the deployment's Secret
START_SECONDS = 600
PROGRAM = Path(__file__).parent / "pod" / "fetch.py"
SERVE = (
    'export AML_APP_ROOT="$PWD/app" AZUREML_MODEL_DIR="$PWD/app/$SLIPWAY_MODELS" && '
    'export HOME="$PWD/scratch" TMPDIR="$PWD/scratch" && cd "$AML_APP_ROOT" && '
    'exec gunicorn -b "$(POD_IP):5001" -w "$SLIPWAY_WORKERS" --timeout "$SLIPWAY_WORKER_SECONDS" '
    '--graceful-timeout "$SLIPWAY_WORKER_SECONDS" --no-control-socket azureml_inference_server_http.server.entry:app'
)


class Named(Protocol):
    """What names are made of; a Deployment row is one."""

    @property
    def name(self) -> Any: ...

    @property
    def pk(self) -> Any: ...


@dataclass(frozen=True)
class DeploymentView:
    """All that decides the objects. `models` are (name, version); `fetch_url` is where the pod asks for its files.

    `node_pool` is the pool that replicas are bound to, with its taints; empty: any that takes them. `insights` is the
    connection string for telemetry; empty: none is sent.
    """

    pk: int
    name: str
    workspace: str
    namespace: str
    revision: int
    config: DeploymentConfig
    image: str
    fetch_image: str
    entry_script: str
    fetch_url: str
    fetch_token: str
    models: tuple[tuple[str, int], ...] = ()
    ca: str = ""
    node_pool: str = ""
    taints: tuple[str, ...] = ()
    insights: str = ""


def workload_name(deployment: Named) -> str:
    """The name of the Kubernetes Deployment and of what belongs to it; at most 63 characters."""
    return f"{clean(deployment.name, 40)}-{deployment.pk}"


def service_name(deployment: Named) -> str:
    """The name of the headless Service whose EndpointSlices list the ready replicas."""
    return workload_name(deployment)


def selector(pk: int) -> str:
    """Meets all pods of a deployment, of any revision."""
    return f"slipway.dev/deployment={pk}"


def build(view: DeploymentView) -> list[Json]:
    """The objects in the order in which they can be applied."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": view.namespace, "labels": MANAGED}},
        _secret(view),
        _config_map(view),
        _service(view),
        _policy(view),
        _budget(view),
        _deployment(view),
    ]


def _pod_labels(view: DeploymentView) -> dict[str, str]:
    return {**MANAGED, "slipway.dev/workspace": view.workspace, "slipway.dev/deployment": str(view.pk)}


def _object(view: DeploymentView, version: str, kind: str) -> Json:
    labels = {**_pod_labels(view), "slipway.dev/revision": str(view.revision)}
    metadata = {"name": workload_name(view), "namespace": view.namespace, "labels": labels}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _match(view: DeploymentView) -> dict[str, str]:
    return {**MANAGED, "slipway.dev/deployment": str(view.pk)}


def _secret(view: DeploymentView) -> Json:
    texts = {"token": view.fetch_token}
    if view.insights:
        texts |= {INSIGHTS_KEY: insights.key_of(view.insights), INSIGHTS: view.insights}
    data = {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
    return _object(view, "v1", "Secret") | {"type": "Opaque", "data": data}


def _config_map(view: DeploymentView) -> Json:
    return _object(view, "v1", "ConfigMap") | {"data": {"fetch.py": PROGRAM.read_text(), "ca.crt": view.ca}}


def _service(view: DeploymentView) -> Json:
    port = {"name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP"}
    return _object(view, "v1", "Service") | {
        "spec": {"clusterIP": "None", "selector": _match(view), "ports": [port]},
    }


def _policy(view: DeploymentView) -> Json:
    """Only the gateway of the workspace reaches replicas, else callers could go round its keys."""
    gateway = {
        "namespaceSelector": {"matchLabels": {"slipway.dev/workspace": view.workspace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "slipway-gateway"}},
    }
    rule = {"from": [gateway], "ports": [{"port": PORT, "protocol": "TCP"}]}
    return _object(view, "networking.k8s.io/v1", "NetworkPolicy") | {
        "spec": {"podSelector": {"matchLabels": _match(view)}, "policyTypes": ["Ingress"], "ingress": [rule]},
    }


def _budget(view: DeploymentView) -> Json:
    return _object(view, "policy/v1", "PodDisruptionBudget") | {
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _match(view)}},
    }


def _deployment(view: DeploymentView) -> Json:
    labels = {**_pod_labels(view), "slipway.dev/revision": str(view.revision)}
    spec: Json = {
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": START_SECONDS + 60,
        "selector": {"matchLabels": _match(view)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": labels}, "spec": _pod(view)},
    }
    if view.config.num_replicas is not None:
        spec["replicas"] = view.config.num_replicas
    return _object(view, "apps/v1", "Deployment") | {"spec": spec}


def _pod(view: DeploymentView) -> Json:
    name = workload_name(view)
    return {
        **_place(view),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds(view.config),
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _match(view)},
            }
        ],
        "initContainers": [_fetch(view)],
        "containers": [_server(view)],
        "volumes": [
            {"name": "app", "emptyDir": {}},
            {"name": "scratch", "emptyDir": {}},
            {"name": "program", "configMap": {"name": name}},
            {"name": "token", "secret": {"secretName": name, "defaultMode": 0o440, **_only_token(view)}},
        ],
    }  # fmt: skip


def _only_token(view: DeploymentView) -> Json:
    """While the Secret has more than the token, the rest is not for the fetching container."""
    return {"items": [{"key": "token", "path": "token"}]} if view.insights else {}


def _place(view: DeploymentView) -> Json:
    if not view.node_pool:
        return {"nodeSelector": dict(LINUX)}
    tolerations = pools.tolerations(view.taints)
    more = {"tolerations": tolerations} if tolerations else {}
    return {"nodeSelector": {**LINUX, pools.POOL_LABEL: view.node_pool}, **more}


def grace_seconds(config: DeploymentConfig) -> int:
    """How long a replica may take to end: the wait before it, a whole score, and a little more."""
    return PRE_STOP_SECONDS + math.ceil(config.scoring_timeout_ms / 1000) + SPARE_SECONDS


def _locked() -> Json:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _fetch(view: DeploymentView) -> Json:
    return {
        "name": "fetch",
        "image": view.fetch_image,
        "command": ["python", "program/fetch.py"],
        "workingDir": HOME,
        "env": [{"name": "SLIPWAY_FETCH_URL", "value": view.fetch_url}],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "securityContext": _locked(),
        "volumeMounts": [
            {"name": "app", "mountPath": f"{HOME}/app"},
            {"name": "program", "mountPath": f"{HOME}/program", "readOnly": True},
            {"name": "token", "mountPath": f"{HOME}/token", "readOnly": True},
        ],
    }


def _server(view: DeploymentView) -> Json:
    config = view.config
    return {
        "name": "server",
        "image": view.image,
        "command": ["/bin/sh", "-c", SERVE],
        "workingDir": HOME,
        "env": _environment(view),
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "resources": _resources(config),
        "securityContext": _locked(),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "startupProbe": {**_http(), "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": START_SECONDS},
        # A replica that is busy with a score answers the probe after it: only then is it late.
        "readinessProbe": {
            **_http(), "periodSeconds": 1, "timeoutSeconds": math.ceil(config.scoring_timeout_ms / 1000) + 2,
            "failureThreshold": 2,
        },
        "livenessProbe": _liveness(config),
        "volumeMounts": [
            {"name": "app", "mountPath": f"{HOME}/app"},
            {"name": "scratch", "mountPath": f"{HOME}/scratch"},
        ],
    }  # fmt: skip


def _environment(view: DeploymentView) -> list[Json]:
    seconds = math.ceil(view.config.scoring_timeout_ms / 1000) + 30
    texts = {
        "SLIPWAY_MODELS": models_path(view.models),
        "SLIPWAY_WORKERS": str(view.config.max_concurrent_requests),
        "SLIPWAY_WORKER_SECONDS": str(seconds),
        "AZUREML_ENTRY_SCRIPT": view.entry_script,
        "SCORING_TIMEOUT_MS": str(view.config.scoring_timeout_ms),
        "AML_APP_INSIGHTS_ENABLED": "true" if view.insights else "false",
        "PYTHONUNBUFFERED": "1",
    }
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    plain = [{"name": name, "value": value} for name, value in texts.items()]
    return [address, *plain, *(_insights(view) if view.insights else ())]


def _insights(view: DeploymentView) -> list[Json]:
    """The server takes its key from one variable, its exporter the endpoint from another; both from the Secret.

    They are optional: a replica that restarts after the connection was taken away serves on without telemetry.
    """
    name = workload_name(view)
    secret = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key, "optional": True}}}
        for variable, key in (
            ("AML_APP_INSIGHTS_KEY", INSIGHTS_KEY), ("APPLICATIONINSIGHTS_CONNECTION_STRING", INSIGHTS),
        )
    ]  # fmt: skip
    # The exporter's statistics about itself would go to Microsoft's own place, past the workspace's.
    texts = {
        "WORKSPACE_NAME": view.workspace, "SERVICE_NAME": view.name,
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
    }  # fmt: skip
    return [*secret, *({"name": name, "value": value} for name, value in texts.items())]


def models_path(models: tuple[tuple[str, int], ...]) -> str:
    """What AZUREML_MODEL_DIR names, seen from the app's folder: one model's own folder, else that of all."""
    if len(models) == 1:
        (name, version) = models[0]
        return f"azureml-models/{name}/{version}"
    return "azureml-models"


def _resources(config: DeploymentConfig) -> Json:
    requests = {"cpu": _cpu(config.cpu), "memory": _memory(config.memory_gb)}
    limits: dict[str, str] = {}
    if config.cpu_limit is not None:
        limits["cpu"] = _cpu(config.cpu_limit)
    if config.memory_gb_limit is not None:
        limits["memory"] = _memory(config.memory_gb_limit)
    if config.gpu_cores:
        limits["nvidia.com/gpu"] = str(config.gpu_cores)
        requests["nvidia.com/gpu"] = str(config.gpu_cores)
    return {"requests": requests, **({"limits": limits} if limits else {})}


def _cpu(cores: float) -> str:
    return f"{max(1, round(cores * 1000))}m"


def _memory(gigabytes: float) -> str:
    return f"{max(1, round(gigabytes * 1024))}Mi"


def _http() -> Json:
    return {"httpGet": {"path": "/", "port": PORT, "scheme": "HTTP"}, "successThreshold": 1}


def _liveness(config: DeploymentConfig) -> Json:
    """By TCP: a worker that hangs is ended by gunicorn's own time limit, and one that is busy must not be."""
    probe = config.probe
    return {
        "tcpSocket": {"port": PORT},
        "periodSeconds": probe.period_seconds,
        "initialDelaySeconds": probe.initial_delay_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
    }
