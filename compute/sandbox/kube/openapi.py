"""`/openapi/v2` and `/openapi/v3`, cut down to the kinds served."""

from functools import cache
from typing import Any

from compute.sandbox.kube.kinds import KINDS, Kind
from compute.sandbox.kube.schema import Schema, schema_for

Json = dict[str, Any]
INFO = {"title": "Kubernetes", "version": "unversioned"}
QUERY = ("dryRun", "fieldManager", "fieldValidation", "pretty")
HASH = "sandbox"


def index(prefix: str) -> Json:
    """`/openapi/v3`: where each group's document is. `prefix` is the path before `/openapi`."""
    names = ["api/v1", *sorted({f"apis/{kind.group}/{kind.version}" for kind in KINDS.values() if kind.group})]
    return {"paths": {name: {"serverRelativeURL": f"{prefix}/openapi/v3/{name}?hash={HASH}"} for name in names}}


def document(version: str, path: str) -> Json | None:
    """`/openapi/v3/apis/GROUP/VERSION` or `/openapi/v3/api/v1`; None for what is not served."""
    group, _, name = path.removeprefix("apis/").partition("/") if path.startswith("apis/") else ("", "", path[4:])
    kinds = [kind for kind in KINDS.values() if (kind.group, kind.version) == (group, name)]
    if not kinds or not path.startswith(("api/", "apis/")):
        return None
    schema = schema_for(version)
    return _document(schema, tuple(kind.resource for kind in kinds))


@cache
def _document(schema: Schema, resources: tuple[str, ...]) -> Json:
    kinds = [KINDS[name] for name in resources]
    roots = [schema.name_of(kind.group, kind.version, kind.kind) for kind in kinds]
    names = _below(schema, [*roots, DELETE_OPTIONS])
    prefix = "#/components/schemas/"
    schemas = {name: _plain(schema.definitions[name], prefix) for name in names}
    paths: Json = {}
    for kind in kinds:
        paths |= _paths(kind, schema, prefix, v3=True)
    return {"openapi": "3.0.0", "info": INFO, "paths": paths, "components": {"schemas": schemas}}


DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"


@cache
def swagger(version: str) -> Json:
    """`/openapi/v2`."""
    schema = schema_for(version)
    paths: Json = {}
    for kind in KINDS.values():
        paths |= _paths(kind, schema, "#/definitions/", v3=False)
    definitions = {name: _plain(doc, "#/definitions/") for name, doc in schema.definitions.items()}
    return {"swagger": "2.0", "info": INFO, "paths": paths, "definitions": definitions}


def _below(schema: Schema, roots: list[str]) -> list[str]:
    found: list[str] = []
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name not in found:
            found.append(name)
            todo.extend(_references(schema.definitions[name]))
    return sorted(found)


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        here = [node["$ref"].rsplit("/", 1)[1]] if isinstance(node.get("$ref"), str) else []
        return here + [name for value in node.values() for name in _references(value)]
    return [name for item in node for name in _references(item)] if isinstance(node, list) else []


def _plain(node: Any, prefix: str) -> Any:
    """The published form of a definition: no null types, references into this document."""
    if isinstance(node, list):
        return [_plain(item, prefix) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: _plain(value, prefix) for key, value in node.items()}
    if isinstance(node.get("type"), list):
        out["type"] = next(item for item in node["type"] if item != "null")
    if isinstance(node.get("$ref"), str):
        out["$ref"] = prefix + node["$ref"].rsplit("/", 1)[1]
    return out


def _paths(kind: Kind, schema: Schema, prefix: str, *, v3: bool) -> Json:
    base = f"/apis/{kind.group}/{kind.version}" if kind.group else "/api/v1"
    where = f"{base}/namespaces/{{namespace}}/{kind.resource}" if kind.namespaced else f"{base}/{kind.resource}"
    ref = {"$ref": prefix + schema.name_of(kind.group, kind.version, kind.kind)}
    collection = {"get": _operation(kind, "list", ref, v3)}
    if "create" in kind.verbs:
        collection["post"] = _operation(kind, "post", ref, v3)
    one = {method: _operation(kind, method, ref, v3) for method in _methods(kind)}
    return {where: collection, f"{where}/{{name}}": one}


def _methods(kind: Kind) -> list[str]:
    pairs = (("get", "get"), ("update", "put"), ("patch", "patch"), ("delete", "delete"))
    return [method for verb, method in pairs if verb in kind.verbs]


def _operation(kind: Kind, action: str, ref: Json, v3: bool) -> Json:
    gvk = {"group": kind.group, "kind": kind.kind, "version": kind.version}
    text = {"schema": {"type": "string"}} if v3 else {"type": "string"}
    parameters = [{"name": name, "in": "query", **text} for name in QUERY]
    answer = {"description": "OK", **({"content": {"application/json": {"schema": ref}}} if v3 else {"schema": ref})}
    return {
        "operationId": f"{action}{kind.kind}",
        "parameters": parameters,
        "responses": {"200": answer},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk,
    }
