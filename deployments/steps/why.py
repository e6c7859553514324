"""Look at a cluster for why pods are not ready, wait as long as it may pass, and gather what proves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from django.utils import timezone

from deployments import diagnose
from deployments.diagnose import Scene, Trouble
from portal.models import Operation
from portal.problems import Problem, Retryable

if TYPE_CHECKING:
    from compute.cluster import Cluster

Json = dict[str, Any]
log = structlog.get_logger(__name__)
LOOK_SECONDS = 2.0  # events and nodes are lists of their own: readiness is asked for more often
MEMO = "_why"  # of an operation; forgotten when it is run again
LINES = 200


@dataclass(frozen=True)
class Finding:
    """A trouble with what proves it."""

    trouble: Trouble
    evidence: str


class Looker:
    """Reads what a diagnosis needs of one cluster; events of a namespace and nodes once."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._events: dict[str, list[Json]] = {}
        self._nodes: list[Json] | None = None

    def scene(self, namespace: str, pods: list[Json], workload: Json | None, *, grows: bool = False) -> Scene:
        """Everything about some pods. Nodes only where one that is not ready is on one."""
        placed = [pod for pod in pods if (pod.get("spec") or {}).get("nodeName") and not diagnose.is_ready(pod)]
        if namespace not in self._events:
            self._events[namespace] = self.cluster.observe("Event", namespace=namespace)
        if placed and self._nodes is None:
            self._nodes = self.cluster.observe("Node")
        return Scene(pods, self._events[namespace], workload, self._nodes if placed else None, grows)

    def proven(self, namespace: str, scene: Scene, found: Trouble) -> Finding:
        """The trouble with the end of its container's log, else with events."""
        lines = self._log(namespace, found) if found.container else ""
        found = diagnose.with_log(found, lines) if lines else found
        return Finding(found, diagnose.evidence(found, scene, lines))

    def _log(self, namespace: str, found: Trouble) -> str:
        try:
            return self.cluster.logs(namespace, found.pod, found.container, tail=LINES, previous=found.previous)
        except (Problem, Retryable) as trouble:  # its node may be away: what is known without it is told
            log.info("log_unavailable", pod=found.pod, error=trouble.detail)
            return ""


def judged(
    op: Operation,
    cluster: Cluster,
    namespace: str,
    pods: list[Json],
    workload: Json | None,
    *,
    grows: bool = False,
    least: float = 0.0,
) -> tuple[str, Finding | None]:
    """What to tell who waits, and what has lasted so long (`least` seconds or more) that waiting makes no sense."""
    now, known = timezone.now().timestamp(), op.memo.get(MEMO) or {}
    if known.get("namespace") == namespace and now - known["at"] < LOOK_SECONDS:
        return known["note"], None
    looker = Looker(cluster)
    scene = looker.scene(namespace, pods, workload, grows=grows)
    found = diagnose.trouble(scene)
    kind, note = (found.kind, found.text) if found else ("", "")
    since = known["since"] if (known.get("namespace"), known.get("kind")) == (namespace, kind) else now
    op.memo[MEMO] = {"namespace": namespace, "at": now, "kind": kind, "since": since, "note": note}
    if found is None or now - since < max(found.patience, least):
        return note, None
    return note, looker.proven(namespace, scene, found)
