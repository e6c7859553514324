"""The sandbox as a real process, for the tests beside this file."""

import datetime
import ipaddress
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import requests
from azure.core.credentials import AccessToken
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mgmt.containerregistrytasks import ContainerRegistryTasksMgmtClient
from azure.mgmt.containerservice import ContainerServiceClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from portal.launcher import ports

SUB, GROUP = "11111111-2222-3333-4444-555555555555", "rg"
CLIENT, SECRET = "aaaaaaaa-0000-4000-a000-000000000001", "a secret of the app"
ROOT = Path(__file__).parents[3]


class _Loopback(SansIOHTTPPolicy):
    def on_request(self, request):
        request.context.options.setdefault("enforce_https", False)


class _Token:
    def get_token(self, *scopes, **more):
        return AccessToken("arm-token", int(time.time()) + 3600)


def _certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sandbox")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    cert = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(2))
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "ca.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    )


class Cloud:
    def __init__(self, folder: Path) -> None:
        self.folder, self.http = folder, ports.draw(set())
        self.https = ports.draw({self.http})
        _certificate(folder)
        (folder / "arm").write_text("arm-token")
        (folder / "admin").write_text("admin-token")
        self.url = f"http://127.0.0.1:{self.http}"
        self.process = None
        self.session = requests.Session()
        self.session.trust_env = False
        more = {"STATE": folder / "state", "HTTP_PORT": self.http, "HTTPS_PORT": self.https,
                "TLS_CERT": folder / "ca.pem", "TLS_KEY": folder / "key.pem", "CA_FILE": folder / "ca.pem",
                "ARM_TOKEN_FILE": folder / "arm", "ADMIN_TOKEN_FILE": folder / "admin",
                "BLOCK": f"127.{random.randint(64, 250)}.{random.randint(1, 250)}", "SUBSCRIPTION": SUB,
                "RESOURCE_GROUPS": GROUP, "REQUEST_FACTOR": 99,
                "CREATE_SECONDS": 2, "SCALE_SECONDS": 1, "DELETE_SECONDS": 1}  # fmt: skip
        self.env = {**os.environ, **{f"SANDBOX_{name}": str(value) for name, value in more.items()}}

    def start(self) -> "Cloud":
        self.process = subprocess.Popen([sys.executable, "-m", "compute.sandbox"], env=self.env, cwd=ROOT)
        for _ in range(300):
            assert self.process.poll() is None, "the sandbox ended"
            try:
                self.session.get(self.url + "/subscriptions", timeout=2)
                return self
            except requests.ConnectionError:
                time.sleep(0.1)
        raise AssertionError("the sandbox did not start")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)

    def ask(self, method: str, path: str, body=None, token: str = "arm-token", **headers: str):
        url = path if path.startswith("http") else self.url + path
        mark = "&" if "?" in url else "?"
        url = url if "api-version" in url or "/sandbox/" in url else f"{url}{mark}api-version=2026-08-01"
        more = {"Authorization": f"Bearer {token}", **headers}
        return self.session.request(method, url, json=body, headers=more, timeout=15)

    def fault(self, name: str, **spec) -> None:
        assert self.ask("PUT", f"/sandbox/faults/{name}", spec, token="admin-token").status_code == 200

    def admin(self, method: str, path: str, body=None):
        answer = self.ask(method, f"/sandbox/{path}", body, token="admin-token")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait(self, answer) -> dict:
        """The last body of an operation."""
        for _ in range(400):
            found = self.ask("GET", answer.headers["Azure-AsyncOperation"]).json()
            if found["status"] in ("Succeeded", "Failed", "Canceled"):
                return found
            time.sleep(0.05)
        raise AssertionError(found)

    @staticmethod
    def until(holds, seconds: float = 20):
        """What `holds` gives as soon as it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = holds()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError("it did not come true")

    def settled(self, name: str) -> dict:
        """The cluster as soon as it is Succeeded."""

        def ready():
            found = self.ask("GET", self.cluster(name)).json()
            return found if found["properties"]["provisioningState"] == "Succeeded" else None

        return self.until(ready)

    def made(self, name: str, asked: dict) -> dict:
        """A cluster that is ready."""
        answer = self.ask("PUT", self.cluster(name), asked)
        assert answer.status_code in (200, 201), answer.text
        assert self.wait(answer)["status"] == "Succeeded"
        return self.ask("GET", self.cluster(name)).json()

    @property
    def secure(self) -> str:
        return f"https://127.0.0.1:{self.https}"

    @property
    def tenant(self) -> str:
        return self.admin("GET", "principals")["tenant_id"]

    def principal(self, *roles, client_id: str = CLIENT, **more) -> str:
        """A token for ARM of a principal that has these roles."""
        self.admin("PUT", f"principals/{client_id}", {"secret": SECRET, "roles": list(roles), **more})
        answer = self.token(client_id=client_id, client_secret=SECRET)
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]

    def token(self, tenant: str = "", **form: str):
        form = {"grant_type": "client_credentials", "scope": f"{self.secure}/.default", **form}
        url = f"{self.secure}/{tenant or self.tenant}/oauth2/v2.0/token"
        return self.session.post(url, data=form, timeout=15, verify=str(self.folder / "ca.pem"))

    def cluster(self, name: str = "") -> str:
        return (
            f"/subscriptions/{SUB}/resourceGroups/{GROUP}/providers/Microsoft.ContainerService/managedClusters/{name}"
        )

    def client(self, kind=ContainerServiceClient, secure: bool = False):
        base = f"https://127.0.0.1:{self.https}" if secure else self.url
        more = {"connection_verify": str(self.folder / "ca.pem")} if secure else {"per_call_policies": [_Loopback()]}
        return kind(_Token(), SUB, base_url=base, polling_interval=1, credential_scopes=["x/.default"], **more)

    def tasks(self):
        return self.client(ContainerRegistryTasksMgmtClient)


def body(count: int = 2, size: str = "Standard_D3_v2", **more):
    pool = {"name": "nodepool1", "count": count, "vmSize": size, "mode": "System"}
    properties = {"dnsPrefix": "one", "agentPoolProfiles": [pool], **more}
    return {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": properties}
