"""Watches: from a version, through selectors, bookmarks, 410."""

import json
import threading
import time
from typing import Any

from compute.sandbox.kube.changes import RING

Json = dict[str, Any]


def _make(http: Any, namespace: str, name: str, **labels: str) -> Json:
    body = {"metadata": {"name": name, "labels": labels}, "data": {"x": "1"}}
    doc: Json = http("POST", f"api/v1/namespaces/{namespace}/configmaps", body).json()
    return doc


def _watch(http: Any, path: str, **query: Any) -> list[Json]:
    answer = http("GET", path, watch="true", **query)
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_watch_resumes_from_a_version_and_misses_nothing(http, namespace):
    path = f"api/v1/namespaces/{namespace}/configmaps"
    start = http("GET", path).json()["metadata"]["resourceVersion"]
    _make(http, namespace, "a")
    http("PATCH", f"{path}/a", {"data": {"x": "2"}}, "application/merge-patch+json")
    http("DELETE", f"{path}/a")
    seen = _watch(http, path, resourceVersion=start, timeoutSeconds=1)
    assert [event["type"] for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in seen]
    assert versions == sorted(set(versions))


def test_a_watch_without_a_version_starts_with_what_is(http, namespace):
    _make(http, namespace, "a")
    path = f"api/v1/namespaces/{namespace}/configmaps"
    seen = _watch(http, path, timeoutSeconds=1, fieldSelector="metadata.name=a")
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in seen] == [("ADDED", "a")]


def test_a_live_change_arrives_while_the_watch_is_open(http, namespace):
    path = f"api/v1/namespaces/{namespace}/configmaps"
    start = http("GET", path).json()["metadata"]["resourceVersion"]
    late = threading.Timer(0.3, _make, (http, namespace, "late"))
    late.start()
    seen = _watch(http, path, resourceVersion=start, timeoutSeconds=1)
    late.join()
    assert [event["object"]["metadata"]["name"] for event in seen] == ["late"]


def test_an_object_that_leaves_a_selector_is_seen_as_deleted(http, namespace):
    path = f"api/v1/namespaces/{namespace}/configmaps"
    start = http("GET", path).json()["metadata"]["resourceVersion"]
    _make(http, namespace, "a", go="yes")
    merge = "application/merge-patch+json"
    http("PATCH", f"{path}/a", {"metadata": {"labels": {"go": "no"}}}, merge)
    http("PATCH", f"{path}/a", {"metadata": {"labels": {"go": "yes"}}}, merge)
    seen = _watch(http, path, resourceVersion=start, timeoutSeconds=1, labelSelector="go=yes")
    assert [event["type"] for event in seen] == ["ADDED", "DELETED", "ADDED"]


def test_a_bookmark_tells_the_version(http, namespace):
    path = f"api/v1/namespaces/{namespace}/configmaps"
    start = http("GET", path).json()["metadata"]["resourceVersion"]
    seen = _watch(http, path, resourceVersion=start, timeoutSeconds=1, allowWatchBookmarks="true")
    assert [event["type"] for event in seen] == ["BOOKMARK"]
    assert int(seen[0]["object"]["metadata"]["resourceVersion"]) >= int(start)


def test_a_version_that_is_too_old_is_a_410_in_the_stream(server, http, namespace):
    start = http("GET", "api/v1/configmaps").json()["metadata"]["resourceVersion"]
    made = _make(http, namespace, "a")

    def overflow() -> None:
        for turn in range(RING + 1):
            made["data"] = {"x": str(turn)}
            made["metadata"].pop("resourceVersion", None)
            server.store.update("c1", "configmaps", made)

    server.call(overflow)
    seen = _watch(http, "api/v1/configmaps", resourceVersion=start, timeoutSeconds=1)
    assert [(event["type"], event["object"]["code"], event["object"]["reason"]) for event in seen] == [
        ("ERROR", 410, "Expired")
    ]


def test_a_watch_ends_soon_after_its_client_has_gone(server, http, namespace):
    listeners = server.store._hub._listeners
    before = len(listeners)
    path = f"{http.base}/api/v1/namespaces/{namespace}/configmaps"
    answer = http.session.get(path, params={"watch": "true"}, stream=True, timeout=5)
    assert len(listeners) == before + 1
    answer.close()
    http.session.close()
    end = time.monotonic() + 5
    while len(listeners) > before and time.monotonic() < end:
        time.sleep(0.05)
    assert len(listeners) == before
