"""The companion as a process of its own against a Kubernetes API that lists and watches."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from compute import certificates
from endpoints.pod import companion

PROGRAM = Path(companion.__file__)
NAMESPACES = re.compile(r"/namespaces/(ws|slipway-gw-ws-5)/")


def slice_of(service: str, *addresses: str, ready: bool | None = True, name: str = "") -> dict[str, Any]:
    conditions = {} if ready is None else {"ready": ready}
    return {
        "metadata": {
            "name": name or f"{service}-x",
            "labels": {"kubernetes.io/service-name": service},
            "resourceVersion": "5",
        },
        "ports": [{"port": 5001}],
        "endpoints": [{"addresses": [address], "conditions": conditions} for address in addresses],
    }


class Cluster:
    """A Kubernetes API for EndpointSlices: `items` is its state, `events` what a watch tells."""

    def __init__(self, folder: Path) -> None:
        certificate, key = certificates.make(["127.0.0.1"], datetime.now(UTC))
        (folder / "token").mkdir()
        (folder / "token" / "ca.crt").write_text(certificate)
        (folder / "token" / "token").write_text("the-token")
        (folder / "pair.pem").write_text(certificate + key)
        self.folder, self.port = folder, 0
        self.items: list[dict[str, Any]] = []
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.lists = 0
        self.server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                if self.headers["Authorization"] != "Bearer the-token" or not NAMESPACES.search(parts.path):
                    return self.send_error(403)
                self.send_response(200)
                self.end_headers()
                if "watch" in parse_qs(parts.query):
                    return cluster.stream(self.wfile)
                cluster.lists += 1
                self.wfile.write(json.dumps({"metadata": {"resourceVersion": "5"}, "items": cluster.items}).encode())
                return None

            def log_message(self, *args: object) -> None:
                """Quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "pair.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.daemon_threads, self.server, self.port = True, server, server.server_port
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def stream(self, out: Any) -> None:
        while (event := self.events.get()) is not None:
            out.write(json.dumps(event).encode() + b"\n")
            out.flush()

    def stop(self) -> None:
        self.events.put(None)
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()

    def tell(self, kind: str, item: dict[str, Any]) -> None:
        self.events.put({"type": kind, "object": item})


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    for name in ("config", "eds"):
        (tmp_path / name).mkdir()
    (tmp_path / "config" / "companion.json").write_text('{"namespaces": ["ws"]}')
    (tmp_path / "config" / "cds.json").write_text('{"resources": []}')
    made = Cluster(tmp_path)
    made.start()
    yield made
    made.stop()


def run(cluster: Cluster, mode: str) -> subprocess.Popen[bytes]:
    api = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(cluster.port)}
    env = {"PATH": os.environ["PATH"], "HTTPS_PROXY": "http://127.0.0.1:9", **api}
    return subprocess.Popen(
        [sys.executable, "-u", str(PROGRAM), mode], cwd=cluster.folder, env=env, stdout=subprocess.DEVNULL
    )


@contextlib.contextmanager
def watching(cluster: Cluster) -> Iterator[None]:
    process = run(cluster, "watch")
    try:
        yield
    finally:
        process.kill()
        process.wait()


def addresses(cluster: Cluster, service: str) -> list[str] | None:
    path = cluster.folder / "eds" / f"ws.{service}.json"
    if not path.exists():
        return None
    (resource,) = json.loads(path.read_text())["resources"]
    assert resource["cluster_name"] == f"ws/{service}"
    hosts = [host["endpoint"]["address"]["socket_address"] for host in resource["endpoints"][0]["lb_endpoints"]]
    assert {host["port_value"] for host in hosts} <= {5001}
    return [host["address"] for host in hosts]


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def test_init_writes_the_first_files_of_ready_replicas_and_ends(cluster: Cluster) -> None:
    cluster.items = [
        slice_of("a", "10.0.0.2", "10.0.0.1"),
        slice_of("b", "10.0.0.3", ready=False),
        slice_of("c", "10.0.0.4", ready=None),
    ]
    assert run(cluster, "init").wait(10) == 0
    assert addresses(cluster, "a") == ["10.0.0.1", "10.0.0.2"]
    assert addresses(cluster, "b") == []
    assert addresses(cluster, "c") == ["10.0.0.4"]


def test_init_leaves_no_cluster_of_the_table_without_a_file(cluster: Cluster) -> None:
    table = {"resources": [{"eds_cluster_config": {"service_name": "ws/gone"}}]}
    (cluster.folder / "config" / "cds.json").write_text(json.dumps(table))
    assert run(cluster, "init").wait(10) == 0
    assert addresses(cluster, "gone") == []


def test_init_waits_for_an_api_that_is_away(cluster: Cluster) -> None:
    cluster.stop()
    process = run(cluster, "init")
    time.sleep(0.5)
    assert process.poll() is None
    cluster.events = queue.Queue()
    cluster.items = [slice_of("a", "10.0.0.1")]
    cluster.start()
    assert process.wait(10) == 0
    assert addresses(cluster, "a") == ["10.0.0.1"]


def test_watch_follows_replicas_that_come_go_and_are_split_over_slices(cluster: Cluster) -> None:
    with watching(cluster):
        cluster.tell("ADDED", slice_of("a", "10.0.0.1", name="one"))
        until(lambda: addresses(cluster, "a") == ["10.0.0.1"])
        cluster.tell("ADDED", slice_of("a", "10.0.0.2", name="two"))
        until(lambda: addresses(cluster, "a") == ["10.0.0.1", "10.0.0.2"])
        cluster.tell("MODIFIED", slice_of("a", "10.0.0.1", name="one", ready=False))
        until(lambda: addresses(cluster, "a") == ["10.0.0.2"])
        cluster.tell("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
        cluster.tell("DELETED", slice_of("a", name="two"))
        until(lambda: addresses(cluster, "a") == [])


def test_watch_ends_at_once_when_it_is_asked_to(cluster: Cluster) -> None:
    cluster.items = [slice_of("a", "10.0.0.1")]
    process = run(cluster, "watch")
    until(lambda: addresses(cluster, "a") == ["10.0.0.1"])
    process.terminate()
    assert process.wait(5) == 0


def test_while_the_api_is_away_the_last_files_stay_and_afterwards_it_goes_on(cluster: Cluster) -> None:
    cluster.items = [slice_of("a", "10.0.0.1")]
    with watching(cluster):
        until(lambda: addresses(cluster, "a") == ["10.0.0.1"])
        cluster.stop()
        time.sleep(0.7)
        assert addresses(cluster, "a") == ["10.0.0.1"]
        cluster.events, cluster.items = queue.Queue(), [slice_of("a", "10.0.0.9"), slice_of("b", "10.0.0.8")]
        cluster.start()
        until(lambda: addresses(cluster, "a") == ["10.0.0.9"] and addresses(cluster, "b") == ["10.0.0.8"])


def test_a_service_that_went_while_the_watch_was_too_old_is_emptied(cluster: Cluster) -> None:
    cluster.items = [slice_of("a", "10.0.0.1")]
    with watching(cluster):
        until(lambda: addresses(cluster, "a") == ["10.0.0.1"])
        cluster.items = []
        cluster.tell("ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"})
        until(lambda: addresses(cluster, "a") == [])
        assert cluster.lists == 2


def test_watch_takes_a_cluster_that_is_added_to_the_table_later(cluster: Cluster) -> None:
    with watching(cluster):
        table = {"resources": [{"eds_cluster_config": {"service_name": "ws/late"}}]}
        (cluster.folder / "config" / "cds.json").write_text(json.dumps(table))
        until(lambda: addresses(cluster, "late") == [])


def test_an_equal_list_touches_no_file(cluster: Cluster) -> None:
    cluster.items = [slice_of("a", "10.0.0.1")]
    assert run(cluster, "init").wait(10) == 0
    before = (cluster.folder / "eds" / "ws.a.json").stat().st_ino
    assert run(cluster, "init").wait(10) == 0
    assert (cluster.folder / "eds" / "ws.a.json").stat().st_ino == before
