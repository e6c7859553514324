"""Containers: names, images, env, ports, resources, probes, mounts."""

from typing import Any

from compute.sandbox.kube import quantity
from compute.sandbox.kube.validation import names
from compute.sandbox.kube.validation.causes import Causes

Json = dict[str, Any]
PULL = ("Always", "IfNotPresent", "Never")
PROTOCOLS = ("SCTP", "TCP", "UDP")
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
STANDARD = ("cpu", "memory", "ephemeral-storage")
FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip


def check(causes: Causes, path: str, item: Json, volumes: set[str], *, initial: bool) -> None:
    """One container; `volumes` are the pod's."""
    _image(causes, path, item)
    _env(causes, f"{path}.env", item.get("env", []))
    _ports(causes, f"{path}.ports", item.get("ports", []))
    _resources(causes, f"{path}.resources", item.get("resources", {}))
    _mounts(causes, f"{path}.volumeMounts", item.get("volumeMounts", []), volumes)
    for name in PROBES:
        if name in item:
            _probe(causes, f"{path}.{name}", item[name], name)
            if initial and item.get("restartPolicy") != "Always":
                causes.forbidden(f"{path}.{name}", "may not be set for init containers without restartPolicy=Always")
    for name, handler in item.get("lifecycle", {}).items():
        if isinstance(handler, dict):
            _handler(causes, f"{path}.lifecycle.{name}", handler, (*HANDLERS, "sleep"))


def _image(causes: Causes, path: str, item: Json) -> None:
    if not item.get("name"):
        causes.required(f"{path}.name")
    for text in names.label_faults(item["name"]) if item.get("name") else []:
        causes.invalid(f"{path}.name", item["name"], text)
    if not item.get("image"):
        causes.required(f"{path}.image")
    elif item["image"] != item["image"].strip():
        causes.invalid(f"{path}.image", item["image"], "must not have leading or trailing whitespace")
    if item["imagePullPolicy"] not in PULL:
        causes.unsupported(f"{path}.imagePullPolicy", item["imagePullPolicy"], PULL)


def _env(causes: Causes, path: str, rows: list[Json]) -> None:
    for index, row in enumerate(rows):
        here = f"{path}[{index}]"
        if not row.get("name"):
            causes.required(f"{here}.name")
        else:
            for text in names.env_faults(row["name"]):
                causes.invalid(f"{here}.name", row["name"], text)
        source = row.get("valueFrom")
        if source is None:
            continue
        if row.get("value"):
            causes.invalid(f"{here}.valueFrom", "", "may not be specified when `value` is not empty")
        if len(source) != 1:
            what = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
            causes.invalid(
                f"{here}.valueFrom", "", what if not source else "may not have more than one field specified at a time"
            )
        _source(causes, f"{here}.valueFrom", source)


def _source(causes: Causes, path: str, source: Json) -> None:
    for kind in ("configMapKeyRef", "secretKeyRef"):
        ref = source.get(kind)
        if ref is None:
            continue
        if not ref.get("name"):
            causes.required(f"{path}.{kind}.name")
        if not ref.get("key"):
            causes.required(f"{path}.{kind}.key")
        for text in names.key_faults(ref["key"]) if ref.get("key") else []:
            causes.invalid(f"{path}.{kind}.key", ref["key"], text)
    field = source.get("fieldRef", {}).get("fieldPath")
    if field is not None and not (field in FIELDS or field.startswith(("metadata.labels['", "metadata.annotations['"))):
        where = f"{path}.fieldRef.fieldPath"
        if field.split(".")[0] in ("metadata", "spec", "status"):
            causes.unsupported(where, field, FIELDS)
        else:
            causes.invalid(where, field, f"error converting fieldPath: field label not supported: {field}")


def _ports(causes: Causes, path: str, rows: list[Json]) -> None:
    seen: set[str] = set()
    for index, row in enumerate(rows):
        here = f"{path}[{index}]"
        if row.get("name"):
            for text in names.port_name_faults(row["name"]):
                causes.invalid(f"{here}.name", row["name"], text)
            if row["name"] in seen:
                causes.duplicate(f"{here}.name", row["name"])
            seen.add(row["name"])
        if not row.get("containerPort"):
            causes.required(f"{here}.containerPort")
        else:
            names.port(causes, f"{here}.containerPort", row["containerPort"])
        if row["protocol"] not in PROTOCOLS:
            causes.unsupported(f"{here}.protocol", row["protocol"], PROTOCOLS)


def _resources(causes: Causes, path: str, value: Json) -> None:
    limits, requests = value.get("limits", {}), value.get("requests", {})
    for part, rows in (("limits", limits), ("requests", requests)):
        for name, amount in sorted(rows.items()):
            here = f"{path}.{part}[{name}]" if name not in STANDARD else f"{path}.{part}.{name}"
            if name not in STANDARD and "/" not in name and not name.startswith("hugepages-"):
                causes.invalid(f"{path}.{part}[{name}]", name, "must be a standard resource type or fully qualified")
            if quantity.parse(amount) < 0:
                causes.invalid(here, amount, "must be greater than or equal to 0")
            elif "/" in name and quantity.parse(amount) % 1:
                causes.invalid(here, amount, "must be an integer")
    _within_limits(causes, path, limits, requests)


def _within_limits(causes: Causes, path: str, limits: dict[str, str], requests: dict[str, str]) -> None:
    for name, amount in sorted(requests.items()):
        limit = limits.get(name)
        if limit is None:
            if "/" in name:
                causes.required(f"{path}.limits", f"Limit must be set for non overcommitable resources: {name}")
            continue
        if "/" in name and quantity.parse(amount) != quantity.parse(limit):
            causes.invalid(f"{path}.requests", amount, f"must be equal to {name} limit of {limit}")
        elif quantity.parse(amount) > quantity.parse(limit):
            causes.invalid(f"{path}.requests", amount, f"must be less than or equal to {name} limit of {limit}")


def _mounts(causes: Causes, path: str, rows: list[Json], volumes: set[str]) -> None:
    seen: set[str] = set()
    for index, row in enumerate(rows):
        here = f"{path}[{index}]"
        if not row.get("name"):
            causes.required(f"{here}.name")
        elif row["name"] not in volumes:
            causes.not_found(f"{here}.name", row["name"])
        if not row.get("mountPath"):
            causes.required(f"{here}.mountPath")
        elif ":" in row["mountPath"]:
            causes.invalid(f"{here}.mountPath", row["mountPath"], "must not contain ':'")
        elif row["mountPath"] in seen:
            causes.invalid(f"{here}.mountPath", row["mountPath"], "must be unique")
        seen.add(row.get("mountPath", ""))
        sub = row.get("subPath", "")
        if sub.startswith("/"):
            causes.invalid(f"{here}.subPath", sub, "must be a relative path")
        if ".." in sub.split("/"):
            causes.invalid(f"{here}.subPath", sub, "must not contain '..'")


def _probe(causes: Causes, path: str, probe: Json, name: str) -> None:
    _handler(causes, path, probe, HANDLERS)
    for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        names.at_least(causes, f"{path}.{field}", probe.get(field))
    if name == "readinessProbe" and "terminationGracePeriodSeconds" in probe:
        where = f"{path}.terminationGracePeriodSeconds"
        causes.invalid(where, probe["terminationGracePeriodSeconds"], "must not be set for readinessProbes")
    if name != "readinessProbe" and probe["successThreshold"] != 1:
        causes.invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1")


def _handler(causes: Causes, path: str, value: Json, known: tuple[str, ...]) -> None:
    given = [name for name in known if name in value]
    if not given:
        causes.required(path, "must specify a handler type")
    for extra in given[1:]:
        causes.forbidden(f"{path}.{extra}", "may not specify more than 1 handler type")
    if "exec" in value and not value["exec"].get("command"):
        causes.required(f"{path}.exec.command")
    for name in ("httpGet", "tcpSocket"):
        if name in value:
            names.port_or_name(causes, f"{path}.{name}.port", value[name].get("port", 0))
    get = value.get("httpGet")
    if get is not None and get["scheme"] not in ("HTTP", "HTTPS"):
        causes.unsupported(f"{path}.httpGet.scheme", get["scheme"], ("HTTP", "HTTPS"))
