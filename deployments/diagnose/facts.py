"""What a diagnosis is made from and what it is: documents of a cluster, and one trouble. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.types import DeploymentState

Json = dict[str, Any]
NEVER = float("inf")


@dataclass(frozen=True)
class Trouble:
    """What is wrong, as one sentence, and what to do about it.

    `kind` stays the same while the words of a cluster change; `reason` is such a word. It counts once it has lasted
    for `patience` seconds: NEVER is only told while one waits. `container` has the log that proves it, of its last run
    if `previous`; `said` are the cluster's own words, which its events may lack.
    """

    kind: str
    reason: str
    text: str
    fix: str
    pod: str = ""
    state: DeploymentState = DeploymentState.FAILED
    container: str = ""
    previous: bool = False
    said: str = ""
    patience: float = 0.0


@dataclass(frozen=True)
class Scene:
    """What a cluster shows of one workload: pods, events of its namespace, the Deployment, and all nodes.

    `nodes` None: they were not looked at, so that nothing is said about them. `grows`: an autoscaler may add nodes.
    """

    pods: Sequence[Json]
    events: Sequence[Json] = ()
    workload: Json | None = None
    nodes: Sequence[Json] | None = None
    grows: bool = False

    def of_pod(self, pod: Json, *reasons: str) -> list[Json]:
        """The events about a pod with one of these reasons, the newest last."""
        return in_order(each for each in self.events if is_about(each, pod) and each.get("reason") in reasons)

    def of_workload(self) -> list[Json]:
        """The events about the Deployment and its ReplicaSets, the newest last."""
        name = name_of(self.workload) if self.workload else ""
        return in_order(each for each in self.events if name and is_of_workload(each, name))

    def node(self, name: str) -> Json | None:
        """A node by its name."""
        return next((each for each in self.nodes or () if name_of(each) == name), None)


def name_of(obj: Json) -> str:
    """The name of an object."""
    return str(obj["metadata"]["name"])


def status_of(obj: Json) -> Json:
    """Its status, empty before there is one."""
    return obj.get("status") or {}


def condition(obj: Json, kind: str) -> Json:
    """One of its conditions, empty when it has none of the kind."""
    return next((each for each in status_of(obj).get("conditions") or [] if each.get("type") == kind), {})


def is_ready(pod: Json) -> bool:
    """Whether a pod takes requests."""
    return not pod["metadata"].get("deletionTimestamp") and condition(pod, "Ready").get("status") == "True"


def is_over(pod: Json) -> bool:
    """A pod that was evicted or is being removed has a successor, which counts."""
    return status_of(pod).get("phase") in ("Failed", "Succeeded") or bool(pod["metadata"].get("deletionTimestamp"))


def containers(pod: Json) -> Iterable[tuple[Json, Json, bool]]:
    """(spec, status, is it an init container) of every container that has a status, in the order of their start."""
    for part, group in (("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")):
        specs = {each["name"]: each for each in (pod.get("spec") or {}).get(part) or []}
        for status in status_of(pod).get(group) or []:
            yield specs.get(status["name"], {}), status, part == "initContainers"


def is_about(event: Json, pod: Json) -> bool:
    """Whether an event is about this pod, and not about an earlier one of the name."""
    involved = event.get("involvedObject") or {}
    uid = involved.get("uid")
    return involved.get("name") == name_of(pod) and (not uid or uid == pod["metadata"].get("uid", uid))


def is_of_container(event: Json, name: str) -> bool:
    """Whether an event is about this container; one that names none may be."""
    path = str((event.get("involvedObject") or {}).get("fieldPath") or "")
    return not path or path.endswith(f"{{{name}}}")


def moment(event: Json) -> str:
    """When an event was last seen; a scheduler writes it elsewhere than a kubelet."""
    series = (event.get("series") or {}).get("lastObservedTime")
    seen = series or event.get("lastTimestamp") or event.get("eventTime")
    return str(seen or event.get("metadata", {}).get("creationTimestamp") or "")


def in_order(events: Iterable[Json]) -> list[Json]:
    """The newest last."""
    return sorted(events, key=moment)


def is_of_workload(event: Json, name: str) -> bool:
    """Whether an event is about the Deployment of that name or one of its ReplicaSets."""
    involved = event.get("involvedObject") or {}
    found = str(involved.get("name") or "")
    if involved.get("kind") == "ReplicaSet":
        return found.rpartition("-")[0] == name
    return involved.get("kind") == "Deployment" and found == name
