"""What all our pods and namespaces have against mishap and misuse; the reasons stand in docs/security.md. Pure."""

from __future__ import annotations

from typing import Any

from compute.names import LINUX, MANAGED

Json = dict[str, Any]
GATEWAY_PRIORITY, REPLICA_PRIORITY = "slipway-gateway", "slipway-replica"
PRIORITIES = (GATEWAY_PRIORITY, REPLICA_PRIORITY)
POD_SECURITY = {
    f"pod-security.kubernetes.io/{mode}{what}": value
    for mode in ("enforce", "audit", "warn")
    for what, value in (("", "restricted"), ("-version", "latest"))
}


def namespace(name: str, labels: dict[str, str]) -> Json:
    """A namespace of ours: it takes only pods that the `restricted` standard lets in."""
    return {
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {**MANAGED, **labels, **POD_SECURITY}},
    }  # fmt: skip


def priority_class(name: str) -> Json:
    """The gateway goes before replicas, since all are reached through it; replicas wait rather than push others out."""
    is_gateway = name == GATEWAY_PRIORITY
    return {
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": name, "labels": dict(MANAGED)},
        "value": 1_000_000 if is_gateway else 1000,
        "preemptionPolicy": "PreemptLowerPriority" if is_gateway else "Never",
        "description": "Slipway: the way to all replicas." if is_gateway else "Slipway: replicas of models.",
    }  # fmt: skip


def pod(user: int, priority: str) -> Json:
    """The part of a pod's spec that says who it is and what it may."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": priority,
        "nodeSelector": dict(LINUX),
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "fsGroup": user,
            "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
        },
    }  # fmt: skip


def container() -> Json:
    """The security context of every container: no way to more rights, nothing to write but its volumes."""
    return {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }  # fmt: skip


def resources(cpu: str, memory: str, disk: str, *, most_memory: str, most_cpu: str = "", most_disk: str = "") -> Json:
    """Requests and limits of a container of ours. Without `most_cpu` it may use what is idle."""
    limits = {"memory": most_memory, "ephemeral-storage": most_disk or disk}
    return {
        "requests": {"cpu": cpu, "memory": memory, "ephemeral-storage": disk},
        "limits": {**limits, "cpu": most_cpu} if most_cpu else limits,
    }


def spread(match: dict[str, str]) -> list[Json]:
    """Over zones, then over machines, each revision by itself; never a reason not to start."""
    return [
        {
            "maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": dict(match)}, "matchLabelKeys": ["pod-template-hash"],
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]  # fmt: skip


def budget(match: dict[str, str]) -> Json:
    """The spec of a disruption budget: a quarter may go at once, rounded up, so that one replica never stops a drain;
    pods that are broken anyway may always go.
    """
    return {
        "maxUnavailable": "25%", "selector": {"matchLabels": dict(match)}, "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }  # fmt: skip
