"""Volumes: the five kinds that a sandbox node can mount."""

from typing import Any

from compute.sandbox.kube import quantity
from compute.sandbox.kube.validation import names
from compute.sandbox.kube.validation.causes import Causes

Json = dict[str, Any]
KINDS = ("configMap", "downwardAPI", "emptyDir", "projected", "secret")
NOT_HERE = f"this cluster's nodes mount only volumes of the types {', '.join(KINDS[:-1])} and {KINDS[-1]}"
SOURCES = ("configMap", "downwardAPI", "secret", "serviceAccountToken")


def check(causes: Causes, path: str, rows: list[Json]) -> set[str]:
    """All volumes of a pod; returns their names."""
    seen: set[str] = set()
    for index, row in enumerate(rows):
        here, name = f"{path}[{index}]", row.get("name", "")
        if not name:
            causes.required(f"{here}.name")
        else:
            for text in names.label_faults(name):
                causes.invalid(f"{here}.name", name, text)
        if name and name in seen:
            causes.duplicate(f"{here}.name", name)
        seen.add(name)
        _volume(causes, here, row)
    return seen


def _volume(causes: Causes, path: str, row: Json) -> None:
    given = [key for key in row if key != "name"]
    if not given:
        causes.required(path, "must specify a volume type")
    for key in given:
        if key not in KINDS:
            causes.forbidden(f"{path}.{key}", NOT_HERE)
    for extra in given[1:]:
        causes.forbidden(f"{path}.{extra}", "may not specify more than 1 volume type")
    if quantity.parse((row.get("emptyDir") or {}).get("sizeLimit", "0")) < 0:
        causes.forbidden(f"{path}.emptyDir.sizeLimit", "SizeLimit field must be a valid resource quantity")
    if "configMap" in row:
        _keyed(causes, f"{path}.configMap", row["configMap"], "name")
    if "secret" in row:
        _keyed(causes, f"{path}.secret", row["secret"], "secretName")
    if "downwardAPI" in row:
        _items(causes, f"{path}.downwardAPI", row["downwardAPI"], keyed=False)
    if "projected" in row:
        _projected(causes, f"{path}.projected", row["projected"])


def _mode(causes: Causes, path: str, value: int | None) -> None:
    if value is not None and not 0 <= value <= 0o777:
        causes.invalid(path, value, "must be a number between 0 and 0777 (octal), both inclusive")


def _keyed(causes: Causes, path: str, source: Json, name: str) -> None:
    if not source.get(name):
        causes.required(f"{path}.{name}")
    _items(causes, path, source, keyed=True)


def _items(causes: Causes, path: str, source: Json, *, keyed: bool) -> None:
    _mode(causes, f"{path}.defaultMode", source.get("defaultMode"))
    for index, item in enumerate(source.get("items", [])):
        here = f"{path}.items[{index}]"
        if keyed and not item.get("key"):
            causes.required(f"{here}.key")
        _relative(causes, f"{here}.path", item.get("path", ""))
        _mode(causes, f"{here}.mode", item.get("mode"))
        if not keyed and not ("fieldRef" in item or "resourceFieldRef" in item):
            causes.required(here, "one of fieldRef and resourceFieldRef is required")


def _relative(causes: Causes, path: str, value: str) -> None:
    if not value:
        causes.required(path)
    elif value.startswith("/"):
        causes.invalid(path, value, "must be a relative path")
    elif ".." in value.split("/"):
        causes.invalid(path, value, "must not contain '..'")


def _projected(causes: Causes, path: str, value: Json) -> None:
    _mode(causes, f"{path}.defaultMode", value.get("defaultMode"))
    for index, source in enumerate(value.get("sources", [])):
        here = f"{path}.sources[{index}]"
        for extra in list(source)[1:]:
            causes.forbidden(f"{here}.{extra}", "may not specify more than 1 volume type")
        for kind in source:
            if kind not in SOURCES:
                causes.forbidden(f"{here}.{kind}", NOT_HERE)
        for kind in ("configMap", "secret"):
            if kind in source:
                _keyed(causes, f"{here}.{kind}", source[kind], "name")
        if "downwardAPI" in source:
            _items(causes, f"{here}.downwardAPI", source["downwardAPI"], keyed=False)
        token = source.get("serviceAccountToken")
        if token is not None:
            _relative(causes, f"{here}.serviceAccountToken.path", token.get("path", ""))
            if token["expirationSeconds"] < 600:
                where = f"{here}.serviceAccountToken.expirationSeconds"
                causes.invalid(where, token["expirationSeconds"], "may not specify a duration less than 10 minutes")
