"""Node pools: what a body may say, and what the service fills in."""

import re
from typing import Any

from compute.sandbox.arm import catalogue
from compute.sandbox.arm.errors import invalid

Json = dict[str, Any]
DEFAULT_SIZE = "Standard_DS2_v2"
"""What the service takes when nobody names a size, as `az` does."""
READ_ONLY = ("provisioningState", "currentOrchestratorVersion", "nodeImageVersion", "eTag")
_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")
_LABEL = re.compile(r"([A-Za-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_TAINT = re.compile(r"[^=\s]+=[^:\s]*:(NoSchedule|PreferNoSchedule|NoExecute)")
_FIXED = ("availabilityZones", "maxPods", "osDiskSizeGB", "osDiskType", "osType", "scaleSetPriority", "type")
_RESERVED = "kubernetes.azure.com"
_SYSTEM_TAINT = "CriticalAddonsOnly=true:NoSchedule"
_CHOICES = {
    "mode": ("System", "User", "Gateway"), "osType": ("Linux",),
    "scaleSetPriority": ("Regular", "Spot"), "type": ("VirtualMachineScaleSets",),
}  # fmt: skip


def fill(name: str, asked: Json, old: Json | None, *, region: str, overlay: bool, version: str) -> Json:
    """The pool as it will be: what was asked, checked, with the service's defaults. `old` is the pool before."""
    if not _NAME.fullmatch(name):
        words = "must be 1 to 12 lower-case letters and digits and begin with a letter"
        raise invalid(f"The agent pool name '{name}' is invalid: it {words}.", "agentPoolProfile.name")
    pool = {key: value for key, value in asked.items() if key not in READ_ONLY and value is not None}
    base: Json = {
        "count": 1, "osDiskSizeGB": 128, "osDiskType": "Managed", "maxPods": 250 if overlay else 110, "mode": "User",
        "type": "VirtualMachineScaleSets", "osType": "Linux", "osSKU": "Ubuntu", "scaleSetPriority": "Regular",
        "enableAutoScaling": False, "powerState": {"code": "Running"}, "upgradeSettings": {"maxSurge": "10%"},
    }  # fmt: skip
    pool = {**base, **_kept(name, pool, old), **pool, "name": name}
    pool["osDiskSizeGB"] = pool["osDiskSizeGB"] or 128
    pool["maxPods"] = pool["maxPods"] or base["maxPods"]
    _check_choices(pool)
    _check_size(pool, old, region)
    _check_count(pool)
    _check_rest(pool, region)
    _check_system(pool)
    pool["orchestratorVersion"] = str(pool.get("orchestratorVersion") or version)
    pool["currentOrchestratorVersion"] = catalogue.full_version(pool["orchestratorVersion"])
    if catalogue.number(pool["currentOrchestratorVersion"]) > catalogue.number(catalogue.full_version(version)):
        raise invalid(f"The pool {name} may not be newer than the cluster's version {version}.", code="BadRequest")
    pool["nodeImageVersion"] = "AKSUbuntu-2204gen2containerd-202608.12.0"
    return pool


def merged(old: Json | None, asked: Json) -> Json:
    """What a PUT of a pool leaves out stays as it was; an autoscaler that is switched off loses its bounds."""
    pool = {**(old or {}), **asked}
    if not pool.get("enableAutoScaling"):
        for key in {"minCount", "maxCount"} - set(asked):
            pool.pop(key, None)
    return pool


def _kept(name: str, asked: Json, old: Json | None) -> Json:
    """What a pool keeps as long as it lives; asking for another value is refused."""
    kept = {key: old[key] for key in _FIXED if old and old.get(key) is not None}
    for key, now in kept.items():
        wanted = asked.get(key)
        same = sorted(wanted) == sorted(now) if isinstance(now, list) and isinstance(wanted, list) else wanted == now
        if wanted and not same:
            words = f"Changing property 'properties.{key}' of pool {name} is not allowed; it is {now!r}."
            raise invalid(words, f"properties.{key}", code="PropertyChangeNotAllowed")
    if old and asked.get("availabilityZones") and not old.get("availabilityZones"):
        words = f"Changing property 'properties.availabilityZones' of pool {name} is not allowed; it has none."
        raise invalid(words, "properties.availabilityZones", code="PropertyChangeNotAllowed")
    return kept


def _check_choices(pool: Json) -> None:
    for key, allowed in _CHOICES.items():
        if pool[key] not in allowed:
            words = ", ".join(allowed)
            raise invalid(
                f"{key} of pool {pool['name']} is {pool[key]!r}; allowed: {words}.", f"agentPoolProfile.{key}"
            )


def _check_size(pool: Json, old: Json | None, region: str) -> None:
    asked = pool.get("vmSize") or (old or {}).get("vmSize") or DEFAULT_SIZE
    if not isinstance(asked, str):
        raise invalid(f"The vmSize of pool {pool['name']} is no text.", "agentPoolProfile.vmSize")
    size = catalogue.size(asked, region)
    pool["vmSize"] = size.name
    becomes_system = pool["mode"] == "System" and (old or {}).get("mode") != "System"
    if becomes_system and (size.vcpus < 2 or size.memory_gb < 4):
        words = (
            f"System node pool must use VM sku with more than 2 cores and 4GB memory. Nodepool name: {pool['name']}."
        )
        raise invalid(words, "agentPoolProfile.vmSize", code="SystemPoolSkuTooLow")
    if old is not None and pool["vmSize"].lower() != old["vmSize"].lower():
        words = f"Changing property 'properties.vmSize' of pool {pool['name']} is not allowed"
        raise invalid(f"{words}; it is {old['vmSize']}.", "properties.vmSize", code="PropertyChangeNotAllowed")


def _check_count(pool: Json) -> None:
    name = pool["name"]
    least = 1 if pool["mode"] == "System" and _runs(pool) else 0
    _whole(pool, "count", least, 1000)
    if not pool["enableAutoScaling"]:
        for key in ("minCount", "maxCount"):
            if pool.get(key) is not None:
                raise invalid(f"The pool {name} has {key} but enableAutoScaling is off.", f"agentPoolProfile.{key}")
        return
    _whole(pool, "minCount", least, 1000)
    _whole(pool, "maxCount", max(least, 1), 1000)
    if not pool["minCount"] <= pool["count"] <= pool["maxCount"]:
        low, high = pool["minCount"], pool["maxCount"]
        raise invalid(f"count {pool['count']} of pool {name} is not within minCount {low} and maxCount {high}.",
                      "agentPoolProfile.count")  # fmt: skip


def _runs(pool: Json) -> bool:
    return bool((pool.get("powerState") or {}).get("code", "Running") == "Running")


def _whole(pool: Json, key: str, low: int, high: int) -> None:
    value = pool.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        words = f"The value of {key} of pool {pool['name']} is {value!r}; it must be a number from {low} to {high}"
        raise invalid(f"{words} for mode {pool['mode']}.", f"agentPoolProfile.{key}")


def _check_rest(pool: Json, region: str) -> None:
    _whole(pool, "maxPods", 10, 250)
    _whole(pool, "osDiskSizeGB", 30, 4096)
    for zone in pool.get("availabilityZones") or []:
        if zone not in catalogue.ZONES:
            words = f"The zone(s) '{zone}' for resource '{pool['name']}' is not supported."
            more = f"The supported zones for location '{region}' are '{','.join(catalogue.ZONES)}'"
            raise invalid(f"{words} {more}", "agentPoolProfile.availabilityZones", code="AvailabilityZoneNotSupported")
    for key in pool.get("nodeLabels") or {}:
        if _RESERVED in str(key).lower():
            words = f"The label key {key!r} of pool {pool['name']} has the reserved prefix {_RESERVED}."
            raise invalid(words, "agentPoolProfile.nodeLabels")
        if not _LABEL.fullmatch(str(key)):
            raise invalid(
                f"The node label {key!r} of pool {pool['name']} is no label key.", "agentPoolProfile.nodeLabels"
            )
    for taint in pool.get("nodeTaints") or []:
        if not _TAINT.fullmatch(str(taint)):
            raise invalid(
                f"The taint {taint!r} of pool {pool['name']} is not key=value:Effect.", "agentPoolProfile.nodeTaints"
            )


def _check_system(pool: Json) -> None:
    """What holds Kubernetes' own pods takes them all, and is not taken away again by Azure."""
    if pool["mode"] != "System":
        return
    hard = [text for text in pool.get("nodeTaints") or [] if not str(text).endswith(":PreferNoSchedule")]
    for taint in hard:
        if taint != _SYSTEM_TAINT:
            words = f"The system pool {pool['name']} may not have the taint {taint}; only {_SYSTEM_TAINT} is allowed."
            raise invalid(words, "agentPoolProfile.nodeTaints")
    if pool["scaleSetPriority"] == "Spot":
        raise invalid(f"The system pool {pool['name']} may not be of spot machines.", "agentPoolProfile.mode")
