"""The published schemas of one Kubernetes version, cut down to the kinds served, and how to walk them."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

import kubernetes_validate

from compute.sandbox.kube.kinds import BY_KIND

Json = dict[str, Any]
EXTRA = ("DeleteOptions", "Eviction", "Scale", "TokenRequest", "Status", "APIResourceList")
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"


class Schema:
    """The definitions of one minor version, by name."""

    def __init__(self, minor: str) -> None:
        self.minor = minor
        path = f"kubernetes-json-schema/v{minor}-local/_definitions.json"
        every = json.loads(files("kubernetes_validate").joinpath(path).read_text("utf-8"))["$defs"]
        self._by_gvk: dict[tuple[str, str, str], str] = {}
        for name, doc in every.items():
            for gvk in doc.get("x-kubernetes-group-version-kind", ()):
                self._by_gvk[(gvk["group"], gvk["version"], gvk["kind"])] = name
        self.definitions: dict[str, Json] = _reachable(every, self._roots())

    def _roots(self) -> list[str]:
        ours = {(kind.group, kind.version, kind.kind) for kind in BY_KIND.values()}
        return [name for gvk, name in self._by_gvk.items() if gvk in ours or gvk[2] in EXTRA]

    def name_of(self, group: str, version: str, kind: str) -> str:
        """The definition's name of a kind."""
        return self._by_gvk[(group, version, kind)]

    def of(self, group: str, version: str, kind: str) -> Json:
        """The definition of a kind."""
        return self.definitions[self.name_of(group, version, kind)]

    def resolve(self, node: Json) -> tuple[Json, str]:
        """The node behind a reference and the definition's name (empty for an inline node)."""
        ref = node.get("$ref")
        if ref is None:
            return node, ""
        name = ref.rsplit("/", 1)[1]
        return self.definitions[name], name


def schema_for(version: str) -> Schema:
    """The schema of a cluster's version, or of the nearest older one that is published."""
    wanted = tuple(int(part) for part in version.lstrip("v").split(".")[:2])
    known = [item for item in _published() if tuple(int(part) for part in item.split(".")[:2]) <= wanted]
    return _load(known[-1] if known else _published()[0])


@cache
def _load(minor: str) -> Schema:
    return Schema(minor)


@cache
def _published() -> list[str]:
    return list(kubernetes_validate.utils.all_versions())


def _reachable(every: dict[str, Json], roots: list[str]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = every[name]
            todo.extend(_references(every[name]))
    return found


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        here = [node["$ref"].rsplit("/", 1)[1]] if isinstance(node.get("$ref"), str) else []
        return here + [name for value in node.values() for name in _references(value)]
    if isinstance(node, list):
        return [name for value in node for name in _references(value)]
    return []


def shape(node: Json, name: str) -> str:
    """What a resolved node is: struct, map, list, string, integer, number, boolean, quantity, int-or-string or any."""
    if name == QUANTITY:
        return "quantity"
    if name == INT_OR_STRING:
        return "int-or-string"
    if "properties" in node:
        return "struct"
    if "additionalProperties" in node:
        return "map"
    kinds = node.get("type")
    kind = next((item for item in kinds if item != "null"), "any") if isinstance(kinds, list) else kinds
    return {"array": "list", "object": "any", None: "any"}.get(kind, str(kind))


def list_keys(node: Json) -> list[str]:
    """The fields that name an item of a list merged by key, for apply; empty for other lists."""
    if node.get("x-kubernetes-list-type") == "map":
        return list(node["x-kubernetes-list-map-keys"])
    return []


def is_set(node: Json) -> bool:
    """Whether a list is a set of scalars."""
    return bool(node.get("x-kubernetes-list-type") == "set")
