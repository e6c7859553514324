"""A pod that no node takes: what the scheduler says, and what would help. Pure."""

from __future__ import annotations

import re

from compute import fit, pools
from deployments.diagnose.facts import NEVER, Json, Scene, Trouble, condition, name_of
from deployments.types import DeploymentState

SECONDS = 15  # room may come: old replicas end
AUTOSCALER_SECONDS = 600  # an autoscaler may add a node
REFUSED_SECONDS = 60  # an autoscaler said that it cannot help
GPUS = "nvidia.com/gpu"
PART = re.compile(r"(?:^|, )(\d+) (.+?)(?=, \d+ |$)")
TAINT = re.compile(r"untolerated taint \{([^:}]+): ?([^}]*)\}|had taint \{([^:}]+): ?([^}]*)\}")
BROKEN = {
    "node.kubernetes.io/not-ready": "not ready", "node.kubernetes.io/unreachable": "not reachable",
    "node.kubernetes.io/disk-pressure": "out of disk", "node.kubernetes.io/memory-pressure": "out of memory",
    "node.kubernetes.io/pid-pressure": "out of processes", "node.kubernetes.io/network-unavailable": "without network",
    "node.cloudprovider.kubernetes.io/uninitialized": "not set up yet",
}  # fmt: skip
CORDONED = "Nodes are cordoned: let them take pods again (kubectl uncordon NODE), or add nodes."
ROOM = {
    "cpu": "Ask for less (containerResourceRequirements.cpu), or add nodes, or bigger ones.",
    "memory": "Ask for less (containerResourceRequirements.memoryInGB), or add nodes, or bigger ones.",
    GPUS: "Ask for fewer GPUs (gpuCores), stop what holds them, or add nodes with GPUs.",
    "ephemeral-storage": "Take nodes with bigger disks.",
}


def of_pod(pod: Json, scene: Scene) -> Trouble | None:
    """Why the pod is on no node."""
    found = condition(pod, "PodScheduled")
    if (pod.get("spec") or {}).get("nodeName") or found.get("status") != "False":
        return None
    said = str(found.get("message") or "")
    if found.get("reason") != "Unschedulable":
        text = f"The replica {name_of(pod)} is held back from the scheduler ({found.get('reason')}): {said}"
        return Trouble("held", str(found.get("reason")), text, "Look at its scheduling gates.", name_of(pod), said=said,
                       patience=NEVER)  # fmt: skip
    why = said.partition(" preemption:")[0]
    asked = fit.asked_text(pod)
    wish = f"asks for {asked} and " if asked else ""
    text = f"The replica {name_of(pod)} {wish}fits on no node: {why.rstrip('.')}."
    return Trouble(
        "scheduling", "Unschedulable", text, _fix(pod, why), name_of(pod), DeploymentState.UNSCHEDULABLE,
        patience=_patience(pod, scene),
    )  # fmt: skip


def _patience(pod: Json, scene: Scene) -> float:
    """How long to wait for room: the newest word of a cluster autoscaler decides."""
    told = scene.of_pod(pod, "TriggeredScaleUp", "NotTriggerScaleUp")
    if told:
        return AUTOSCALER_SECONDS if told[-1]["reason"] == "TriggeredScaleUp" else REFUSED_SECONDS
    return AUTOSCALER_SECONDS if scene.grows else SECONDS


def _fix(pod: Json, why: str) -> str:
    """What helps against each of the reasons, each said once."""
    reasons = [each for _, each in PART.findall(why.partition("are available: ")[2].rstrip("."))]
    found = list(dict.fromkeys(_help(pod, each) for each in reasons))
    if not found:
        return "Add nodes that fit it: there is none." if "no nodes" in why else "See its events."
    return " ".join(found)


def _help(pod: Json, reason: str) -> str:
    if reason.startswith("Insufficient "):
        resource = reason.removeprefix("Insufficient ")
        return ROOM.get(resource, f"Ask for less {resource}, or add nodes that have it.")
    if reason == "Too many pods":
        return "Its nodes hold as many pods as they may: add a node, or take something away."
    if "unschedulable" in reason:
        return CORDONED
    if "taint" in reason:
        return _help_taint(reason)
    if "affinity/selector" in reason:
        return _help_pool(pod)
    return "See its events."


def _help_taint(reason: str) -> str:
    match = TAINT.search(reason)
    key, value = (match[1] or match[3], match[2] or match[4] or "") if match else ("", "")
    if key == "node.kubernetes.io/unschedulable":
        return CORDONED
    if key in BROKEN:
        return f"Nodes are {BROKEN[key]}: repair or replace them."
    named = f" {key}{'=' + value if value else ''}" if key else "s"
    return f"Name a node pool (nodePool), so that replicas tolerate its taints, or take the taint{named} away."


def _help_pool(pod: Json) -> str:
    pool = ((pod.get("spec") or {}).get("nodeSelector") or {}).get(pools.POOL_LABEL)
    if pool:
        return f"The node pool {pool} has no node that takes it: give it nodes, or deploy to another (nodePool)."
    return "No node has the labels that it selects: it needs a Linux node."
