"""The sandbox's Blob service alone, on two ports of this process."""

from __future__ import annotations

import asyncio
import base64
import secrets
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from azure.storage.blob import ExponentialRetry

from compute.sandbox.app import ACCOUNT
from compute.sandbox.blob.gate import BlobGate
from compute.sandbox.blob.service import BlobService
from compute.sandbox.blob.store import BlobStore
from compute.sandbox.clock import Clock
from compute.sandbox.db import Db
from compute.sandbox.entra.principals import Principals
from compute.sandbox.entra.tokens import Tokens
from compute.sandbox.faults import Faults
from tests.deployments.pki import write_pki

SCOPE = f"/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}"


class Blobs:
    """A pretend storage account. What touches its state goes through `do`, which runs in its thread."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.key = folder, base64.b64encode(secrets.token_bytes(64)).decode()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def do(self, function: Any, *args: Any, **more: Any) -> Any:
        """Call a function in the service's thread."""

        async def call() -> Any:
            return function(*args, **more)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    async def _serve(self) -> None:
        self.db = Db(self.folder / "blob.db")
        self.clock, self.faults = Clock(self.db), Faults(self.db)
        self.principals = Principals(self.db, "22222222-0000-4000-a000-000000000001")
        self.tokens = Tokens(self.db, self.clock, self.principals)
        gate = BlobGate(ACCOUNT, self.key, SCOPE, self.tokens, self.principals, self.clock)
        self.store = BlobStore(self.folder / "blobs", self.db, self.clock)
        app = web.Application()
        app.add_routes(BlobService(ACCOUNT, gate, self.store, self.faults).routes())
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        pki = write_pki(self.folder)
        self.ca = str(pki["ca"])
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pki["cert"], pki["key"])
        ports = []
        for secure in (None, context):
            site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=secure)
            await site.start()
            ports.append(site._server.sockets[0].getsockname()[1])
        self.url, self.secure_url = (
            f"{scheme}://127.0.0.1:{port}/{ACCOUNT}" for scheme, port in zip(("http", "https"), ports, strict=True)
        )

    @contextmanager
    def running(self) -> Iterator[Blobs]:
        """The service while the block runs."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(10)
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    def options(self, **more: Any) -> dict[str, Any]:
        """OPTIONS of a Django storage with the account's key, without repeats."""
        return {
            "account_url": self.url, "account_key": self.key, "azure_container": "slipway",
            "client_options": {"retry_policy": ExponentialRetry(retry_total=0)}, **more,
        }  # fmt: skip
