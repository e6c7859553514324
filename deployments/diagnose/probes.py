"""Probes that fail: which one, what it got, for how long. Pure."""

from __future__ import annotations

import re

from deployments.diagnose.facts import NEVER, Json, Scene, Trouble, is_of_container, moment, name_of

READY_SECONDS = 60  # a replica that started and is not ready for so long will not be by itself
RESTARTS = 2
KILLED = re.compile(r"Container (\S+) failed (startup|liveness) probe, will be restarted")
FAILED = re.compile(r"(Startup|Readiness|Liveness) probe (?:failed|errored)[^:]*: ?(.*)", re.DOTALL)
FIXES = {
    "startup": "init() has to return within {seconds} s: load less in it, or give the replica more CPU.",
    "readiness": "The server has to answer GET / with 200: see its log for what holds it up.",
    "liveness": "Raise livenessProbeRequirements (timeoutSeconds {timeout}, failureThreshold {failures}), or see its "
    "log for what holds it up.",
}


def killed(pod: Json, spec: Json, status: Json, scene: Scene) -> Trouble | None:
    """A container that its kubelet ends since it does not start or does not live. Once may be chance, for liveness."""
    name, restarts = str(status["name"]), int(status.get("restartCount") or 0)
    told = [KILLED.match(str(each.get("message"))) for each in _in_last_run(pod, status, scene)]
    which = next((match[2] for match in reversed(told) if match and match[1] == name), "")
    if not which:
        return None
    text = f"The {which} probe of the container {name} failed{_times(spec, which)}, so that it was ended"
    got = _got(pod, name, which, scene)
    count = f"; it was restarted {restarts} times" if restarts > 1 else ""
    enough = which == "startup" or restarts >= RESTARTS
    return Trouble(
        f"{which} probe", "Unhealthy", f"{text}{count}{': ' + got if got else ''}.", _fix(spec, which), name_of(pod),
        container=name, previous=_is_previous(status), said=got, patience=0 if enough else NEVER,
    )  # fmt: skip


def failing(pod: Json, spec: Json, status: Json, scene: Scene) -> Trouble | None:
    """A container that runs and does not pass: a slow start is only told, one that started must get ready."""
    if "running" not in (status.get("state") or {}) or status.get("ready"):
        return None
    name = str(status["name"])
    if status.get("started") is False and "startupProbe" in spec:
        text = f"The container {name} is starting: it has up to {_seconds(spec['startupProbe'])} s for that."
        return Trouble("start", "Starting", text, _fix(spec, "startup"), name_of(pod), container=name, patience=NEVER)
    got = _got(pod, name, "readiness", scene)
    if not got:
        return None
    return Trouble(
        "readiness probe", "Unhealthy", f"The container {name} runs and does not get ready: {got}.",
        _fix(spec, "readiness"), name_of(pod), container=name, said=got, patience=READY_SECONDS,
    )  # fmt: skip


def _in_last_run(pod: Json, status: Json, scene: Scene) -> list[Json]:
    """Events of its end that belong to the last run that ended; in a run that goes on, the kubelet has decided."""
    state, last = status.get("state") or {}, status.get("lastState") or {}
    ended = state.get("terminated") or last.get("terminated") or {}
    began = str(ended.get("startedAt") or "")
    return [each for each in scene.of_pod(pod, "Killing") if moment(each) >= began]


def _is_previous(status: Json) -> bool:
    return "terminated" not in (status.get("state") or {}) and bool((status.get("lastState") or {}).get("terminated"))


def _got(pod: Json, container: str, which: str, scene: Scene) -> str:
    """What the probe got last."""
    for event in reversed(scene.of_pod(pod, "Unhealthy", "ProbeError")):
        match = FAILED.match(str(event.get("message") or ""))
        if match and match[1].lower() == which and is_of_container(event, container):
            return " ".join(match[2].split())[:300].rstrip(".")
    return ""


def _seconds(probe: Json) -> int:
    """How long it may fail before the kubelet acts."""
    rounds = int(probe.get("failureThreshold") or 3) * int(probe.get("periodSeconds") or 10)
    return int(probe.get("initialDelaySeconds") or 0) + rounds


def _times(spec: Json, which: str) -> str:
    probe = spec.get(f"{which}Probe") or {}
    if which == "startup":
        return f" for {_seconds(probe)} s" if probe else ""
    failures, period = probe.get("failureThreshold", 3), probe.get("periodSeconds", 10)
    return f" {failures} times in a row, every {period} s" if failures > 1 else ""


def _fix(spec: Json, which: str) -> str:
    probe = spec.get(f"{which}Probe") or {}
    return FIXES[which].format(
        seconds=_seconds(probe), timeout=probe.get("timeoutSeconds", 1), failures=probe.get("failureThreshold", 3)
    )
