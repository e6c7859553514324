"""What the portal does inside a cluster, as rules of a ClusterRole: what an attach asks for is what is used. Pure.

`docs/any-kubernetes.md` has the same as YAML for who gives the rights; `tests/compute/test_inside_rights.py` holds
both together, and the API servers of the tests refuse what is not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

ALL = ("create", "delete", "get", "list", "patch")
RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True)
class Rule:
    """What may be done with resources of one API group."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]


RULES = (
    Rule("", ("configmaps", "namespaces", "resourcequotas", "secrets", "serviceaccounts", "services"), ALL),
    Rule("", ("pods",), ("get", "list", "patch")),
    Rule("", ("pods/log", "pods/proxy"), ("get",)),
    Rule("", ("events", "nodes", "persistentvolumeclaims"), ("list",)),
    Rule("apps", ("deployments",), ALL),
    Rule("apps", ("deployments/scale",), ("patch",)),
    Rule("apps", ("daemonsets", "replicasets", "statefulsets"), ("list",)),
    Rule("batch", ("cronjobs", "jobs"), ("list",)),
    Rule("discovery.k8s.io", ("endpointslices",), ("get", "list", "watch")),  # what it gives to the gateway's companion
    Rule("keda.sh", ("scaledobjects", "triggerauthentications"), ALL),  # used where the cluster has KEDA
    Rule("networking.k8s.io", ("ingresses",), ("list",)),
    Rule("networking.k8s.io", ("networkpolicies",), ALL),
    Rule("policy", ("poddisruptionbudgets",), ALL),
    Rule(RBAC, ("rolebindings", "roles"), ALL),
    Rule("scheduling.k8s.io", ("priorityclasses",), ALL),
)
Ask = tuple[str, str, str]


def asks() -> Iterator[Ask]:
    """Every single right: verb, group, resource."""
    for rule in RULES:
        for resource in rule.resources:
            for verb in rule.verbs:
                yield verb, rule.group, resource


def words(missing: Iterable[Ask]) -> list[str]:
    """Rights for people, by resource: "create and patch secrets"."""
    found: dict[tuple[str, str], list[str]] = {}
    for verb, group, resource in missing:
        found.setdefault((group, resource), []).append(verb)
    return [f"{_listed(verbs)} {resource}" for (_, resource), verbs in found.items()]


def _listed(verbs: list[str]) -> str:
    return verbs[0] if len(verbs) == 1 else f"{', '.join(verbs[:-1])} and {verbs[-1]}"


def cluster_role(name: str = "slipway") -> dict[str, Any]:
    """The ClusterRole that gives them."""
    rules = [
        {"apiGroups": [rule.group], "resources": list(rule.resources), "verbs": list(rule.verbs)} for rule in RULES
    ]
    return {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}
