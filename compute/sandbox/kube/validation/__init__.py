"""Refuses objects that the real server would refuse, in its words (422 Invalid)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from compute.sandbox.kube import podsecurity
from compute.sandbox.kube.validation import (
    config,
    deployments,
    gates,
    meta,
    pods,
    podupdates,
    policy,
    required,
    services,
)
from compute.sandbox.kube.validation.causes import Causes, refuse

if TYPE_CHECKING:
    from compute.sandbox.kube.call import Call

Json = dict[str, Any]
Check = Callable[[Causes, Json], None]
UpdateCheck = Callable[[Causes, Json, Json], None]

NEW: dict[str, Check] = {
    "configmaps": config.check_config_map,
    "deployments": deployments.check,
    "namespaces": lambda causes, obj: podsecurity.check_labels(causes, obj["metadata"].get("labels") or {}),
    "networkpolicies": policy.check_network_policy,
    "poddisruptionbudgets": policy.check_budget,
    "pods": lambda causes, obj: pods.check(causes, "spec", obj["spec"]),
    "priorityclasses": policy.check_priority,
    "resourcequotas": policy.check_quota,
    "rolebindings": policy.check_binding,
    "roles": policy.check_role,
    "secrets": config.check_secret,
    "services": services.check,
}
UPDATE: dict[str, UpdateCheck] = {
    "configmaps": config.check_update,
    "deployments": deployments.check_update,
    "pods": podupdates.check,
    "priorityclasses": policy.check_priority_update,
    "rolebindings": policy.check_binding_update,
    "secrets": config.check_update,
    "services": services.check_update,
}
# Objects that the system made may break the rules for people's (reserved names): only what changed is judged.
SYSTEM_MADE = ("priorityclasses", "nodes")


def validate_new(call: "Call", obj: Json) -> None:
    """422 with every fault of a new object, after defaults."""
    causes = Causes()
    _whole(call, causes, obj)
    _refuse(call, causes, obj)


def validate_update(call: "Call", old: Json, new: Json) -> None:
    """422 with every fault of a changed object: what may not change, and what it is now."""
    causes = Causes()
    update = UPDATE.get(call.kind.resource)
    if update is not None:
        update(causes, old, new)
    if call.kind.resource not in (*SYSTEM_MADE, "pods"):
        _whole(call, causes, new)
    else:
        meta.check(causes, call.kind, new["metadata"])
    _refuse(call, causes, new)


def _whole(call: "Call", causes: Causes, obj: Json) -> None:
    gates.drop(call.kind.resource, call.host.kube.version(call.cluster), obj)
    meta.check(causes, call.kind, obj["metadata"])
    check = NEW.get(call.kind.resource)
    if check is not None:
        check(causes, obj)
    kind = call.kind
    required.check(causes, call.schema, call.schema.name_of(kind.group, kind.version, kind.kind), obj)


def _refuse(call: "Call", causes: Causes, obj: Json) -> None:
    refuse(causes, call.kind.kind, call.kind.group, obj["metadata"].get("name", ""))


__all__ = ["refuse", "validate_new", "validate_update"]
