"""get, list and watch."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from compute.sandbox.kube import tables
from compute.sandbox.kube.call import Call
from compute.sandbox.kube.changes import Change, Subscription
from compute.sandbox.kube.errors import ApiError, bad_request, not_found
from compute.sandbox.kube.selectors import field_test, label_test
from compute.sandbox.kube.streaming import LOOK_SECONDS, is_gone

Json = dict[str, Any]
BOOKMARK_SECONDS = 30
DEFAULT_WATCH_SECONDS = 1800


def answer(call: Call, body: Json, status: int = 200) -> web.Response:
    """A JSON answer with the warnings gathered on the way; as a Table where the client asks for one."""
    body = tables.maybe_table(call, body)
    response = web.json_response(body, status=status)
    for text in call.warnings:
        response.headers.add("Warning", f"299 - {json.dumps(text)}")
    return response


def current(call: Call) -> Json:
    """The object that the path names, or 404."""
    obj = call.store.get(call.cluster, call.kind.resource, call.namespace, call.name)
    if obj is None:
        raise not_found(call.kind, call.name)
    return obj


async def get(call: Call) -> web.StreamResponse:
    """GET of one object."""
    return answer(call, current(call))


async def list_or_watch(call: Call) -> web.StreamResponse:
    """GET of a collection."""
    wanted = collection_test(call)
    if call.flag("watch"):
        return await _watch(call, wanted)
    return answer(call, _list(call, wanted))


def collection_test(call: Call) -> Callable[[Json], bool]:
    """The test that the selectors, and the name or namespace in the path, make."""
    labels = label_test(call.query("labelSelector"))
    fields = field_test(call.kind.resource, call.query("fieldSelector"))
    name = call.target.name
    return lambda obj: (
        (name is None or obj["metadata"]["name"] == name)
        and labels(obj)
        and fields(obj)
        and call.namespace in (None, obj["metadata"].get("namespace"))
    )


def _list(call: Call, wanted: Callable[[Json], bool]) -> Json:
    rows = call.store.list(call.cluster, call.kind.resource, call.namespace, wanted)
    version, rows, after, left = _page(call, rows)
    for row in rows:
        row.pop("kind", None)
        row.pop("apiVersion", None)
    meta: Json = {"resourceVersion": version}
    if after:
        meta |= {"continue": after}
        if not (call.query("labelSelector") or call.query("fieldSelector")):
            meta["remainingItemCount"] = left
    return {"kind": f"{call.kind.kind}List", "apiVersion": call.kind.api_version, "metadata": meta, "items": rows}


def _page(call: Call, rows: list[Json]) -> tuple[str, list[Json], str, int]:
    """One page by `limit` and `continue`. The token holds the first page's version and the last key given."""
    version, limit = str(call.store.version), call.number("limit") or 0
    token = call.query("continue")
    if token:
        version, namespace, name = _read_token(token)
        rows = [row for row in rows if _key(row) > (namespace, name)]
    if not limit or len(rows) <= limit:
        return version, rows, "", 0
    last = _key(rows[limit - 1])
    after = base64.urlsafe_b64encode(json.dumps([version, *last]).encode()).decode()
    return version, rows[:limit], after, len(rows) - limit


def _key(row: Json) -> tuple[str, str]:
    return row["metadata"].get("namespace") or "", row["metadata"]["name"]


def _read_token(token: str) -> tuple[str, str, str]:
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise bad_request("continue key is not valid: illegal base64 data") from error
    return str(version), str(namespace), str(name)


# --- watch


async def _watch(call: Call, wanted: Callable[[Json], bool]) -> web.StreamResponse:
    try:
        backlog, stream = _open(call, wanted)
    except ApiError as error:
        if error.status != 410:
            raise
        # As the real server: the refusal comes inside the stream.
        line = json.dumps({"type": "ERROR", "object": error.body()}) + "\n"
        return web.Response(text=line, content_type="application/json")
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"})
    try:
        await response.prepare(call.request)
        for obj in backlog:
            await _send(call, response, "ADDED", obj)
        await _follow(call, response, stream, wanted)
        await response.write_eof()
    except ConnectionError:
        pass
    finally:
        stream.close()
    return response


def _open(call: Call, wanted: Callable[[Json], bool]) -> tuple[list[Json], Subscription]:
    """What to send first, and the stream after it. Without a version (or "0"): all that exists, then changes."""
    text = call.query("resourceVersion")
    store, resource = call.store, call.kind.resource
    if text in ("", "0"):
        stream = store.watch(call.cluster, resource, call.namespace, store.version)
        return store.list(call.cluster, resource, call.namespace, wanted), stream
    try:
        since = int(text)
    except ValueError as error:
        raise bad_request(f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax') from error
    return [], store.watch(call.cluster, resource, call.namespace, since)


async def _follow(
    call: Call, response: web.StreamResponse, stream: Subscription, wanted: Callable[[Json], bool]
) -> None:
    clock = asyncio.get_running_loop().time
    end = clock() + (call.number("timeoutSeconds") or DEFAULT_WATCH_SECONDS)
    bookmark = min(clock() + BOOKMARK_SECONDS, end)
    while clock() < end and not is_gone(call.request):
        try:
            change = await asyncio.wait_for(stream.next_change(), max(0.0, min(LOOK_SECONDS, bookmark - clock())))
        except TimeoutError:
            if clock() >= bookmark:
                bookmark = min(clock() + BOOKMARK_SECONDS, end)
                await _bookmark(call, response)
            continue
        if change is None or not call.host.kube.is_running(call.cluster):
            return
        seen = _as_seen(change, wanted)
        if seen is not None:
            await _send(call, response, seen, change.obj)


def _as_seen(change: Change, wanted: Callable[[Json], bool]) -> str | None:
    """The event's type through a selector: an object that starts or ceases to match is ADDED or DELETED."""
    before = change.previous is not None and wanted(change.previous)
    now = change.type != "DELETED" and wanted(change.obj)
    if now:
        return "MODIFIED" if before else "ADDED"
    return "DELETED" if before else None


async def _send(call: Call, response: web.StreamResponse, type_: str, obj: Json) -> None:
    body = tables.maybe_table(call, obj)
    await response.write(json.dumps({"type": type_, "object": body}).encode() + b"\n")


async def _bookmark(call: Call, response: web.StreamResponse) -> None:
    if not call.flag("allowWatchBookmarks"):
        return
    meta = {"resourceVersion": str(call.store.version), "creationTimestamp": None}
    obj: Json = {"kind": call.kind.kind, "apiVersion": call.kind.api_version, "metadata": meta}
    table = tables.maybe_table(call, {**obj, "kind": f"{call.kind.kind}List", "items": []})
    obj = table if table["kind"] == "Table" else obj
    await response.write(json.dumps({"type": "BOOKMARK", "object": obj}).encode() + b"\n")
