"""The pod of a replica: where it goes, what it mounts, its containers. Pure."""

from __future__ import annotations

import math
from typing import Any

from compute import hardening, pools
from deployments.config import DeploymentConfig
from deployments.manifests.view import (
    PRE_STOP_SECONDS,
    DeploymentView,
    files_key,
    grace_seconds,
    login_name,
    match,
    models_path,
    workload_name,
)

Json = dict[str, Any]
HOME = "/srv/slipway"
PORT = 5001
USER = 1000
MIB = 1024**2
DISK, GPU = "ephemeral-storage", "nvidia.com/gpu"
GPU_TAINTS = (
    {"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},  # as AKS advises
    {"key": GPU, "operator": "Exists", "effect": "NoSchedule"},
)
INSIGHTS_KEY, INSIGHTS = "insights-key", "insights-connection"  # in the deployment's Secret
START_SECONDS = 600
SERVE = (
    'export AML_APP_ROOT="$PWD/app" AZUREML_MODEL_DIR="$PWD/app/$SLIPWAY_MODELS" && '
    'export HOME="$PWD/scratch" TMPDIR="$PWD/scratch" && cd "$AML_APP_ROOT" && '
    'exec gunicorn -b "$(POD_IP):5001" -w "$SLIPWAY_WORKERS" --timeout "$SLIPWAY_WORKER_SECONDS" '
    '--graceful-timeout "$SLIPWAY_WORKER_SECONDS" --no-control-socket azureml_inference_server_http.server.entry:app'
)


def pod(view: DeploymentView) -> Json:
    """The spec of a replica's pod."""
    name = workload_name(view)
    base = hardening.pod(USER, hardening.REPLICA_PRIORITY)
    return {
        **base,
        **_place(view, base["nodeSelector"]),
        "imagePullSecrets": [{"name": login_name(view)}],
        "terminationGracePeriodSeconds": grace_seconds(view.config),
        "topologySpreadConstraints": hardening.spread(match(view)),
        "initContainers": [_fetch(view)],
        "containers": [_server(view)],
        "volumes": [
            {"name": "app", "emptyDir": {"sizeLimit": _mib(_app_mib(view))}},
            {"name": "scratch", "emptyDir": {"sizeLimit": _mib(view.scratch_gib * 1024)}},
            {"name": "program", "configMap": {"name": name}},
            {"name": "token", "secret": {"secretName": name, "defaultMode": 0o440, **_for_fetch(view)}},
        ],
    }


def _app_mib(view: DeploymentView) -> int:
    """Room for what is fetched: an archive lies beside what comes out of it, and small files take whole blocks."""
    return 2 * math.ceil(view.size / MIB) + 1024


def _mib(amount: int) -> str:
    return f"{amount}Mi"


def _for_fetch(view: DeploymentView) -> Json:
    """The token, and the addresses of this revision's files if the Secret has any; nothing else of it."""
    keys = {"token": "token", files_key(view.revision): "files.json"}
    return {"optional": True, "items": [{"key": key, "path": path} for key, path in keys.items()]}


def _place(view: DeploymentView, system: Json) -> Json:
    """The machines that it may be on; those with GPUs keep others away by a taint, of which two are usual."""
    found = pools.tolerations(view.taints) if view.node_pool else []
    if view.config.gpu_cores:
        found += [row for row in GPU_TAINTS if row not in found]
    selector = {**system, pools.POOL_LABEL: view.node_pool} if view.node_pool else system
    return {"nodeSelector": selector, **({"tolerations": found} if found else {})}


def _fetch(view: DeploymentView) -> Json:
    return {
        "name": "fetch",
        "image": view.fetch_image,
        "command": ["python", "program/fetch.py"],
        "workingDir": HOME,
        "env": [{"name": "SLIPWAY_FETCH_URL", "value": view.fetch_url}],
        "resources": hardening.resources(
            "10m", "64Mi", _mib(_disk_mib(view)), most_memory="256Mi", most_cpu="1", most_disk=_mib(_app_mib(view) + 64)
        ),
        "securityContext": hardening.container(),
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
        "resources": _resources(view),
        "securityContext": hardening.container(),
        # By a program: Kubernetes 1.29 has no sleep of its own yet.
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", f"sleep {PRE_STOP_SECONDS}"]}}},
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
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108  (what code writes to by habit)
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


def _resources(view: DeploymentView) -> Json:
    """As asked; beside it the disk that everything of the pod may fill: files, scratch and logs."""
    config, most = view.config, _app_mib(view) + view.scratch_gib * 1024 + 128
    requests = {"cpu": _cpu(config.cpu), "memory": _memory(config.memory_gb), DISK: _mib(_disk_mib(view))}
    limits = {DISK: _mib(most)}
    if config.cpu_limit is not None:
        limits["cpu"] = _cpu(config.cpu_limit)
    if config.memory_gb_limit is not None:
        limits["memory"] = _memory(config.memory_gb_limit)
    if config.gpu_cores:
        limits[GPU] = requests[GPU] = str(config.gpu_cores)
    return {"requests": requests, "limits": limits}


def _disk_mib(view: DeploymentView) -> int:
    """What a replica fills for sure."""
    return math.ceil(view.size / MIB) + 256


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
