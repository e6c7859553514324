"""What is under way in all gateway pods, as an autoscaler in the cluster reads it: a real Envoy with its companion, and
another gateway pod at the socket."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from compute import certificates
from endpoints import gateway
from endpoints.pod import companion
from endpoints.types import AuthMode
from tests.endpoints.box import ADDRESS, BLOCK, SECRET, Box, Replica, view
from tests.endpoints.test_companion import PROGRAM, Cluster, slice_of

OTHER = f"{BLOCK}.8"
PAGE = "cluster.open/a.upstream_rq_active: 2\ncluster.open/a.upstream_rq_pending_active: 3\ncluster.x: 9\n"


class OtherPod(ThreadingHTTPServer):
    """A gateway pod beside ours: `status` is what it answers to who has the secret."""

    status = 200
    asked: list[str]

    def __init__(self) -> None:
        pod = self
        pod.asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pod.asked.append(self.path)
                known = self.headers["x-slipway-probe"] == SECRET
                self.send_response(pod.status if known else 404)
                self.end_headers()
                self.wfile.write(PAGE.encode() if known else b"")

            def log_message(self, *args: object) -> None:
                """Quiet."""

        super().__init__((OTHER, companion.PROBE_PORT), Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture(scope="module")
def other() -> Iterator[OtherPod]:
    made = OtherPod()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture(scope="module")
def cluster(other: OtherPod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("pod")
    box, made, replica = Box(folder), Cluster(folder), Replica("a", f"{BLOCK}.41")
    box.replicas("ws-a/a", replica)
    made.items = [slice_of("slipway-gateway-numbers", ADDRESS, OTHER)]
    made.start()
    versions = (gateway.VersionView("a", "ws-a/a", 10000, queue=8),)
    env = {
        "PATH": os.environ["PATH"], "KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(made.port),
        "POD_IP": ADDRESS,
    }  # fmt: skip
    pair = certificates.make([ADDRESS], datetime.now(UTC))
    endpoint = gateway.EndpointView("open", AuthMode.NONE, "x", (), versions)
    with box.running(view(endpoint, namespaces=("ws",), tls_certificate=pair[0], tls_key=pair[1])):
        process = subprocess.Popen([sys.executable, str(PROGRAM), "watch"], cwd=folder, env=env)
        while not (folder / companion.NUMBERS).exists():
            time.sleep(0.02)
        yield made
        process.kill()
        process.wait()
    made.stop()
    replica.shutdown()
    replica.server_close()


def ask(path: str = "/in-flight", secret: str = SECRET, method: str = "GET") -> tuple[int, Any]:
    connection = http.client.HTTPConnection(ADDRESS, companion.PROBE_PORT, timeout=5)
    connection.request(method, path, headers={"x-slipway-probe": secret})
    response = connection.getresponse()
    text = response.read()
    return response.status, json.loads(text) if response.status == 200 else None


def score(seconds: float) -> None:
    connection = http.client.HTTPConnection(ADDRESS, 8080, timeout=20)
    connection.request("POST", "/api/v1/service/open/score", json.dumps({"sleep": seconds}))
    connection.getresponse().read()


def until(wanted: dict[str, int]) -> None:
    end = time.monotonic() + 5
    while (told := ask()) != (200, wanted):
        assert time.monotonic() < end, told
        time.sleep(0.1)


def test_waiting_and_running_requests_of_all_gateway_pods_are_added_up(cluster: Cluster) -> None:
    until({"open/a": 5})
    with ThreadPoolExecutor(3) as pool:
        scores = [pool.submit(score, 2.5) for _ in range(3)]  # one runs, two wait
        until({"open/a": 8})
        assert [each.result() for each in scores] == [None] * 3
    until({"open/a": 5})


def test_without_the_secret_and_for_other_methods_there_is_nothing(cluster: Cluster) -> None:
    assert [ask(secret="wrong")[0], ask(secret="")[0], ask(method="POST")[0]] == [404, 404, 404]


def test_a_pod_that_does_not_answer_makes_no_smaller_sum(cluster: Cluster, other: OtherPod) -> None:
    until({"open/a": 5})
    other.status = 500
    try:
        time.sleep(companion.FRESH_SECONDS)
        assert ask()[0] == 503
    finally:
        other.status = 200
    until({"open/a": 5})


def test_many_readers_cost_each_pod_one_question_a_second(cluster: Cluster, other: OtherPod) -> None:
    until({"open/a": 5})
    before = len(other.asked)
    began = time.monotonic()
    assert all(ask()[0] == 200 for _ in range(40))
    assert len(other.asked) - before <= 2 + (time.monotonic() - began) / companion.FRESH_SECONDS


def test_names_with_dots_and_slashes_of_envoy_itself_are_not_taken_for_versions() -> None:
    page = (
        "cluster.admin.upstream_rq_active: 7\ncluster.iris/v-1.upstream_rq_active: 1\nx.iris/v2.upstream_rq_active: 4\n"
    )
    assert companion.add_up([page, page]) == {"iris/v-1": 2}
    assert Path(companion.NUMBERS).parent == Path(companion.ADMIN).parent
