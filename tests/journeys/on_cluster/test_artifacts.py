"""Code and models in Blob: replicas start while the portal is down; what was changed there is refused. And builds."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.files.base import ContentFile

from compute.blobs import BlobStorage
from deployments.artifacts import path_of
from portal.launcher.demo.client import Api
from tests.journeys.crash.house import CLUSTER, Caller, House, until, what
from tests.journeys.test_contract import ask

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
DOWN = ("web", "web-tls", "worker", "beat")


@contextmanager
def portal_down(house: House) -> Iterator[None]:
    """Web servers, worker and beat are killed, and nobody starts them again until the end of the block."""
    supervisor, pids = int(house.file("run", "lock").read_text()), house.pids()
    os.kill(supervisor, signal.SIGSTOP)
    try:
        for name in DOWN:
            os.kill(pids[name], signal.SIGKILL)
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)
        until(lambda: set(DOWN) <= set(house.pids()), 60, "the portal runs again")


def pods(kube: Any, version: str) -> dict[str, bool]:
    """Names of the replicas of a version, and which are ready."""
    found = kube.list_pod_for_all_namespaces(label_selector="slipway.dev/deployment").items
    mine = [pod for pod in found if pod.metadata.name.startswith(version)]
    return {pod.metadata.name: _is_ready(pod) for pod in mine if pod.metadata.deletion_timestamp is None}


def is_replaced(kube: Any, old: str) -> bool:
    """Whether one replica of v1 is there, ready, and another than that one."""
    found = pods(kube, "main-v1")
    return old not in found and list(found.values()) == [True]


def _is_ready(pod: Any) -> bool:
    return bool(pod.status.container_statuses) and all(each.ready for each in pod.status.container_statuses)


def namespace_of(kube: Any, name: str) -> str:
    (pod,) = [each for each in kube.list_pod_for_all_namespaces().items if each.metadata.name == name]
    return str(pod.metadata.namespace)


def test_a_replica_that_is_deleted_while_the_portal_is_down_comes_back_and_serves(yard: House, kube: Any) -> None:
    api = yard.api()
    key = api.call("POST", "endpoints/main/keys/")["primary"]
    caller = Caller(api.get("endpoints/main/")["scoring_uri"], key)
    (old,) = pods(kube, "main-v1")
    with portal_down(yard):
        kube.delete_namespaced_pod(old, namespace_of(kube, old))
        until(lambda: is_replaced(kube, old), 60, "another replica is ready")
        with caller.scoring():
            until(lambda: caller.counted["v1"] > 20, 30, "the new replica answers")
        (new,) = pods(kube, "main-v1")
        log = kube.read_namespaced_pod_log(new, namespace_of(kube, new), container="fetch")
    assert "name.txt: 3 bytes" in log
    assert "sig=" not in log


def test_a_model_that_was_changed_in_the_storage_is_refused_by_its_hash_and_the_rest_serves(
    yard: House, kube: Any
) -> None:
    api = yard.api()
    made = api.upload("models/", {"name": "changed", "paths": "name.txt"}, ("name.txt", b"first"))
    home = json.loads(yard.file("home.json").read_text())
    storage = BlobStorage(
        account_url=f"http://127.0.0.1:{home['ports']['arm']}/slipwaysandbox", azure_container="slipway",
        account_key=yard.file("blob_key").read_text(),
    )  # fmt: skip
    name = path_of(made["files"][0]["sha256"])
    storage.delete(name)
    storage.save(name, ContentFile(b"f1rst"))
    asked = {"name": "changed", "compute_target": CLUSTER, **what("changed:1")}
    started = api.call("POST", "services/", asked)
    op = until(lambda: _ended(api, started), 90, "the deployment fails")
    assert op["state"] == "Failed"
    assert "name.txt arrived damaged: its SHA-256 is " in op["error"]["evidence"]
    assert "sig=" not in json.dumps(op)
    assert api.get("endpoints/main/")["versions"]["v1"]["ready_replicas"] == 1


def _ended(api: Api, started: dict[str, Any]) -> dict[str, Any] | None:
    op: dict[str, Any] = api.get(started["url"])
    return op if op["state"] in ("Failed", "Succeeded") else None


def test_the_log_of_a_build_grows_while_it_runs_and_equal_content_is_built_once(yard: House) -> None:
    api, seen = yard.api(), set()
    api.call("POST", "environments/", {"name": "grows", "pip": ["joblib", "six"]})
    started = api.call("POST", "environments/grows/1/build/")

    def built() -> bool:
        state = api.get("environments/grows/1/log/")
        if state["state"] == "Building":
            seen.add(len(state["log"]))
        return bool(state["state"] == "Succeeded")

    until(built, 120, "the environment is built", 0.05)
    assert max(seen) > 0, "nothing was seen of the log before the end"
    lines = [line["text"] for line in api.get(f"{started['url']}log/")["items"]]
    assert any("joblib" in line for line in lines)
    twin = api.call("POST", "environments/", {"name": "twin", "pip": ["six", "joblib"]})
    first = api.get("environments/grows/1/")
    assert (twin["state"], twin["image"], twin["same_as"]) == ("Succeeded", first["image"], "grows:1")


def test_a_cancelled_build_is_stopped_in_the_registry_and_can_be_built_anew(yard: House) -> None:
    api = yard.api()
    api.call("POST", "environments/", {"name": "stopped", "pip": ["scikit-learn"]})
    started = api.call("POST", "environments/stopped/1/build/")
    until(lambda: api.get("environments/stopped/1/")["state"] == "Building", 30, "the build runs", 0.05)
    api.call("POST", f"{started['url']}cancel/")
    until(lambda: api.get(started["url"])["state"] == "Cancelled", 30, "the operation is cancelled")
    assert runs(yard)[0]["properties"]["status"] == "Canceled"
    assert api.get("environments/stopped/1/")["state"] == "Failed"


def runs(yard: House) -> list[dict[str, Any]]:
    """The runs of the registry, newest first."""
    known = json.loads(yard.file("credentials.json").read_text())
    registry = f"subscriptions/{known['subscription_id']}/resourceGroups/slipway/providers/Microsoft.ContainerRegistry"
    url = f"{known['arm_url']}/{registry}/registries/slipwaysandbox/runs?api-version=2019-06-01-preview"
    return list(ask(url, Authorization=f"Bearer {known['arm_token']}").json()["value"])
