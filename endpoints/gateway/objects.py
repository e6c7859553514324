"""The gateway's Kubernetes objects: one builder per kind, plain dicts."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from compute import hardening, reach
from compute.names import MANAGED, gateway_namespace, named
from deployments import manifests
from endpoints.gateway.files import METRICS_PATH, NUMBERS_PATH, NUMBERS_SERVICE, PROBE_HEADER, Files
from endpoints.gateway.filters import HTTP_PORT, HTTPS_PORT, PROBE_PORT, bootstrap, listeners
from endpoints.gateway.view import GatewayView

__all__ = [
    "COMPONENT",
    "HOLDERS",
    "PROBE_HEADER",
    "PROBE_PORT",
    "SELECTOR",
    "install",
    "name_of",
    "numbers_url",
    "published",
]

Json = dict[str, Any]
COMPONENT = "slipway-gateway"
MATCH = {"app.kubernetes.io/name": COMPONENT}
SELECTOR = f"app.kubernetes.io/name={COMPONENT}"
HOLDERS = {"Secret": "gateway-secret", "ConfigMap": "gateway-config"}  # of the files that change
HOME = "/srv/slipway"
READY_SECONDS = 2  # an old gateway stays until the new one was ready that long
# Of a gateway that ends: seconds without any caller; for callers that keep a connection and send nothing; for scores.
QUIET_SECONDS, PATIENCE_SECONDS, LONGEST_DRAIN_SECONDS = 5, 120, 300
# Envoy's container stays until the companion says that the callers have left; if it says nothing at all, 30 s.
STAY = "n=0; while [ ! -e run/drained ]; do sleep 0.2; n=$((n+1)); [ -e run/draining ] || [ $n -lt 150 ] || break; done"
BALANCER_IDLE_MINUTES = 30  # Azure's 4 would cut a score that takes longer; Envoy closes an idle connection before
SCRAPE = {
    "prometheus.io/scrape": "true",
    "prometheus.io/scheme": "http",
    "prometheus.io/port": str(PROBE_PORT),
    "prometheus.io/path": METRICS_PATH,
}
USER = 65532
COMPANION = Path(__file__).parent.parent / "pod" / "companion.py"


def name_of(target_id: int) -> str:
    """The name of what belongs to one gateway, also in the namespaces of workloads."""
    return f"{COMPONENT}-{target_id}"


def install(view: GatewayView, files: Files) -> list[Json]:
    """Everything that a gateway is, in the order in which it can be applied."""
    boot = _boot()
    return [
        hardening.namespace(gateway_namespace(view.target_id, view.workspace), _labels(view)),
        hardening.priority_class(hardening.GATEWAY_PRIORITY),
        _object(view, "v1", "ServiceAccount", COMPONENT) | {"automountServiceAccountToken": False},
        *(part for namespace in (_home(view), *view.namespaces) for part in _rights(view, namespace)),
        _numbers(view),
        *published(view, files),
        _object(view, "v1", "ConfigMap", "gateway-boot") | {"data": boot},
        _deployment(view, boot),
        _service(view),
        _budget(view),
        _policy(view),
    ]


def published(view: GatewayView, files: Files) -> list[Json]:
    """The objects that a change of traffic, keys or versions writes: the Secret before what refers to it."""
    secret = _object(view, "v1", "Secret", HOLDERS["Secret"]) | {"type": "Opaque", "data": _encoded(files.secret)}
    return [secret, _object(view, "v1", "ConfigMap", HOLDERS["ConfigMap"]) | {"data": files.config}]


def numbers_url(target_id: int, workspace: str) -> str:
    """Where an autoscaler in the cluster reads what is under way, with the probe's secret."""
    return f"http://{NUMBERS_SERVICE}.{gateway_namespace(target_id, workspace)}.svc:{PROBE_PORT}{NUMBERS_PATH}"


def _home(view: GatewayView) -> str:
    return gateway_namespace(view.target_id, view.workspace)


def _numbers(view: GatewayView) -> Json:
    """Inside the cluster only; any pod of the gateway tells the sum of all."""
    port = {"name": "numbers", "port": PROBE_PORT, "targetPort": PROBE_PORT, "protocol": "TCP"}
    spec = {"type": "ClusterIP", "selector": {"app.kubernetes.io/name": COMPONENT}, "ports": [port]}
    return _object(view, "v1", "Service", NUMBERS_SERVICE) | {"spec": spec}


def _encoded(texts: dict[str, str]) -> dict[str, str]:
    return {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}


def _labels(view: GatewayView) -> dict[str, str]:
    return {
        **MANAGED,
        **named(COMPONENT, name_of(view.target_id), "gateway"),
        "slipway.dev/workspace": view.workspace,
        "slipway.dev/gateway": str(view.target_id),
    }


def _object(view: GatewayView, version: str, kind: str, name: str, *, namespace: str = "") -> Json:
    home = namespace or gateway_namespace(view.target_id, view.workspace)
    metadata = {"name": name, "namespace": home, "labels": _labels(view)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _rights(view: GatewayView, namespace: str) -> list[Json]:
    """The companion may follow EndpointSlices where this gateway and its replicas run, and nothing else."""
    group, name = "rbac.authorization.k8s.io", name_of(view.target_id)
    rule = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]}
    own = gateway_namespace(view.target_id, view.workspace)
    role = _object(view, f"{group}/v1", "Role", name, namespace=namespace) | {"rules": [rule]}
    binding = _object(view, f"{group}/v1", "RoleBinding", name, namespace=namespace) | {
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": COMPONENT, "namespace": own}],
    }
    return [role, binding]


def _boot() -> dict[str, str]:
    return {"bootstrap.json": json.dumps(bootstrap(), sort_keys=True), "companion.py": COMPANION.read_text()}


def _deployment(view: GatewayView, boot: dict[str, str]) -> Json:
    pod = _pod(view)
    mark = hashlib.sha256(json.dumps([boot, pod], sort_keys=True).encode()).hexdigest()[:16]
    template = {"metadata": {"labels": _labels(view), "annotations": {**SCRAPE, "slipway.dev/boot": mark}}, "spec": pod}
    spec = {
        "replicas": view.replicas,
        "revisionHistoryLimit": 2,
        "minReadySeconds": READY_SECONDS,
        "selector": {"matchLabels": dict(MATCH)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": template,
    }
    return _object(view, "apps/v1", "Deployment", COMPONENT) | {"spec": spec}


def _pod(view: GatewayView) -> Json:
    return {
        **hardening.pod(USER, hardening.GATEWAY_PRIORITY),
        "serviceAccountName": COMPONENT,
        "terminationGracePeriodSeconds": LONGEST_DRAIN_SECONDS + 15,
        "topologySpreadConstraints": hardening.spread(MATCH),
        "initContainers": [_companion(view, "first-replicas", "init")],
        "containers": [_envoy(view), _companion(view, "companion", "watch") | _before_end(*_drain())],
        "volumes": _volumes(),
    }


def _volumes() -> list[Json]:
    token = {
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        ]
    }
    return [
        {"name": "boot", "configMap": {"name": "gateway-boot"}},
        {"name": "config", "configMap": {"name": "gateway-config"}},
        {"name": "secret", "secret": {"secretName": "gateway-secret"}},
        {"name": "eds", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        {"name": "run", "emptyDir": {"sizeLimit": "16Mi"}},
        {"name": "token", "projected": token},
    ]


def _container(name: str, image: str, command: list[str], *, resources: Json, mounts: str) -> Json:
    writable = ("eds", "run")
    return {
        "name": name,
        "image": image,
        "command": command,
        "workingDir": HOME,
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "resources": resources,
        "securityContext": hardening.container(),
        "volumeMounts": [
            {"name": mount, "mountPath": f"{HOME}/{mount}", **({} if mount in writable else {"readOnly": True})}
            for mount in mounts.split()
        ],
    }


def _companion(view: GatewayView, name: str, mode: str) -> Json:
    command = ["python", "-u", "boot/companion.py", mode]
    resources = hardening.resources("10m", "32Mi", "64Mi", most_memory="96Mi", most_cpu="500m")
    return _container(name, view.companion_image, command, resources=resources, mounts="boot config eds run token")


def _drain() -> list[str]:
    limits = (QUIET_SECONDS, PATIENCE_SECONDS, LONGEST_DRAIN_SECONDS)
    return ["python", "boot/companion.py", "drain", *map(str, limits)]


def _before_end(*command: str) -> Json:
    return {"lifecycle": {"preStop": {"exec": {"command": list(command)}}}}


def _envoy(view: GatewayView) -> Json:
    # Addresses come by argument, where Kubernetes fills in the pod's own; what changes or is secret stays in files.
    static = json.dumps({"static_resources": {"listeners": listeners("$(POD_IP)")}}, sort_keys=True)
    command = [
        "envoy",
        "-c",
        "boot/bootstrap.json",
        "--config-yaml",
        static,
        "--concurrency",
        "1",
        "--disable-hot-restart",
    ]
    envoy = _container(
        "envoy", view.envoy_image, [*command, "-l", "warning", "--component-log-level", "misc:error"],
        # No limit of CPU: a gateway that is throttled is late for everybody.
        resources=hardening.resources("100m", "128Mi", "256Mi", most_memory="512Mi"),
        mounts="boot config secret eds run",
    )  # fmt: skip
    probe = {"tcpSocket": {"port": HTTP_PORT}}
    return envoy | {
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT},
            {"name": "https", "containerPort": HTTPS_PORT},
            {"name": "probe", "containerPort": PROBE_PORT},
        ],
        "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {**probe, "periodSeconds": 2, "failureThreshold": 2},
        "livenessProbe": {**probe, "periodSeconds": 10, "failureThreshold": 3},
        **_before_end("/bin/sh", "-c", STAY),
    }


def _service(view: GatewayView) -> Json:
    service = _object(view, "v1", "Service", COMPONENT)
    service["metadata"]["annotations"] = _balancer_notes(view)
    ports: list[Json] = [{"name": "https", "port": view.https_port, "targetPort": HTTPS_PORT, "protocol": "TCP"}]
    if not view.is_https_only:
        ports.append({"name": "http", "port": view.http_port, "targetPort": HTTP_PORT, "protocol": "TCP"})
    spec = {
        "type": "NodePort" if view.is_node_port else "LoadBalancer",
        "selector": dict(MATCH),
        "ports": ports,
        # Not Local: that leaves callers with a dead node until the balancer's probe has failed twice (10 s), and sends
        # all to the few nodes that have a gateway. The callers' addresses, which it would keep, are used for nothing.
        "externalTrafficPolicy": "Cluster",
    }
    return service | {"spec": spec}


def _balancer_notes(view: GatewayView) -> dict[str, str]:
    """What Azure's load balancer is told; other clusters leave it unread."""
    told = {
        "load-balancer-tcp-idle-timeout": str(BALANCER_IDLE_MINUTES),
        "load-balancer-internal": "true" if view.is_internal else "",
        "load-balancer-internal-subnet": view.subnet,
        "load-balancer-ipv4": view.ip,
        "load-balancer-resource-group": view.ip_resource_group,
        "pip-name": view.ip_name,
        "dns-label-name": view.dns_label,
    }
    return {f"service.beta.kubernetes.io/azure-{name}": value for name, value in told.items() if value}


def _budget(view: GatewayView) -> Json:
    return _object(view, "policy/v1", "PodDisruptionBudget", COMPONENT) | {"spec": hardening.budget(MATCH)}


def _policy(view: GatewayView) -> Json:
    """In: scoring from anywhere, numbers by the API server's proxy; no other port. Out: its replicas, and the API
    server, whose address is not known beforehand.
    """
    ports = [{"port": port, "protocol": "TCP"} for port in (HTTP_PORT, HTTPS_PORT, PROBE_PORT)]
    replicas = {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": {**MANAGED, "slipway.dev/workspace": view.workspace}},
    }
    spec = {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": ports}],
        "egress": [
            {"to": [replicas], "ports": [{"port": manifests.PORT, "protocol": "TCP"}]},
            reach.to_ports(*view.api_ports),
        ],
    }
    return _object(view, "networking.k8s.io/v1", "NetworkPolicy", COMPONENT) | {"spec": spec}
