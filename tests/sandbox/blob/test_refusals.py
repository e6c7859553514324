"""What the pretend Blob service refuses, as the real one does, with its codes."""

import base64
import email.utils
import time
from urllib.parse import unquote, urlsplit

import pytest
import requests

from compute.sandbox.blob import signing
from tests.blobs import Blobs

VERSION = "2024-11-04"


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    with Blobs(tmp_path_factory.mktemp("blob")).running() as made:
        assert ask(made, "PUT", "/things?restype=container").status_code == 201
        assert ask(made, "PUT", "/things/one", b"content", **{"x-ms-blob-type": "BlockBlob"}).status_code == 201
        yield made


def ask(account, method, path, body=b"", key="", scheme="SharedKey", at=None, **headers):
    """One request that is signed by hand; a header that is None is left out."""
    at = time.time() if at is None else at
    given = {"x-ms-version": VERSION, "x-ms-date": email.utils.formatdate(at, usegmt=True), **headers}
    given = {name: value for name, value in given.items() if value is not None}
    if body or method == "PUT":
        given["Content-Length"] = str(len(body))
    parts = urlsplit(account.url + path)
    query = [(name, unquote(value)) for name, value in (each.split("=", 1) for each in parts.query.split("&") if each)]
    text = signing.shared_key("slipwaysandbox", method, parts.path, query, given)
    given["Authorization"] = f"{scheme} slipwaysandbox:{signing.sign(key or account.key, text)}"
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, account.url + path, data=body, headers=given, timeout=5)


def code(answer):
    return answer.status_code, answer.headers.get("x-ms-error-code")


BLOCK = {"x-ms-blob-type": "BlockBlob"}


@pytest.mark.parametrize(
    ("method", "path", "more", "wanted"),
    [
        ("GET", "/things/one", {"key": "d3Jvbmc="}, (403, "AuthenticationFailed")),
        ("GET", "/things/one", {"at": 1_000_000_000}, (403, "AuthenticationFailed")),
        ("GET", "/things/one", {"x-ms-version": None}, (400, "MissingRequiredHeader")),
        ("GET", "/things/one", {"x-ms-version": "new"}, (400, "InvalidHeaderValue")),
        ("GET", "/things/one", {"x-ms-date": "today"}, (403, "AuthenticationFailed")),
        ("GET", "/things/one", {"scheme": "Basic"}, (400, "InvalidAuthenticationInfo")),
        ("GET", "/things/one", {"scheme": "Bearer"}, (403, "AuthenticationFailed")),  # over http
        ("GET", "/things/none", {}, (404, "BlobNotFound")),
        ("GET", "/nowhere/one", {}, (404, "ContainerNotFound")),
        ("GET", "/things/one", {"x-ms-range": "bytes=7-"}, (416, "InvalidRange")),
        ("GET", "/things/one", {"If-Match": '"other"'}, (412, "ConditionNotMet")),
        ("PATCH", "/things/one", {}, (405, "UnsupportedHttpVerb")),
        ("GET", "/things/one?comp=tags", {}, (405, "UnsupportedHttpVerb")),
        ("DELETE", "/things?restype=container", {}, (405, "UnsupportedHttpVerb")),
        ("GET", "/?comp=list", {}, (400, "InvalidUri")),
        ("PUT", "/things?restype=container", {}, (409, "ContainerAlreadyExists")),
        ("PUT", "/Things?restype=container", {}, (400, "InvalidResourceName")),
        ("PUT", "/a--b?restype=container", {}, (400, "InvalidResourceName")),
        ("PUT", "/things/two", {}, (400, "MissingRequiredHeader")),
        ("PUT", "/things/two", {"x-ms-blob-type": "PageBlob"}, (400, "InvalidHeaderValue")),
        ("PUT", "/things/one", {**BLOCK, "If-None-Match": "*"}, (409, "BlobAlreadyExists")),
        ("PUT", "/things/two", {**BLOCK, "body": b"x", "Content-MD5": "AAAA"}, (400, "Md5Mismatch")),
        ("PUT", "/things/two?comp=block&blockid=%21", {"body": b"x"}, (400, "InvalidBlockId")),
        ("PUT", "/things/two?comp=blocklist", {"body": b"<BlockList"}, (400, "InvalidXmlDocument")),
        ("PUT", "/things/two?comp=blocklist", {"body": b"<!DOCTYPE x><BlockList/>"}, (400, "InvalidXmlDocument")),
        ("PUT", "/things/two?comp=blocklist", {"body": b"<BlockList><Latest>MQ==</Latest></BlockList>"},
         (400, "InvalidBlockList")),
        ("GET", "/things?restype=container&comp=list&maxresults=0", {}, (400, "InvalidQueryParameterValue")),
        ("POST", "/?restype=service&comp=userdelegationkey", {}, (403, "AuthenticationFailed")),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_in_azures_words(account, method, path, more, wanted):
    answer = ask(account, method, path, **more)
    assert code(answer) == wanted, answer.text
    assert f"<Code>{wanted[1]}</Code>" in answer.text


def test_without_any_credential_it_asks_for_one(account):
    answer = requests.get(f"{account.url}/things/one", timeout=5, proxies={"http": ""})
    assert code(answer) == (401, "NoAuthenticationInformation")
    assert "resource_id=https://storage.azure.com" in answer.headers["WWW-Authenticate"]


def test_blocks_are_nothing_until_their_list_comes_and_only_named_ones_count(account):
    path = "/things/blocks"
    for name, content in (("0001", b"one "), ("0002", b"two "), ("0003", b"three")):
        answer = raw_block(account, path, name, content)
        assert answer.status_code == 201, answer.text
    assert code(ask(account, "GET", path)) == (404, "BlobNotFound")
    names = "".join(f"<Latest>{base64.b64encode(each).decode()}</Latest>" for each in (b"0003", b"0001"))
    made = ask(account, "PUT", f"{path}?comp=blocklist", f"<BlockList>{names}</BlockList>".encode())
    assert made.status_code == 201, made.text
    assert ask(account, "GET", path).content == b"threeone "
    assert ask(account, "GET", path, **{"x-ms-range": "bytes=5-7"}).content == b"one"


def raw_block(account, path, name, content):
    block = base64.b64encode(name.encode()).decode()
    return ask(account, "PUT", f"{path}?comp=block&blockid={block}", content)


def test_a_list_is_paged_and_folded_at_a_delimiter(account):
    for name in ("dir/a", "dir/b", "e", "f"):
        assert ask(account, "PUT", f"/things/list/{name}", b"x", **BLOCK).status_code == 201
    url = "/things?restype=container&comp=list&prefix=list/&delimiter=/&maxresults=2"
    first = ask(account, "GET", url).text
    assert "<BlobPrefix><Name>list/dir/</Name></BlobPrefix><Blob><Name>list/e</Name>" in first
    assert "<NextMarker>list/f</NextMarker>" in first
    second = ask(account, "GET", f"{url}&marker=list/f").text
    assert second.count("<Name>") == 1
    assert "<NextMarker></NextMarker>" in second
