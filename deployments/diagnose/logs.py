"""What proves a trouble: lines of logs and events, without secrets, and the one line that says most. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from deployments.diagnose.facts import Json, Scene, Trouble, in_order, is_about, moment, name_of

MOST = 4000  # characters of evidence
EVENTS = 10
TRACEBACK = "Traceback (most recent call"
WRAPPER = "UserScriptException"  # the server's own, around what the entry script raised
KILLED_WORKER = re.compile(r"Worker \(pid: ?\d+\) was sent SIGKILL! Perhaps out of memory\?")
FETCH = "fetch failed: "
# (what the fetching container says, the fix)
FETCH_FIXES = (
    (r"cannot be reached|timed out|refused|resolve|unreachable",
     "Let the nodes reach the portal (URL_FOR_CLUSTERS), or keep code and models in Azure Blob storage."),
    (r"CERTIFICATE_VERIFY_FAILED|certificate verify failed", "Give CA_FILE_FOR_CLUSTERS the CA of the portal."),
    (r"answered 40[0-9]", "Update it again: that renews what the replica may read."),
    (r"answered 5\d\d|status 5\d\d", "See the log of the portal, then update it again."),
    (r"damaged|sha256|SHA-256|hash", "What is stored is not what was uploaded: register or upload it anew."),
    (r"No space left|Errno 28|Disk quota", "The disk is full: deploy fewer or smaller models, or take bigger disks."),
)  # fmt: skip
SECRETS = (
    re.compile(r"((?:\bsig|secret|token|password|passwd|pwd|accountkey|sharedaccesskey|instrumentationkey|api[_-]?key"
               r"|access[_-]?key|connectionstring)['\"]?(?::|\s?=)\s*['\"]?)[^\s'\"&;,]{4,}", re.I),
    re.compile(r"((?:Bearer|Basic) )[\w.~+/=-]{8,}"),
    re.compile(r"(://[^/\s:@]+:)[^/\s@]+(?=@)"),
    re.compile(r"()\beyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]+"),
)  # fmt: skip


def mask(text: str) -> str:
    """The text without what looks like a secret."""
    for pattern in SECRETS:
        text = pattern.sub(r"\1***", text)
    return text


def with_log(found: Trouble, log: str) -> Trouble:
    """The trouble with what its container's log says of the cause."""
    cause = mask(last_cause(log)) or _fetch_cause(log)
    if found.kind == "fetch" and cause:
        fix = next((fix for words, fix in FETCH_FIXES if re.search(words, cause)), found.fix)
        return replace(found, text=f"{found.text} {cause}", fix=fix)
    if KILLED_WORKER.search(log) and found.kind != "memory":
        text = f"{found.text} Its log says that workers were killed, as if for want of memory."
        return replace(found, text=text, fix="Raise memoryInGBLimit, load less, or use fewer workers.")
    return replace(found, text=f"{found.text} {cause}".strip())


def _fetch_cause(log: str) -> str:
    lines = [line for line in log.splitlines() if line.startswith(FETCH)]
    return mask(lines[-1].removeprefix(FETCH))[:300] if lines else ""


def evidence(found: Trouble, scene: Scene, log: str = "") -> str:
    """The end of the log, else the newest events of what is in trouble, after the cluster's own words."""
    if log.strip():
        return mask(log)[-MOST:]
    lines = events_text(_events(found, scene))
    said = found.said.strip()
    head = f"{said}\n" if said and said not in lines else ""
    return mask(head + lines)[-MOST:].strip()


def _events(found: Trouble, scene: Scene) -> list[Json]:
    pod = next((each for each in scene.pods if name_of(each) == found.pod), None)
    if pod is not None:
        return in_order(each for each in scene.events if is_about(each, pod))
    return scene.of_workload()


def events_text(events: Iterable[Json]) -> str:
    """Events as lines, the newest last, at most ten."""
    rows = sorted(events, key=moment)[-EVENTS:]
    return "\n".join(f"{event.get('type')} {event.get('reason')}: {event.get('message')}" for event in rows)


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
