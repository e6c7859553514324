"""Strict checks of an object before it is applied: schema of the cluster's version, names, quantities, and `checks`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from compute.cluster import checks
from compute.cluster.kinds import KINDS
from portal.problems import Invalid

QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(([KMGTPE]i)|[numkMGTPE]|[eE][+-]?\d+)?")
LABEL_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
LABEL_NAMED = ("Namespace", "Service")
RBAC = ("Role", "RoleBinding")


class InvalidObject(Invalid):
    code, title = "invalid_object", "A Kubernetes object is wrong"


def validate(obj: dict[str, Any], version: str = "1.33") -> None:
    """Check one object as strictly as the API server of `version` would. Raises InvalidObject naming the field.

    Of custom kinds only what holds for all: the cluster has their schema.
    """
    who = _who(obj)
    custom = KINDS.get(str(obj["kind"]))
    is_custom = custom is not None and custom.is_custom and custom.api_version == obj["apiVersion"]
    validator = None if is_custom else _validator(schema_version(version), str(obj["apiVersion"]), str(obj["kind"]))
    if validator is None and not is_custom:
        raise InvalidObject(f"{who}: Kubernetes {version} has no kind {obj['kind']} in {obj['apiVersion']}.")
    error = next(iter(validator.iter_errors(obj)), None) if validator else None
    if error is not None:
        where = ".".join(str(part) for part in error.absolute_path)
        raise InvalidObject(f"{who}: {where or 'object'}: {str(error.message)[:300]}")
    _check_names(obj, who)
    _check_quantities(obj, who, "")
    fault = next(checks.faults(obj), None)
    if fault is not None:
        raise InvalidObject(f"{who}: {fault}.")


@lru_cache(maxsize=64)
def _validator(version: str, api_version: str, kind: str) -> Any:
    """The strict validator of one kind, None when there is none. Kept: reading the schemas costs 0.1 s and more."""
    from jsonschema.validators import Draft202012Validator  # type: ignore[import-untyped]
    from kubernetes_validate import utils
    from referencing import Registry, Resource

    group, slash, number = api_version.rpartition("/")
    file = "-".join([kind.lower(), *([group.partition(".")[0]] if slash else []), number])
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    try:
        schema = utils.schema_contents(f"{folder}/{file}.json", version)
    except FileNotFoundError:
        return None
    shared: Registry[Any] = Resource.from_contents(_definitions(version)) @ Registry()
    return Draft202012Validator(schema, registry=Resource.from_contents(schema) @ shared)


@lru_cache(maxsize=2)
def _definitions(version: str) -> Any:
    from kubernetes_validate import utils

    return utils.schema_contents(f"kubernetes-json-schema/v{version}-local-strict/_definitions.json", version)


@lru_cache(maxsize=32)
def schema_version(version: str) -> str:
    """The nearest version that we have schemas for, in full ("1.33.0")."""
    from kubernetes_validate import utils

    found = re.match(r"v?(\d+)\.(\d+)", version)
    wanted = (int(found[1]), int(found[2])) if found else (1, 33)
    known: dict[tuple[int, ...], str] = {
        tuple(int(part) for part in name.split(".")[:2]): name for name in utils.all_versions()
    }
    return known[max(min(known), min(wanted, max(known)))]


def _who(obj: dict[str, Any]) -> str:
    meta = obj.get("metadata") or {}
    if not obj.get("kind") or not obj.get("apiVersion") or not meta.get("name"):
        raise InvalidObject("An object needs apiVersion, kind and metadata.name.")
    return f"{obj['kind']} {meta['name']}"


def _check_names(obj: dict[str, Any], who: str) -> None:
    meta, kind = obj["metadata"], obj["kind"]
    name, label = str(meta["name"]), kind in LABEL_NAMED
    longest, pattern = (63, LABEL_NAME) if label else (253, SUBDOMAIN)
    if kind not in RBAC and (len(name) > longest or not pattern.fullmatch(name)):
        raise InvalidObject(
            f"{who}: the name has to be lower-case letters, digits and '-', at most {longest} characters."
        )
    for group in ("labels", "annotations"):
        for key, value in (meta.get(group) or {}).items():
            if len(key.rpartition("/")[2]) > 63 or not key.rpartition("/")[2]:
                raise InvalidObject(f"{who}: {key!r} is not a key of {group}.")
            if group == "labels" and not LABEL_VALUE.fullmatch(str(value)):
                raise InvalidObject(f"{who}: {value!r} is not a label value (of {key}).")


def _check_quantities(node: Any, who: str, path: str) -> None:
    if isinstance(node, list):
        for index, item in enumerate(node):
            _check_quantities(item, who, f"{path}[{index}]")
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        here = f"{path}.{key}".lstrip(".")
        if key in ("requests", "limits") and isinstance(value, dict) and path.endswith("resources"):
            _check_amounts(value, who, here)
        else:
            _check_quantities(value, who, here)


def _check_amounts(amounts: dict[str, Any], who: str, path: str) -> None:
    for name, amount in amounts.items():
        if not QUANTITY.fullmatch(str(amount)):
            raise InvalidObject(f"{who}: {path}.{name}: {amount!r} is not a quantity such as 500m or 1Gi.")
