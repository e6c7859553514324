"""PodDisruptionBudgets: how many pods may go at once, and the eviction that asks."""

from __future__ import annotations

import math
from collections.abc import Iterable

from compute.sandbox.controllers.base import (
    Controller,
    Doc,
    Key,
    condition,
    controller_of,
    is_active,
    is_ready,
    key_of,
    matches,
)
from compute.sandbox.kube.errors import ApiError, not_found
from compute.sandbox.kube.kinds import KINDS
from compute.sandbox.kube.store import Store
from compute.sandbox.kube.times import stamp


def _share(value: int | str, total: int) -> int:
    if isinstance(value, str) and value.endswith("%"):
        return math.ceil(int(value[:-1]) * total / 100)
    return int(value)


def _pods(store: Store, cluster: str, budget: Doc) -> list[Doc]:
    selector = budget["spec"].get("selector")

    def chosen(pod: Doc) -> bool:
        return is_active(pod) and matches(selector, pod["metadata"].get("labels") or {})

    return store.list(cluster, "pods", budget["metadata"]["namespace"], chosen)


def _wanted(store: Store, cluster: str, pods: list[Doc]) -> int:
    """How many pods there should be: by the sets that own them; a pod without one counts for itself."""
    sets: dict[str, int] = {}
    alone = 0
    for pod in pods:
        owner = controller_of(pod, "ReplicaSet")
        found = store.get(cluster, "replicasets", pod["metadata"]["namespace"], owner["name"]) if owner else None
        if found is None:
            alone += 1
        else:
            sets[found["metadata"]["uid"]] = int(found["spec"].get("replicas", 1))
    return sum(sets.values()) + alone


def numbers(store: Store, cluster: str, budget: Doc) -> Doc:
    """The counts of a budget's status as things are now."""
    pods = _pods(store, cluster, budget)
    spec = budget["spec"]
    healthy = sum(1 for pod in pods if is_ready(pod))
    if "maxUnavailable" in spec:
        expected = _wanted(store, cluster, pods)
        desired = max(expected - _share(spec["maxUnavailable"], expected), 0)
    else:
        least = spec.get("minAvailable", 1)
        expected = _wanted(store, cluster, pods) if isinstance(least, str) else len(pods)
        desired = _share(least, expected)
    allowed = max(healthy - desired, 0) if pods else 0
    return {
        "expectedPods": expected, "currentHealthy": healthy, "desiredHealthy": desired, "disruptionsAllowed": allowed,
    }  # fmt: skip


def evict(store: Store, cluster: str, namespace: str, name: str, grace_seconds: int | None = None) -> None:
    """Delete a pod if its budget lets it go; ApiError 404, 429 (try again later) or 500 (two budgets)."""
    pod = store.get(cluster, "pods", namespace, name)
    if pod is None:
        raise not_found(KINDS["pods"], name)
    if is_active(pod) and (pod.get("status") or {}).get("phase") != "Pending":
        _ask_budget(store, cluster, pod)
    store.mutate(
        cluster, "pods", namespace, name, lambda doc: _mark(doc, stamp(store.clock.now())), subresource="status"
    )
    store.delete(cluster, "pods", namespace, name, grace_seconds=grace_seconds)


def _mark(pod: Doc, now: str) -> None:
    status = pod.setdefault("status", {})
    others = [row for row in status.get("conditions") or [] if row["type"] != "DisruptionTarget"]
    row = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    row |= {"message": "Eviction API: evicting", "lastTransitionTime": now}
    status["conditions"] = [*others, row]


def _ask_budget(store: Store, cluster: str, pod: Doc) -> None:
    labels = pod["metadata"].get("labels") or {}
    namespace = pod["metadata"]["namespace"]
    budgets = store.list(
        cluster, "poddisruptionbudgets", namespace, lambda budget: matches(budget["spec"].get("selector"), labels)
    )
    if len(budgets) > 1:
        text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise ApiError(500, "InternalError", text)
    for budget in budgets:
        now = numbers(store, cluster, budget)
        always = budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
        if not is_ready(pod) and (always or now["currentHealthy"] >= now["desiredHealthy"] > 0):
            continue
        if now["disruptionsAllowed"] <= 0:
            raise _refused(budget, now)


def _refused(budget: Doc, now: Doc) -> ApiError:
    why = (
        f"The disruption budget {budget['metadata']['name']} needs {now['desiredHealthy']} healthy pods "
        f"and has {now['currentHealthy']} currently"
    )
    text = "Cannot evict pod as it would violate the pod's disruption budget."
    return ApiError(429, "TooManyRequests", text, {"causes": [{"reason": "DisruptionBudget", "message": why}]})


class Budgets(Controller):
    """Keeps the status of every budget."""

    resource = "poddisruptionbudgets"
    component = "controllermanager"

    def keys(self, type_: str, cluster: str, resource: str, obj: Doc) -> Iterable[Key]:
        """The budget itself, or those that pick a changed pod."""
        if resource == "pods":
            labels, namespace = obj["metadata"].get("labels") or {}, obj["metadata"]["namespace"]
            found = self.store.list(
                cluster, "poddisruptionbudgets", namespace, lambda b: matches(b["spec"].get("selector"), labels)
            )
            return [key_of(cluster, budget) for budget in found]
        return super().keys(type_, cluster, resource, obj)

    def reconcile(self, key: Key) -> float | None:
        """Count again."""
        budget = self.store.get(key.cluster, self.resource, key.namespace, key.name)
        if budget is None:
            return None
        now = numbers(self.store, key.cluster, budget)
        enough = now["disruptionsAllowed"] > 0
        before = condition(budget, "DisruptionAllowed")
        row = {
            "type": "DisruptionAllowed", "status": "True" if enough else "False", "message": "",
            "reason": "SufficientPods" if enough else "InsufficientPods",
            "observedGeneration": budget["metadata"].get("generation", 1),
        }  # fmt: skip
        same = before is not None and before["status"] == row["status"]
        row["lastTransitionTime"] = before["lastTransitionTime"] if same and before else stamp(self.clock.now())
        status = {"observedGeneration": budget["metadata"].get("generation", 1), **now, "conditions": [row]}

        def edit(doc: Doc) -> None:
            doc["status"] = status

        self.store.mutate(key.cluster, self.resource, key.namespace, key.name, edit, subresource="status")
        return None
