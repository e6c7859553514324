"""Label and field selectors of lists and watches."""

import re
from collections.abc import Callable
from typing import Any

from compute.sandbox.kube.errors import bad_request

Json = dict[str, Any]
Test = Callable[[Json], bool]
_SET = re.compile(r"^(!?)\s*([^\s!=,()]+)(?:\s+(in|notin)\s*\(([^)]*)\))?$")
_EQUAL = re.compile(r"^([^\s!=]+)\s*(==|!=|=)\s*([^\s=!]*)$")
_SPLIT = re.compile(r",(?![^(]*\))")

COMMON_FIELDS = {"metadata.name": ("metadata", "name"), "metadata.namespace": ("metadata", "namespace")}
FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "pods": {"spec.nodeName": ("spec", "nodeName"), "status.phase": ("status", "phase")},
    "namespaces": {"status.phase": ("status", "phase")},
    "secrets": {"type": ("type",)},
    "events": {
        **{
            f"involvedObject.{name}": ("involvedObject", name)
            for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        },
        "reason": ("reason",),
        "type": ("type",),
        "source": ("source", "component"),
        "reportingComponent": ("reportingComponent",),
    },
}


def label_test(text: str) -> Test:
    """A test of an object's labels. 400 for what does not parse."""
    tests = [_label_term(part.strip()) for part in _SPLIT.split(text) if text.strip()]
    return lambda obj: all(test(obj["metadata"].get("labels", {})) for test in tests)


def _label_term(term: str) -> Test:
    equal = _EQUAL.match(term)
    if equal:
        key, operator, value = equal.groups()
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    found = _SET.match(term)
    if not found:
        raise bad_request(f"unable to parse requirement: found '{term}', expected: in, notin, =, ==, !=, gt, lt")
    bang, key, operator, listed = found.groups()
    values = {item.strip() for item in (listed or "").split(",")}
    if operator == "in":
        return lambda labels: labels.get(key) in values
    if operator == "notin":
        return lambda labels: labels.get(key) not in values
    return (lambda labels: key not in labels) if bang else (lambda labels: key in labels)


def field_test(resource: str, text: str) -> Test:
    """A test of an object's fields. 400 for a field that the kind does not offer."""
    known = {**COMMON_FIELDS, **FIELDS.get(resource, {})}
    tests = [_field_term(known, part.strip()) for part in text.split(",") if part.strip()]
    return lambda obj: all(test(obj) for test in tests)


def _field_term(known: dict[str, tuple[str, ...]], term: str) -> Test:
    equal = _EQUAL.match(term)
    if not equal:
        raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
    name, operator, wanted = equal.groups()
    if name not in known:
        raise bad_request(f"field label not supported: {name}")
    path, same = known[name], operator != "!="
    return lambda obj: (_value(obj, path) == wanted) is same


def _value(obj: Json, path: tuple[str, ...]) -> str:
    value: Any = obj
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value)


def matches(selector: Json | None, labels: dict[str, str]) -> bool:
    """Whether a metav1 LabelSelector chooses the labels; none chooses nothing, an empty one everything."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_expression(term, labels) for term in selector.get("matchExpressions", []))


def _expression(term: Json, labels: dict[str, str]) -> bool:
    key, operator, values = term["key"], term["operator"], term.get("values", [])
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    return (key in labels) is (operator == "Exists")
