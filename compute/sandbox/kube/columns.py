"""The cells of each kind's row, as the real printers fill them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

Json = dict[str, Any]
POD = (
    "Name", "Ready", "Status", "Restarts", "Age", "+IP", "+Node", "+Nominated Node", "+Readiness Gates",
)  # fmt: skip
DEPLOYMENT = ("Name", "Ready", "Up-to-date", "Available", "Age", "+Containers", "+Images", "+Selector")
REPLICASET = ("Name", "Desired", "Current", "Ready", "Age", "+Containers", "+Images", "+Selector")
NODE = (
    "Name", "Status", "Roles", "Age", "Version", "+Internal-IP", "+External-IP", "+OS-Image", "+Kernel-Version",
    "+Container-Runtime",
)  # fmt: skip
SERVICE = ("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "+Selector")
EVENT = (
    "Last Seen", "Type", "Reason", "Object", "+Subobject", "+Source", "Message", "+First Seen", "+Count", "+Name",
)  # fmt: skip
NONE = "<none>"


def parse_time(text: str) -> datetime:
    """An API time."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def duration(seconds: float) -> str:
    """A span as kubectl shortens it: 45s, 3m10s, 2h5m, 3d4h, 40d, 1y20d."""
    whole = int(seconds)
    if whole < 0:
        return "0s" if whole >= -2 else "<invalid>"
    steps: tuple[tuple[int, Callable[[], str]], ...] = (
        (120, lambda: f"{whole}s"),
        (600, lambda: _two(whole // 60, "m", whole % 60, "s")),
        (3 * 3600, lambda: f"{whole // 60}m"),
        (8 * 3600, lambda: _two(whole // 3600, "h", whole // 60 % 60, "m")),
        (48 * 3600, lambda: f"{whole // 3600}h"),
        (8 * 86400, lambda: _two(whole // 86400, "d", whole // 3600 % 24, "h")),
        (730 * 86400, lambda: f"{whole // 86400}d"),
    )
    for limit, text in steps:
        if whole < limit:
            return text()
    return _two(whole // 31536000, "y", whole // 86400 % 365, "d")


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}" + (f"{small}{small_unit}" if small else "")


def age(text: str | None, now: datetime) -> str:
    """How long ago an API time was."""
    return duration((now - parse_time(text)).total_seconds()) if text else "<unknown>"


def _age(obj: Json, now: datetime) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def labels_text(labels: Json | None) -> str:
    """`a=b,c=d`, or `<none>`."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def _template(obj: Json) -> list[str]:
    containers = obj["spec"]["template"]["spec"]["containers"]
    names = ",".join(item["name"] for item in containers)
    images = ",".join(item.get("image", "") for item in containers)
    return [names, images, labels_text(obj["spec"]["selector"].get("matchLabels"))]


def pod(obj: Json, now: datetime) -> list[Any]:
    """Cells of a Pod."""
    spec, status = obj["spec"], obj.get("status", {})
    beside = sidecars(obj)
    rows = [row for row in status.get("initContainerStatuses", []) if row["name"] in beside]
    rows += status.get("containerStatuses", [])
    ready = sum(1 for row in rows if row.get("ready"))
    counts = f"{ready}/{len(spec['containers']) + len(beside)}"
    wide = [status.get("podIP") or NONE, spec.get("nodeName") or NONE, NONE, NONE]
    return [obj["metadata"]["name"], counts, pod_status(obj), _restarts(rows, now), _age(obj, now), *wide]


def _restarts(rows: list[Json], now: datetime) -> str:
    count = sum(int(row.get("restartCount", 0)) for row in rows)
    ended = [row.get("lastState", {}).get("terminated", {}).get("finishedAt") for row in rows]
    last = max((text for text in ended if text), default=None)
    return f"{count} ({age(last, now)} ago)" if count and last else str(count)


def pod_status(obj: Json) -> str:
    """The word in the Status column: the first container's trouble, else the phase; Terminating wins."""
    status = obj.get("status", {})
    word = status.get("reason") or status.get("phase", "Unknown")
    initial = _init_status(obj)
    if initial:
        word = initial
    else:
        for row in reversed(status.get("containerStatuses", [])):
            word = _container_word(row) or word
    if obj["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return str(word)


def _container_word(row: Json) -> str:
    state = row.get("state", {})
    if state.get("waiting", {}).get("reason"):
        return str(state["waiting"]["reason"])
    ended = state.get("terminated")
    if not ended:
        return ""
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def sidecars(obj: Json) -> set[str]:
    """The init containers of a pod that go on running."""
    return {row["name"] for row in obj["spec"].get("initContainers", []) if row.get("restartPolicy") == "Always"}


def _init_status(obj: Json) -> str:
    rows = obj.get("status", {}).get("initContainerStatuses", [])
    total = len(obj["spec"].get("initContainers", []))
    for index, row in enumerate(rows):
        ended = row.get("state", {}).get("terminated")
        if (ended and ended.get("exitCode") == 0) or (row["name"] in sidecars(obj) and row.get("started")):
            continue
        word = _container_word(row)
        return f"Init:{word}" if word and word != "PodInitializing" else f"Init:{index}/{total}"
    return ""


def deployment(obj: Json, now: datetime) -> list[Any]:
    """Cells of a Deployment."""
    status = obj.get("status", {})
    ready = f"{status.get('readyReplicas', 0)}/{obj['spec'].get('replicas', 1)}"
    counts = [ready, status.get("updatedReplicas", 0), status.get("availableReplicas", 0)]
    return [obj["metadata"]["name"], *counts, _age(obj, now), *_template(obj)]


def replicaset(obj: Json, now: datetime) -> list[Any]:
    """Cells of a ReplicaSet."""
    status = obj.get("status", {})
    counts = [obj["spec"].get("replicas", 1), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [obj["metadata"]["name"], *counts, _age(obj, now), *_template(obj)]


def node(obj: Json, now: datetime) -> list[Any]:
    """Cells of a Node."""
    status = obj.get("status", {})
    ready = next((row["status"] for row in status.get("conditions", []) if row["type"] == "Ready"), "Unknown")
    word = {"True": "Ready", "False": "NotReady"}.get(ready, "NotReady" if ready == "Unknown" else ready)
    if obj.get("spec", {}).get("unschedulable"):
        word += ",SchedulingDisabled"
    info = status.get("nodeInfo", {})
    address = next((row["address"] for row in status.get("addresses", []) if row["type"] == "InternalIP"), NONE)
    wide = [address, NONE, info.get("osImage", ""), info.get("kernelVersion", ""), info["containerRuntimeVersion"]]
    return [obj["metadata"]["name"], word, NONE, _age(obj, now), info["kubeletVersion"], *wide]


def service(obj: Json, now: datetime) -> list[Any]:
    """Cells of a Service."""
    spec = obj["spec"]
    ports = ",".join(_service_port(port) for port in spec.get("ports", [])) or NONE
    words = [spec.get("type", "ClusterIP"), spec.get("clusterIP") or NONE, _external(obj), ports, _age(obj, now)]
    return [obj["metadata"]["name"], *words, labels_text(spec.get("selector"))]


def _service_port(port: Json) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port['port']}{node_port}/{port.get('protocol', 'TCP')}"


def _external(obj: Json) -> str:
    spec = obj["spec"]
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", NONE))
    entries = obj.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    found = ",".join(entry.get("ip") or entry.get("hostname", "") for entry in entries)
    return found or ("<pending>" if spec.get("type") == "LoadBalancer" else NONE)


def event(obj: Json, now: datetime) -> list[Any]:
    """Cells of an Event."""
    about = obj["involvedObject"]
    series, began = obj.get("series") or {}, obj.get("firstTimestamp") or obj.get("eventTime")
    first = age(began, now)
    last = age(series.get("lastObservedTime") or obj.get("lastTimestamp") or began, now)
    count = int(series.get("count") or obj.get("count") or 1)
    seen = f"{last} (x{count} over {first})" if count > 1 else last
    name = f"{about['kind'].lower()}/{about['name']}"
    source = obj.get("source", {}).get("component") or obj.get("reportingComponent", "")
    text = str(obj.get("message", "")).strip()
    middle = [about.get("fieldPath", ""), source, text]
    return [seen, obj["type"], obj["reason"], name, *middle, first, count, obj["metadata"]["name"]]


def namespace(obj: Json, now: datetime) -> list[Any]:
    """Cells of a Namespace."""
    return [obj["metadata"]["name"], obj.get("status", {}).get("phase", ""), _age(obj, now)]


def configmap(obj: Json, now: datetime) -> list[Any]:
    """Cells of a ConfigMap."""
    return [obj["metadata"]["name"], len(obj.get("data", {})) + len(obj.get("binaryData", {})), _age(obj, now)]


def secret(obj: Json, now: datetime) -> list[Any]:
    """Cells of a Secret."""
    return [obj["metadata"]["name"], obj.get("type", "Opaque"), len(obj.get("data", {})), _age(obj, now)]


def serviceaccount(obj: Json, now: datetime) -> list[Any]:
    """Cells of a ServiceAccount."""
    return [obj["metadata"]["name"], len(obj.get("secrets", [])), _age(obj, now)]


def endpointslice(obj: Json, now: datetime) -> list[Any]:
    """Cells of an EndpointSlice."""
    ports = ",".join(str(port.get("port", "*")) for port in obj.get("ports") or []) or "<unset>"
    addresses = ",".join(item for row in obj.get("endpoints") or [] for item in row["addresses"]) or "<unset>"
    return [obj["metadata"]["name"], obj.get("addressType", ""), ports, addresses, _age(obj, now)]


def budget(obj: Json, now: datetime) -> list[Any]:
    """Cells of a PodDisruptionBudget."""
    spec = obj.get("spec", {})
    limits = [str(spec.get("minAvailable", "N/A")), str(spec.get("maxUnavailable", "N/A"))]
    allowed = obj.get("status", {}).get("disruptionsAllowed", 0)
    return [obj["metadata"]["name"], *limits, allowed, _age(obj, now)]


def plain(obj: Json, now: datetime) -> list[Any]:
    """Cells of any other kind."""
    return [obj["metadata"]["name"], _age(obj, now)]
