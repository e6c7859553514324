"""The status of ResourceQuotas: what a namespace uses of what it may."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from compute.sandbox.controllers.base import Controller, Doc, Key, is_over, key_of
from compute.sandbox.kube import quantity
from compute.sandbox.kubelet import requests

_COUNTED = ("pods", "services", "configmaps", "secrets", "resourcequotas")


class Quotas(Controller):
    """Counts again whenever something in the namespace changes."""

    resource = "resourcequotas"
    component = "resourcequota-controller"

    def keys(self, type_: str, cluster: str, resource: str, obj: Doc) -> Iterable[Key]:
        """The quotas of the changed object's namespace."""
        if resource not in (*_COUNTED, "deployments"):
            return []
        namespace = obj["metadata"].get("namespace")
        return [key_of(cluster, quota) for quota in self.store.list(cluster, self.resource, namespace)]

    def reconcile(self, key: Key) -> float | None:
        """Write hard and used."""
        quota = self.store.get(key.cluster, self.resource, key.namespace, key.name)
        if quota is None:
            return None
        hard = quota["spec"].get("hard") or {}
        used = {name: quantity.show(self._used(key, name), name) for name in hard}

        def edit(doc: Doc) -> None:
            doc["status"] = {"hard": hard, "used": used}

        self.store.mutate(key.cluster, self.resource, key.namespace, key.name, edit, subresource="status")
        return None

    def _used(self, key: Key, name: str) -> Decimal:
        if name.startswith("count/") or name in _COUNTED:
            resource = name.removeprefix("count/").split(".")[0]
            if resource == "pods":
                return Decimal(len(self._pods(key)))
            return Decimal(len(self.store.list(key.cluster, resource, key.namespace)))
        if name == "services.loadbalancers":
            found = self.store.list(
                key.cluster, "services", key.namespace, lambda item: bool(item["spec"].get("type") == "LoadBalancer")
            )
            return Decimal(len(found))
        kind, _, resource = name.partition(".") if name.startswith(("requests.", "limits.")) else ("requests", "", name)
        return sum((_asked(pod, kind, resource) for pod in self._pods(key)), Decimal(0))

    def _pods(self, key: Key) -> list[Doc]:
        return self.store.list(key.cluster, "pods", key.namespace, lambda pod: not is_over(pod))


def _asked(pod: Doc, kind: str, resource: str) -> Decimal:
    if kind == "requests":
        return requests.of_pod(pod["spec"]).get(resource, Decimal(0))
    limits = [((c.get("resources") or {}).get("limits") or {}).get(resource, "0") for c in pod["spec"]["containers"]]
    return sum((quantity.parse(value) for value in limits), Decimal(0))
