"""Pods that are never made, since something in the cluster refuses them; and rollouts that took too long. Pure."""

from __future__ import annotations

import re

from deployments.diagnose.facts import Json, Scene, Trouble, condition, status_of

QUOTA = re.compile(r"exceeded quota: ([^,]+), requested: (\S+), used: (\S+), limited: (\S+)")
MUST = re.compile(r"failed quota: ([^:]+): must specify (.*)")
RANGE = re.compile(r"(maximum|minimum) \S+ usage per \w+ is|max limit to request ratio per \w+ is")
WEBHOOK = re.compile(r'admission webhook "([^"]+)" denied the request:? ?(.*)', re.DOTALL)
POLICY = re.compile(r"ValidatingAdmissionPolicy '([^']+)' with binding '([^']+)' denied request: (.*)", re.DOTALL)
SECURITY = re.compile(r'violates PodSecurity "([^"]+)": (.*)', re.DOTALL)
AWAY = re.compile(r'failed calling webhook "([^"]+)"')
OTHERS = (
    (r"error looking up service account \S+: serviceaccount \"([^\"]+)\" not found", "service account"),
    (r"no PriorityClass with name (\S+) was found", "priority class"),
)
SECONDS, AWAY_SECONDS, QUOTA_SECONDS = 5, 60, 15  # a quota may get room when old replicas end


def refused(scene: Scene) -> Trouble | None:
    """Why the cluster lets no pod be made, as the Deployment or its newest events say."""
    found = condition(scene.workload, "ReplicaFailure") if scene.workload else {}
    if found.get("status") != "True" or not _is_current(scene.workload or {}):
        return None
    said = str(found.get("message") or "")
    kind, text, fix, seconds = _told(said)
    return Trouble(kind, str(found.get("reason") or "FailedCreate"), text, fix, said=said, patience=seconds)


def _told(said: str) -> tuple[str, str, str, float]:
    """Kind, sentence, fix and patience."""
    for look in (_quota, _range, _policy, _missing):
        found = look(said)
        if found is not None:
            return found
    why = said.partition(" is forbidden: ")[2] or said
    return (
        "refusal",
        f"The cluster refuses the replica: {why.rstrip('.')}.",
        "Ask who rules the cluster to allow it.",
        SECONDS,
    )


def _quota(said: str) -> tuple[str, str, str, float] | None:
    if match := QUOTA.search(said):
        name, asked, used, limit = match.groups()
        text = f"The quota {name} of the namespace is used up: a replica needs {asked}, {used} are used of {limit}."
        fix = f"Raise the quota {name}, ask for less, or take something away in the namespace."
        return "quota", text, fix, QUOTA_SECONDS
    if match := MUST.search(said):
        text = f"The quota {match[1]} of the namespace wants that the replica says {match[2].rstrip('.')}."
        fix = "Say it in the deployment configuration (cpu, memoryInGB, cpuLimit, memoryInGBLimit)."
        return "quota", text, fix, SECONDS
    return None


def _range(said: str) -> tuple[str, str, str, float] | None:
    if not RANGE.search(said):
        return None
    why = said.partition(" is forbidden: ")[2] or said
    fix = "Change the deployment configuration (cpu, memoryInGB and their limits), or the LimitRange."
    return "limit range", f"A LimitRange of the namespace refuses the replica: {why.rstrip('.')}.", fix, SECONDS


def _policy(said: str) -> tuple[str, str, str, float] | None:
    if match := SECURITY.search(said):
        text = f"The namespace's Pod Security level {match[1]} refuses the replica: {match[2].rstrip('.')}."
        fix = "Give the namespace the level that the portal sets (restricted), or deploy to another namespace."
        return "policy", text, fix, SECONDS
    if match := WEBHOOK.search(said) or POLICY.search(said):
        text = (
            f"The cluster's policy {match[1]} refuses the replica: {match[match.lastindex or 1].strip().rstrip('.')}."
        )
        return "policy", text, "Ask who rules the cluster to exempt the namespace, or fit the policy.", SECONDS
    if match := AWAY.search(said):
        text = f"The cluster's policy {match[1]} does not answer, so that no pod can be made."
        return "policy away", text, f"Repair or remove the webhook {match[1]} in the cluster.", AWAY_SECONDS
    return None


def _missing(said: str) -> tuple[str, str, str, float] | None:
    if "is being terminated" in said:
        text = "The namespace is being deleted, so that no pod can be made."
        return "namespace", text, "Wait until it is gone, then update it again.", AWAY_SECONDS
    for pattern, what in OTHERS:
        if match := re.search(pattern, said):
            text = f"The {what} {match[1]} is not there, so that no pod can be made."
            return "missing", text, f"Update it again: that puts the {what} back.", SECONDS
    return None


def too_late(scene: Scene) -> str:
    """The Deployment's own words once its rollout took too long; empty before."""
    found = condition(scene.workload, "Progressing") if scene.workload else {}
    if found.get("reason") != "ProgressDeadlineExceeded" or not _is_current(scene.workload or {}):
        return ""
    return str(found.get("message") or "")


def _is_current(workload: Json) -> bool:
    """Whether the status belongs to what is wanted now, not to an earlier change."""
    seen, wanted = status_of(workload).get("observedGeneration"), workload["metadata"].get("generation")
    return seen is None or wanted is None or int(seen) >= int(wanted)
