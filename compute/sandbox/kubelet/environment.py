"""The environment and the command line of a container, as a kubelet makes them."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from typing import Any

from compute.sandbox.kube import quantity

Lookup = Callable[[str, str], "dict[str, Any] | None"]
"""(resource plural, name) -> the object in the pod's namespace, or None."""


class ConfigError(Exception):
    """The container cannot be made yet; the text is what a kubelet would say."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace $(NAME) by its value, $$ by $; an unknown name stays as written."""
    out, at = [], 0
    while at < len(text):
        following = text[at + 1 : at + 2]
        end = text.find(")", at) if text[at] == "$" and following == "(" else -1
        if text[at] == "$" and following == "$":
            out.append("$")
            at += 2
        elif end > 0:
            out.append(values.get(text[at + 2 : end], text[at : end + 1]))
            at = end + 1
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


def field(pod: dict[str, Any], path: str) -> str:
    """The value of a downward API `fieldPath`; ConfigError for one that does not exist."""
    meta, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
    for part in ("labels", "annotations"):
        if path == f"metadata.{part}":
            return "\n".join(f'{key}="{_escape(value)}"' for key, value in sorted((meta.get(part) or {}).items()))
        if path.startswith(f"metadata.{part}['") and path.endswith("']"):
            return str((meta.get(part) or {}).get(path[len(part) + 11 : -2], ""))
    plain = {
        "metadata.name": meta["name"], "metadata.namespace": meta["namespace"], "metadata.uid": meta["uid"],
        "spec.nodeName": spec.get("nodeName", ""), "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.podIP": status.get("podIP", ""), "status.podIPs": status.get("podIP", ""),
        "status.hostIP": status.get("hostIP", ""), "status.hostIPs": status.get("hostIP", ""),
    }  # fmt: skip
    if path not in plain:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(plain[path])


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_field(pod: dict[str, Any], container: str, ref: dict[str, Any], allocatable: Mapping[str, str]) -> str:
    """A container's limit (else the node's allocatable) or request, in units of the divisor, rounded up."""
    kind, _, name = ref["resource"].partition(".")
    containers = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]
    wanted = next((c for c in containers if c["name"] == (ref.get("containerName") or container)), None)
    if wanted is None:
        raise ConfigError(f"container {ref.get('containerName')} not found")
    resources = wanted.get("resources") or {}
    limit = (resources.get("limits") or {}).get(name, allocatable.get(name, "0"))
    value = limit if kind == "limits" else (resources.get("requests") or {}).get(name, "0")
    divisor = quantity.parse(ref.get("divisor") or "1") or quantity.parse("1")
    return str(math.ceil(quantity.parse(value) / divisor))


def text_of(resource: str, found: dict[str, Any]) -> dict[str, bytes]:
    """The keys of a ConfigMap or Secret with their bytes."""
    if resource == "secrets":
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    plain = {key: str(value).encode() for key, value in (found.get("data") or {}).items()}
    return plain | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}


def _from_object(namespace: str, resource: str, ref: dict[str, Any], lookup: Lookup) -> str | None:
    kind, found = resource[:-1].replace("configmap", "configmap"), lookup(resource, ref["name"])
    if found is None:
        if ref.get("optional"):
            return None
        raise ConfigError(f'{kind} "{ref["name"]}" not found')
    values = text_of(resource, found)
    if ref["key"] not in values:
        if ref.get("optional"):
            return None
        shown = "ConfigMap" if resource == "configmaps" else "Secret"
        raise ConfigError(f"couldn't find key {ref['key']} in {shown} {namespace}/{ref['name']}")
    return values[ref["key"]].decode(errors="replace")


def _env_from(pod: dict[str, Any], container: dict[str, Any], lookup: Lookup) -> dict[str, str]:
    result: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        resource, ref = (
            ("configmaps", source.get("configMapRef"))
            if "configMapRef" in source
            else ("secrets", source.get("secretRef"))
        )
        found = lookup(resource, ref["name"])
        if found is None and not ref.get("optional"):
            raise ConfigError(f'{resource[:-1]} "{ref["name"]}" not found')
        for key, value in text_of(resource, found or {}).items():
            result[source.get("prefix", "") + key] = value.decode(errors="replace")
    return result


def _value_from(
    pod: dict[str, Any],
    container: dict[str, Any],
    source: dict[str, Any],
    lookup: Lookup,
    allocatable: Mapping[str, str],
) -> str | None:
    if "fieldRef" in source:
        return field(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource_field(pod, container["name"], source["resourceFieldRef"], allocatable)
    resource, ref = ("configmaps", "configMapKeyRef") if "configMapKeyRef" in source else ("secrets", "secretKeyRef")
    return _from_object(pod["metadata"]["namespace"], resource, source[ref], lookup)


def build(
    pod: dict[str, Any],
    container: dict[str, Any],
    base: Mapping[str, str],
    lookup: Lookup,
    allocatable: Mapping[str, str],
) -> dict[str, str]:
    """The whole environment: `base` (image and kubelet), envFrom, then env in order with $(NAME) expanded.

    ConfigError names the object or key that is missing.
    """
    result = dict(base) | _env_from(pod, container, lookup)
    for item in container.get("env") or []:
        if "valueFrom" in item:
            value = _value_from(pod, container, item["valueFrom"], lookup, allocatable)
            if value is not None:
                result[item["name"]] = value
        else:
            result[item["name"]] = expand(item.get("value", ""), result)
    return result


def arguments(container: dict[str, Any], env: Mapping[str, str]) -> list[str]:
    """`command` and `args` with $(NAME) expanded. Our images have no entry point of their own: one must be given."""
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    return [expand(word, env) for word in words]
