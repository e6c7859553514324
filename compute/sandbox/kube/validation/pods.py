"""Pod specs, in pods and in templates."""

from typing import Any

from compute.sandbox.kube.validation import containers, names, security, volumes
from compute.sandbox.kube.validation.causes import Causes

Json = dict[str, Any]
RESTART = ("Always", "OnFailure", "Never")
DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def check(causes: Causes, path: str, spec: Json) -> None:
    """A whole pod spec below `path`."""
    volume_names = volumes.check(causes, f"{path}.volumes", spec.get("volumes", []))
    seen: set[str] = set()
    if not spec.get("containers"):
        causes.required(f"{path}.containers")
    for group in ("containers", "initContainers"):
        for index, item in enumerate(spec.get(group, [])):
            here = f"{path}.{group}[{index}]"
            containers.check(causes, here, item, volume_names, initial=group == "initContainers")
            security.check_container(causes, here, item)
            security.check_sleep(causes, here, item, spec["terminationGracePeriodSeconds"])
            if item.get("name") in seen and item.get("name"):
                causes.duplicate(f"{here}.name", item["name"])
            seen.add(item.get("name", ""))
    _policies(causes, path, spec)
    _placement(causes, path, spec)
    security.check_pod(causes, path, spec)


def _policies(causes: Causes, path: str, spec: Json) -> None:
    if spec["restartPolicy"] not in RESTART:
        causes.unsupported(f"{path}.restartPolicy", spec["restartPolicy"], RESTART)
    if spec["dnsPolicy"] not in DNS:
        causes.unsupported(f"{path}.dnsPolicy", spec["dnsPolicy"], DNS)
    names.at_least(causes, f"{path}.terminationGracePeriodSeconds", spec["terminationGracePeriodSeconds"])
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        causes.invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
    if spec.get("serviceAccountName"):
        for text in names.subdomain_faults(spec["serviceAccountName"]):
            causes.invalid(f"{path}.serviceAccountName", spec["serviceAccountName"], text)
    if spec.get("hostname"):
        for text in names.label_faults(spec["hostname"]):
            causes.invalid(f"{path}.hostname", spec["hostname"], text)


def _placement(causes: Causes, path: str, spec: Json) -> None:
    names.labels(causes, f"{path}.nodeSelector", spec.get("nodeSelector"))
    for index, row in enumerate(spec.get("tolerations", [])):
        here = f"{path}.tolerations[{index}]"
        if row.get("key"):
            for text in names.qualified_faults(row["key"]):
                causes.invalid(f"{here}.key", row["key"], text)
        operator = row.get("operator", "Equal")
        if operator not in ("Equal", "Exists"):
            causes.unsupported(f"{here}.operator", operator, ("Equal", "Exists"))
        if not row.get("key") and operator != "Exists":
            why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            causes.invalid(f"{here}.operator", operator, why)
        if operator == "Exists" and row.get("value"):
            causes.invalid(f"{here}.operator", row["value"], "value must be empty when `operator` is 'Exists'")
        if row.get("effect") and row["effect"] not in EFFECTS:
            causes.unsupported(f"{here}.effect", row["effect"], EFFECTS)
        if "tolerationSeconds" in row and row.get("effect") != "NoExecute":
            why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            causes.invalid(f"{here}.effect", row.get("effect", ""), why)
