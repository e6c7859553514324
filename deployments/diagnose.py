"""Why replicas do not get ready: from pods' states to one sentence, and where the evidence is. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from compute import fit
from deployments.types import DeploymentState

Json = dict[str, Any]
PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
CONFIG = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
CRASHES = 2  # a first crash may be chance
TRACEBACK = "Traceback (most recent call"
WRAPPER = "UserScriptException"  # the server's own, around what the entry script raised
INIT_FAILED = 3  # what the inference server exits with when init() raises


@dataclass(frozen=True)
class Trouble:
    """What is wrong with one pod. `container` has the log that proves it, of its last run if `previous`."""

    reason: str
    text: str
    pod: str
    state: DeploymentState = DeploymentState.FAILED
    container: str = ""
    previous: bool = False


def is_ready(pod: Json) -> bool:
    """Whether a pod takes requests."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def trouble(pods: Iterable[Json]) -> Trouble | None:
    """The first trouble that will not pass by itself, None while all may still become well."""
    for pod in sorted(pods, key=lambda item: str(item["metadata"]["name"])):
        found = None if is_ready(pod) or _is_over(pod) else _of_pod(pod)
        if found is not None:
            return found
    return None


def _is_over(pod: Json) -> bool:
    """A pod that was evicted or is being removed has a successor, which counts."""
    ended = (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")
    return ended or bool(pod["metadata"].get("deletionTimestamp"))


def _of_pod(pod: Json) -> Trouble | None:
    name, status = str(pod["metadata"]["name"]), pod.get("status") or {}
    for item in status.get("conditions") or []:
        if item["type"] == "PodScheduled" and item["status"] == "False" and item.get("reason") == "Unschedulable":
            return Trouble(
                "Unschedulable", _misfit(pod, str(item.get("message", ""))), name, DeploymentState.UNSCHEDULABLE
            )
    for group in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(group) or []:
            found = _of_container(name, container, group == "initContainerStatuses")
            if found is not None:
                return found
    return None


def _misfit(pod: Json, message: str) -> str:
    asked = fit.asked_text(pod)
    wish = f"asks for {asked} and " if asked else ""
    return f"The replica {pod['metadata']['name']} {wish}fits on no node: {message.partition(' preemption:')[0]}"


def _of_container(pod: str, container: Json, is_init: bool) -> Trouble | None:
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    reason, said = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    name = str(container["name"])
    if reason in PULL:
        return Trouble(reason, f"The image {container.get('image')} cannot be pulled ({reason}): {said}", pod)
    if reason in CONFIG:
        return Trouble(reason, f"The container {name} cannot be made ({reason}): {said}", pod)
    return _crash(pod, container, name, is_init)


def _crash(pod: str, container: Json, name: str, is_init: bool) -> Trouble | None:
    state, last = container.get("state") or {}, container.get("lastState") or {}
    previous = "terminated" not in state
    ended = state.get("terminated") or last.get("terminated") or {}
    restarts = int(container.get("restartCount") or 0)
    code = ended.get("exitCode")
    if not ended or (code == 0 and is_init) or restarts + (0 if previous else 1) < CRASHES:
        return None
    why = _why(name, ended, is_init, restarts)
    return Trouble(str(ended.get("reason") or "Error"), why, pod, container=name, previous=previous)


def _why(name: str, ended: Json, is_init: bool, restarts: int) -> str:
    times = f"it ended {restarts + 1} times"
    if ended.get("reason") == "OOMKilled":
        return f"The container {name} used more memory than its limit and was killed (OOMKilled); {times}."
    if is_init:
        return f"The replica could not fetch its code and models; {times}."
    if ended.get("exitCode") == INIT_FAILED:
        return f"The entry script's init() failed; {times}."
    return f"The container {name} ended with exit code {ended.get('exitCode')}; {times}."


def progress(wanted: int, pods: Iterable[Json]) -> str:
    """What is going on, for people who wait."""
    rows = list(pods)
    ready = sum(1 for pod in rows if is_ready(pod))
    return f"{ready} of {wanted} replicas are ready"


def events_text(events: Iterable[Json], pod: str) -> str:
    """The events of one pod as lines, the newest last, at most ten."""
    own = [event for event in events if (event.get("involvedObject") or {}).get("name") == pod]
    own.sort(key=lambda event: str(event.get("lastTimestamp") or event["metadata"].get("creationTimestamp") or ""))
    return "\n".join(f"{event.get('type')} {event.get('reason')}: {event.get('message')}" for event in own[-10:])


def build_cause(log: str) -> str:
    """The line of a build's log that says why it failed: uv's reason, pip's last error, else the last error or line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for mark in ("Because ", "ERROR: ", "rror", ""):
        found = next((line for line in reversed(lines) if mark in line), "")
        if found:
            return (found[found.index(mark) :] if mark == "Because " else found)[:300]
    return "there is no log"


def last_cause(log: str) -> str:
    """The line of a Python traceback that says what was raised, empty when there is none."""
    lines = log.splitlines()
    starts = [number for number, line in enumerate(lines) if TRACEBACK in line]
    for start in reversed(starts):
        for line in lines[start + 1 :]:
            if line and not line.startswith((" ", "\t")) and ":" in line:
                if WRAPPER not in line:
                    return line.strip()[:300]
                break
    return ""
