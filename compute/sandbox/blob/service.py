"""The doors of the Blob service, below /ACCOUNT as emulators have it."""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from aiohttp import web

from compute.sandbox.blob import signing
from compute.sandbox.blob.errors import BlobError
from compute.sandbox.blob.gate import Asked, BlobGate
from compute.sandbox.blob.store import BlobStore
from compute.sandbox.faults import Faults

Json = dict[str, Any]
_MOST_PUT, _MOST_BLOCK, _MOST_BLOCKS, _MOST_XML = 5000 << 20, 4000 << 20, 50_000, 8 << 20
_CHUNK = 1 << 18
_CONTAINER = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_XML = '<?xml version="1.0" encoding="utf-8"?>'


class BlobService:
    """One account: containers, block blobs, lists, and user delegation keys."""

    def __init__(self, account: str, gate: BlobGate, store: BlobStore, faults: Faults) -> None:
        self._account, self._gate, self._store, self._faults = account, gate, store, faults

    def routes(self) -> list[web.RouteDef]:
        """Everything below the account."""
        return [web.route("*", f"/{self._account}{{tail:(/.*)?}}", self.handle)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        container, _, blob = request.match_info["tail"].lstrip("/").partition("/")
        try:
            await self._strike(request, container, blob)
            answer = await self._answer(request, container, blob)
        except BlobError as refusal:
            answer = refusal.response(request.method)
        if not answer.prepared:
            answer.headers["x-ms-version"] = request.headers.get("x-ms-version") or request.query.get("sv", "")
            answer.headers["Server"] = "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0"
        return answer

    async def _strike(self, request: web.Request, container: str, blob: str) -> None:
        met = {"method": request.method, "container": container, "blob": blob}
        slow = self._faults.take("blob.slow", **met)
        if slow:
            await asyncio.sleep(float(slow.get("seconds", 2)))
        down = self._faults.take("blob.unavailable", **met)
        if down:
            raise BlobError(int(down.get("status", 503)), str(down.get("code", "ServerBusy")))

    async def _answer(self, request: web.Request, container: str, blob: str) -> web.StreamResponse:
        method, comp = request.method, request.query.get("comp", "")
        kind = request.query.get("restype", "")
        if not container:
            if (method, kind, comp) == ("POST", "service", "userdelegationkey"):
                return await self._delegate(request)
            raise BlobError(400, "InvalidUri")
        if not blob:
            return self._of_container(request, container, (method, kind, comp))
        if not _CONTAINER.fullmatch(container) or len(blob) > 1024:
            raise BlobError(400, "InvalidResourceName")
        calls = {
            ("GET", ""): ("r", self._get), ("HEAD", ""): ("r", self._get), ("DELETE", ""): ("d", self._delete),
            ("PUT", ""): ("w", self._put), ("PUT", "block"): ("w", self._put_block),
            ("PUT", "blocklist"): ("w", self._put_list),
        }  # fmt: skip
        right, call = calls.get((method, comp), ("", None))
        if call is None:
            raise BlobError(405, "UnsupportedHttpVerb")
        self._gate.check(request, Asked(right, container, blob))
        if container not in self._store.containers:
            raise BlobError(404, "ContainerNotFound")
        return await call(request, container, blob)

    async def _delegate(self, request: web.Request) -> web.Response:
        caller = self._gate.check(request, Asked("k"))
        if caller is None:
            raise BlobError(403, "AuthenticationFailed", "Only authentication scheme Bearer is supported.")
        asked = _parsed(await request.read())
        texts = {name: asked.findtext(name) or "" for name in ("Start", "Expiry")}
        found = self._gate.delegate(caller, texts["Start"], texts["Expiry"], request.headers["x-ms-version"])
        names = {"skoid": "SignedOid", "sktid": "SignedTid", "skt": "SignedStart", "ske": "SignedExpiry",
                 "sks": "SignedService", "skv": "SignedVersion", "value": "Value"}  # fmt: skip
        inside = "".join(f"<{tag}>{escape(found[name])}</{tag}>" for name, tag in names.items())
        return _xml(f"<UserDelegationKey>{inside}</UserDelegationKey>")

    # --- containers

    def _of_container(self, request: web.Request, container: str, call: tuple[str, str, str]) -> web.Response:
        if call == ("PUT", "container", ""):
            return self._make(request, container)
        if call != ("GET", "container", "list"):
            raise BlobError(405, "UnsupportedHttpVerb")
        self._gate.check(request, Asked("l", container))
        if container not in self._store.containers:
            raise BlobError(404, "ContainerNotFound")
        return self._list(request, container)

    def _make(self, request: web.Request, container: str) -> web.Response:
        self._gate.check(request, Asked("m", container))
        if not _CONTAINER.fullmatch(container):
            raise BlobError(400, "InvalidResourceName")
        if container in self._store.containers:
            raise BlobError(409, "ContainerAlreadyExists")
        made = self._store.make(container)
        return web.Response(status=201, headers={"ETag": made["etag"], "Last-Modified": _http(made["modified"])})

    def _list(self, request: web.Request, container: str) -> web.Response:
        query = request.query
        prefix, delimiter, marker = (query.get(name, "") for name in ("prefix", "delimiter", "marker"))
        most = _number(query.get("maxresults", "5000"))
        entries: dict[str, str] = {}
        for name, row in self._store.names(container):
            if not name.startswith(prefix) or name < marker:
                continue
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            folder = name[: cut + len(delimiter)] if cut >= 0 else ""
            if len(entries) == most and (folder or name) not in entries:
                return self._page(request, container, entries, name)
            entries.setdefault(folder or name, _folder(folder) if folder else _entry(name, row))
        return self._page(request, container, entries, "")

    def _page(self, request: web.Request, container: str, entries: dict[str, str], following: str) -> web.Response:
        inside = "".join(entries.values())
        base = f"{request.scheme}://{request.host}/{self._account}/"
        head = f'<EnumerationResults ServiceEndpoint="{escape(base)}" ContainerName="{container}">'
        prefix = f"<Prefix>{escape(request.query.get('prefix', ''))}</Prefix>"
        tail = f"<NextMarker>{escape(following)}</NextMarker></EnumerationResults>"
        return _xml(f"{head}{prefix}<Blobs>{inside}</Blobs>{tail}")

    # --- blobs

    async def _get(self, request: web.Request, container: str, blob: str) -> web.StreamResponse:
        row = self._there(container, blob)
        _conditions(request, row)
        start, end = _range(request, row["size"])
        partial = start is not None
        first, last = start or 0, row["size"] - 1 if end is None else end
        headers = {
            "ETag": row["etag"], "Last-Modified": _http(row["modified"]), "Accept-Ranges": "bytes",
            "Content-Type": row["type"], "x-ms-blob-type": "BlockBlob", "x-ms-lease-status": "unlocked",
            "x-ms-lease-state": "available", "x-ms-server-encrypted": "true",
            "Content-Length": str(last - first + 1),
        }  # fmt: skip
        if partial:
            headers["Content-Range"] = f"bytes {first}-{last}/{row['size']}"
        if row.get("md5") and not partial:
            headers["Content-MD5"] = row["md5"]
        response = web.StreamResponse(status=206 if partial else 200, headers=headers)
        response.headers["x-ms-version"] = request.headers.get("x-ms-version") or request.query.get("sv", "")
        await response.prepare(request)
        if request.method == "GET":
            with self._store.path(row).open("rb") as file:  # a blob that is replaced meanwhile is read to its end
                file.seek(first)
                left = last - first + 1
                while left and (data := file.read(min(_CHUNK, left))):
                    left -= len(data)
                    await response.write(data)
        await response.write_eof()
        return response

    async def _delete(self, request: web.Request, container: str, blob: str) -> web.Response:
        _conditions(request, self._there(container, blob))
        self._store.remove(container, blob)
        return web.Response(status=202, headers={"x-ms-delete-type-permanent": "true"})

    async def _put(self, request: web.Request, container: str, blob: str) -> web.Response:
        if request.headers.get("x-ms-blob-type") != "BlockBlob":
            missing = "x-ms-blob-type" not in request.headers
            raise BlobError(400, "MissingRequiredHeader" if missing else "InvalidHeaderValue")
        self._may_write(request, container, blob)
        path, size, md5 = await self._receive(request, _MOST_PUT)
        try:
            self._may_write(request, container, blob)  # somebody may have been faster meanwhile
        except BlobError:
            path.unlink()
            raise
        return self._written(self._store.put(container, blob, path, size, {**_facts(request), "md5": md5}))

    async def _put_block(self, request: web.Request, container: str, blob: str) -> web.Response:
        block = request.query.get("blockid", "")
        if not signing.is_base64(block) or len(base64.b64decode(block)) > 64:
            raise BlobError(400, "InvalidBlockId")
        path, _, md5 = await self._receive(request, _MOST_BLOCK)
        self._store.put_block(container, blob, block, path)
        return web.Response(status=201, headers={"Content-MD5": md5, "x-ms-request-server-encrypted": "true"})

    async def _put_list(self, request: web.Request, container: str, blob: str) -> web.Response:
        if (request.content_length or 0) > _MOST_XML:
            raise BlobError(413, "RequestBodyTooLarge")
        root = _parsed(await request.read())
        blocks = [(each.text or "").strip() for each in root if each.tag in ("Latest", "Uncommitted")]
        if root.tag != "BlockList" or len(blocks) != len(root) or len(blocks) > _MOST_BLOCKS:
            raise BlobError(400, "InvalidXmlDocument")
        self._may_write(request, container, blob)
        try:
            path, size = await asyncio.to_thread(self._store.joined, container, blob, blocks)
        except KeyError:
            raise BlobError(400, "InvalidBlockList") from None
        return self._written(self._store.put(container, blob, path, size, _facts(request)))

    def _there(self, container: str, blob: str) -> Json:
        row = self._store.find(container, blob)
        if row is None:
            raise BlobError(404, "BlobNotFound")
        return row

    def _may_write(self, request: web.Request, container: str, blob: str) -> None:
        row = self._store.find(container, blob)
        if row is not None and request.headers.get("If-None-Match") == "*":
            raise BlobError(409, "BlobAlreadyExists")
        wanted = request.headers.get("If-Match")
        if wanted and (row is None or wanted not in ("*", row["etag"])):
            raise BlobError(412, "ConditionNotMet")

    async def _receive(self, request: web.Request, most: int) -> tuple[Any, int, str]:
        if request.content_length is None:
            raise BlobError(411, "MissingContentLengthHeader")
        digest = hashlib.md5(usedforsecurity=False)

        async def chunks() -> AsyncIterator[bytes]:
            async for data in request.content.iter_chunked(_CHUNK):
                digest.update(data)
                yield data

        try:
            path, size = await self._store.receive(chunks(), most)
        except ValueError:
            raise BlobError(413, "RequestBodyTooLarge") from None
        md5 = base64.b64encode(digest.digest()).decode()
        if request.headers.get("Content-MD5", md5) != md5:
            path.unlink()
            raise BlobError(400, "Md5Mismatch")
        return path, size, md5

    @staticmethod
    def _written(row: Json) -> web.Response:
        headers = {
            "ETag": row["etag"], "Last-Modified": _http(row["modified"]), "x-ms-request-server-encrypted": "true",
        }  # fmt: skip
        return web.Response(status=201, headers=headers)


def _facts(request: web.Request) -> Json:
    given = request.headers.get("x-ms-blob-content-type") or request.headers.get("Content-Type", "")
    return {"type": given or "application/octet-stream"}


def _conditions(request: web.Request, row: Json) -> None:
    wanted = request.headers.get("If-Match")
    if wanted and wanted not in ("*", row["etag"]):
        raise BlobError(412, "ConditionNotMet")
    if request.headers.get("If-None-Match") in ("*", row["etag"]):
        raise BlobError(304, "ConditionNotMet")


def _range(request: web.Request, size: int) -> tuple[int | None, int | None]:
    text = request.headers.get("x-ms-range") or request.headers.get("Range", "")
    if not text or request.method == "HEAD":
        return None, None
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", text)
    if found is None:
        return None, None  # as the service does with ranges that it does not know
    start = int(found[1])
    end = min(int(found[2]), size - 1) if found[2] else size - 1
    if start >= size or end < start:
        raise BlobError(416, "InvalidRange", **{"Content-Range": f"bytes */{size}"})
    return start, end


def _number(text: str) -> int:
    if not text.isdigit() or not int(text) >= 1:
        raise BlobError(400, "InvalidQueryParameterValue")
    return min(int(text), 5000)


def _parsed(body: bytes) -> ElementTree.Element:
    if b"<!" in body:  # no entities
        raise BlobError(400, "InvalidXmlDocument")
    try:
        return ElementTree.fromstring(body)  # noqa: S314
    except ElementTree.ParseError:
        raise BlobError(400, "InvalidXmlDocument") from None


def _entry(name: str, row: Json) -> str:
    facts = {
        "Last-Modified": _http(row["modified"]), "Etag": row["etag"].strip('"'), "Content-Length": row["size"],
        "Content-Type": row["type"], "BlobType": "BlockBlob", "LeaseStatus": "unlocked", "LeaseState": "available",
        "ServerEncrypted": "true",
    }  # fmt: skip
    inside = "".join(f"<{key}>{escape(str(value))}</{key}>" for key, value in facts.items())
    return f"<Blob><Name>{escape(name)}</Name><Properties>{inside}</Properties></Blob>"


def _folder(name: str) -> str:
    return f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>"


def _xml(inside: str) -> web.Response:
    return web.Response(body=f"{_XML}{inside}".encode(), content_type="application/xml")


def _http(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(int(seconds), UTC), usegmt=True)
