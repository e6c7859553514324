"""Django storage on one container of Azure Blob: streamed both ways, and signed addresses for those without an account.

Chosen in settings, e.g. for `STORAGES["artifacts"]`. Who signs in: an account key, a connection string, or the portal's
own identity (azure-identity's default chain). No call needs memory for more than a few blocks, whatever a blob's size.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from azure.core import exceptions as azure
from azure.storage.blob import BlobClient, BlobPrefix, BlobServiceClient, ExponentialRetry, generate_blob_sas
from django.core.files import File
from storages.backends.azure_storage import AzureStorage

from portal.addresses import is_loopback
from portal.problems import Problem
from portal.storage import StorageAway, StorageRefused

BLOCK = 4 << 20  # bytes of one request
KEY_DAYS = 7  # the longest life of a user delegation key, and so of what it signs
SLACK = timedelta(minutes=15)  # Azure's clock and ours may differ that much
TRIES = 5
ROLES = "Storage Blob Data Contributor"


class BlobStorage(AzureStorage):  # type: ignore[misc]
    """One container; it is made when it is missing. `account_url` as https://NAME.blob.core.windows.net."""

    token_credential: Any
    _user_delegation_key: Any
    _user_delegation_key_expiry: Any

    def get_default_settings(self) -> dict[str, Any]:
        """Django-storages' own, and where the account is."""
        return {**super().get_default_settings(), "account_url": "", "upload_max_conn": 1}

    def _get_service_client(self) -> BlobServiceClient:
        options = {
            "max_single_put_size": BLOCK, "max_block_size": BLOCK, "max_single_get_size": BLOCK,
            "max_chunk_get_size": BLOCK, "connection_timeout": 5, "read_timeout": 30,
            "retry_policy": ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=2),
            "use_env_settings": not is_loopback(self.account_url), **self.client_options,
        }  # fmt: skip
        if self.connection_string:
            return BlobServiceClient.from_connection_string(self.connection_string, **options)
        return BlobServiceClient(self.account_url, credential=self.account_key or self._identity(), **options)

    def _identity(self) -> Any:
        from azure.identity import DefaultAzureCredential

        self.token_credential = self.token_credential or DefaultAzureCredential()
        return self.token_credential

    @property
    def where(self) -> str:
        """The container for people: account and container, without anything secret."""
        return f"{self.azure_container} at {urlsplit(self.service_client.url).netloc}"

    @property
    def endpoint(self) -> str:
        """Scheme and host of the account, with its port."""
        parts = urlsplit(self.service_client.url)
        return f"{parts.scheme}://{parts.netloc}"

    # --- files

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        client: BlobClient = self.client.get_blob_client(self._get_valid_path(name))
        with self._translated():
            size = client.get_blob_properties().size
        return File(io.BufferedReader(_Blob(self, client, size), BLOCK), name)

    def _save(self, name: str, content: Any) -> str:
        """Upload in blocks; the blob appears when all are there. A name that was taken meanwhile gets another."""
        for _ in range(TRIES):
            try:
                with self._translated():
                    return self._uploaded(name, content)
            except FileExistsError:
                name = self.get_available_name(name)
        raise StorageAway(f"Others are writing {name} into {self.where} at the same time.")

    def _uploaded(self, name: str, content: Any) -> str:
        try:
            return str(super()._save(name, content))
        except azure.ResourceNotFoundError:
            self._make_container()
            return str(super()._save(name, content))

    def _make_container(self) -> None:
        try:
            self.client.create_container()
        except azure.ResourceExistsError:
            return

    def exists(self, name: str) -> bool:
        """Whether there is such a blob."""
        with self._translated():
            return bool(super().exists(name))

    def size(self, name: str) -> int:
        """Bytes of a blob. Raises FileNotFoundError."""
        with self._translated():
            return int(super().size(name))

    def delete(self, name: str) -> None:
        """Remove a blob; missing is fine."""
        with self._translated():
            super().delete(name)

    def listdir(self, path: str = "") -> tuple[list[str], list[str]]:
        """Folders and files right below a folder."""
        prefix = f"{self._get_valid_path(path)}/" if path else ""
        folders: list[str] = []
        files: list[str] = []
        with self._translated():
            for each in self.client.walk_blobs(name_starts_with=prefix):
                group = folders if isinstance(each, BlobPrefix) else files
                group.append(each.name[len(prefix) :].rstrip("/"))
        return folders, files

    # --- addresses

    def signed_url(self, name: str, until: datetime) -> str:
        """An address with which anybody may read this one blob until then, and nothing else. Raises StorageAway."""
        service, path = self.service_client, self._get_valid_path(name)
        with self._translated():
            key = self._delegation(until) if self.token_credential else None
        query = generate_blob_sas(
            service.account_name, self.azure_container, path, permission="r", expiry=until,
            protocol="https" if service.scheme == "https" else "https,http", user_delegation_key=key,
            account_key=None if key else service.credential.account_key,
        )  # fmt: skip
        return f"{self.client.get_blob_client(path).url}?{query}"

    def _delegation(self, until: datetime) -> Any:
        """A key of the portal's identity that lasts until then; one is used until it does not."""
        if self._user_delegation_key is None or until > self._user_delegation_key_expiry:
            now = datetime.now(UTC)
            end = now + timedelta(days=KEY_DAYS) - SLACK
            self._user_delegation_key = self.service_client.get_user_delegation_key(now - SLACK, end)
            self._user_delegation_key_expiry = end
        return self._user_delegation_key

    # --- failures

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the SDK raises into what Django expects, or into a sentence without addresses that are secret."""
        try:
            yield
        except azure.ResourceNotFoundError as error:
            raise FileNotFoundError(_code(error)) from None
        except azure.ResourceExistsError as error:
            raise FileExistsError(_code(error)) from None
        except azure.HttpResponseError as error:
            raise self._failure(error) from None
        except (azure.ServiceRequestError, azure.ServiceResponseError) as error:
            raise StorageAway(f"The container {self.where} cannot be reached ({type(error).__name__}).") from None

    def _failure(self, error: Any) -> Problem:
        status, code = error.status_code, _code(error)
        if status is None:
            return StorageRefused(f"The portal has no identity for {self.where}: set a key, or give it one.")
        if status >= 500 or status == 429:
            return StorageAway(f"The container {self.where} answered {status} ({code}). Try again.")
        hint = f" The portal needs the role {ROLES} there." if code.startswith("Authorization") else ""
        return StorageRefused(f"The container {self.where} refused with {status} ({code}).{hint}")


def _code(error: Any) -> str:
    """Azure's own word, e.g. ServerBusy: the library has those that it knows as members of an enum."""
    code = getattr(error, "error_code", "") or type(error).__name__
    return str(getattr(code, "value", code))


class _Blob(io.RawIOBase):
    """A blob to be read, a range at a time, from any place in it."""

    def __init__(self, storage: BlobStorage, client: BlobClient, size: int) -> None:
        self._storage, self._client, self._size, self._at = storage, client, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Where the next bytes are read; nothing is asked for."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """The next bytes; 0 at the end."""
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        with self._storage._translated():
            data = self._client.download_blob(offset=self._at, length=wanted, max_concurrency=1).readall()
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
