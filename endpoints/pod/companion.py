"""Tells Envoy which replicas are ready: EndpointSlices of the cluster in, one EDS file per headless Service out.

Runs in the gateway pod with plain Python 3.9 or later, in the folder that holds config/, eds/, run/ and token/.
`companion.py init` writes the first files and ends; `companion.py watch` follows the cluster for good. While the
cluster's API is away the last files stay, so scoring goes on. `companion.py drain` sends Envoy's callers to another
gateway before the pod ends. While it watches it also tells what is under way in all gateway pods together.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import signal
import socket
import socketserver
import ssl
import sys
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler
from typing import Any

CONFIG, TABLE, TOKEN, AUTHORITY, OUT = "config/companion.json", "config/cds.json", "token/token", "token/ca.crt", "eds"
ASSIGNMENT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
WATCH_SECONDS, SOCKET_SECONDS, LONGEST_PAUSE = 50, 60, 2.0
ADMIN, DRAINING, DRAINED = "run/admin.sock", "run/draining", "run/drained"
# Of callers: connected now, requests ever (not connections: probes open those, too), waiting for an answer now.
STATISTICS = ("cx_active", "rq_total", "rq_active")
NUMBERS, PROBE_HEADER, PROBE_PORT, FRESH_SECONDS = "run/numbers.sock", "x-slipway-probe", 9902, 1.0
UNDER_WAY = re.compile(r"^cluster\.([^/.\n]+/[^/.\n]+)\.upstream_rq_(?:pending_)?active: (\d+)$", re.M)
STATS = "/stats?filter=" + urllib.parse.quote(r"^cluster\.[^/]+/[^.]+\.upstream_rq_(pending_)?active$")


class Expired(Exception):
    """The watch is too old: list again."""


class Api:
    """The cluster's API with the pod's own token, which is read anew each time because it is renewed on disk."""

    def __init__(self) -> None:
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        self._base = f"https://[{host}]:{port}" if host.count(":") > 1 else f"https://{host}:{port}"

    def open(self, namespace: str, **query: Any) -> Any:
        """A response to read from: the slices of a namespace, or a watch on them."""
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?{urllib.parse.urlencode(query)}"
        with open(TOKEN, encoding="ascii") as file:
            headers = {"Authorization": f"Bearer {file.read().strip()}", "Accept": "application/json"}
        request = urllib.request.Request(self._base + path, headers=headers)  # noqa: S310  (always https)
        context = ssl.create_default_context(cafile=AUTHORITY)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        return opener.open(request, timeout=SOCKET_SECONDS)


class Namespace:
    """The slices of one namespace and the files made from them."""

    def __init__(self, api: Api, name: str) -> None:
        self._api, self._name = api, name
        self._slices: dict[str, tuple[str, list[Any]]] = {}

    def list(self) -> str:
        """Take the present state, write every file, and say from where to watch."""
        with self._api.open(self._name) as response:
            body = json.load(response)
        before = {service for service, _ in self._slices.values()}
        self._slices = {}
        for item in body.get("items") or []:
            self._keep(item)
        for service in sorted(before | {service for service, _ in self._slices.values()}):
            self._write(service)
        return str(body["metadata"]["resourceVersion"])

    def watch(self, version: str) -> str:
        """Follow changes until the server ends the watch; answers from where to go on."""
        query = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": WATCH_SECONDS,
        }
        with self._api.open(self._name, **query) as response:
            for line in response:
                version = self._event(json.loads(line)) or version
        return version

    def follow(self) -> None:
        """List and watch for good. Never raises: what goes wrong is said and tried again."""
        version, pause = "", 0.1
        while True:
            try:
                version = self.watch(version) if version else self.list()
                pause = 0.1
            except Exception as error:
                gone = isinstance(error, Expired) or getattr(error, "code", 0) == 410
                say(f"{self._name}: {type(error).__name__}: {error}")
                version = "" if gone or pause > 0.3 else version
                time.sleep(0 if gone else pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    def _event(self, event: dict[str, Any]) -> str:
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            raise Expired(str(item.get("message")))
        if kind == "DELETED":
            service, _ = self._slices.pop(item["metadata"]["name"], ("", []))
            self._write(service)
        elif kind != "BOOKMARK":
            self._write(self._keep(item))
        return str(item["metadata"]["resourceVersion"])

    def _keep(self, item: dict[str, Any]) -> str:
        service = str((item["metadata"].get("labels") or {}).get("kubernetes.io/service-name", ""))
        self._slices[item["metadata"]["name"]] = (service, ready_addresses(item))
        return service

    def _write(self, service: str) -> None:
        if service:
            found = {address for name, addresses in self._slices.values() if name == service for address in addresses}
            write(self._name, service, sorted(found))


def ready_addresses(item: dict[str, Any]) -> list[Any]:
    """(address, port) of what is ready in a slice; by convention an unset condition means ready."""
    ports = [port["port"] for port in item.get("ports") or [] if port.get("port")]
    result = []
    for endpoint in item.get("endpoints") or []:
        if ports and (endpoint.get("conditions") or {}).get("ready") is not False:
            result += [(address, ports[0]) for address in endpoint["addresses"]]
    return result


def write(namespace: str, service: str, addresses: list[Any]) -> None:
    """Put a file in place by renaming, which is what Envoy notices; do nothing when it says the same already."""
    path = os.path.join(OUT, f"{namespace}.{service}.json")
    text = assignment(f"{namespace}/{service}", addresses)
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return
    except FileNotFoundError:
        pass
    fresh = os.path.join(OUT, f".{namespace}.{service}.{threading.get_ident()}.new")
    with open(fresh, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(fresh, path)
    say(f"{namespace}/{service}: {len(addresses)} ready")


def assignment(cluster: str, addresses: list[Any]) -> str:
    """The EDS file of one cluster."""
    hosts = [{"endpoint": {"address": {"socket_address": {"address": a, "port_value": p}}}} for a, p in addresses]
    resource = {"@type": ASSIGNMENT, "cluster_name": cluster, "endpoints": [{"lb_endpoints": hosts}]}
    version = hashlib.sha256(json.dumps(resource, sort_keys=True).encode()).hexdigest()[:12]
    return json.dumps({"version_info": version, "resources": [resource]}, sort_keys=True)


def fill_gaps() -> None:
    """An empty file for each cluster of Envoy's table that has none: one missing file makes Envoy refuse the table."""
    with open(TABLE, encoding="utf-8") as file:
        table = json.load(file)
    for resource in table.get("resources") or []:
        namespace, _, service = resource["eds_cluster_config"]["service_name"].partition("/")
        if not os.path.exists(os.path.join(OUT, f"{namespace}.{service}.json")):
            write(namespace, service, [])


def namespaces() -> list[str]:
    """Which namespaces to look at."""
    with open(CONFIG, encoding="utf-8") as file:
        return list(json.load(file)["namespaces"])


def say(text: str) -> None:
    """One line for the container's log."""
    print(text, flush=True)


def init() -> None:
    """Write the first files; wait for the API as long as it takes."""
    api, pause = Api(), 0.1
    for name in namespaces():
        while True:
            try:
                Namespace(api, name).list()
                break
            except Exception as error:
                say(f"{name}: {type(error).__name__}: {error}")
                time.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
    fill_gaps()


def watch() -> None:
    """Follow all namespaces, and those that are added later."""
    api = Api()
    try:
        serve_numbers(Numbers(api))
    except OSError as error:  # replicas are more important
        say(f"numbers: {type(error).__name__}: {error}")
    followed: set[str] = set()
    while True:
        try:
            for name in namespaces():
                if name not in followed:
                    followed.add(name)
                    threading.Thread(target=Namespace(api, name).follow, daemon=True).start()
            fill_gaps()
        except (OSError, ValueError) as error:
            say(f"{type(error).__name__}: {error}")
        time.sleep(0.5)


class Numbers:
    """What waits or is being answered, per version, in all gateway pods: what an autoscaler in the cluster reads.

    Envoy lets in only who shows the probe's secret; the same header then opens the other pods.
    """

    def __init__(self, api: Api) -> None:
        self._api, self._lock = api, threading.Lock()
        self._until, self._told = 0.0, {}  # type: ignore[var-annotated]

    def tell(self, secret: str) -> dict[str, int]:
        """{"endpoint/version": requests}, at most a second old. Raises OSError when a pod does not answer: a part of
        the sum would take replicas away.
        """
        with self._lock:
            if time.monotonic() >= self._until:
                pages = [Admin("envoy", timeout=5).ask("GET", STATS)]
                pages += [ask_pod(address, secret) for address in self._others()]
                self._told, self._until = add_up(pages), time.monotonic() + FRESH_SECONDS
            return dict(self._told)

    def _others(self) -> list[str]:
        with open(CONFIG, encoding="utf-8") as file:
            home = json.load(file)["home"]
        with self._api.open(home["namespace"], labelSelector=f"kubernetes.io/service-name={home['service']}") as found:
            slices = json.load(found).get("items") or []
        ready = {address for item in slices for address, _ in ready_addresses(item)}
        return sorted(ready - {os.environ["POD_IP"]})


def ask_pod(address: str, secret: str) -> str:
    """The page of another gateway pod."""
    connection = http.client.HTTPConnection(address, PROBE_PORT, timeout=3)
    try:
        connection.request("GET", STATS, headers={PROBE_HEADER: secret})
        response = connection.getresponse()
        page = response.read().decode()
        if response.status != 200:
            raise OSError(f"{address} answered {response.status}")
        return page
    finally:
        connection.close()


def add_up(pages: list[str]) -> dict[str, int]:
    """The sum of both gauges of each version over all pages."""
    told: dict[str, int] = {}
    for page in pages:
        for version, count in UNDER_WAY.findall(page):
            told[version] = told.get(version, 0) + int(count)
    return told


def serve_numbers(numbers: Numbers) -> socketserver.ThreadingUnixStreamServer:
    """A server on a socket that only Envoy's probe listener reaches."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                body = json.dumps(numbers.tell(self.headers.get(PROBE_HEADER, ""))).encode()
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                say(f"numbers: {type(error).__name__}: {error}")
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "envoy"

        def log_message(self, *args: object) -> None:
            """Quiet."""

    if os.path.exists(NUMBERS):
        os.remove(NUMBERS)
    server = socketserver.ThreadingUnixStreamServer(NUMBERS, Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Admin(http.client.HTTPConnection):
    """Envoy's admin door, a socket in the pod."""

    def connect(self) -> None:
        """As for TCP, on the socket's file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(ADMIN)

    def ask(self, method: str, path: str) -> str:
        """The body of the answer."""
        self.request(method, path)
        return self.getresponse().read().decode()


def drain(quiet: float, patience: float, most: float) -> None:
    """Let callers go to another gateway, and come back when none is left here.

    Each answer closes its connection, so a caller connects anew, elsewhere. New ones are taken all the same: while no
    other gateway is ready, they are sent here. It is over when for `quiet` seconds nobody was connected and nobody
    came; after `patience` seconds, when no score is under way; after `most` seconds in any case. Envoy's container
    stays until run/drained is there.
    """
    with open(DRAINING, "w", encoding="ascii"):
        pass
    try:
        admin = Admin("envoy", timeout=5)
        admin.ask("POST", "/healthcheck/fail")
        leave(admin, quiet, patience, most)
    finally:
        with open(DRAINED, "w", encoding="ascii"):
            pass


def leave(admin: Admin, quiet: float, patience: float, most: float) -> None:
    """Wait as `drain` says."""
    began = calm_since = time.monotonic()
    before = -1
    while (now := time.monotonic()) < began + most:
        connected, asked, waiting = callers(admin)
        if connected or asked != before:
            calm_since, before = now, asked
        if now - calm_since >= quiet or (now - began > patience and not waiting):
            return
        time.sleep(0.2)


def callers(admin: Admin) -> list[int]:
    """The numbers of STATISTICS now."""
    page = admin.ask("GET", f"/stats?filter=^http.scoring.downstream_({'|'.join(STATISTICS)})$")
    found = dict(line.rpartition("downstream_")[2].split(": ", 1) for line in page.splitlines() if line)
    return [int(found.get(name, 0)) for name in STATISTICS]


if __name__ == "__main__":
    # As the first process of a container it would not hear of its end otherwise.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if sys.argv[1] == "drain":
        drain(*map(float, sys.argv[2:]))
    else:
        {"init": init, "watch": watch}[sys.argv[1]]()
