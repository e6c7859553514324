"""Deployments."""

import re
from typing import Any

from compute.sandbox.kube.selectors import matches
from compute.sandbox.kube.validation import names, pods
from compute.sandbox.kube.validation.causes import Causes, go_int_or_string, go_selector, go_strings

Json = dict[str, Any]
PERCENT = re.compile(r"^[0-9]+%$")
PERCENT_TEXT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
    "regex used for validation is '[0-9]+%')"
)


def check(causes: Causes, obj: Json) -> None:
    """The whole spec."""
    spec = obj["spec"]
    names.at_least(causes, "spec.replicas", spec["replicas"])
    _selector(causes, spec)
    names.at_least(causes, "spec.minReadySeconds", spec.get("minReadySeconds"))
    names.at_least(causes, "spec.revisionHistoryLimit", spec["revisionHistoryLimit"])
    _deadline(causes, spec)
    _strategy(causes, spec["strategy"])
    _template(causes, spec)


def _selector(causes: Causes, spec: Json) -> None:
    selector = spec.get("selector")
    if selector is None:
        causes.required("spec.selector")
        return
    names.selector(causes, "spec.selector", selector)
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        causes.invalid("spec.selector", go_selector(selector), "empty selector is invalid for deployment")


def _deadline(causes: Causes, spec: Json) -> None:
    deadline = spec["progressDeadlineSeconds"]
    names.at_least(causes, "spec.progressDeadlineSeconds", deadline)
    if deadline <= spec.get("minReadySeconds", 0):
        causes.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def _strategy(causes: Causes, strategy: Json) -> None:
    kind, rolling = strategy["type"], strategy.get("rollingUpdate")
    if kind not in ("Recreate", "RollingUpdate"):
        causes.unsupported("spec.strategy.type", kind, ("Recreate", "RollingUpdate"))
    if kind == "Recreate" and rolling is not None:
        why = "may not be specified when strategy `type` is 'Recreate'"
        causes.forbidden("spec.strategy.rollingUpdate", why)
    if kind != "RollingUpdate" or rolling is None:
        return
    path = "spec.strategy.rollingUpdate"
    for name in ("maxUnavailable", "maxSurge"):
        int_or_percent(causes, f"{path}.{name}", rolling[name])
    least = [_number(rolling[name]) for name in ("maxUnavailable", "maxSurge")]
    if least == [0, 0]:
        shown = go_int_or_string(rolling["maxUnavailable"])
        causes.invalid(f"{path}.maxUnavailable", shown, "may not be 0 when `maxSurge` is 0")
    if isinstance(rolling["maxUnavailable"], str) and (least[0] or 0) > 100:
        causes.invalid(
            f"{path}.maxUnavailable", go_int_or_string(rolling["maxUnavailable"]), "must not be greater than 100%"
        )


def int_or_percent(causes: Causes, path: str, value: int | str) -> None:
    """A count or a share such as `25%`."""
    if isinstance(value, int):
        names.at_least(causes, path, value)
    elif not PERCENT.match(value):
        causes.invalid(path, go_int_or_string(value), PERCENT_TEXT)


def _number(value: int | str) -> int | None:
    if isinstance(value, int):
        return value
    return int(value[:-1]) if PERCENT.match(value) else None


def _template(causes: Causes, spec: Json) -> None:
    template = spec["template"]
    labels = template.get("metadata", {}).get("labels", {})
    names.labels(causes, "spec.template.metadata.labels", labels)
    for key in template.get("metadata", {}).get("annotations", {}):
        for text in names.qualified_faults(key.lower()):
            causes.invalid("spec.template.metadata.annotations", key, text)
    selector = spec.get("selector")
    if selector and not matches(selector, labels):
        why = "`selector` does not match template `labels`"
        causes.invalid("spec.template.metadata.labels", go_strings(labels), why)
    pods.check(causes, "spec.template.spec", template["spec"])
    if template["spec"]["restartPolicy"] in ("OnFailure", "Never"):
        causes.unsupported("spec.template.spec.restartPolicy", template["spec"]["restartPolicy"], ("Always",))
    if "activeDeadlineSeconds" in template["spec"]:
        causes.forbidden(
            "spec.template.spec.activeDeadlineSeconds", "activeDeadlineSeconds in ReplicaSet is not Supported"
        )


def check_update(causes: Causes, old: Json, new: Json) -> None:
    """What may not change."""
    selector = new["spec"].get("selector")
    if old["spec"].get("selector") != selector:
        causes.invalid("spec.selector", go_selector(selector), "field is immutable")
