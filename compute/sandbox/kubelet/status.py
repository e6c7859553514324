"""A pod's status as a kubelet writes it, from the states of its containers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Doc = dict[str, Any]


@dataclass
class Record:
    """What is known of one container."""

    name: str
    image: str
    image_id: str = ""
    container_id: str = ""
    state: Doc = field(default_factory=lambda: {"waiting": {"reason": "PodInitializing"}})
    last_state: Doc = field(default_factory=dict)
    ready: bool = False
    started: bool = False
    restarts: int = 0
    is_sidecar: bool = False

    @property
    def is_past(self) -> bool:
        """Whether, as an init container, it lets the next one begin."""
        if self.is_sidecar:
            return self.started
        return self.terminated is not None and self.terminated["exitCode"] == 0

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return "running" in self.state

    @property
    def terminated(self) -> Doc | None:
        """How it ended, when it is over."""
        return self.state.get("terminated")

    def document(self, *, init: bool) -> Doc:
        """The entry in `containerStatuses`."""
        ready = self.is_past if init and not self.is_sidecar else self.ready
        return {
            "name": self.name, "image": self.image, "imageID": self.image_id, "state": self.state,
            "lastState": self.last_state, "ready": ready, "started": self.started, "restartCount": self.restarts,
        } | ({"containerID": self.container_id} if self.container_id else {})  # fmt: skip


def is_sidecar(spec: Doc) -> bool:
    """Whether an init container of this spec goes on running beside the others."""
    return bool(spec.get("restartPolicy") == "Always")


def restored(document: Doc) -> Record:
    """A record from a stored `containerStatuses` entry."""
    return Record(
        document["name"], document.get("image", ""), document.get("imageID", ""), document.get("containerID", ""),
        document.get("state") or {}, document.get("lastState") or {}, False, False, document.get("restartCount", 0),
    )  # fmt: skip


def qos_class(spec: Doc) -> str:
    """Guaranteed, Burstable or BestEffort."""
    containers = [*spec["containers"], *spec.get("initContainers", [])]
    resources = [container.get("resources") or {} for container in containers]
    if not any((r.get("requests") or r.get("limits")) for r in resources):
        return "BestEffort"
    for entry in resources:
        limits = entry.get("limits") or {}
        requested = {**limits, **(entry.get("requests") or {})}
        if any(name not in limits or requested[name] != limits[name] for name in ("cpu", "memory")):
            return "Burstable"
    return "Guaranteed"


def phase(spec: Doc, inits: list[Record], mains: list[Record]) -> str:
    """Pending, Running, Succeeded or Failed."""
    policy = spec.get("restartPolicy", "Always")
    for record in inits:
        began = record.is_sidecar and (record.restarts or record.terminated)
        if not record.is_past and not began:
            failed = record.terminated is not None and policy == "Never"
            return "Failed" if failed else "Pending"
    waiting = [r for r in mains if not r.running and r.terminated is None and not r.last_state]
    if waiting:
        return "Pending"
    if any(record.running for record in mains) or policy == "Always":
        return "Running"
    ended = [record.terminated for record in mains]
    if all(end is not None and end["exitCode"] == 0 for end in ended):
        return "Succeeded"
    return "Failed" if policy == "Never" and all(ended) else "Running"


def _condition(kind: str, value: bool, reason: str = "", message: str = "") -> Doc:
    doc: Doc = {"type": kind, "status": "True" if value else "False", "lastProbeTime": None}
    if not value and reason:
        doc |= {"reason": reason, "message": message} if message else {"reason": reason}
    return doc


def _conditions(now: str, before: list[Doc], current: list[Doc]) -> list[Doc]:
    known = {condition["type"]: condition for condition in before}
    result = []
    for condition in current:
        previous = known.pop(condition["type"], None)
        same = previous is not None and previous["status"] == condition["status"]
        changed_at = previous.get("lastTransitionTime", now) if same and previous is not None else now
        result.append({**condition, "lastTransitionTime": changed_at})
    return result + list(known.values())


def conditions(now: str, before: list[Doc], state: str, inits: list[Record], mains: list[Record]) -> list[Doc]:
    """The five conditions of a pod; times change only with the status."""
    begun = any(record.running or record.terminated or record.last_state for record in mains)
    missing = [record.name for record in inits if not record.is_past and not begun]
    beside = [record for record in inits if record.is_sidecar]
    unready = [record.name for record in (*beside, *mains) if not record.ready]
    over = state in ("Succeeded", "Failed")
    reason = "PodCompleted" if state == "Succeeded" else "PodFailed" if over else "ContainersNotReady"
    message = "" if over else f"containers with unready status: [{' '.join(unready)}]"
    ready = not unready and not over
    return _conditions(now, before, [
        _condition("PodReadyToStartContainers", not over),
        _condition("Initialized", not missing, "ContainersNotInitialized",
                   f"containers with incomplete status: [{' '.join(missing)}]"),
        _condition("Ready", ready, reason, message),
        _condition("ContainersReady", ready, reason, message),
        _condition("PodScheduled", True),
    ])  # fmt: skip


def put_out(status: Doc, reason: str, message: str, now: str) -> Doc:
    """The status of a pod that its kubelet ended."""
    rows = status["conditions"]
    if reason == "Evicted" and not any(row["type"] == "DisruptionTarget" for row in rows):
        row = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": message}
        rows = [*rows, {**row, "lastProbeTime": None, "lastTransitionTime": now}]
    return {**status, "phase": "Failed", "reason": reason, "message": message, "conditions": rows}


def build(pod: Doc, now: str, ip: str, host_ip: str, inits: list[Record], mains: list[Record]) -> Doc:
    """The whole `status` of a pod that is on a node."""
    before = pod.get("status") or {}
    state = phase(pod["spec"], inits, mains)
    doc: Doc = {
        **before,
        "phase": state,
        "conditions": conditions(now, before.get("conditions") or [], state, inits, mains),
        "hostIP": host_ip, "hostIPs": [{"ip": host_ip}],
        "startTime": before.get("startTime") or now,
        "containerStatuses": [record.document(init=False) for record in mains],
        "qosClass": before.get("qosClass") or qos_class(pod["spec"]),
    }  # fmt: skip
    if ip:
        doc |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    if inits:
        doc["initContainerStatuses"] = [record.document(init=True) for record in inits]
    return doc
