"""ReplicaSets: as many pods as the spec says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from compute.sandbox.controllers import podmaker
from compute.sandbox.controllers.base import (
    Controller,
    Doc,
    Key,
    condition,
    controller_of,
    is_active,
    is_ready,
    moment,
)
from compute.sandbox.kube.errors import ApiError
from compute.sandbox.kube.times import stamp

_COST = "controller.kubernetes.io/pod-deletion-cost"


class ReplicaSets(Controller):
    """Creates missing pods, deletes those too many, keeps the status."""

    resource = "replicasets"
    component = "replicaset-controller"

    def keys(self, type_: str, cluster: str, resource: str, obj: Doc) -> Iterable[Key]:
        """The set itself, or the set that owns a changed pod."""
        if resource == "pods":
            owner = controller_of(obj, "ReplicaSet")
            return [Key(cluster, obj["metadata"]["namespace"], owner["name"])] if owner else []
        return super().keys(type_, cluster, resource, obj)

    def reconcile(self, key: Key) -> float | None:
        """Create or delete pods, then write the status."""
        found = self.store.get(key.cluster, "replicasets", key.namespace, key.name)
        if found is None:
            return None
        pods = self._pods(key.cluster, found)
        problem = None
        if not found["metadata"].get("deletionTimestamp"):
            problem = self._scale(key.cluster, found, pods)
        again = self._write_status(key.cluster, found, problem)
        return 1.0 if problem else again

    def _pods(self, cluster: str, found: Doc) -> list[Doc]:
        uid = found["metadata"]["uid"]

        def mine(pod: Doc) -> bool:
            owner = controller_of(pod, "ReplicaSet")
            return owner is not None and owner["uid"] == uid and is_active(pod)

        return self.store.list(cluster, "pods", found["metadata"]["namespace"], mine)

    def _scale(self, cluster: str, found: Doc, pods: list[Doc]) -> str | None:
        wanted = int(found["spec"].get("replicas", 1))
        for _ in range(wanted - len(pods)):
            try:
                self._ask_policy(cluster, found)
                pod = podmaker.create(self.store, cluster, found)
            except ApiError as error:
                self.event(cluster, found, "Warning", "FailedCreate", f"Error creating: {error.message}")
                return error.message
            self.event(cluster, found, "Normal", "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")
        for pod in sorted(pods, key=_rank)[: max(len(pods) - wanted, 0)]:
            name = pod["metadata"]["name"]
            self.store.delete(cluster, "pods", pod["metadata"]["namespace"], name)
            self.event(cluster, found, "Normal", "SuccessfulDelete", f"Deleted pod: {name}")
        return None

    def _ask_policy(self, cluster: str, found: Doc) -> None:
        """ApiError when a fault plays an admission webhook that refuses the set's pods."""
        meta = found["metadata"]
        asked = self.faults.take("kube.admission", cluster=cluster, namespace=meta["namespace"], owner=meta["name"])
        if asked is not None:
            name, why = asked.get("webhook", "validation.gatekeeper.sh"), asked.get("message", "not allowed here")
            raise ApiError(403, "Forbidden", f'admission webhook "{name}" denied the request: {why}')

    def _write_status(self, cluster: str, found: Doc, problem: str | None) -> float | None:
        pods = self._pods(cluster, found)
        ready = [pod for pod in pods if is_ready(pod)]
        least = int(found["spec"].get("minReadySeconds") or 0)
        missing = [max(least - self._ready_for(pod), 0.0) for pod in ready]
        status: Doc = {"replicas": len(pods), "fullyLabeledReplicas": len(pods)}
        available = sum(1 for seconds in missing if seconds == 0)
        status |= {"readyReplicas": len(ready)} if ready else {}
        status |= {"availableReplicas": available} if available else {}
        status["observedGeneration"] = found["metadata"]["generation"]
        if problem:
            status["conditions"] = [self._failure(found, problem)]

        def edit(doc: Doc) -> None:
            doc["status"] = status

        meta = found["metadata"]
        self.store.mutate(cluster, "replicasets", meta["namespace"], meta["name"], edit, subresource="status")
        return min((seconds for seconds in missing if seconds), default=None)

    def _ready_for(self, pod: Doc) -> float:
        since = condition(pod, "Ready")
        assert since is not None  # noqa: S101 - only asked for ready pods
        return float((self.clock.now() - moment(since["lastTransitionTime"])).total_seconds())

    def _failure(self, found: Doc, problem: str) -> Doc:
        before = condition(found, "ReplicaFailure")
        since = before["lastTransitionTime"] if before else stamp(self.clock.now())
        row = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": problem}
        return {**row, "lastTransitionTime": since}


def _rank(pod: Doc) -> tuple[Any, ...]:
    """Which pods go first: not placed, not running, not ready, cheap, restarted, young."""
    status = pod.get("status") or {}
    cost = int((pod["metadata"].get("annotations") or {}).get(_COST, "0"))
    restarts = sum(row.get("restartCount", 0) for row in status.get("containerStatuses") or [])
    phases = {"Pending": 0, "Unknown": 1, "Running": 2}
    age = moment(pod["metadata"]["creationTimestamp"]).timestamp()
    return (
        bool(pod["spec"].get("nodeName")), phases.get(status.get("phase", ""), 0), is_ready(pod), cost, -restarts, -age,
    )  # fmt: skip
