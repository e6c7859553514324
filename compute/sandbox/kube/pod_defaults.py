"""Defaults of a pod's spec."""

from typing import Any

Json = dict[str, Any]
DEFAULT_MODE = 0o644


def pod_spec(spec: Json) -> None:
    """Fill the unset fields of a pod spec, in place."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        _container(container)
    for volume in spec.get("volumes", []):
        _volume(volume)


def _container(item: Json) -> None:
    item.setdefault("terminationMessagePath", "/dev/termination-log")
    item.setdefault("terminationMessagePolicy", "File")
    item.setdefault("imagePullPolicy", _pull_policy(item.get("image", "")))
    resources = item.setdefault("resources", {})
    for name, value in resources.get("limits", {}).items():
        resources.setdefault("requests", {}).setdefault(name, value)
    for port in item.get("ports", []):
        port.setdefault("protocol", "TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in item:
            _probe(item[name])
    for handler in item.get("lifecycle", {}).values():
        if isinstance(handler, dict):
            _http_get(handler)
    for variable in item.get("env", []):
        ref = variable.get("valueFrom", {}).get("fieldRef")
        if ref is not None:
            ref.setdefault("apiVersion", "v1")


def _pull_policy(image: str) -> str:
    name = image.rsplit("/", 1)[-1]
    if "@" in name:
        return "IfNotPresent"
    _, _, tag = name.partition(":")
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _probe(probe: Json) -> None:
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        if not probe.get(name):
            probe[name] = value
    _http_get(probe)


def _http_get(handler: Json) -> None:
    get = handler.get("httpGet")
    if get is not None:
        get.setdefault("path", "/")
        get.setdefault("scheme", "HTTP")


def _volume(volume: Json) -> None:
    for name in ("configMap", "secret", "downwardAPI"):
        if name in volume:
            volume[name].setdefault("defaultMode", DEFAULT_MODE)
    _field_versions(volume.get("downwardAPI", {}))
    projected = volume.get("projected")
    if projected is not None:
        projected.setdefault("defaultMode", DEFAULT_MODE)
        for source in projected.get("sources", []):
            _field_versions(source.get("downwardAPI", {}))
            if "serviceAccountToken" in source:
                source["serviceAccountToken"].setdefault("expirationSeconds", 3600)


def _field_versions(source: Json) -> None:
    for item in source.get("items", []):
        if "fieldRef" in item:
            item["fieldRef"].setdefault("apiVersion", "v1")
