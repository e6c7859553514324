"""Artifacts on Azure Blob: the real client library against the sandbox's Blob service."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.core.credentials import AccessToken
from azure.storage.blob import ExponentialRetry
from django.core.files import File
from django.core.files.base import ContentFile

from compute.blobs import BlobStorage
from compute.sandbox.entra.tokens import STORAGE
from portal.storage import StorageAway, StorageRefused
from tests.blobs import SCOPE, Blobs

CLIENT = "aaaaaaaa-0000-4000-a000-00000000000b"
SOON = timedelta(minutes=5)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blobs]:
    with Blobs(tmp_path_factory.mktemp("blob")).running() as made:
        yield made


@pytest.fixture
def storage(account: Blobs) -> Iterator[BlobStorage]:
    yield BlobStorage(**account.options())
    account.do(account.faults.clear)


def get(url: str, method: str = "GET", **more: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, timeout=5, **more)


def test_what_was_saved_is_read_back_from_any_place_in_it_and_listed(storage: BlobStorage) -> None:
    content = bytes(range(256)) * 36_000  # over two blocks
    assert storage.save("aa/long", ContentFile(content)) == "aa/long"
    assert storage.exists("aa/long")
    assert storage.size("aa/long") == len(content)
    with storage.open("aa/long") as file:
        assert file.read(10) == content[:10]
        file.seek(-7, io.SEEK_END)
        assert file.read() == content[-7:]
    storage.save("aa/deep/short", ContentFile(b"short"))
    assert storage.listdir("aa") == (["deep"], ["long"])
    storage.delete("aa/long")
    storage.delete("aa/long")
    assert not storage.exists("aa/long")
    with pytest.raises(FileNotFoundError):
        storage.open("aa/long")


def test_a_tar_is_read_through_without_a_copy_of_it(storage: BlobStorage) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("score.py")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"run()"))
    storage.save("tar", ContentFile(packed.getvalue()))
    with storage.open("tar") as stream, tarfile.open(fileobj=stream, mode="r:*") as tar:
        assert tar.extractfile("score.py").read() == b"run()"


def test_memory_does_not_grow_with_a_blob(storage: BlobStorage, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    with big.open("rb") as file:
        storage.save("big", File(file))
    with storage.open("big") as stream:
        while stream.read(1 << 20):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    storage.delete("big")
    assert peak < 48 << 20  # a few blocks and their copies, on both sides of the wire: here they are one process


def test_a_blob_appears_only_when_it_is_whole(storage: BlobStorage) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 8 << 20:
                raise OSError("the disk went away")
            return super().read(size)

    with pytest.raises(OSError, match="went away"):
        storage.save("half", File(Broken(bytes(12 << 20))))
    assert not storage.exists("half")


def test_a_name_that_was_taken_meanwhile_is_never_written_over(
    storage: BlobStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.save("name", ContentFile(b"first"))
    free = iter(["name", "name_2"])
    monkeypatch.setattr(storage, "get_available_name", lambda *_, **__: next(free))
    assert storage.save("name", ContentFile(b"second")) == "name_2"
    with storage.open("name") as file:
        assert file.read() == b"first"


def test_a_signed_address_opens_one_blob_for_reading_until_its_time(account: Blobs, storage: BlobStorage) -> None:
    storage.save("mine", ContentFile(b"content"))
    storage.save("other", ContentFile(b"secret"))
    url = storage.signed_url("mine", datetime.now(UTC) + SOON)
    assert get(url).content == b"content"
    assert get(url, headers={"Range": "bytes=3-"}).content == b"tent"
    refused = [
        get(url.replace("/mine?", "/other?")), get(url, "PUT", headers={"x-ms-blob-type": "BlockBlob"}, data=b"x"),
        get(url, "DELETE"), get(url.replace("sp=r", "sp=rw")), get(url.partition("?")[0]),
        get(storage.signed_url("mine", datetime.now(UTC) - SOON)),
    ]  # fmt: skip
    assert [answer.status_code for answer in refused] == [403, 403, 403, 403, 401, 403]
    assert refused[1].headers["x-ms-error-code"] == "AuthorizationPermissionMismatch"
    assert b"not valid in the specified time frame" in refused[5].content


def test_an_identity_signs_addresses_as_far_as_its_own_rights_go(account: Blobs) -> None:
    def roles(*names: str) -> None:
        asked = {"roles": [{"scope": SCOPE, "role": name} for name in names]}
        account.do(account.principals.put, CLIENT, asked)

    roles("Storage Blob Data Contributor")
    more = {"retry_policy": ExponentialRetry(retry_total=0), "connection_verify": account.ca}
    options = account.options(account_url=account.secure_url, account_key="", client_options=more)
    storage = BlobStorage(**options, token_credential=Identity(account))
    storage.save("by-identity", ContentFile(b"content"))
    url = storage.signed_url("by-identity", datetime.now(UTC) + timedelta(days=6))
    assert "spr=https" in url
    assert "skoid=" in url
    assert get(url, verify=account.ca).content == b"content"
    changed = url.replace("skt=20", "skt=19")
    assert get(changed, verify=account.ca).status_code == 403
    roles("Storage Blob Delegator")
    assert get(url, verify=account.ca).status_code == 403
    with pytest.raises(StorageRefused, match="needs the role Storage Blob Data Contributor"):
        storage.size("by-identity")
    roles("Storage Blob Data Reader")
    assert get(url, verify=account.ca).status_code == 200
    fresh = BlobStorage(**options, token_credential=Identity(account))
    with pytest.raises(StorageRefused, match="AuthorizationPermissionMismatch"):
        fresh.save("not-permitted", ContentFile(b"content"))


def test_a_wrong_key_and_a_store_that_is_away_are_told_apart_without_a_secret(account: Blobs) -> None:
    wrong = BlobStorage(**account.options(account_key="d3Jvbmc="))
    with pytest.raises(StorageRefused, match="slipway at 127.0.0.1:[0-9]+ refused with 403") as caught:
        wrong.exists("x")
    assert "d3Jvbmc" not in caught.value.detail
    away = BlobStorage(**account.options(account_url="http://127.0.0.1:9/slipwaysandbox"))
    with pytest.raises(StorageAway, match="cannot be reached"):
        away.exists("x")
    account.do(account.faults.set, "blob.unavailable", {"count": 1})
    busy = BlobStorage(**account.options())
    with pytest.raises(StorageAway, match="503"):
        busy.size("mine")


class Identity:
    """A credential whose tokens the pretend directory gave."""

    def __init__(self, account: Blobs) -> None:
        self._account = account

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        assert scopes == (f"{STORAGE}/.default",)
        principal = self._account.do(self._account.principals.find, CLIENT)
        token = self._account.do(self._account.tokens.issue, principal, STORAGE, 3600, "1")
        return AccessToken(token, int(datetime.now(UTC).timestamp()) + 3600)
