"""The arithmetic of rollouts: how many replicas each ReplicaSet should have next, and what the status says. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import datetime, timedelta

from compute.sandbox.controllers.base import Doc, condition, moment
from compute.sandbox.kube.copying import clone

HASH_LABEL = "pod-template-hash"
_SAFE = "bcdfghjklmnpqrstvwxz2456789"


def replicas(obj: Doc) -> int:
    """The wanted replicas of a Deployment or ReplicaSet."""
    return int(obj["spec"].get("replicas", 1))


def available(sets: list[Doc]) -> int:
    """The available replicas of these sets."""
    return sum(int((item.get("status") or {}).get("availableReplicas", 0)) for item in sets)


def template_hash(template: Doc, collisions: int) -> str:
    """The short name of a pod template."""
    text = json.dumps([template, collisions], sort_keys=True)
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    letters = []
    for _ in range(10):
        number, rest = divmod(number, len(_SAFE))
        letters.append(_SAFE[rest])
    return "".join(letters)


def same_template(owner: Doc, item: Doc) -> bool:
    """Whether a ReplicaSet was made from the Deployment's present template."""
    stored = clone(item["spec"]["template"])
    (stored.get("metadata") or {}).get("labels", {}).pop(HASH_LABEL, None)
    return bool(stored == owner["spec"]["template"])


def _amount(value: int | str, total: int, *, up: bool) -> int:
    if isinstance(value, str) and value.endswith("%"):
        share = int(value[:-1]) * total / 100
        return math.ceil(share) if up else math.floor(share)
    return int(value)


def is_rolling(deployment: Doc) -> bool:
    """Whether pods are replaced step by step."""
    return bool((deployment["spec"].get("strategy") or {}).get("type", "RollingUpdate") == "RollingUpdate")


def bounds(deployment: Doc) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) as numbers: surge rounded up, unavailable down, never both zero."""
    if not is_rolling(deployment):
        return 0, 0
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    total = replicas(deployment)
    surge = _amount(rolling.get("maxSurge", "25%"), total, up=True)
    missing = _amount(rolling.get("maxUnavailable", "25%"), total, up=False)
    return surge, min(1 if surge == 0 and missing == 0 else missing, total)


def new_size(deployment: Doc, new: Doc | None, everything: list[Doc]) -> int:
    """How many replicas the new set should have now."""
    wanted, current = replicas(deployment), replicas(new) if new else 0
    if not is_rolling(deployment) or current >= wanted:
        return wanted
    room = wanted + bounds(deployment)[0] - sum(replicas(item) for item in everything)
    return current if room <= 0 else current + min(room, wanted - current)


def old_sizes(deployment: Doc, new: Doc, olds: list[Doc]) -> dict[str, int]:
    """New sizes of old sets, by name, that keep enough replicas available; broken replicas go first."""
    everything = [*olds, new]
    least = replicas(deployment) - bounds(deployment)[1]
    starting = replicas(new) - available([new])
    may_go = sum(replicas(item) for item in everything) - least - starting
    if may_go <= 0:
        return {}
    sizes = {item["metadata"]["name"]: replicas(item) for item in olds}
    oldest_first = sorted(olds, key=lambda item: str(item["metadata"]["creationTimestamp"]))
    for item in oldest_first:
        broken = min(may_go, max(replicas(item) - available([item]), 0))
        sizes[item["metadata"]["name"]] -= broken
        may_go -= broken
    spare = available(everything) - least
    for item in oldest_first:
        name = item["metadata"]["name"]
        gone = min(sizes[name], max(spare, 0))
        sizes[name] -= gone
        spare -= gone
    return {
        n: size for n, size in sizes.items() if size != next(replicas(o) for o in olds if o["metadata"]["name"] == n)
    }


def proportional(deployment: Doc, sets: list[Doc]) -> dict[str, int]:
    """Sizes by name when the wanted number changed in the middle of a rollout: each set keeps its share."""
    total = sum(replicas(item) for item in sets)
    target = replicas(deployment) + bounds(deployment)[0] if replicas(deployment) else 0
    left = target - total
    sizes = {item["metadata"]["name"]: replicas(item) for item in sets}
    if not left or not total:
        return sizes
    ordered = sorted(sets, key=lambda item: (-replicas(item), str(item["metadata"]["creationTimestamp"])))
    for item in ordered:
        share = round(replicas(item) * target / total) - replicas(item)
        change = min(share, left) if left > 0 else max(share, left)
        if (change > 0) == (left > 0):
            sizes[item["metadata"]["name"]] += change
            left -= change
    first = ordered[0]["metadata"]["name"]
    sizes[first] = max(sizes[first] + left, 0)
    return sizes


def status(deployment: Doc, new: Doc | None, sets: list[Doc]) -> Doc:
    """The numbers of the Deployment's status."""

    def total(field: str, rows: list[Doc]) -> int:
        return sum(int((row.get("status") or {}).get(field, 0)) for row in rows)

    ready = available(sets)
    numbers = {
        "replicas": total("replicas", sets), "updatedReplicas": total("replicas", [new] if new else []),
        "readyReplicas": total("readyReplicas", sets), "availableReplicas": ready,
        "unavailableReplicas": max(sum(replicas(item) for item in sets) - ready, 0),
    }  # fmt: skip
    before = deployment.get("status") or {}
    kept = {name: before[name] for name in ("collisionCount",) if name in before}
    shown = {name: value for name, value in numbers.items() if value}
    return {"observedGeneration": deployment["metadata"]["generation"], **shown, **kept}


def is_complete(deployment: Doc, numbers: Doc) -> bool:
    """Whether all replicas are new and available."""
    wanted = replicas(deployment)
    return all(numbers.get(name, 0) == wanted for name in ("updatedReplicas", "replicas", "availableReplicas"))


def has_progressed(before: Doc, numbers: Doc) -> bool:
    """Whether the rollout came further since the last status."""

    def olds(doc: Doc) -> int:
        return int(doc.get("replicas", 0)) - int(doc.get("updatedReplicas", 0))

    grew = any(
        numbers.get(name, 0) > before.get(name, 0) for name in ("updatedReplicas", "readyReplicas", "availableReplicas")
    )
    return grew or olds(numbers) < olds(before)


def deadline(deployment: Doc) -> datetime | None:
    """When the rollout counts as failed, unless it is done or has no deadline."""
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    progressing = condition(deployment, "Progressing")
    if seconds is None or progressing is None or progressing["reason"] == "NewReplicaSetAvailable":
        return None
    return moment(progressing["lastUpdateTime"]) + timedelta(seconds=int(seconds))
