"""What goes when something else goes: objects whose owners are gone, and what is in a namespace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from compute.sandbox.controllers.base import Context, Controller, Doc, Key
from compute.sandbox.kube.kinds import BY_KIND, KINDS

_NEVER_OWNERS = ("events", "endpointslices")
_CA_BUNDLE = "kube-root-ca.crt"


class Garbage(Controller):
    """Deletes objects when the last of their owners is gone. Its keys are uids of owners."""

    resource = "*"
    component = "garbage-collector"

    def keys(self, type_: str, cluster: str, resource: str, obj: Doc) -> Iterable[Key]:
        """The uid of an object that went."""
        gone = type_ == "DELETED" and resource not in _NEVER_OWNERS
        return [Key(cluster, "", obj["metadata"]["uid"])] if gone else []

    def everything(self, cluster: str) -> Iterator[Key]:
        """The uids of all owners that are named: some may have gone while nobody looked."""
        for resource in KINDS:
            for obj in self.store.list(cluster, resource):
                for owner in obj["metadata"].get("ownerReferences") or []:
                    yield Key(cluster, "", owner["uid"])

    def reconcile(self, key: Key) -> float | None:
        """Delete what only this uid owned, if no object has it."""
        for resource, obj in self.store.dependents(key.cluster, key.name):
            if obj["metadata"].get("deletionTimestamp"):
                continue
            owners = obj["metadata"]["ownerReferences"]
            left = [owner for owner in owners if self._lives(key.cluster, obj, owner)]
            namespace, name = obj["metadata"].get("namespace"), obj["metadata"]["name"]
            if not left:
                self.store.delete(key.cluster, resource, namespace, name)
            elif len(left) < len(owners):
                self._keep(key.cluster, resource, obj, left)
        return None

    def _lives(self, cluster: str, obj: Doc, owner: Doc) -> bool:
        kind = BY_KIND.get(owner["kind"])
        if kind is None:
            return True
        namespace = obj["metadata"].get("namespace") if kind.namespaced else None
        found = self.store.get(cluster, kind.resource, namespace, owner["name"])
        return found is not None and found["metadata"]["uid"] == owner["uid"]

    def _keep(self, cluster: str, resource: str, obj: Doc, owners: list[Doc]) -> None:
        def edit(doc: Doc) -> None:
            doc["metadata"]["ownerReferences"] = owners

        self.store.mutate(cluster, resource, obj["metadata"].get("namespace"), obj["metadata"]["name"], edit)


class Namespaces(Controller):
    """Gives each namespace its account and certificates, and empties it when it is deleted."""

    resource = "namespaces"
    component = "namespace-controller"

    def __init__(self, context: Context, in_cluster_ca: str) -> None:
        super().__init__(context)
        self._ca = in_cluster_ca

    def keys(self, type_: str, cluster: str, resource: str, obj: Doc) -> Iterable[Key]:
        """The namespace itself, or the one of an object that went."""
        if resource in ("serviceaccounts", "configmaps") or (resource != "namespaces" and type_ == "DELETED"):
            namespace = obj["metadata"].get("namespace")
            return [Key(cluster, "", namespace)] if namespace else []
        return super().keys(type_, cluster, resource, obj)

    def reconcile(self, key: Key) -> float | None:
        """Fill a living namespace, empty a terminating one."""
        namespace = self.store.get(key.cluster, "namespaces", None, key.name)
        if namespace is None:
            return None
        if not namespace["metadata"].get("deletionTimestamp"):
            self.clusters.provision_namespace(key.cluster, key.name)
            self._trust(key.cluster, key.name)
            return None
        left = 0
        for resource in self._order():
            for obj in self.store.list(key.cluster, resource, key.name):
                left += 1
                if not obj["metadata"].get("deletionTimestamp"):
                    self.store.delete(key.cluster, resource, key.name, obj["metadata"]["name"])
                    left -= self.store.get(key.cluster, resource, key.name, obj["metadata"]["name"]) is None
        if not left:
            self.store.remove(key.cluster, "namespaces", None, key.name)
        return None

    def _order(self) -> list[str]:
        """Makers of objects first, so that nothing is made again; events last, since ending makes some."""
        first = ["deployments", "replicasets", "services", "pods"]
        others = [
            kind.resource for kind in KINDS.values() if kind.namespaced and kind.resource not in (*first, "events")
        ]
        return [*first, *others, "events"]

    def _trust(self, cluster: str, namespace: str) -> None:
        """Pods reach the API under another certificate than people do: they must trust both."""

        def edit(doc: Doc) -> None:
            text = doc["data"]["ca.crt"]
            if self._ca not in text:
                doc["data"]["ca.crt"] = f"{text.rstrip()}\n{self._ca}"

        self.store.mutate(cluster, "configmaps", namespace, _CA_BUNDLE, edit)
