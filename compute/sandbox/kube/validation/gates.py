"""Fields that a version knows and keeps switched off: the server drops them from what is written, before it judges."""

from typing import Any

Json = dict[str, Any]
SLEEP_SINCE = 30  # PodLifecycleSleepAction


def drop(resource: str, version: str, obj: Json) -> None:
    """Take out of a pod, or a template of pods, what the cluster's version has off."""
    minor = int(version.lstrip("v").split(".")[1])
    if minor >= SLEEP_SINCE or resource not in ("pods", "deployments"):
        return
    spec = obj["spec"] if resource == "pods" else obj["spec"]["template"]["spec"]
    for item in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        for hook in (item.get("lifecycle") or {}).values():
            if isinstance(hook, dict):
                hook.pop("sleep", None)
