"""The pod of a replica: where it goes, what it mounts, its containers. Pure."""

from __future__ import annotations

import math
from typing import Any

from compute import pools
from compute.names import LINUX
from deployments.config import DeploymentConfig
from deployments.manifests.view import (
    PRE_STOP_SECONDS,
    DeploymentView,
    grace_seconds,
    match,
    models_path,
    workload_name,
)

Json = dict[str, Any]
HOME = "/srv/slipway"
PORT = 5001
USER = 1000
INSIGHTS_KEY, INSIGHTS = "insights-key", "insights-connection"  # in the deployment's Secret
START_SECONDS = 600
SERVE = (
    'export AML_APP_ROOT="$PWD/app" AZUREML_MODEL_DIR="$PWD/app/$SLIPWAY_MODELS" && '
    'export HOME="$PWD/scratch" TMPDIR="$PWD/scratch" && cd "$AML_APP_ROOT" && '
    'exec gunicorn -b "$(POD_IP):5001" -w "$SLIPWAY_WORKERS" --timeout "$SLIPWAY_WORKER_SECONDS" '
    '--graceful-timeout "$SLIPWAY_WORKER_SECONDS" --no-control-socket azureml_inference_server_http.server.entry:app'
)


def pod(view: DeploymentView) -> Json:
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
                "labelSelector": {"matchLabels": match(view)},
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
    return {"items": [{"key": "token", "path": "token"}]} if view.insights or view.collect else {}


def _place(view: DeploymentView) -> Json:
    if not view.node_pool:
        return {"nodeSelector": dict(LINUX)}
    tolerations = pools.tolerations(view.taints)
    more = {"tolerations": tolerations} if tolerations else {}
    return {"nodeSelector": {**LINUX, pools.POOL_LABEL: view.node_pool}, **more}


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
