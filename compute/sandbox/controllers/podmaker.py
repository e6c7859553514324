"""New pods from a template, as the API would admit them."""

from __future__ import annotations

from compute.sandbox.controllers.base import Doc, owner_reference
from compute.sandbox.kube import admission, podsecurity, quota
from compute.sandbox.kube.copying import clone
from compute.sandbox.kube.errors import forbidden
from compute.sandbox.kube.kinds import KINDS
from compute.sandbox.kube.store import Store, random_suffix
from compute.sandbox.kubelet.status import qos_class

_TOLERATED_SECONDS = 300
_LOST = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def create(store: Store, cluster: str, owner: Doc) -> Doc:
    """Make one pod of the owner's template. ApiError when the namespace, Pod Security or a quota does not let it."""
    template, meta = clone(owner["spec"]["template"]), owner["metadata"]
    namespace = store.get(cluster, "namespaces", None, meta["namespace"]) or {}
    if (namespace.get("status") or {}).get("phase") == "Terminating":
        why = f"unable to create new content in namespace {meta['namespace']} because it is being terminated"
        raise forbidden(KINDS["pods"], "", why)
    labels = template.get("metadata") or {}
    pod: Doc = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": f"{meta['name']}-{random_suffix()}", "generateName": f"{meta['name']}-",
            "namespace": meta["namespace"],
            "ownerReferences": [owner_reference(owner)],
            **{name: labels[name] for name in ("labels", "annotations", "finalizers") if labels.get(name)},
        },
        "spec": admit(template["spec"]),
    }  # fmt: skip
    admission.admit_pod(store, cluster, pod)
    podsecurity.check_pod(namespace, pod)
    quota.check(store, cluster, KINDS["pods"], pod)
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(pod["spec"])}
    return store.create(cluster, "pods", pod)


def admit(spec: Doc) -> Doc:
    """The fields that the server adds to every pod: account, and how long it stays on a lost node."""
    spec.setdefault("serviceAccountName", "default")
    tolerations = spec.setdefault("tolerations", [])
    for key in _LOST:
        if not any(row.get("key") in (key, None) and row.get("effect") in ("NoExecute", None) for row in tolerations):
            row = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _TOLERATED_SECONDS}
            tolerations.append(row)
    return spec
