"""Trouble of nodes: lost ones, volumes that cannot be mounted, pods that were put out or refused. Pure."""

from __future__ import annotations

import re

from deployments.diagnose.facts import (
    NEVER,
    Json,
    Scene,
    Trouble,
    condition,
    containers,
    in_order,
    is_ready,
    name_of,
    status_of,
)

MOUNT_SECONDS, NETWORK_SECONDS = 30, 60
OFTEN = 2  # pods that were put out before it is no chance
BEFORE = ("ContainerCreating", "PodInitializing", "")
MOUNT = re.compile(r'MountVolume\.\w+ failed for volume "([^"]+)" ?: ?(.*)', re.DOTALL)
USED = re.compile(r"Usage of EmptyDir volume \"([^\"]+)\" exceeds the limit \"([^\"]+)\"")
REJECTED = ("OutOfcpu", "OutOfmemory", "OutOfpods", "UnexpectedAdmissionError", "NodeAffinity")
# (what a pod that was put out says, the fix)
EVICTED = (
    (r"EmptyDir volume|local ephemeral storage limit|ephemeral local storage usage",
     "Write less to the replica's disk, or load smaller models."),
    (r"ephemeral-storage|nodefs|imagefs|DiskPressure",
     "Take nodes with bigger disks, or write less to the replica's disk."),
    (r"memory|MemoryPressure", "Ask for what it really uses (memoryInGB), so that it is placed where there is room."),
    (r"preempt", "Something more important took its place: add nodes."),
    (r"shutdown|Shutdown", "Its node was shut down: add nodes if no other one has room."),
)  # fmt: skip


def lost(pod: Json, scene: Scene) -> Trouble | None:
    """A pod on a node that is gone or does not report."""
    name = str((pod.get("spec") or {}).get("nodeName") or "")
    if not name or scene.nodes is None:
        return None
    node = scene.node(name)
    found = condition(node, "Ready") if node else {"reason": "NodeGone"}
    if node is not None and found.get("status") in ("True", None):
        return None
    why = "is gone" if node is None else f"is not ready ({found.get('reason')}: {found.get('message')})"
    text = f"The node {name}, on which {name_of(pod)} runs, {why.rstrip('.')}."
    fix = "Kubernetes starts the replica elsewhere after five minutes, where there is room. Repair or remove the node."
    return Trouble("node", "NodeNotReady", text, fix, name_of(pod), patience=NEVER)


def not_begun(pod: Json, scene: Scene) -> Trouble | None:
    """A pod on a node whose containers cannot begin, since a volume or its network is missing."""
    words = [str(((row.get("state") or {}).get("waiting") or {"reason": "?"}).get("reason") or "")
             for _, row, _ in containers(pod)]  # fmt: skip
    if not (pod.get("spec") or {}).get("nodeName") or any(word not in BEFORE for word in words):
        return None
    told = scene.of_pod(pod, "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedCreatePodContainer")
    if not told:
        return None
    said = str(told[-1].get("message") or "")
    if told[-1]["reason"] in ("FailedMount", "FailedAttachVolume"):
        return _mount(pod, said)
    cause = said.rpartition("desc = ")[2] or said
    text = f"The node cannot prepare the replica {name_of(pod)}: {cause.rstrip('.')}."
    fix = "Look for free addresses in the subnet of the nodes, and at the node; replace it if others are well."
    return Trouble("network", "FailedCreatePodSandBox", text, fix, name_of(pod), said=said, patience=NETWORK_SECONDS)


def _mount(pod: Json, said: str) -> Trouble:
    match = MOUNT.match(said)
    what = f"The volume {match[1]}" if match else "A volume"
    cause = match[2].strip() if match else said
    text = f"{what} of the replica {name_of(pod)} cannot be mounted: {cause.rstrip('.')}."
    missing = re.search(r"not found|not registered|non-existent", cause)
    fix = "Update it again: that puts back what is missing." if missing else "See its events, and the node's."
    return Trouble("volume", "FailedMount", text, fix, name_of(pod), said=said, patience=MOUNT_SECONDS)


def put_out(scene: Scene) -> list[Trouble]:
    """Pods that their node put out or refused; none as long as one takes requests, as their successors count."""
    gone = [pod for pod in scene.pods if status_of(pod).get("phase") == "Failed"]
    if not gone or any(is_ready(pod) for pod in scene.pods):
        return []
    last = in_order([{**pod, "lastTimestamp": status_of(pod).get("startTime")} for pod in gone])[-1]
    said, disruption = str(status_of(last).get("message") or ""), condition(last, "DisruptionTarget")
    reason = str(status_of(last).get("reason") or disruption.get("reason") or "Failed")
    said = said or str(disruption.get("message") or "")
    cause = f"{said.strip() or reason}".rstrip(".")
    text = f"The replica {name_of(last)} was {_deed(reason)} by its node ({reason}): {cause}"
    count = f"; that happened to {len(gone)}." if len(gone) > 1 else "."
    return [
        Trouble("eviction", reason, text + count, _fix(reason, said, last), name_of(last), said=said,
                patience=0 if len(gone) >= OFTEN else NEVER)
    ]  # fmt: skip


def _deed(reason: str) -> str:
    return "refused" if reason in REJECTED or reason.startswith("OutOf") else "ended"


def _fix(reason: str, said: str, pod: Json) -> str:
    used = USED.search(said)
    if used and used[1] == "app":
        return f"Code and models may take {used[2]} on a replica's disk: deploy fewer or smaller ones."
    if reason == "DeadlineExceeded":
        return "It may not live longer (activeDeadlineSeconds): leave that out."
    found = next((fix for words, fix in EVICTED if re.search(words, f"{said} {reason}")), "")
    return found or f"See the events of {name_of(pod)}, and of its node."
