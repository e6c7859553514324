"""What may change in a pod that exists."""

from typing import Any

from compute.sandbox.kube.copying import clone
from compute.sandbox.kube.validation.causes import Causes

Json = dict[str, Any]
SENTENCE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def check(causes: Causes, old: Json, new: Json) -> None:
    """Images, the deadline and further tolerations may change, nothing else of the spec."""
    before, after = clone(old["spec"]), clone(new["spec"])
    kept = before.get("tolerations", [])
    if any(row not in after.get("tolerations", []) for row in kept):
        causes.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
    for spec in (before, after):
        for name in ("activeDeadlineSeconds", "tolerations"):
            spec.pop(name, None)
        for item in [*spec.get("containers", []), *spec.get("initContainers", [])]:
            item.pop("image", None)
    if before != after:
        causes.forbidden("spec", SENTENCE)
