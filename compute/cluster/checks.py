"""What schemas do not say of an object and API servers refuse, or take and then never run: each with a sentence."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from compute.fit import amount

Json = dict[str, Any]
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SERVICE_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
ENV_NAME = re.compile(r"[ -<>-~]+")
MOST_BYTES = 1024 * 1024
LEAST = {
    "initialDelaySeconds": 0,
    "timeoutSeconds": 1,
    "periodSeconds": 1,
    "successThreshold": 1,
    "failureThreshold": 1,
}
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def faults(obj: Json) -> Iterator[str]:
    """Everything that is wrong, as "field: what"."""
    spec = obj.get("spec") or {}
    for kind, check in CHECKS.items():
        if obj["kind"] == kind:
            yield from check(obj, spec)


# --- workloads


def _deployment(_: Json, spec: Json) -> Iterator[str]:
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    wanted = (spec.get("selector") or {}).get("matchLabels") or {}
    if not wanted and not (spec.get("selector") or {}).get("matchExpressions"):
        yield "spec.selector: it selects nothing"
    yield from (
        f"spec.template.metadata.labels: the selector asks for {key}={value}, the pods have {labels.get(key)!r}"
        for key, value in wanted.items() if labels.get(key) != value
    )  # fmt: skip
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    if rolling and not _is_some(rolling.get("maxSurge", 1)) and not _is_some(rolling.get("maxUnavailable", 1)):
        yield "spec.strategy.rollingUpdate: maxSurge and maxUnavailable are both 0, so that nothing can be replaced"
    if spec.get("progressDeadlineSeconds", 600) <= spec.get("minReadySeconds", 0):
        yield "spec.progressDeadlineSeconds: it has to be more than minReadySeconds"
    yield from _pod(template.get("spec") or {}, "spec.template.spec")


def _is_some(value: Any) -> bool:
    return str(value).rstrip("%") != "0"


def _pod(spec: Json, path: str) -> Iterator[str]:
    volumes = [str(each.get("name")) for each in spec.get("volumes") or []]
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    yield from _twice(f"{path}.volumes", volumes)
    yield from _twice(f"{path}.containers", [str(each.get("name")) for each in containers])
    yield from (f"{path}.volumes: {name!r} is no name" for name in volumes if not _is_label(name))
    grace = spec.get("terminationGracePeriodSeconds", 30)
    for each in containers:
        yield from _container(each, f"{path}.{each.get('name')}", set(volumes), grace)
    yield from _volumes(spec, path)


def _bare_pod(_: Json, spec: Json) -> Iterator[str]:
    return _pod(spec, "spec")


def _volumes(spec: Json, path: str) -> Iterator[str]:
    for volume in spec.get("volumes") or []:
        here, kinds = f"{path}.volumes.{volume.get('name')}", [key for key in volume if key != "name"]
        if len(kinds) != 1:
            yield f"{here}: it needs exactly one kind, not {len(kinds)}"
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        if limit is not None and amount(limit) <= 0:
            yield f"{here}: the size limit {limit!r} is nothing"


def _container(item: Json, path: str, volumes: set[str], grace: int) -> Iterator[str]:
    if not _is_label(str(item.get("name", ""))):
        yield f"{path}: the name has to be lower-case letters, digits and '-', at most 63 characters"
    if not item.get("image") or item["image"] != item["image"].strip():
        yield f"{path}.image: {item.get('image')!r} is no image"
    mounts = item.get("volumeMounts") or []
    yield from (
        f"{path}.volumeMounts: there is no volume {each.get('name')!r}"
        for each in mounts if each.get("name") not in volumes
    )  # fmt: skip
    yield from _twice(f"{path}.volumeMounts", [str(each.get("mountPath")) for each in mounts])
    names = [str(each.get("name", "")) for each in item.get("env") or []]
    yield from (f"{path}.env: {name!r} is no name of a variable" for name in names if not ENV_NAME.fullmatch(name))
    yield from _twice(f"{path}.env", names)
    yield from _ports(item.get("ports") or [], f"{path}.ports", "containerPort")
    yield from _resources(item.get("resources") or {}, f"{path}.resources")
    yield from _probes(item, path)
    sleep = (((item.get("lifecycle") or {}).get("preStop") or {}).get("sleep") or {}).get("seconds")
    if sleep is not None and not 0 < sleep <= grace:
        yield f"{path}.lifecycle.preStop: it sleeps {sleep} s of a grace of {grace} s"


def _probes(item: Json, path: str) -> Iterator[str]:
    named = {each.get("name") for each in item.get("ports") or []}
    for kind in PROBES:
        probe = item.get(kind)
        if probe is None:
            continue
        handlers = [each for each in ("exec", "httpGet", "tcpSocket", "grpc") if each in probe]
        if len(handlers) != 1:
            yield f"{path}.{kind}: it needs exactly one of exec, httpGet, tcpSocket, grpc"
        for field, least in LEAST.items():
            if field in probe and probe[field] < least:
                yield f"{path}.{kind}.{field}: {probe[field]} is less than {least}"
        if kind != "readinessProbe" and probe.get("successThreshold", 1) != 1:
            yield f"{path}.{kind}.successThreshold: it must be 1"
        port = next((probe[each].get("port") for each in handlers if each in ("httpGet", "tcpSocket", "grpc")), None)
        if isinstance(port, str) and port not in named:
            yield f"{path}.{kind}: there is no port {port!r}"
        if isinstance(port, int) and not 1 <= port <= 65535:
            yield f"{path}.{kind}: {port} is no port"


def _resources(value: Json, path: str) -> Iterator[str]:
    limits, requests = value.get("limits") or {}, value.get("requests") or {}
    for name, asked in requests.items():
        if name in limits and amount(asked) > amount(limits[name]):
            yield f"{path}: {asked} of {name} is more than the limit of {limits[name]}"
        if "/" in name and amount(asked) != amount(limits.get(name)):
            yield f"{path}: {name} needs a limit that is equal to the request"
    for name, wanted in (*requests.items(), *limits.items()):
        if amount(wanted) < 0 or ("/" in name and amount(wanted) % 1):
            yield f"{path}: {wanted!r} of {name} cannot be had"


# --- the rest


def _service(obj: Json, spec: Json) -> Iterator[str]:
    if not SERVICE_LABEL.fullmatch(str(obj["metadata"]["name"])):
        yield "metadata.name: a Service's name starts with a letter"
    ports = spec.get("ports") or []
    yield from _ports(ports, "spec.ports", "port")
    if not ports and spec.get("clusterIP") != "None":
        yield "spec.ports: it has none"
    if len(ports) > 1 and not all(each.get("name") for each in ports):
        yield "spec.ports: of several each needs a name"
    if spec.get("type") == "LoadBalancer" and spec.get("clusterIP") == "None":
        yield "spec.clusterIP: a load balancer needs an address"


def _ports(rows: list[Json], path: str, field: str) -> Iterator[str]:
    names = [str(each["name"]) for each in rows if each.get("name")]
    numbers = [(each.get(field), each.get("protocol", "TCP")) for each in rows]
    yield from _twice(path, names)
    yield from _twice(path, [f"{number}/{protocol}" for number, protocol in numbers])
    yield from (
        f"{path}: {name!r} is no name of a port" for name in names if len(name) > 15 or not PORT_NAME.fullmatch(name)
    )
    for each in rows:
        for key in (field, "targetPort"):
            number = each.get(key)
            if isinstance(number, int) and not 1 <= number <= 65535:
                yield f"{path}: {number} is no port"


def _budget(_: Json, spec: Json) -> Iterator[str]:
    if ("minAvailable" in spec) == ("maxUnavailable" in spec):
        yield "spec: it needs one of minAvailable and maxUnavailable"
    if not (spec.get("selector") or {}).get("matchLabels"):
        yield "spec.selector: it selects every pod of the namespace"


def _policy(_: Json, spec: Json) -> Iterator[str]:
    for side, peers in (("ingress", "from"), ("egress", "to")):
        if spec.get(side) and side.capitalize() not in (spec.get("policyTypes") or []):
            yield f"spec.{side}: policyTypes has no {side.capitalize()}, so that its rules say nothing"
        for rule in spec.get(side) or []:
            yield from (
                f"spec.{side}: {each['port']} is no port"
                for each in rule.get("ports") or []
                if isinstance(each.get("port"), int) and not 1 <= each["port"] <= 65535
            )
            for peer in rule.get(peers) or []:
                yield from _peer(peer, f"spec.{side}")


def _peer(peer: Json, path: str) -> Iterator[str]:
    block = peer.get("ipBlock")
    if not peer or (block and len(peer) > 1):
        yield f"{path}: a peer is a block of addresses or a selector"
    if not block:
        return
    try:
        whole = ipaddress.ip_network(block.get("cidr", ""))
        parts = [ipaddress.ip_network(text) for text in block.get("except") or []]
    except ValueError as error:
        yield f"{path}: {error}"
        return
    for part in parts:
        if part.version != whole.version or part == whole or not part.subnet_of(whole):  # type: ignore[arg-type]
            yield f"{path}: {part} is no part of {whole}"


def _data(obj: Json, _: Json) -> Iterator[str]:
    data = obj.get("data") or {}
    yield from (f"data: {key!r} is no key" for key in data if not DATA_KEY.fullmatch(key) or key in (".", ".."))
    size = sum(len(str(text).encode()) for text in data.values())
    if size > MOST_BYTES * (4 / 3 if obj["kind"] == "Secret" else 1):
        yield f"data: {size} bytes are more than an object holds ({MOST_BYTES})"


def _secret(obj: Json, spec: Json) -> Iterator[str]:
    yield from _data(obj, spec)
    if obj.get("type") == "kubernetes.io/dockerconfigjson" and ".dockerconfigjson" not in (obj.get("data") or {}):
        yield "data: a pull secret needs .dockerconfigjson"


def _quota(_: Json, spec: Json) -> Iterator[str]:
    for name, wanted in (spec.get("hard") or {}).items():
        if amount(wanted) < 0 or str(wanted).startswith("-"):
            yield f"spec.hard.{name}: {wanted!r} is less than nothing"


def _priority(obj: Json, _: Json) -> Iterator[str]:
    if obj.get("value", 0) > 1_000_000_000:
        yield "value: more than 1000000000 is for the system"
    if str(obj["metadata"]["name"]).startswith("system-"):
        yield "metadata.name: system- is for the system"


def _role(obj: Json, _: Json) -> Iterator[str]:
    for rule in obj.get("rules") or []:
        if not rule.get("verbs") or not rule.get("resources") or "apiGroups" not in rule:
            yield f"rules: one lacks verbs, resources or apiGroups: {json.dumps(rule)[:100]}"


def _is_label(name: str) -> bool:
    return len(name) <= 63 and bool(LABEL.fullmatch(name))


def _twice(path: str, names: list[str]) -> Iterator[str]:
    yield from (
        f"{path}: {name!r} is there twice" for name in sorted({each for each in names if names.count(each) > 1})
    )


CHECKS: dict[str, Callable[[Json, Json], Iterator[str]]] = {
    "Deployment": _deployment, "Service": _service, "PodDisruptionBudget": _budget, "NetworkPolicy": _policy,
    "ConfigMap": _data, "Secret": _secret, "ResourceQuota": _quota, "PriorityClass": _priority, "Role": _role,
    "Pod": _bare_pod,
}  # fmt: skip
