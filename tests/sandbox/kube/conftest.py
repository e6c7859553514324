"""A real API server over TLS in a thread, with one cluster of two nodes and no controllers."""

import asyncio
import datetime
import ipaddress
import os
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from compute.sandbox.clock import Clock
from compute.sandbox.db import Db
from compute.sandbox.faults import Faults
from compute.sandbox.kube import api
from compute.sandbox.kube.clusters import Clusters, NodeSpec
from compute.sandbox.kube.errors import ApiError
from compute.sandbox.kube.store import Store

CLUSTER = "c1"


@dataclass(frozen=True)
class Paths:
    ca_file: Path


class Logs:
    """Stands at the kubelet's place: gives the lines that a test wrote."""

    def __init__(self) -> None:
        self.lines: list[bytes] = [b"one\n", b"two\n"]
        self.asked: dict[str, Any] = {}

    async def read_log(
        self, cluster: str, namespace: str, pod: str, container: str, **how: Any
    ) -> AsyncIterator[bytes]:
        self.asked = {"pod": pod, "container": container, **how}
        if not self.lines:
            raise ApiError(400, "BadRequest", f'container "{container}" in pod "{pod}" is waiting to start')
        for line in self.lines[-how["tail_lines"] :] if how["tail_lines"] else self.lines:
            yield line


class Server:
    """The API with what it needs, and ways to reach it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cert, self.key = _certificate(folder)
        self.kubelet = Logs()
        self.loop = asyncio.new_event_loop()

    def run(self, coroutine: Any) -> Any:
        """Run something on the server's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    def call(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        """Call something synchronous on the server's loop."""

        async def inside() -> Any:
            return fn(*args, **kwargs)

        return self.run(inside())

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.db = Db(self.folder / "sandbox.db")
        self.clock = Clock(self.db)
        self.faults = Faults(self.db)
        self.store = Store(self.db, self.clock)
        self.kube = Clusters(self.store, Paths(self.cert), self.db)
        app = web.Application()
        app.add_routes(api.routes(self))
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self.runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.cert, self.key)
        site = web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.port = self.runner.addresses[0][1]
        self.kube.ensure(CLUSTER, name="demo", resource_group="rg", region="westeurope", version="1.32.5")
        nodes = [NodeSpec(f"aks-pool-{i}", "pool", "Standard_D4_v2", 8, 28.0) for i in range(2)]
        await self.kube.set_nodes(CLUSTER, nodes)


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=9))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return cert_path, key_path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("kube"))
    thread = threading.Thread(target=found.loop.run_forever, daemon=True)
    thread.start()
    found.run(found.start())
    yield found
    found.run(found.runner.cleanup())
    found.call(found.db.close)
    found.loop.call_soon_threadsafe(found.loop.stop)
    thread.join(5)


# "URL,CA FILE,TOKEN" of a real API server: the tests that only ask by HTTP then hold their expectations against that.
REAL = os.environ.get("REAL_KUBERNETES", "")


class Http:
    """Plain requests to the cluster, signed in as a cluster user."""

    def __init__(self, server: Server, token: str | None) -> None:
        self.base = f"{server.url}/clusters/{CLUSTER}"
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(server.cert)
        if REAL:
            self.base, self.session.verify, token = REAL.split(",")
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def __call__(self, method: str, path: str, body: Any = None, kind: str = "", **query: Any) -> requests.Response:
        headers = {"Content-Type": kind or "application/json"}
        return self.session.request(method, f"{self.base}/{path}", json=body, headers=headers, params=query, timeout=10)


@pytest.fixture
def user_token(server: Server) -> str:
    import yaml

    config = yaml.safe_load(server.kube.kubeconfig(CLUSTER, "clusterUser", server.url))
    return str(config["users"][0]["user"]["token"])


@pytest.fixture
def http(server: Server, user_token: str) -> Http:
    return Http(server, user_token)


_COUNT = iter(range(10_000))


@pytest.fixture
def namespace(http: Http) -> str:
    name = f"test-{next(_COUNT)}"
    made = http("POST", "api/v1/namespaces", {"metadata": {"name": name}})
    assert made.status_code == 201, made.text
    return name


def deployment(name: str = "web", **spec: Any) -> dict[str, Any]:
    """A small valid Deployment."""
    labels = {"app": name}
    container = {"name": "main", "image": "example/web:1", "resources": {"requests": {"cpu": "100m"}}}
    body = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {**body, **spec}}
