"""Containers that cannot be made, or end again and again. Pure."""

from __future__ import annotations

import re
import signal

from compute import fit
from deployments.diagnose import images, probes
from deployments.diagnose.facts import NEVER, Json, Scene, Trouble, containers, name_of

CONFIG = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
CRASHES = 2  # a first crash may be chance
INIT_FAILED = 3  # what the inference server exits with when init() raises
NOT_STARTED = ("StartError", "ContainerCannotRun")
UNSEEN = ("Unknown", "ContainerStatusUnknown")  # the kubelet or its node started anew, and did not see the end
UPDATE = "Update it again: that puts back what is missing."
SEE_LOG = "See the last lines of its log, mend the entry script or its environment, and update it."
# (what the node says, the fix, seconds to wait)
CONFIG_CASES = (
    (r'(secret|configmap|object) "?[^"]+"? (not found|not registered)|couldn.t find key|non-existent', UPDATE, 15),
    (r"runAsNonRoot|non-root", "Give the image a numeric USER other than 0.", 0),
    (r"executable file not found|no such file or directory|no command specified",
     "The image needs /bin/sh, gunicorn and azureml-inference-server-http on its PATH: build it with them.", 0),
    (r"permission denied", "Let the image's user 1000 run and read what it needs.", 0),
    (r"deadline exceeded|is reserved for|timeout", "Wait, or replace the node if it stays so.", 60),
)  # fmt: skip
SIGNALS = {
    6: "It gave up by itself: see its log, often a library that does not fit.",
    4: "A library needs a processor that the node is not: take other nodes, or another build of it.",
    9: "It was killed from outside: by its node for want of memory, or since it did not end in time. Raise memoryInGB.",
    11: "A native library broke: pin other versions of the environment's packages.",
    15: "It was told to end: see its events for who did.",
}


def of_pod(pod: Json, scene: Scene) -> Trouble | None:
    """The first of its containers that has trouble."""
    for spec, status, is_init in containers(pod):
        found = (
            images.of_container(pod, status, scene)
            or _config(pod, status)
            or probes.killed(pod, spec, status, scene)
            or _crash(pod, spec, status, is_init)
            or (None if is_init else probes.failing(pod, spec, status, scene))
        )
        if found is not None:
            return found
    return None


def _config(pod: Json, status: Json) -> Trouble | None:
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, said = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    return _cannot_be_made(pod, str(status["name"]), reason, said) if reason in CONFIG else None


def _cannot_be_made(pod: Json, name: str, reason: str, said: str) -> Trouble:
    fix, seconds = next(
        ((fix, seconds) for words, fix, seconds in CONFIG_CASES if re.search(words, said)), ("See its events.", 0)
    )
    cause = said.rpartition("unable to start container process: ")[2]
    text = f"The container {name} cannot be made ({reason}): {cause.rstrip('.')}."
    return Trouble("config", reason, text, fix, name_of(pod), said=said, patience=seconds)


def _crash(pod: Json, spec: Json, status: Json, is_init: bool) -> Trouble | None:
    """How it ended. Once may be chance, and is only told."""
    state, last = status.get("state") or {}, status.get("lastState") or {}
    previous = "terminated" not in state
    ended = state.get("terminated") or last.get("terminated") or {}
    if not ended or (is_init and ended.get("exitCode") == 0):
        return None
    times = int(status.get("restartCount") or 0) + (0 if "running" in state else 1)
    name, reason = str(status["name"]), str(ended.get("reason") or "Error")
    patience = 0.0 if times >= CRASHES and reason not in UNSEEN else NEVER
    if reason in NOT_STARTED:
        return _cannot_be_made(pod, name, reason, str(ended.get("message") or ""))
    kind, text, fix = _why(name, spec, ended, is_init)
    count = f"it ended {times} times" if times > 1 else "it ended once and is started again"
    return Trouble(
        kind, reason, f"{text}; {count}.", fix, name_of(pod), container=name, previous=previous,
        said=str(ended.get("message") or ""), patience=patience,
    )  # fmt: skip


def _why(name: str, spec: Json, ended: Json, is_init: bool) -> tuple[str, str, str]:
    """Kind, sentence without its end, and fix."""
    code = int(ended.get("exitCode") or 0)
    number = int(ended.get("signal") or 0) or (code - 128 if code > 128 else 0)
    if ended.get("reason") == "OOMKilled":
        return _memory(name, spec)
    if ended.get("reason") in UNSEEN:
        return "node", f"The container {name} went down with its node", "It starts again by itself with its node."
    if is_init and name == "fetch":
        return "fetch", "The replica could not fetch its code and models", "See the last line of its log."
    if code == INIT_FAILED and not is_init:
        return "crash", "The entry script's init() failed", SEE_LOG
    if number in SIGNALS:
        return "crash", f"The container {name} was ended by {_signal(number)} (exit code {code})", SIGNALS[number]
    if code == 0:
        return "crash", f"The container {name} ended by itself (exit code 0)", "What it runs must not end: see its log."
    return "crash", f"The container {name} ended with exit code {code}", SEE_LOG


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _memory(name: str, spec: Json) -> tuple[str, str, str]:
    resources = spec.get("resources") or {}
    limit, asked = ((resources.get(part) or {}).get("memory") for part in ("limits", "requests"))
    wish = f" (it asks for {gib(asked)})" if asked else ""
    if limit:
        text = f"The container {name} used more than its memory limit of {gib(limit)}{wish} and was killed (OOMKilled)"
        fix = f"Raise memoryInGBLimit above {gib(limit)}, load less, or use fewer workers (maxConcurrentRequests)."
        own = f"Its limit is the portal's own: the container {name} is not yours. Use smaller files, and report it."
        return "memory", text, fix if name == "server" else own
    text = f"The node had no memory left for the container {name}{wish}, which has no limit, and killed it (OOMKilled)"
    return "memory", text, "Ask for what it really uses (memoryInGB), so that it is placed where there is room."


def gib(quantity: str) -> str:
    """A Kubernetes quantity of memory for people."""
    return f"{round(fit.amount(quantity) / fit.GIB, 2):g} GiB"
