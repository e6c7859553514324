"""Where the Kubernetes API keeps the kinds that the portal uses."""

from __future__ import annotations

from dataclasses import dataclass

from portal.problems import Problem


@dataclass(frozen=True)
class Kind:
    """One kind: API group and version, plural, and whether it lives in a namespace. Of a custom one, which a cluster
    may have or not, Kubernetes publishes no schema.
    """

    name: str
    api_version: str
    plural: str
    is_namespaced: bool = True
    is_custom: bool = False

    def path(self, namespace: str = "", name: str = "") -> str:
        """The path of a collection or, with a name, of one object; without a namespace: of all namespaces."""
        root = f"/api/{self.api_version}" if "/" not in self.api_version else f"/apis/{self.api_version}"
        home = f"/namespaces/{namespace}" if namespace and self.is_namespaced else ""
        return f"{root}{home}/{self.plural}" + (f"/{name}" if name else "")


RBAC, KEDA = "rbac.authorization.k8s.io/v1", "keda.sh/v1alpha1"
KINDS = {
    kind.name: kind
    for kind in (
        Kind("Namespace", "v1", "namespaces", False),
        Kind("Node", "v1", "nodes", False),
        Kind("Pod", "v1", "pods"),
        Kind("Service", "v1", "services"),
        Kind("ConfigMap", "v1", "configmaps"),
        Kind("Secret", "v1", "secrets"),
        Kind("ServiceAccount", "v1", "serviceaccounts"),
        Kind("Event", "v1", "events"),
        Kind("ResourceQuota", "v1", "resourcequotas"),
        Kind("Deployment", "apps/v1", "deployments"),
        Kind("StatefulSet", "apps/v1", "statefulsets"),
        Kind("DaemonSet", "apps/v1", "daemonsets"),
        Kind("Job", "batch/v1", "jobs"),
        Kind("CronJob", "batch/v1", "cronjobs"),
        Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims"),
        Kind("Ingress", "networking.k8s.io/v1", "ingresses"),
        Kind("ReplicaSet", "apps/v1", "replicasets"),
        Kind("EndpointSlice", "discovery.k8s.io/v1", "endpointslices"),
        Kind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"),
        Kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies"),
        Kind("PriorityClass", "scheduling.k8s.io/v1", "priorityclasses", False),
        Kind("Role", RBAC, "roles"),
        Kind("RoleBinding", RBAC, "rolebindings"),
        Kind("ScaledObject", KEDA, "scaledobjects", is_custom=True),
        Kind("TriggerAuthentication", KEDA, "triggerauthentications", is_custom=True),
    )
}


class UnknownKind(Problem):
    code, title = "unknown_kind", "The portal does not use this kind"


def kind_of(name: str) -> Kind:
    """The kind called `name`. Raises UnknownKind."""
    if name not in KINDS:
        raise UnknownKind(f"The portal does not use the kind {name}.")
    return KINDS[name]
