"""Security contexts, spread, and what else a pod's spec says beside its containers."""

from typing import Any

from compute.sandbox.kube.validation import names
from compute.sandbox.kube.validation.causes import Causes

Json = dict[str, Any]
HIGHEST_ID = 2**31 - 1
PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")


def check_pod(causes: Causes, path: str, spec: Json) -> None:
    """The pod's own context, its spread, its pull secrets and its class."""
    context = spec.get("securityContext") or {}
    here = f"{path}.securityContext"
    _ids(causes, here, context, ("runAsUser", "runAsGroup", "fsGroup"))
    _profile(causes, here, context)
    change = context.get("fsGroupChangePolicy", "Always")
    if change not in ("Always", "OnRootMismatch"):
        causes.unsupported(f"{here}.fsGroupChangePolicy", change, ("Always", "OnRootMismatch"))
    for index, row in enumerate(spec.get("imagePullSecrets", [])):
        if not row.get("name"):
            causes.required(f"{path}.imagePullSecrets[{index}].name")
    for text in names.subdomain_faults(spec["priorityClassName"]) if spec.get("priorityClassName") else []:
        causes.invalid(f"{path}.priorityClassName", spec["priorityClassName"], text)
    _spread(causes, f"{path}.topologySpreadConstraints", spec.get("topologySpreadConstraints", []))


def check_container(causes: Causes, path: str, item: Json) -> None:
    """A container's context."""
    context, here = item.get("securityContext") or {}, f"{path}.securityContext"
    _ids(causes, here, context, ("runAsUser", "runAsGroup"))
    _profile(causes, here, context)
    if context.get("allowPrivilegeEscalation") is not False:
        return
    if context.get("privileged"):
        causes.invalid(here, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
    if "CAP_SYS_ADMIN" in (context.get("capabilities") or {}).get("add", []):
        why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
        causes.invalid(here, context, why)


def check_sleep(causes: Causes, path: str, item: Json, grace: int) -> None:
    """A sleep before the end fits into the grace."""
    for name, handler in (item.get("lifecycle") or {}).items():
        seconds = (handler.get("sleep") or {}).get("seconds") if isinstance(handler, dict) else None
        if seconds is not None and not 0 < seconds <= grace:
            why = f"must be greater than 0 and less than terminationGracePeriodSeconds ({grace})"
            causes.invalid(f"{path}.lifecycle.{name}.sleep", seconds, why)


def _ids(causes: Causes, path: str, context: Json, fields: tuple[str, ...]) -> None:
    for name in fields:
        value = context.get(name)
        if value is not None and not 0 <= value <= HIGHEST_ID:
            causes.invalid(f"{path}.{name}", value, f"must be between 0 and {HIGHEST_ID}, inclusive")


def _profile(causes: Causes, path: str, context: Json) -> None:
    profile = context.get("seccompProfile")
    if profile is None:
        return
    here, kind = f"{path}.seccompProfile", profile.get("type", "")
    if not kind:
        causes.required(f"{here}.type", "type is required when seccompProfile is set")
    elif kind not in PROFILES:
        causes.unsupported(f"{here}.type", kind, PROFILES)
    if kind == "Localhost" and not profile.get("localhostProfile"):
        causes.required(f"{here}.localhostProfile", "must be set when seccomp type is Localhost")
    if kind != "Localhost" and profile.get("localhostProfile"):
        causes.invalid(f"{here}.localhostProfile", profile, "can only be set when seccomp type is Localhost")


def _spread(causes: Causes, path: str, rows: list[Json]) -> None:
    seen: set[tuple[str, str]] = set()
    for index, row in enumerate(rows):
        here, key, when = f"{path}[{index}]", row.get("topologyKey", ""), row.get("whenUnsatisfiable", "")
        if row.get("maxSkew", 0) <= 0:
            causes.invalid(f"{here}.maxSkew", row.get("maxSkew", 0), "must be greater than zero")
        if not key:
            causes.required(f"{here}.topologyKey", "can not be empty")
        for text in names.qualified_faults(key) if key else []:
            causes.invalid(f"{here}.topologyKey", key, text)
        if when not in UNSATISFIABLE:
            causes.unsupported(f"{here}.whenUnsatisfiable", when, UNSATISFIABLE)
        if (key, when) in seen:
            causes.duplicate(f"{here}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {when}}}")
        seen.add((key, when))
        names.selector(causes, f"{here}.labelSelector", row.get("labelSelector"))
        _keys(causes, here, row)


def _keys(causes: Causes, path: str, row: Json) -> None:
    keys, selector = row.get("matchLabelKeys", []), row.get("labelSelector")
    if keys and selector is None:
        causes.forbidden(f"{path}.matchLabelKeys", "must not be specified when labelSelector is not set")
    for index, key in enumerate(keys):
        if key in (selector or {}).get("matchLabels", {}):
            causes.invalid(f"{path}.matchLabelKeys[{index}]", key, "exists in both matchLabelKeys and labelSelector")
