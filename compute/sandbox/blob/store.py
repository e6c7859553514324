"""Containers, blobs and blocks that wait for their list: rows, and files beside them."""

import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from compute.sandbox.clock import Clock
from compute.sandbox.db import Db

Json = dict[str, Any]
_CONTAINERS, _BLOBS, _BLOCKS = "blob_containers", "blob_blobs", "blob_blocks"
_CHUNK = 1 << 20


class BlobStore:
    """What the account holds. A blob appears whole: its bytes are on disk before its row is written."""

    def __init__(self, folder: Path, db: Db, clock: Clock) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._db, self._clock = folder, db, clock
        self.containers: dict[str, Json] = db.all(_CONTAINERS)
        self._blobs: dict[str, Json] = db.all(_BLOBS)
        self._blocks: dict[str, Json] = db.all(_BLOCKS)

    def make(self, container: str) -> Json:
        """A container that was not there."""
        self.containers[container] = doc = {"etag": _etag(), "modified": self._clock.time()}
        self._db.put(_CONTAINERS, container, doc)
        return doc

    def find(self, container: str, name: str) -> Json | None:
        """A blob's row."""
        return self._blobs.get(f"{container}/{name}")

    def path(self, row: Json) -> Path:
        """Where the bytes of a blob are."""
        return self._folder / str(row["file"])

    def names(self, container: str) -> list[tuple[str, Json]]:
        """All blobs of a container by name."""
        start = f"{container}/"
        return sorted((key[len(start) :], row) for key, row in self._blobs.items() if key.startswith(start))

    async def receive(self, chunks: AsyncIterator[bytes], most: int) -> tuple[Path, int]:
        """Bytes into a new file; its size. ValueError over `most`."""
        path, size = self._folder / uuid.uuid4().hex, 0
        try:
            with path.open("wb") as file:
                async for data in chunks:
                    size += len(data)
                    if size > most:
                        raise ValueError(f"more than {most} bytes")
                    file.write(data)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path, size

    def put(self, container: str, name: str, path: Path, size: int, facts: Json) -> Json:
        """A blob from a received file, instead of what was there; blocks that waited are gone."""
        old = self.find(container, name)
        row = {"file": path.name, "size": size, "etag": _etag(), "modified": self._clock.time(), **facts}
        key = f"{container}/{name}"
        self._blobs[key] = row
        self._db.put(_BLOBS, key, row)
        self._forget_blocks(key)
        if old is not None:
            self.path(old).unlink(missing_ok=True)
        return row

    def remove(self, container: str, name: str) -> None:
        """A blob goes."""
        row = self._blobs.pop(f"{container}/{name}")
        self._db.delete(_BLOBS, f"{container}/{name}")
        self.path(row).unlink(missing_ok=True)

    def put_block(self, container: str, name: str, block: str, path: Path) -> None:
        """Keep a block until the list comes."""
        key = f"{container}/{name}\n{block}"
        old = self._blocks.get(key)
        self._blocks[key] = {"file": path.name}
        self._db.put(_BLOCKS, key, self._blocks[key])
        if old is not None:
            self.path(old).unlink(missing_ok=True)

    def joined(self, container: str, name: str, blocks: Iterable[str]) -> tuple[Path, int]:
        """One file from waiting blocks. KeyError for a block that is not there. Runs in a thread."""
        rows = [self._blocks[f"{container}/{name}\n{block}"] for block in blocks]
        path = self._folder / uuid.uuid4().hex
        with path.open("wb") as out:
            for row in rows:
                with self.path(row).open("rb") as file:
                    shutil.copyfileobj(file, out, _CHUNK)
        return path, os.path.getsize(path)

    def _forget_blocks(self, key: str) -> None:
        for known in [each for each in self._blocks if each.startswith(key + "\n")]:
            self.path(self._blocks.pop(known)).unlink(missing_ok=True)
            self._db.delete(_BLOCKS, known)


def _etag() -> str:
    return f'"0x{uuid.uuid4().hex[:15].upper()}"'
