"""Metadata of every kind."""

from collections.abc import Callable
from typing import Any

from compute.sandbox.kube.kinds import Kind
from compute.sandbox.kube.validation import names
from compute.sandbox.kube.validation.causes import Causes

Json = dict[str, Any]
ANNOTATION_BYTES = 256 * 1024


def check(causes: Causes, kind: Kind, meta: Json) -> None:
    """Name, labels, annotations, owners, finalizers."""
    _name(causes, kind, meta)
    names.labels(causes, "metadata.labels", meta.get("labels"))
    notes = meta.get("annotations", {})
    for key in sorted(notes):
        for text in names.qualified_faults(key.lower()):
            causes.invalid("metadata.annotations", key, text)
    if sum(len(key.encode()) + len(value.encode()) for key, value in notes.items()) > ANNOTATION_BYTES:
        causes.too_long("metadata.annotations", ANNOTATION_BYTES)
    _owners(causes, meta)
    for index, item in enumerate(meta.get("finalizers", [])):
        for text in names.qualified_faults(item):
            causes.invalid(f"metadata.finalizers[{index}]", item, text)


def _rule(kind: Kind) -> Callable[[str], list[str]]:
    if kind.resource == "namespaces":
        return names.label_faults
    if kind.resource == "services":
        return names.label_1035_faults
    if kind.resource in ("roles", "rolebindings"):
        return _path_segment
    return names.subdomain_faults


def _path_segment(value: str) -> list[str]:
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in value]


def _name(causes: Causes, kind: Kind, meta: Json) -> None:
    if not meta.get("name"):
        causes.required("metadata.name", "name or generateName is required")
        return
    for text in _rule(kind)(meta["name"]):
        causes.invalid("metadata.name", meta["name"], text)


def _owners(causes: Causes, meta: Json) -> None:
    rows = meta.get("ownerReferences", [])
    for index, row in enumerate(rows):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not row.get(field):
                causes.invalid(f"metadata.ownerReferences[{index}].{field}", "", f"{field} must not be empty")
    leading = [row for row in rows if row.get("controller")]
    if len(leading) > 1:
        text = "Only one reference can have Controller set to true. "
        named = " and ".join(f"{row.get('kind')}/{row.get('name')}" for row in leading[:2])
        causes.invalid("metadata.ownerReferences", rows, f'{text}Found "true" in references for {named}')
