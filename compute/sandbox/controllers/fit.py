"""Which pods fit on which nodes, and the words a scheduler has when none does. Pure."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from compute.sandbox.controllers.base import Doc
from compute.sandbox.kube import quantity
from compute.sandbox.kubelet import requests

_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
Usage = dict[str, Decimal]


def problems(pod: Doc, node: Doc, usage: Usage, count: int) -> tuple[list[str], bool]:
    """Why the pod cannot be on the node, and whether removing other pods could help. No reasons: it fits."""
    spec = pod["spec"]
    tolerations = spec.get("tolerations") or []
    cordon = {"key": _UNSCHEDULABLE, "effect": "NoSchedule"}
    if node["spec"].get("unschedulable") and not tolerated(cordon, tolerations):
        return ["node(s) were unschedulable"], False
    for taint in node["spec"].get("taints") or []:
        if taint["effect"] in ("NoSchedule", "NoExecute") and not tolerated(taint, tolerations):
            return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"], False
    if not selected(spec, node):
        return ["node(s) didn't match Pod's node affinity/selector"], False
    return _insufficient(spec, node, usage, count), True


def _insufficient(spec: Doc, node: Doc, usage: Usage, count: int) -> list[str]:
    allocatable = node["status"]["allocatable"]
    found = ["Too many pods"] if count + 1 > int(allocatable.get("pods", "110")) else []
    for name, wanted in requests.of_pod(spec).items():
        free = quantity.parse(allocatable.get(name, "0")) - usage.get(name, Decimal(0))
        if wanted > free:
            found.append(f"Insufficient {name}")
    return found


def tolerated(taint: Doc, tolerations: list[Doc]) -> bool:
    """Whether one of the tolerations covers the taint."""
    return any(covers(row, taint) for row in tolerations)


def covers(toleration: Doc, taint: Doc) -> bool:
    """Whether a toleration covers a taint."""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if not toleration.get("key"):
        return toleration.get("operator") == "Exists"
    if toleration["key"] != taint["key"]:
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")


def selected(spec: Doc, node: Doc) -> bool:
    """Whether nodeSelector and required node affinity pick the node."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(name) != value for name, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(_term(term, node) for term in required["nodeSelectorTerms"])


def _term(term: Doc, node: Doc) -> bool:
    rules = [(rule, node["metadata"].get("labels") or {}) for rule in term.get("matchExpressions") or []]
    rules += [(rule, {"metadata.name": node["metadata"]["name"]}) for rule in term.get("matchFields") or []]
    return bool(rules) and all(_rule(rule, values) for rule, values in rules)


def _rule(rule: Doc, values: dict[str, str]) -> bool:
    operator, wanted = rule["operator"], rule.get("values") or []
    value = values.get(rule["key"])
    if operator in ("Exists", "DoesNotExist"):
        return bool((value is not None) == (operator == "Exists"))
    if operator == "In":
        return bool(value in wanted)
    if operator == "NotIn":
        return bool(value not in wanted)
    try:
        number, bound = int(value or ""), int(wanted[0])
    except ValueError:
        return False
    return number > bound if operator == "Gt" else number < bound


def message(total: int, reasons: list[tuple[list[str], bool]]) -> str:
    """The sentence of the FailedScheduling event."""
    if not total:
        return "no nodes available to schedule pods"
    counted = Counter(reason for found, _ in reasons for reason in found)
    why = ", ".join(sorted(f"{number} {reason}" for reason, number in counted.items()))
    helpful = sum(1 for _, could in reasons if could)
    after = [f"{helpful} No preemption victims found for incoming pod"] if helpful else []
    if helpful < total:
        after.append(f"{total - helpful} Preemption is not helpful for scheduling")
    head = f"0/{total} nodes are available: "
    return f"{head}{why}. preemption: {head}{', '.join(sorted(after))}."
