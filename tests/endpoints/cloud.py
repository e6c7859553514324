"""A compute target whose cluster is the sandbox's API server: ARM at the socket hands out its kubeconfig."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.sandbox.kube.conftest import CLUSTER, Server

TOKEN = "arm-token"  # noqa: S105


@contextmanager
def sandbox(folder: Path) -> Iterator[Server]:
    """An API server in a thread, without controllers: nothing runs there."""
    found = Server(folder)
    thread = threading.Thread(target=found.loop.run_forever, daemon=True)
    thread.start()
    found.run(found.start())
    yield found
    found.run(found.runner.cleanup())
    found.call(found.db.close)
    found.loop.call_soon_threadsafe(found.loop.stop)
    thread.join(5)


@contextmanager
def arm(kubeconfig: bytes) -> Iterator[str]:
    """The URL of an Azure that knows one thing: the kubeconfig of every cluster."""
    value = base64.b64encode(kubeconfig).decode()
    answer = json.dumps({"kubeconfigs": [{"name": "clusterUser", "value": value}]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            known = self.headers["Authorization"] == f"Bearer {TOKEN}" and "listClusterUserCredential" in self.path
            self.send_response(200 if known else 401)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(answer if known else b'{"error": {"code": "AuthenticationFailed", "message": "no"}}')

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Kubectl:
    """The real kubectl, signed in as a user of the sandbox's cluster."""

    def __init__(self, server: Server, folder: Path) -> None:
        (folder / "config").write_bytes(server.kube.kubeconfig(CLUSTER, "clusterUser", server.url))
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "KUBECONFIG": str(folder / "config"),
            "NO_PROXY": "127.0.0.1",
        }  # fmt: skip

    def __call__(self, *words: str, send: str = "") -> subprocess.CompletedProcess[str]:
        """Run it; the caller judges the exit code."""
        return subprocess.run(
            ["kubectl", *words], input=send, capture_output=True, text=True, timeout=60, env=self.env, check=False
        )
