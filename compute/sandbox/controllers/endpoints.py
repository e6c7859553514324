"""EndpointSlices: the addresses of a Service's pods and whether each takes traffic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from compute.sandbox.controllers.base import (
    Controller,
    Doc,
    Key,
    is_deleting,
    is_over,
    is_ready,
    key_of,
    owner_reference,
)

SERVICE_LABEL = "kubernetes.io/service-name"
_MANAGER = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
Ports = tuple[tuple[str, int | None, str, str | None], ...]


def picks(service: Doc, pod: Doc) -> bool:
    """Whether a Service's selector picks a pod; without a selector it picks none."""
    selector = service["spec"].get("selector") or {}
    labels = pod["metadata"].get("labels") or {}
    return bool(selector) and all(labels.get(name) == value for name, value in selector.items())


def target_port(port: Doc, pod: Doc) -> int | None:
    """The number of the pod's port that a Service port leads to; None when the pod has no port of that name."""
    wanted = port.get("targetPort", port["port"])
    if isinstance(wanted, int):
        return wanted
    for container in pod["spec"]["containers"]:
        for row in container.get("ports") or []:
            if row.get("name") == wanted and row.get("protocol", "TCP") == port.get("protocol", "TCP"):
                return int(row["containerPort"])
    return None


class EndpointSlices(Controller):
    """Keeps the slices of every Service that has a selector."""

    resource = "services"
    component = "endpoint-slice-controller"

    def keys(self, type_: str, cluster: str, resource: str, obj: Doc) -> Iterable[Key]:
        """The service itself; for a pod the services that pick it or name it in a slice."""
        namespace = obj["metadata"].get("namespace") or ""
        if resource == "pods":
            named = self._slices_with(cluster, namespace, obj["metadata"]["uid"])
            found = self.store.list(cluster, "services", namespace, lambda service: picks(service, obj))
            return {*(key_of(cluster, service) for service in found), *named}
        if resource == "endpointslices":
            name = (obj["metadata"].get("labels") or {}).get(SERVICE_LABEL)
            return [Key(cluster, namespace, name)] if name else []
        return super().keys(type_, cluster, resource, obj)

    def _slices_with(self, cluster: str, namespace: str, uid: str) -> set[Key]:
        def holds(item: Doc) -> bool:
            return any((row.get("targetRef") or {}).get("uid") == uid for row in item.get("endpoints") or [])

        found = self.store.list(cluster, "endpointslices", namespace, holds)
        return {Key(cluster, namespace, (item["metadata"].get("labels") or {})[SERVICE_LABEL]) for item in found}

    def reconcile(self, key: Key) -> float | None:
        """Make the slices show the pods as they are now."""
        service = self.store.get(key.cluster, "services", key.namespace, key.name)
        slices = self._slices(key)
        if service is None or not service["spec"].get("selector") or is_deleting(service):
            for item in slices:
                self.store.delete(key.cluster, "endpointslices", key.namespace, item["metadata"]["name"])
            return None
        groups = self._groups(key.cluster, service)
        for ports, endpoints in groups.items():
            matching = next((item for item in slices if _ports_of(item) == ports), None)
            matching = matching or next((item for item in slices if _ports_of(item) not in groups), None)
            if matching is not None:
                slices.remove(matching)
            self._write(key, service, matching, ports, endpoints)
        for item in slices:
            self.store.delete(key.cluster, "endpointslices", key.namespace, item["metadata"]["name"])
        return None

    def _slices(self, key: Key) -> list[Doc]:
        def mine(item: Doc) -> bool:
            return bool((item["metadata"].get("labels") or {}).get(SERVICE_LABEL) == key.name)

        return self.store.list(key.cluster, "endpointslices", key.namespace, mine)

    def _groups(self, cluster: str, service: Doc) -> dict[Ports, list[Doc]]:
        pods = self.store.list(cluster, "pods", service["metadata"]["namespace"], lambda pod: picks(service, pod))
        groups: dict[Ports, list[Doc]] = {}
        for pod in pods:
            if (pod.get("status") or {}).get("podIP") and not is_over(pod):
                rows = groups.setdefault(_ports_for(service, pod), [])
                rows.append(_endpoint(service, pod))
        return groups or {(): []}

    def _write(self, key: Key, service: Doc, item: Doc | None, ports: Ports, endpoints: list[Doc]) -> None:
        labels = {SERVICE_LABEL: key.name, **_MANAGER, **(service["metadata"].get("labels") or {})}
        if service["spec"].get("clusterIP") == "None":
            labels["service.kubernetes.io/headless"] = ""
        shown = [_port_doc(row) for row in ports]
        if item is None:
            meta = {
                "generateName": f"{key.name}-", "namespace": key.namespace, "labels": labels,
                "ownerReferences": [owner_reference({"apiVersion": "v1", "kind": "Service", **service})],
            }  # fmt: skip
            doc = {"metadata": meta, "addressType": "IPv4", "endpoints": endpoints, "ports": shown}
            self.store.create(key.cluster, "endpointslices", doc)
            return

        def edit(doc: Doc) -> None:
            doc["metadata"]["labels"] = labels
            doc["endpoints"], doc["ports"] = endpoints, shown

        self.store.mutate(key.cluster, "endpointslices", key.namespace, item["metadata"]["name"], edit)


def _endpoint(service: Doc, pod: Doc) -> Doc:
    ready, going = is_ready(pod), is_deleting(pod)
    early = bool(service["spec"].get("publishNotReadyAddresses"))
    doc: Doc = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": early or (ready and not going), "serving": ready, "terminating": going},
        "targetRef": {
            "kind": "Pod", "namespace": pod["metadata"]["namespace"],
            "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"],
        },
        "nodeName": pod["spec"].get("nodeName", ""),
    }  # fmt: skip
    return doc


def _ports_for(service: Doc, pod: Doc) -> Ports:
    return tuple(
        (row.get("name", ""), target_port(row, pod), row.get("protocol", "TCP"), row.get("appProtocol"))
        for row in service["spec"].get("ports") or []
        if target_port(row, pod) is not None
    )


def _port_doc(row: tuple[str, Any, str, Any]) -> Doc:
    name, port, protocol, app = row
    return {"name": name, "port": port, "protocol": protocol, **({"appProtocol": app} if app else {})}


def _ports_of(item: Doc) -> Ports:
    rows = item.get("ports") or []
    return tuple(
        (row.get("name", ""), row.get("port"), row.get("protocol", "TCP"), row.get("appProtocol")) for row in rows
    )
