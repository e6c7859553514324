"""Every kubeconfig and address that the portal does not take, refused at both doors with the reason."""

from __future__ import annotations

import html
import re
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from compute.models import ComputeTarget
from portal.models import AuditEvent, Operation
from tests import factories
from tests.compute import kubeconfigs as given

ATTACH = "/api/v1/workspaces/lab/compute-targets/attach/"
NOW = datetime.now(UTC)


def cluster(**more: Any) -> str:
    return given.text(lambda cluster, user: cluster.update({name.replace("_", "-"): v for name, v in more.items()}))


def user(**more: Any) -> str:
    return given.text(lambda cluster, user: user.update({name.replace("_", "-"): v for name, v in more.items()}))


def anchored() -> str:
    made = yaml.safe_dump(given.document())
    return made.replace("users:", "users: &x").replace("current-context: c", "current-context: c\nmore: *x")


KUBECONFIGS = {
    "exec": (user(exec={"command": "kubelogin", "args": ["--server-id", "6dae42f8-4368-4678-94ff-3960e28e3630"]}),
             "has exec: the portal runs no program"),
    "auth-provider": (user(auth_provider={"name": "gcp"}), "has auth-provider: the portal runs no program"),
    "tokenFile": (user(tokenFile="/var/run/secrets/token"), "has tokenFile: the portal reads no file"),
    "client-certificate": (user(client_certificate="/etc/a.pem"), "has client-certificate: the portal reads no file"),
    "client-key": (user(client_key="/etc/a.key"), "has client-key: the portal reads no file"),
    "username": (user(username="root"), "has username: Kubernetes takes no passwords"),
    "password": (user(password="x"), "has password: Kubernetes takes no passwords"),
    "as": (user(**{"as": "system:admin"}), "has as: the portal acts as nobody else"),
    "as-uid": (user(as_uid="1"), "has as-uid: the portal acts as nobody else"),
    "as-groups": (user(as_groups=["system:masters"]), "has as-groups: the portal acts as nobody else"),
    "as-user-extra": (user(as_user_extra={"a": ["b"]}), "has as-user-extra: the portal acts as nobody else"),
    "certificate-authority": (cluster(certificate_authority="../../etc/ca.pem"),
                              "has certificate-authority: the portal reads no file"),
    "proxy-url": (cluster(proxy_url="http://proxy:3128"), "has proxy-url: the portal chooses its own way"),
    "insecure-skip-tls-verify": (cluster(insecure_skip_tls_verify=True),
                                 "has insecure-skip-tls-verify: the portal speaks to no server"),
    "no CA": (given.text(lambda cluster, user: cluster.pop("certificate-authority-data")),
              "has no certificate-authority-data. Give the CA"),
    "a CA that is no base64": (cluster(certificate_authority_data="???"), "certificate-authority-data of the "),
    "a CA that is no PEM": (cluster(certificate_authority_data=given.encoded(b"hello")), "holds no certificate in PEM"),
    "a CA that has ended": (cluster(certificate_authority_data=given.encoded(given.pair(days=-1)[0])), "CA of the"),
    "a server name that is none": (cluster(tls_server_name="a b"), "tls-server-name of the kubeconfig is no host name"),
    "no credential": (given.text(lambda cluster, user: user.clear()), "neither a token nor a client certificate"),
    "a certificate without key": (
        given.text(lambda cluster, user: (user.clear(), user.update({"client-certificate-data": "YQ=="}))),
        "neither a token nor a client certificate"),
    "a certificate that is none": (given.by_certificate(b"x", given.pair()[1]), "holds no certificate in PEM"),
    "a key that is none": (given.by_certificate(given.pair()[0], b"x"), "client-key-data of the kubeconfig holds no "),
    "another's key": (given.by_certificate(given.pair()[0], given.pair(seed=1)[1]), "do not fit"),
    "a certificate that has ended": (given.by_certificate(*given.pair(days=-1)), "client certificate of the kubeconfig "
                                     "ended on"),
    "a certificate of tomorrow": (given.by_certificate(*given.pair(since=1)), "valid only from"),
    "a token that has ended": (user(token=given.jwt(NOW - timedelta(hours=1))), "token of the kubeconfig ended on"),
    "a token that ends a header": (user(token="a\r\nImpersonate-User: root"), "token is no plain text"),
    "a token too long": (user(token="a" * 20_000), "at most 16384 characters"),
    "no server": (given.text(lambda cluster, user: cluster.pop("server")), "names no server"),
    "no text as server": (given.of_server(7), "names no server"),
    "http": (given.of_server("http://93.184.216.34"), "is given with http; give https"),
    "ftp": (given.of_server("ftp://93.184.216.34"), "is given with ftp; give https"),
    "no scheme": (given.of_server("93.184.216.34:6443"), "give https"),
    "a user in the address": (given.of_server("https://root@93.184.216.34"), "contain a user name or password"),
    "a password in the address": (given.of_server("https://root:x@93.184.216.34"), "contain a user name or password"),
    "an empty user": (given.of_server("https://@93.184.216.34"), "contain a user name or password"),
    "a path that climbs": (given.of_server("https://93.184.216.34/clusters/../admin"), "must be plain: no '..'"),
    "a path that hides it": (given.of_server("https://93.184.216.34/%2e%2e/admin"), "must be plain: no '..'"),
    "a path with an empty step": (given.of_server("https://93.184.216.34//admin"), "must be plain: no '..'"),
    "a query": (given.of_server("https://93.184.216.34/?a=b"), "no query and no fragment"),
    "a fragment": (given.of_server("https://93.184.216.34/#a"), "no query and no fragment"),
    "a line break in the address": (given.of_server("https://93.184.216.34/\n"), "no plain address"),
    "a backslash": (given.of_server("https://93.184.216.34\\@evil"), "no plain address"),
    "a port that is none": (given.of_server("https://93.184.216.34:99999"), "is no address"),
    "a long address": (given.of_server("https://93.184.216.34/" + "a" * 300), "no plain address of at most 300"),
    "anchors": (anchored(), "uses YAML anchors"),
    "a tag": ("a: !!python/object/apply:os.system ['id']", "uses a YAML tag"),
    "several documents": (yaml.safe_dump(given.document()) + "---\na: 1\n", "has several YAML documents"),
    "deep nesting": ("[" * 40, "nested more than 30 deep"),
    "too much": ("a: " + "b" * 262_144, "at most 262144 are read"),
    "no YAML": ("{a: [", "is not YAML"),
    "no object": ("just words", "is not a YAML object"),
    "no current context": (given.text().replace('"current-context": "c"', '"current-context": "d"'), "no entry d in "),
    "a context to nowhere": (given.text().replace('"cluster": "edge"', '"cluster": "other"'), "no entry other in "),
}  # fmt: skip
ADDRESSES = {
    "loopback": "127.0.0.1", "loopback further on": "127.8.9.10", "this host": "0.0.0.0", "private A": "10.1.2.3",
    "private B": "172.16.0.9", "private C": "192.168.1.1", "metadata": "169.254.169.254",
    "Azure's own": "168.63.129.16",
    "carrier": "100.64.0.1", "multicast": "224.0.0.1", "broadcast": "255.255.255.255", "IPv6 loopback": "[::1]",
    "IPv6 any": "[::]", "IPv6 link-local": "[fe80::1]", "IPv6 unique local": "[fd00::1]",
    "IPv4 in IPv6": "[::ffff:10.0.0.1]", "NAT64": "[64:ff9b::a00:1]", "6to4": "[2002:7f00:1::]",
    "a number": "2130706433",
    "a name of this host": "localhost", "a name to inside": "inner.example.com", "a name to both": "both.example.com",
}  # fmt: skip
NAMES = {"inner.example.com": ["10.0.0.7"], "both.example.com": ["93.184.216.34", "192.168.0.7"]}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Names resolve from a table; nothing inside is allowed."""
    settings.OUTBOUND_ALLOW = []
    real = socket.getaddrinfo

    def look(host: str, port: int, *args: Any, **more: Any) -> Any:
        if host not in NAMES:
            return real(host, port, *args, **more)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in NAMES[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look)


def refused_everywhere(operator: Any, text: str, words: str) -> None:
    """REST and page say the same; there is nothing new, and nothing of the kubeconfig is in the page."""
    api, body, before = factories.client(operator), {"name": "edge", "kubeconfig": text}, AuditEvent.objects.count()
    answer = api.post(ATTACH, body, format="json")
    detail = answer.json()["detail"]
    assert (answer.status_code, words in detail) == (422, True), detail
    in_page(operator, detail, {"kubeconfig": text})
    assert not ComputeTarget.objects.exists()
    assert not Operation.objects.exists()
    assert AuditEvent.objects.count() == before


def in_page(operator: Any, detail: str, sent: dict[str, Any]) -> None:
    """The attach page says it."""
    browser = Client()
    browser.force_login(operator)
    page = browser.post("/w/lab/new/attachment/", {"name": "edge", "purpose": "FastProd", **sent})
    told = html.unescape(page.content.decode())
    assert page.status_code == 422
    assert detail in told
    assert given.TOKEN not in told
    assert "<textarea" in told


@pytest.mark.parametrize("case", ["exec", "no CA", "http"])
def test_a_check_before_an_attach_and_an_uploaded_file_are_refused_alike(
    case: str, workspace: Any, operator: Any
) -> None:
    text, words = KUBECONFIGS[case]
    body = {"attach": {"name": "edge", "kubeconfig": text}}
    answer = factories.client(operator).post(ATTACH.replace("attach", "preflight"), body, format="json")
    detail = answer.json()["detail"]
    assert (answer.status_code, words in detail) == (422, True), detail
    in_page(operator, detail, {"kubeconfig_file": SimpleUploadedFile("config", text.encode())})
    in_page(operator, detail, {"kubeconfig": text, "check": "on"})


@pytest.mark.parametrize("case", KUBECONFIGS)
def test_a_kubeconfig_that_is_not_taken_is_refused_with_its_reason(case: str, workspace: Any, operator: Any) -> None:
    text, words = KUBECONFIGS[case]
    refused_everywhere(operator, text, words)


@pytest.mark.parametrize("case", ADDRESSES)
def test_a_server_inside_of_a_network_is_refused_with_its_address(case: str, workspace: Any, operator: Any) -> None:
    host = ADDRESSES[case]
    refused_everywhere(operator, given.of_server(f"https://{host}:6443"), "an address inside a network")


def test_the_allow_list_opens_an_inner_address_and_only_that(workspace: Any, operator: Any, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["10.1.0.0/16"]
    api = factories.client(operator)
    body = {"name": "edge", "kubeconfig": given.of_server("https://10.1.2.3:6443")}
    assert api.post(ATTACH, body, format="json").status_code == 202
    refused = api.post(ATTACH, {"name": "more", "kubeconfig": given.of_server("https://10.2.2.3:6443")}, format="json")
    assert refused.status_code == 422
    assert "10.2.2.3" in refused.json()["detail"]


def test_a_name_that_nobody_knows_is_refused(workspace: Any, operator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*args: Any, **more: Any) -> Any:
        raise socket.gaierror(-2, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", look)
    refused_everywhere(operator, given.of_server("https://gone.example.com"), "cannot be resolved")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"cluster_id": "/subscriptions/x"}, "cluster_id does not go with another cluster"),
        ({"cluster_name": "a", "resource_group": "b"}, "resource_group, cluster_name do not go with another cluster"),
        ({"authorize_range": "203.0.113.7/32"}, "authorize_range does not go with"),
        ({"gateway_address": "http://x/"}, "give an IP address or a host name"),
        ({"gateway_address": "a.example.com:80"}, "give an IP address or a host name"),
    ],
)
def test_what_does_not_go_with_a_kubeconfig_is_refused(
    workspace: Any, operator: Any, more: dict[str, str], words: str
) -> None:
    answer = factories.client(operator).post(
        ATTACH, {"name": "edge", "kubeconfig": given.text(), **more}, format="json"
    )
    assert (answer.status_code, words in answer.json()["detail"]) == (422, True), answer.json()
    assert not ComputeTarget.objects.exists()


@pytest.mark.parametrize("name", ["region", "gateway_service", "gateway_address"])
def test_what_goes_with_a_kubeconfig_only_is_refused_of_an_aks_cluster(
    workspace: Any, operator: Any, name: str
) -> None:
    body = {"name": "edge", "cluster_name": "aks", name: "NodePort"}
    answer = factories.client(operator).post(ATTACH, body, format="json")
    assert (answer.status_code, f"{name} does not go with an AKS cluster" in answer.json()["detail"]) == (422, True)


def test_other_contexts_of_the_kubeconfig_are_neither_used_nor_kept(workspace: Any, operator: Any) -> None:
    document = given.document()
    document["users"].append({"name": "other", "user": {"exec": {"command": "rm"}, "token": "not-to-be-kept"}})
    answer = factories.client(operator).post(
        ATTACH, {"name": "edge", "kubeconfig": yaml.safe_dump(document)}, format="json"
    )
    assert answer.status_code == 202
    kept = ComputeTarget.objects.get().access
    assert given.TOKEN in kept
    assert "not-to-be-kept" not in kept


def test_the_reasons_name_every_key_that_the_documentation_names() -> None:
    with open("docs/any-kubernetes.md") as file:
        found = re.search(r"It refuses\n(.*?)and a server without CA", file.read(), re.DOTALL)
    assert found is not None
    named = set(re.findall(r"`([\w-]+)`", found[1]))
    assert named - {"as"} <= set(KUBECONFIGS), named - set(KUBECONFIGS)
