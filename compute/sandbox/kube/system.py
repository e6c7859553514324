"""The objects that a fresh cluster has of itself."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compute.sandbox.kube.store import Store

Json = dict[str, Any]
NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
PRIORITIES = {
    "system-node-critical": (2000001000, "for pods that must not be moved from their current node"),
    "system-cluster-critical": (2000000000, "for pods that the cluster needs, and that may be moved to another node"),
}
SERVICE_IP = "10.0.0.1"


def install(store: "Store", cluster: str, ca_pem: str) -> None:
    """Create what is missing: namespaces, accounts, priority classes, the API's own Service."""
    for name in NAMESPACES:
        _ensure(store, cluster, "namespaces", namespace_object(name))
        provision_namespace(store, cluster, name, ca_pem)
    for name, (value, about) in PRIORITIES.items():
        priority = {"metadata": {"name": name}, "value": value, "description": f"Used {about}."}
        _ensure(store, cluster, "priorityclasses", {**priority, "preemptionPolicy": "PreemptLowerPriority"})
    _ensure(store, cluster, "services", _api_service())


def namespace_object(name: str) -> Json:
    """A Namespace as the server stores it."""
    meta = {"name": name, "labels": {"kubernetes.io/metadata.name": name}}
    return {"metadata": meta, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}


def provision_namespace(store: "Store", cluster: str, namespace: str, ca_pem: str) -> None:
    """The `default` service account and the CA's config map."""
    _ensure(store, cluster, "serviceaccounts", {"metadata": {"name": "default", "namespace": namespace}})
    meta = {"name": "kube-root-ca.crt", "namespace": namespace}
    _ensure(store, cluster, "configmaps", {"metadata": meta, "data": {"ca.crt": ca_pem}})


def cordon(node: Json) -> None:
    """Mark a node unschedulable, with the taint that goes with it."""
    node["spec"]["unschedulable"] = True
    taints = [taint for taint in node["spec"].get("taints", []) if taint["key"] != CORDON_TAINT]
    node["spec"]["taints"] = [*taints, {"key": CORDON_TAINT, "effect": "NoSchedule"}]


CORDON_TAINT = "node.kubernetes.io/unschedulable"


def _api_service() -> Json:
    meta = {
        "name": "kubernetes",
        "namespace": "default",
        "labels": {"component": "apiserver", "provider": "kubernetes"},
    }
    spec = {
        "clusterIP": SERVICE_IP,
        "clusterIPs": [SERVICE_IP],
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 443}],
        "sessionAffinity": "None",
        "type": "ClusterIP",
    }
    return {"metadata": meta, "spec": spec, "status": {"loadBalancer": {}}}


def _ensure(store: "Store", cluster: str, resource: str, obj: Json) -> None:
    meta = obj["metadata"]
    if store.get(cluster, resource, meta.get("namespace"), meta["name"]) is None:
        store.create(cluster, resource, obj)
