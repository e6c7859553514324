"""Whose the fields of a Kubernetes object are by its `managedFields`, and what changed since we applied it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Json = dict[str, Any]
Mark = dict[str, str]
MANAGER = "slipway"
WATCHED = (
    "spec",
    "data",
    "type",
    "rules",
    "roleRef",
    "subjects",
)  # what somebody adds elsewhere changes nothing of ours
REPLICAS = ("f:spec", "f:replicas")  # told in numbers, or an autoscaler's
RESTARTED = "f:kubectl.kubernetes.io/restartedAt"  # `kubectl rollout restart` runs the same again
OWNERS = ("slipway.dev/deployment", "slipway.dev/gateway")
NO_MARK = {"uid": "", "fields": "", "time": ""}
SHOWN = 3


def key(obj: Json) -> str:
    """How an object is named among those of a cluster: "Deployment ws-a/iris-4"."""
    meta = obj["metadata"]
    return (
        f"{obj['kind']} {meta['namespace']}/{meta['name']}"
        if meta.get("namespace")
        else f"{obj['kind']} {meta['name']}"
    )


def mark(obj: Json) -> Mark:
    """What tells later whether an object, as the server showed it after our apply, is still that one."""
    mine = _mine(obj)
    paths = sorted("/".join(path) for path in _paths(mine.get("fieldsV1") or {}) if path != REPLICAS)
    digest = hashlib.sha256(json.dumps(paths).encode()).hexdigest()[:16] if paths else ""
    return {"uid": str(obj["metadata"].get("uid", "")), "fields": digest, "time": str(mine.get("time") or "")}


def marks(objects: Iterable[Json]) -> dict[str, Mark]:
    """The marks of what an apply answered; nothing of a server that does not tell owners.

    Of what several deployments share, such as a namespace, only that it is there counts: each of them applies it.
    """
    found = {key(obj): mark(obj) if _is_owned(obj) else dict(NO_MARK) for obj in objects if obj.get("kind")}
    for name, one in found.items():
        if name.startswith("Secret "):  # the portal renews what is in some, beside any deployment
            found[name] = {**NO_MARK, "uid": one["uid"]}
    return found if any(one["fields"] for one in found.values()) else {}


def _is_owned(obj: Json) -> bool:
    labels = obj["metadata"].get("labels") or {}
    return any(labels.get(name) for name in OWNERS)


def changes(obj: Json, before: Mark) -> str:
    """What others did to an object since our apply, as the end of a sentence ("was …"); empty when nothing."""
    if before == NO_MARK:
        return ""
    now = mark(obj)
    if now["uid"] != before["uid"]:
        return "was deleted and made anew"
    others = [f"{', '.join(paths)} by {manager}" for manager, paths in strangers(obj)]
    if others:
        return f"was changed: {'; '.join(others)}"
    if before["fields"] not in ("", now["fields"]):
        return "lost fields that the portal had set"
    return "was applied anew under the portal's name" if before["time"] not in ("", now["time"]) else ""


def strangers(obj: Json) -> list[tuple[str, list[str]]]:
    """Other managers with the fields that they own of what an object does, a few of each."""
    found: dict[str, list[str]] = {}
    for row in obj["metadata"].get("managedFields") or []:
        if row.get("manager") == MANAGER or row.get("subresource"):
            continue
        for path in _paths(row.get("fieldsV1") or {}):
            if _counts(path):
                found.setdefault(str(row.get("manager")), []).append(show(path))
    return [(manager, _few(sorted(paths))) for manager, paths in found.items()]


def additions(obj: Json) -> list[str]:
    """JSON pointers of what only others own of what an object does, in an order in which all can be removed."""
    mine = set(_paths(_mine(obj).get("fieldsV1") or {}))
    found: set[tuple[str, ...]] = set()
    for row in obj["metadata"].get("managedFields") or []:
        if row.get("manager") != MANAGER and not row.get("subresource"):
            found |= {path for path in _paths(row.get("fieldsV1") or {}) if _counts(path)}
    found = {path for path in found if not any(each[: len(path)] == path for each in mine)}
    outer = [path for path in found if not any(path[:end] in found for end in range(1, len(path)))]
    places = [place for place in (_place(obj, path) for path in outer) if place]
    places.sort(key=lambda place: [(isinstance(part, int), part if isinstance(part, int) else 0) for part in place])
    return ["".join(f"/{_escaped(part)}" for part in place) for place in reversed(places)]


def _place(obj: Json, path: tuple[str, ...]) -> list[str | int]:
    """Where a path is in an object, list items by their number; nothing when it is not there."""
    here: Any = obj
    place: list[str | int] = []
    for element in path:
        kind, rest = element[:2], element[2:]
        part: str | int | None = None
        if kind == "f:" and isinstance(here, dict):
            part = rest if rest in here else None
        elif isinstance(here, list):
            part = next((number for number, item in enumerate(here) if _is_item(item, kind, rest)), None)
        if part is None:
            return []
        place.append(part)
        here = here[part]
    return place


def _is_item(item: Any, kind: str, rest: str) -> bool:
    wanted = json.loads(rest)
    if kind == "v:":
        return bool(item == wanted)
    return isinstance(item, dict) and all(item.get(name) == value for name, value in wanted.items())


def _escaped(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


def _counts(path: tuple[str, ...]) -> bool:
    return path[0][2:] in WATCHED and path != REPLICAS and RESTARTED not in path


def _few(paths: list[str]) -> list[str]:
    """Leaves rather than what is above them, and not too many."""
    leaves = [path for path in paths if not any(other != path and other.startswith(path) for other in paths)]
    return leaves[:SHOWN] + ([f"{len(leaves) - SHOWN} more"] if len(leaves) > SHOWN else [])


def _mine(obj: Json) -> Mapping[str, Any]:
    rows = obj["metadata"].get("managedFields") or []
    ours = (row for row in rows if row.get("manager") == MANAGER and row.get("operation") == "Apply")
    return next((row for row in ours if not row.get("subresource")), {})


def _paths(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of a FieldsV1 tree: leaves, and items and maps that are owned themselves (".")."""
    for name, below in tree.items():
        if name == ".":
            yield above
        elif below:
            yield from _paths(below, (*above, name))
        else:
            yield (*above, name)


def show(path: tuple[str, ...]) -> str:
    """A path as people write it: spec.template.spec.containers[server].image."""
    text = ""
    for element in path:
        kind, rest = element[:2], element[2:]
        if kind == "k:":
            text += f"[{','.join(str(value) for value in json.loads(rest).values())}]"
        else:
            text += f"[{rest}]" if kind in ("v:", "i:") else f".{rest}"
    return text.lstrip(".")
