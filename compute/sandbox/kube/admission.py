"""Admission: namespaces that end, service accounts, priority, quotas, addresses."""

from typing import Any

from compute.sandbox.kube import addresses, podsecurity, quota
from compute.sandbox.kube.call import Call
from compute.sandbox.kube.copying import clone
from compute.sandbox.kube.errors import forbidden, not_found
from compute.sandbox.kube.kinds import KINDS
from compute.sandbox.kube.store import random_suffix
from compute.sandbox.kubelet.status import qos_class

Json = dict[str, Any]
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105


def mutate(call: Call, obj: Json) -> None:
    """Change a new object as the admission plugins do."""
    if call.kind.namespaced:
        _check_namespace(call, obj)
    if call.kind.resource == "pods":
        admit_pod(call.store, call.cluster, obj)
        obj["status"] = {"phase": "Pending", "qosClass": qos_class(obj["spec"])}
    if call.kind.resource == "services":
        obj["status"] = {"loadBalancer": {}}


def _check_namespace(call: Call, obj: Json) -> None:
    name = obj["metadata"]["namespace"]
    namespace = call.store.get(call.cluster, "namespaces", None, name)
    if namespace is None:
        raise not_found(KINDS["namespaces"], name)
    if namespace["metadata"].get("deletionTimestamp"):
        why = f"unable to create new content in namespace {name} because it is being terminated"
        error = forbidden(call.kind, obj["metadata"].get("name", ""), why)
        cause = {"reason": "NamespaceTerminating", "message": f"namespace {name} is being terminated"}
        error.details = {**(error.details or {}), "causes": [{**cause, "field": "metadata.namespace"}]}
        raise error


def admit_pod(store: Any, cluster: str, pod: Json) -> None:
    """Give a pod its service account, token volume, priority and default tolerations. 403 for a missing account.

    For pods that a person creates and for those of controllers alike; the pod has its name already.
    """
    _service_account(store, cluster, pod)
    _priority(store, cluster, pod)
    _tolerations(pod)


def _service_account(store: Any, cluster: str, pod: Json) -> None:
    meta, spec = pod["metadata"], pod["spec"]
    name = spec.get("serviceAccountName") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    account = store.get(cluster, "serviceaccounts", meta["namespace"], name)
    if account is None:
        where = f"{meta['namespace']}/{name}"
        why = f'error looking up service account {where}: serviceaccount "{name}" not found'
        raise forbidden(KINDS["pods"], meta.get("name", ""), why)
    wanted = spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True))
    if wanted:
        _mount_token(spec)


def _mount_token(spec: Json) -> None:
    containers = [*spec.get("initContainers", []), *spec.get("containers", [])]
    lacking = [item for item in containers if not _has_token(item)]
    if not lacking:
        return
    volume = f"kube-api-access-{random_suffix()}"
    for item in lacking:
        mount = {"name": volume, "readOnly": True, "mountPath": TOKEN_PATH}
        item.setdefault("volumeMounts", []).append(mount)
    spec.setdefault("volumes", []).append({"name": volume, "projected": clone(TOKEN_SOURCES)})


TOKEN_SOURCES: Json = {
    "defaultMode": 0o644,
    "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]
            }
        },
    ],
}


def _has_token(container: Json) -> bool:
    return any(mount.get("mountPath") == TOKEN_PATH for mount in container.get("volumeMounts", []))


def _priority(store: Any, cluster: str, pod: Json) -> None:
    spec = pod["spec"]
    name = spec.get("priorityClassName")
    if not name:
        chosen = next((item for item in store.list(cluster, "priorityclasses") if item.get("globalDefault")), None)
    else:
        chosen = store.get(cluster, "priorityclasses", None, name)
        if chosen is None:
            raise forbidden(
                KINDS["pods"], pod["metadata"].get("name", ""), f"no PriorityClass with name {name} was found"
            )
    if chosen is not None:
        spec["priorityClassName"] = chosen["metadata"]["name"]
    spec["priority"] = chosen["value"] if chosen else 0
    spec["preemptionPolicy"] = (chosen or {}).get("preemptionPolicy", "PreemptLowerPriority")


def _tolerations(pod: Json) -> None:
    rows = pod["spec"].setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(row.get("key") == key for row in rows):
            rows.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})


def check_new(call: Call, obj: Json) -> None:
    """Pod Security and quotas on a valid new object. 403 `violates PodSecurity`, `exceeded quota`."""
    if call.kind.resource == "pods":
        podsecurity.check_pod(_home(call, obj), obj)
    _warn(call, obj)
    quota.check(call.store, call.cluster, call.kind, obj)


def _home(call: Call, obj: Json) -> Json | None:
    found: Json | None = call.store.get(call.cluster, "namespaces", None, obj["metadata"]["namespace"])
    return found


def _warn(call: Call, obj: Json) -> None:
    """What a namespace says of pods that it would like otherwise, and of templates of them."""
    if call.kind.resource not in ("pods", "deployments"):
        return
    spec = obj["spec"] if call.kind.resource == "pods" else obj["spec"]["template"]["spec"]
    text = podsecurity.warning(_home(call, obj), spec)
    if text:
        call.warnings.append(text)


def check_update(call: Call, old: Json, new: Json) -> None:
    """Quotas do not bind updates of the kinds that we have; ending namespaces take changes."""
    if old.get("spec") != new.get("spec"):
        _warn(call, new)
    if call.kind.resource == "namespaces" and old["spec"].get("finalizers") != new["spec"].get("finalizers"):
        new["spec"] = clone(old["spec"])


def allocate(call: Call, obj: Json) -> None:
    """Give a Service its cluster address and node ports. 422 when an asked one is taken or out of range."""
    if call.kind.resource == "services":
        addresses.allocate(call.store, call.cluster, obj)


def keep_allocated(call: Call, old: Json, new: Json) -> None:
    """A Service that leaves its addresses out of an update keeps them; a node port that it now needs is given."""
    if call.kind.resource == "services":
        addresses.keep(call.store, call.cluster, old, new)


def after_create(call: Call, obj: Json) -> None:
    """A new namespace gets its account and CA at once."""
    if call.kind.resource == "namespaces":
        name = obj["metadata"]["name"]
        call.host.kube.provision_namespace(call.cluster, name)
