"""The scheduler: the first node on which a pod fits, by name."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from compute.sandbox.controllers import fit
from compute.sandbox.controllers.base import Controller, Doc, Key, condition, is_over, key_of
from compute.sandbox.kube.times import stamp
from compute.sandbox.kubelet import requests


class Scheduler(Controller):
    """Gives pods without a node one, or says in the real words why there is none."""

    resource = "pods"
    component = "default-scheduler"

    def keys(self, type_: str, cluster: str, resource: str, obj: Doc) -> Iterable[Key]:
        """A new pod; all waiting pods when a node changed or a pod went."""
        if resource == "nodes" or (resource == "pods" and (type_ == "DELETED" or is_over(obj))):
            return self.everything(cluster)
        if resource == "pods" and not obj["spec"].get("nodeName"):
            return [key_of(cluster, obj)]
        return []

    def everything(self, cluster: str) -> Iterable[Key]:
        """The waiting pods, the most important and oldest first."""
        waiting = self.store.list(cluster, "pods", where=lambda pod: not pod["spec"].get("nodeName"))
        waiting.sort(key=lambda pod: (-int(pod["spec"].get("priority") or 0), pod["metadata"]["creationTimestamp"]))
        return [key_of(cluster, pod) for pod in waiting]

    def reconcile(self, key: Key) -> float | None:
        """Bind the pod or record why not."""
        pod = self.store.get(key.cluster, "pods", key.namespace, key.name)
        if pod is None or pod["spec"].get("nodeName") or is_over(pod) or pod["metadata"].get("deletionTimestamp"):
            return None
        reasons = []
        nodes = self.store.list(key.cluster, "nodes")
        used = self._used(key.cluster)
        for node in nodes:
            usage, count = used.get(node["metadata"]["name"], ({}, 0))
            why = fit.problems(pod, node, usage, count)
            if not why[0]:
                self._bind(key, node["metadata"]["name"])
                return None
            reasons.append(why)
        self._refuse(key, pod, fit.message(len(nodes), reasons))
        return None

    def _used(self, cluster: str) -> dict[str, tuple[fit.Usage, int]]:
        used: dict[str, tuple[fit.Usage, int]] = {}
        for pod in self.store.list(cluster, "pods", where=lambda p: bool(p["spec"].get("nodeName")) and not is_over(p)):
            usage, count = used.get(pod["spec"]["nodeName"], ({}, 0))
            for name, value in requests.of_pod(pod["spec"]).items():
                usage[name] = usage.get(name, Decimal(0)) + value
            used[pod["spec"]["nodeName"]] = (usage, count + 1)
        return used

    def _bind(self, key: Key, node: str) -> None:
        def edit(doc: Doc) -> None:
            doc["spec"]["nodeName"] = node

        pod = self.store.mutate(key.cluster, "pods", key.namespace, key.name, edit)
        if pod is not None:
            text = f"Successfully assigned {key.namespace}/{key.name} to {node}"
            self.event(key.cluster, pod, "Normal", "Scheduled", text)

    def _refuse(self, key: Key, pod: Doc, text: str) -> None:
        before = condition(pod, "PodScheduled")
        if before is not None and before.get("message") == text:
            return
        since = before["lastTransitionTime"] if before else stamp(self.clock.now())
        row = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}

        def edit(doc: Doc) -> None:
            status = doc.setdefault("status", {})
            others = [item for item in status.get("conditions") or [] if item["type"] != "PodScheduled"]
            status["conditions"] = [*others, {**row, "lastProbeTime": None, "lastTransitionTime": since}]

        self.store.mutate(key.cluster, "pods", key.namespace, key.name, edit, subresource="status")
        self.event(key.cluster, pod, "Warning", "FailedScheduling", text)
