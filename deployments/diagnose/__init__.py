"""Why replicas do not get ready: from what a cluster shows to one sentence, what proves it, and what to do. Pure.

It reads the words of real API servers, schedulers, kubelets and controllers of Kubernetes 1.29 to 1.35.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from deployments.diagnose import containers, machines, refusals, scheduling
from deployments.diagnose.facts import NEVER, Json, Scene, Trouble, is_of_workload, is_over, is_ready, moment, name_of
from deployments.diagnose.logs import build_cause, evidence, last_cause, with_log

__all__ = [
    "NEVER", "Scene", "Trouble", "build_cause", "evidence", "is_of_workload", "is_ready", "last_cause", "moment",
    "progress", "trouble", "with_log",
]  # fmt: skip


def trouble(scene: Scene) -> Trouble | None:
    """What keeps pods from getting ready, the surest first; None while all may still become well.

    What a cluster has given up itself, by its deadline for rollouts, counts at once.
    """
    found = sorted(_all(scene), key=lambda each: each.patience)
    late = refusals.too_late(scene)
    if not late:
        return found[0] if found else None
    return replace(found[0], patience=0) if found else _late(late)


def _all(scene: Scene) -> Iterable[Trouble]:
    for pod in sorted(scene.pods, key=name_of):
        found = None if is_ready(pod) or is_over(pod) else _of_pod(pod, scene)
        if found is not None:
            yield found
    refused = refusals.refused(scene)
    yield from [refused] if refused else []
    yield from machines.put_out(scene)


def _of_pod(pod: Json, scene: Scene) -> Trouble | None:
    return (
        scheduling.of_pod(pod, scene)
        or machines.lost(pod, scene)
        or machines.not_begun(pod, scene)
        or containers.of_pod(pod, scene)
    )


def _late(said: str) -> Trouble:
    text = f"The replicas did not get ready in time, and nothing says why: {said.rstrip('.')}."
    fix = "See their logs and events; nodes that are slow to come or a slow init() need longer."
    return Trouble("deadline", "ProgressDeadlineExceeded", text, fix, said=said)


def progress(wanted: int, pods: Iterable[Json], note: str = "") -> str:
    """What is going on, for people who wait."""
    ready = sum(1 for pod in pods if is_ready(pod))
    return f"{ready} of {wanted} replicas are ready" + (f". {note}" if note else "")
