"""Documents as real API servers, schedulers, kubelets and controllers of Kubernetes 1.29 to 1.35 write them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
NODE, POD = "aks-nodepool1-1", "iris-7-6d9f4b5c8-x2k4z"
BEGAN, ENDED = "2026-11-30T10:00:00Z", "2026-11-30T10:00:20Z"
STARTUP = {"httpGet": {"path": "/", "port": 5001}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 600}
LIVENESS = {"tcpSocket": {"port": 5001}, "periodSeconds": 10, "timeoutSeconds": 2, "failureThreshold": 3}
SERVER: Json = {
    "name": "server",
    "resources": {"requests": {"cpu": "3900m", "memory": "307Mi"}, "limits": {"memory": "512Mi"}},
    "startupProbe": STARTUP, "livenessProbe": LIVENESS, "readinessProbe": {**STARTUP, "failureThreshold": 2},
}  # fmt: skip


def pod(*rows: Json, init: Json | None = None, node: str = NODE, name: str = POD, **status: Any) -> Json:
    """A pod of a deployment with these container statuses."""
    spec: Json = {"containers": [SERVER], "initContainers": [{"name": "fetch"}], **({"nodeName": node} if node else {})}
    groups: Json = {"containerStatuses": list(rows)} if rows else {}
    groups |= {"initContainerStatuses": [init]} if init else {}
    return {
        "kind": "Pod", "metadata": {"name": name, "namespace": "ws", "uid": f"uid-{name}"}, "spec": spec,
        "status": {"phase": "Pending", **groups, **status},
    }  # fmt: skip


def row(name: str = "server", restarts: int = 0, last: Json | None = None, **state: Json) -> Json:
    """One container status."""
    return {
        "name": name, "image": "acr.azurecr.io/team/iris:3", "imageID": "", "restartCount": restarts, "ready": False,
        "started": False, "state": state, "lastState": {"terminated": last} if last else {},
    }  # fmt: skip


def waiting(reason: str, message: str = "", **more: Any) -> Json:
    """A container that waits."""
    return row(**more, waiting={"reason": reason, **({"message": message} if message else {})})


def ended(code: int, reason: str = "Error", **more: Any) -> Json:
    """How a container ended."""
    return {"exitCode": code, "reason": reason, "startedAt": BEGAN, "finishedAt": ENDED, **more}


def crashed(code: int, reason: str = "Error", restarts: int = 2, name: str = "server", **more: Any) -> Json:
    """A container in its back-off after it ended."""
    message = f"back-off 20s restarting failed container={name} pod={POD}_ws(uid-{POD})"
    return waiting("CrashLoopBackOff", message, name=name, restarts=restarts, last=ended(code, reason, **more))


def event(reason: str, message: str, about: Json | None = None, *, kind: str = "Warning", **more: Any) -> Json:
    """An event of a kubelet or controller about a pod."""
    meta = (about or pod())["metadata"]
    involved = {"kind": "Pod", "namespace": "ws", "name": meta["name"], "uid": meta.get("uid")}
    return {
        "metadata": {"name": f"{meta['name']}.17a", "namespace": "ws"}, "involvedObject": involved, "type": kind,
        "reason": reason, "message": message, "firstTimestamp": BEGAN, "lastTimestamp": ENDED, "count": 3,
        "source": {"component": "kubelet", "host": NODE}, **more,
    }  # fmt: skip


def scheduler_event(reason: str, message: str, at: str) -> Json:
    """An event in the newer form, which has no lastTimestamp."""
    new = {"firstTimestamp": None, "lastTimestamp": None, "eventTime": at, "count": None, "source": {}}
    return event(reason, message, **new, reportingComponent="default-scheduler")


def unscheduled(message: str, reason: str = "Unschedulable", **more: Any) -> Json:
    """A pod that the scheduler gave no node."""
    found = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    return pod(node="", conditions=[found], **more)


def workload(*conditions: Json, generation: int = 4, seen: int = 4) -> Json:
    """A Deployment."""
    status = {"observedGeneration": seen, "conditions": list(conditions)}
    return {"kind": "Deployment", "metadata": {"name": "iris-7", "generation": generation}, "status": status}


def failed_create(message: str) -> Json:
    """What a Deployment says when its ReplicaSet may make no pods."""
    full = f'pods "{POD}" is forbidden: {message}' if not message.startswith(("admission", "Internal")) else message
    found = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": full}
    return workload(found)


def node(status: str = "True", reason: str = "KubeletReady", message: str = "kubelet is posting ready status") -> Json:
    """A node with its Ready condition."""
    found = {"type": "Ready", "status": status, "reason": reason, "message": message}
    return {"kind": "Node", "metadata": {"name": NODE}, "spec": {}, "status": {"conditions": [found]}}


def put_out(reason: str, message: str, number: int = 1) -> Json:
    """A pod that its node put out or refused."""
    return pod(name=f"iris-7-6d9f4b5c8-{number}", phase="Failed", reason=reason, message=message, startTime=BEGAN)
