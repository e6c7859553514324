"""A small Azure at the socket for tests of compute: ARM over http and one API server per cluster over https.

It is strict where our client could go wrong (one change at a time, tokens, whole PUTs) and does nothing by itself:
a test moves the work on by polling. Every change is in `changes`.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import uuid
from abc import abstractmethod
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests import rights
from tests.compute.certificate import certificate

SUB = "11111111-2222-3333-4444-555555555555"
GROUP = "rg"
KIND = "Microsoft.ContainerService/managedClusters"
TOKEN = "arm-token-of-the-test"
READ_ONLY = {"eTag", "provisioningState", "currentOrchestratorVersion", "nodeImageVersion"}
PHASES = ["InProgress", "CreatingAgentPools"]
MC = re.compile(
    r"/subscriptions/[^/]+/resourcegroups/([^/]+)/providers/microsoft.containerservice/managedclusters/([^/]+)(/.*)?",
    re.I,
)


class Azure:
    """The state; the two listeners answer for the newest."""

    def __init__(self) -> None:
        self.groups = {GROUP}
        self.clusters: dict[str, dict[str, Any]] = {}
        self.operations: dict[str, dict[str, Any]] = {}
        self.changes: list[tuple[str, str]] = []
        self.polls: list[str] = []
        self.blobs: dict[str, bytes] = {}
        self.runs: list[Any] = []
        self.run_status = "Succeeded"
        self.asked: list[tuple[str, str]] = []
        self.faults: dict[str, list[Any]] = {}
        self.objects: dict[str, dict[str, Any]] = {}
        self.barred: set[str] = set()
        self.stuck: set[str] = set()
        self.reads: list[str] = []
        self.skus = [sku("Standard_D3_v2", 4, 14), sku("Standard_D2s_v3", 2, 8)]
        self.usages = [usage("cores", 0, 350), usage("f", 0, 350)]
        self.rights: dict[str, list[dict[str, Any]]] = {"*": [{"actions": ["*"], "notActions": []}]}
        self.subnets: dict[str, dict[str, Any]] = {"nodes": {"addressPrefix": "10.224.0.0/16"}}
        self.subnet_usages: list[dict[str, Any]] = []
        self.network_region = "westeurope"
        self.kube_token = "kube-1"
        self.kube_version = "v1.33.6"
        self.cluster_uid = ""  # that of kube-system; empty: it does not say
        self.reviewed: list[tuple[str, str, str]] = []
        self.own_nodes: list[dict[str, Any]] | None = None  # of a cluster that ARM does not know
        self.retry_after: str | None = "0"
        self.lock = threading.RLock()
        self.ca, self.arm, self.kube = listeners()
        Door.azure = self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.arm.server_address[1]}"

    def fail(self, name: str, *answers: Any) -> None:
        """Queue answers for the next calls of that kind."""
        self.faults.setdefault(name, []).extend(answers)

    def take(self, name: str) -> Any:
        queue = self.faults.get(name)
        return queue.pop(0) if queue else None

    def cluster(self, name: str, **properties: Any) -> dict[str, Any]:
        """A cluster that somebody made outside the portal."""
        made = _resource(
            name,
            {
                "location": "westeurope",
                "properties": {
                    "agentPoolProfiles": [{"name": "sys", "mode": "System", "vmSize": "Standard_D4s_v3", "count": 3}]
                },
            },
        )
        made["properties"] |= {"provisioningState": "Succeeded", **properties}
        self.clusters[name.lower()] = made
        return made

    def kubeconfig(self) -> bytes:
        ca = base64.b64encode(self.ca.encode()).decode()
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "clusters": [
                    {
                        "name": "c",
                        "cluster": {
                            "server": f"https://127.0.0.1:{self.kube.server_address[1]}/clusters/one",
                            "certificate-authority-data": ca,
                        },
                    }
                ],
                "users": [{"name": "u", "user": {"token": self.kube_token}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            }
        ).encode()

    def is_silent(self) -> bool:
        """Whether every cluster is stopped."""
        found = [each["properties"]["powerState"]["code"] for each in self.clusters.values()]
        return bool(found) and set(found) == {"Stopped"}

    def nodes(self) -> list[dict[str, Any]]:
        if self.own_nodes is not None:
            return self.own_nodes
        rows = []
        for cluster in self.clusters.values():
            for pool in cluster["properties"]["agentPoolProfiles"]:
                hidden = cluster["properties"]["powerState"]["code"] == "Stopped"
                if hidden or cluster["properties"]["provisioningState"] in ("Creating", "Deleting"):
                    continue
                rows += [
                    {
                        "metadata": {
                            "name": f"{pool['name']}-{i}",
                            "labels": {"kubernetes.azure.com/agentpool": pool["name"]},
                        },
                        "spec": {},
                        "status": {
                            "allocatable": {"cpu": "3860m", "memory": "12Gi"},
                            "conditions": [{"type": "Ready", "status": "True"}],
                        },
                    }
                    for i in range(pool["count"])
                ]
        return rows


def _resource(name: str, body: dict[str, Any], group: str = GROUP) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(body))
    made |= {
        "name": name,
        "type": KIND,
        "id": f"/subscriptions/{SUB}/resourcegroups/{group}/providers/{KIND}/{name}",
    }
    made.setdefault("tags", {})
    made["properties"] |= {"powerState": {"code": "Running"}, "currentKubernetesVersion": "1.33.6"}
    for pool in made["properties"]["agentPoolProfiles"]:
        pool |= {"provisioningState": "Succeeded", "nodeImageVersion": "AKSUbuntu-1", "eTag": str(uuid.uuid4())}
    return made


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, else each answer waits 40 ms
    azure: Azure

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def body(self) -> Any:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            return json.loads(content) if content else None
        except ValueError:
            return content

    def handle_any(self) -> None:
        given = self.body()
        with self.azure.lock:
            self.serve(urlsplit(self.path).path, given)

    @abstractmethod
    def serve(self, path: str, given: Any) -> None:
        """Answer one request."""

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = handle_any  # noqa: N815


class ArmDoor(Door):
    def serve(self, path: str, given: Any) -> None:
        azure = self.azure
        if path.startswith("/blob/"):
            return self.blob(path, given)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": {"code": "InvalidAuthenticationToken", "message": "bad token"}})
        if fault := azure.take(self.command):
            if fault == "lost":
                self.route(path, given, quiet=True)
                self.close_connection = True
                return None
            return self.answer(*fault)
        return self.route(path, given)

    def route(self, path: str, given: Any, quiet: bool = False) -> None:
        if quiet:
            self.answer = lambda *args, **kw: None  # type: ignore[method-assign]
        lower, azure = path.lower(), self.azure
        if "/operations/" in lower:
            return self.poll(path.rsplit("/", 1)[1])
        if "/registries/" in lower:
            return self.registry(lower, given)
        found = MC.fullmatch(path)
        if found and "/microsoft.authorization/" not in lower:
            return self.cluster(found[1], found[2], (found[3] or "").lower(), given)
        if lower.endswith("/managedclusters"):
            return self.answer(200, {"value": list(azure.clusters.values())})
        if lower.endswith("/kubernetesversions"):
            return self.answer(
                200, {"values": [{"version": v, "isDefault": v == "1.33"} for v in ("1.32", "1.33", "1.34")]}
            )
        return self.account(lower)

    def account(self, lower: str) -> None:
        """What preflights ask."""
        azure = self.azure
        azure.reads.append(lower)
        if fault := azure.take(lower.rsplit("/", 1)[1]):
            return self.answer(*fault)
        if lower.endswith("/skus"):
            return self.answer(200, {"value": azure.skus})
        if lower.endswith("/usages"):
            return self.answer(200, {"value": azure.usages if "microsoft.compute" in lower else azure.subnet_usages})
        if "/microsoft.authorization/permissions" in lower:
            scope = lower.partition("/providers/microsoft.authorization")[0]
            return self.answer(200, {"value": azure.rights.get(scope.rsplit("/", 1)[1], azure.rights["*"])})
        if "/virtualnetworks/" in lower:
            return self.network(lower)
        if group := re.fullmatch(r"/subscriptions/[^/]+/resourcegroups/([^/]+)", lower):
            there = group[1] in azure.groups
            return self.answer(
                200 if there else 404,
                {"name": group[1]} if there else {"error": {"code": "ResourceGroupNotFound", "message": "no group"}},
            )
        return self.answer(404, {"error": {"code": "NotFound", "message": lower}})

    def network(self, path: str) -> None:
        subnet = self.azure.subnets.get(path.rsplit("/", 1)[1])
        if "/subnets/" not in path:
            return self.answer(200, {"location": self.azure.network_region})
        if subnet is None:
            return self.answer(404, {"error": {"code": "ResourceNotFound", "message": "no such subnet"}})
        return self.answer(200, {"id": path, "properties": subnet})

    def blob(self, path: str, given: Any) -> None:
        """Signed URLs: they take no token."""
        assert "Authorization" not in self.headers
        if self.command == "PUT":
            self.azure.blobs[path] = given
            return self.answer(201)
        first, last = (int(part) for part in self.headers["Range"].removeprefix("bytes=").split("-"))
        content = self.azure.blobs[path][first : last + 1]
        return self.answer(206 if content else 416, content, {"x-ms-meta-Complete": "successful"} if content else {})

    def registry(self, path: str, given: Any) -> None:
        base = f"http://{self.headers['Host']}/blob"
        last = path.rsplit("/", 1)[1]
        if last == "listbuildsourceuploadurl":
            return self.answer(200, {"uploadUrl": f"{base}/context?sig=1", "relativePath": "source/context.tar.gz"})
        if last == "listlogsasurl":
            return self.answer(200, {"logLink": f"{base}/log?sig=1"})
        if last == "schedulerun":
            self.azure.runs.append(given)
        if last == "cancel":
            self.azure.run_status = "Canceled"
            return self.answer(200)
        state = {"runId": "cf1", "status": self.azure.run_status, "outputImages": [{"digest": "sha256:abc"}]}
        return self.answer(200, {"name": "cf1", "id": "x", "properties": state})

    def poll(self, id: str) -> None:
        azure = self.azure
        azure.polls.append(self.path)
        job = azure.operations.get(id)
        if fault := azure.take("poll"):
            return self.answer(*fault)
        if job is None:
            return self.answer(404, {"error": {"code": "NotFound", "message": "no such operation"}})
        if job["phases"]:
            return self.answer(200, {"name": id, "status": job["phases"].pop(0)}, self.wait())
        _finish(azure, job)
        error = {"error": job["error"]} if job.get("error") else {}
        word = "Canceled" if job.get("canceled") else "Failed" if error else "Succeeded"
        return self.answer(200, {"name": id, "status": word, **error})

    def wait(self) -> dict[str, str]:
        return {"Retry-After": self.azure.retry_after} if self.azure.retry_after is not None else {}

    def cluster(self, group: str, name: str, rest: str, given: Any) -> None:
        azure, there = self.azure, self.azure.clusters.get(name.lower())
        if rest.startswith("/listcluster"):
            value = base64.b64encode(azure.kubeconfig()).decode()
            return (
                self.answer(200, {"kubeconfigs": [{"name": "clusterUser", "value": value}]})
                if there
                else self.missing(name)
            )
        if self.command == "GET":
            if there is None:
                return self.missing(name)
            self.go_on(name)
            return self.answer(200, self.pool(there, rest) if rest else there)
        busy = there and there["properties"]["provisioningState"] not in ("Succeeded", "Failed", "Canceled")
        if rest in ("/start", "/stop") and not busy:
            return self.power(name, there, {"/start": "Running", "/stop": "Stopped"}[rest])
        if rest.endswith("/abort"):
            return self.abort(name, there, rest)
        if busy:
            return self.answer(
                409,
                {"code": "OperationNotAllowed", "message": "another operation runs", "details": None, "subcode": ""},
            )
        azure.changes.append((self.command, name + rest))
        return self.change(group, name, rest, given, there)

    def go_on(self, name: str) -> None:
        """Looking at the cluster takes time too: Azure works on meanwhile."""
        for job in self.azure.operations.values():
            if job["cluster"] == name.lower():
                job["looks"] = job.get("looks", 0) + 1
                if job["looks"] > 3:
                    _finish(self.azure, job)

    def change(self, group: str, name: str, rest: str, given: Any, there: Any) -> None:
        azure = self.azure
        if rest:
            return self.change_pool(name, rest, given, there)
        if self.command == "DELETE":
            if there is None:
                return self.answer(204)
            there["properties"]["provisioningState"] = "Deleting"
            return self.begin(202, None, {"cluster": name.lower(), "delete": True})
        made = _resource(name, given, group)
        made["properties"]["provisioningState"] = "Updating" if there else "Creating"
        azure.clusters[name.lower()] = made
        return self.begin(200 if there else 201, made, {"cluster": name.lower(), "error": azure.take("late")})

    def abort(self, name: str, there: Any, rest: str) -> None:
        azure, pool = self.azure, rest.removesuffix("/abort").rpartition("/")[2]
        azure.changes.append(("ABORT", name + rest.removesuffix("/abort")))
        there["properties"]["provisioningState"] = "Canceled" if not pool else "Succeeded"
        for each in there["properties"]["agentPoolProfiles"]:
            if not pool or each["name"] == pool:
                each["provisioningState"] = "Canceled"
        for job in azure.operations.values():
            if job["cluster"] == name.lower() and not job.get("done"):
                job |= {"done": True, "phases": [], "canceled": True}
        return self.answer(204)

    def power(self, name: str, there: Any, wanted: str) -> None:
        properties, word = there["properties"], {"Running": "starting", "Stopped": "stopping"}[wanted]
        if properties["powerState"]["code"] == wanted:
            states = f"Provisioning State({properties['provisioningState']}) and Power State({wanted})"
            words = f"managed cluster is in {states}, {word} cannot be performed"
            return self.answer(400, {"code": "BadRequest", "message": words, "details": None, "subcode": ""})
        self.azure.changes.append((word.upper(), name))
        properties["provisioningState"] = word.capitalize()
        return self.begin(202, None, {"cluster": name.lower(), "power": wanted, "error": self.azure.take("late")})

    def change_pool(self, cluster: str, rest: str, given: Any, there: Any) -> None:
        pools, name = there["properties"]["agentPoolProfiles"], rest.rsplit("/", 1)[1]
        pool = next((each for each in pools if each["name"] == name), None)
        job = {"cluster": cluster.lower(), "pool": name, "error": self.azure.take("late")}
        if pool and self.headers.get("If-Match", f'"{pool.get("eTag")}"') != f'"{pool.get("eTag")}"':
            return self.answer(412, {"code": "PreconditionFailed", "message": "the eTag is another", "details": None})
        there["properties"]["provisioningState"] = "Updating"
        if self.command == "DELETE":
            pool["provisioningState"] = "Deleting"
            return self.begin(202, None, job | {"delete_pool": True})
        if pool is not None:
            assert pool["vmSize"] == given["properties"]["vmSize"], "the size of a pool is fixed"
            assert READ_ONLY.isdisjoint(given["properties"]), "Azure's own facts are not written back"
            pool.clear()
        else:
            pools.append(pool := {})
        pool |= {"name": name, **given["properties"], "provisioningState": "Scaling", "eTag": str(uuid.uuid4())}
        return self.begin(200, self.pool(there, rest), job)

    def begin(self, status: int, body: Any, job: dict[str, Any]) -> None:
        id = str(uuid.uuid4())
        self.azure.operations[id] = {"phases": list(PHASES), **job}
        url = f"http://{self.headers['Host']}/subscriptions/{SUB}/providers/Microsoft.ContainerService/locations/x/operations/{id}?api-version=1&t=a%2Bb&s=Z"
        return self.answer(status, body, {"Azure-AsyncOperation": url, **self.wait()})

    def pool(self, cluster: dict[str, Any], rest: str) -> dict[str, Any]:
        name = rest.rsplit("/", 1)[1]
        pool = next(p for p in cluster["properties"]["agentPoolProfiles"] if p["name"] == name)
        return {"name": name, "id": cluster["id"] + rest, "properties": {k: v for k, v in pool.items() if k != "name"}}

    def missing(self, name: str) -> None:
        self.answer(
            404,
            {"error": {"code": "ResourceNotFound", "message": f"The cluster {name} was not found."}},
            {"x-ms-failure-cause": "gateway"},
        )


def _finish(azure: Azure, job: dict[str, Any]) -> None:
    if job.setdefault("done", False):
        return
    job["done"] = True
    if job.get("delete"):
        azure.clusters.pop(job["cluster"], None)
    elif job["cluster"] in azure.clusters:
        state = "Failed" if job.get("error") else "Succeeded"
        properties = azure.clusters[job["cluster"]]["properties"]
        properties["provisioningState"] = state if "pool" not in job else "Succeeded"
        if "power" in job and state == "Succeeded":
            properties["powerState"] = {"code": job["power"]}
        rest = [pool for pool in properties["agentPoolProfiles"] if pool["name"] != job.get("pool")]
        for pool in properties["agentPoolProfiles"]:
            if pool["name"] == job.get("pool"):
                pool["provisioningState"] = state
        if job.get("delete_pool") and not job.get("error"):
            properties["agentPoolProfiles"] = rest


def usage(name: str, used: int, limit: int) -> dict[str, Any]:
    return {"name": {"value": name, "localizedValue": name}, "currentValue": used, "limit": limit, "unit": "Count"}


def sku(name: str, vcpus: int, memory: int, gpus: int = 0) -> dict[str, Any]:
    facts = {"vCPUs": vcpus, "MemoryGB": memory, "GPUs": gpus}
    return {
        "name": name,
        "resourceType": "virtualMachines",
        "family": "f",
        "locations": ["westeurope"],
        "locationInfo": [{"location": "westeurope", "zones": ["1", "2", "3"]}],
        "restrictions": [],
        "capabilities": [{"name": k, "value": str(v)} for k, v in facts.items()],
    }


class KubeDoor(Door):
    def serve(self, path: str, given: Any) -> None:
        azure, inside = self.azure, path.removeprefix("/clusters/one")
        azure.asked.append((self.command, self.path.removeprefix("/clusters/one")))
        if azure.is_silent():
            self.close_connection = True  # no API server is there
            return None
        if self.headers.get("Authorization") != f"Bearer {azure.kube_token}":
            return self.answer(401, {"kind": "Status", "message": "Unauthorized"})
        if lack := rights.lacking(self.command, inside):
            return self.answer(403, {"kind": "Status", "message": lack})
        return self.objects(inside, given)

    def remove(self, inside: str) -> None:
        azure = self.azure
        azure.changes.append(("REMOVE", inside))
        if inside in azure.stuck:
            return self.answer(200, {})
        return self.answer(200 if azure.objects.pop(inside, None) else 404, {"kind": "Status", "message": "not found"})

    def review(self, wish: Any) -> None:
        """Whether the portal may do something."""
        azure = self.azure
        azure.reviewed.append((wish["verb"], wish["group"], wish["resource"]))
        allowed = not azure.barred if wish["resource"] == "*" else wish["resource"] not in azure.barred
        self.answer(201, {"status": {"allowed": allowed}})

    def objects(self, inside: str, given: Any) -> None:
        azure = self.azure
        if fault := azure.take("kube") or (azure.take("log") if inside.endswith("/log") else None):
            return self.answer(*fault)
        if inside == "/version":
            return self.answer(200, {"gitVersion": azure.kube_version})
        if inside == "/api/v1/namespaces/kube-system" and azure.cluster_uid:
            return self.answer(200, {"metadata": {"name": "kube-system", "uid": azure.cluster_uid}})
        if inside.endswith("/selfsubjectaccessreviews"):
            return self.review(given["spec"]["resourceAttributes"])
        if self.command == "PATCH":
            azure.changes.append(("APPLY", inside))
            azure.objects[inside] = {**azure.objects.get(inside, {}), **given}
            return self.answer(200, given)
        if self.command == "DELETE":
            return self.remove(inside)
        if inside == "/api/v1/nodes":
            return self.paged(azure.nodes())
        if inside in azure.objects:
            return self.answer(200, azure.objects[inside])
        everywhere = re.compile(re.sub(r"/([a-z]+)$", r"/namespaces/[^/]+/\1", inside))
        items = [
            value for key, value in azure.objects.items()
            if key.rpartition("/")[0] == inside or everywhere.fullmatch(key.rpartition("/")[0])
        ]  # fmt: skip
        return self.paged([item for item in items if self.is_selected(item)])

    def is_selected(self, item: Any) -> bool:
        """Whether an object meets the label selector, of which only `key=value` is understood here."""
        (text,) = parse_qs(urlsplit(self.path).query).get("labelSelector", [""])
        wanted = [term.partition("=") for term in text.split(",") if "=" in term]
        labels = item["metadata"].get("labels") or {}
        return all(labels.get(key) == value for key, _, value in wanted)

    def paged(self, items: list[Any]) -> None:
        query = parse_qs(urlsplit(self.path).query)
        limit, start = int(query.get("limit", ["500"])[0]), int(query.get("continue", ["0"])[0])
        more = str(start + limit) if start + limit < len(items) else ""
        return self.answer(200, {"items": items[start : start + limit], "metadata": {"continue": more}})


@cache
def listeners() -> tuple[str, ThreadingHTTPServer, ThreadingHTTPServer]:
    """Until the run ends: the authority of the second, ARM, and the clusters' API server."""
    with TemporaryDirectory() as folder:
        authority, context = certificate(Path(folder))
    arm, kube = (ThreadingHTTPServer(("127.0.0.1", 0), door) for door in (ArmDoor, KubeDoor))
    kube.socket = context.wrap_socket(kube.socket, server_side=True)
    for server in (arm, kube):
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    return authority, arm, kube
