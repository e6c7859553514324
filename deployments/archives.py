"""Tars of models and code: made from uploaded files, and checked before they are kept. Streams."""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import tarfile
import zlib
from collections.abc import Iterable, Sequence
from typing import IO, Any, cast

from deployments.types import Entry
from portal.problems import Invalid

CHUNK = 1 << 20
MOST_FILES = 10_000
MOST_BYTES = 100 * 1024**3
LONGEST_PATH = 500


class InvalidArchive(Invalid):
    code, title = "invalid_archive", "The files cannot be taken"


def safe_path(name: str) -> str:
    """The path inside the archive, normalised. Raises InvalidArchive for what could lead outside it."""
    if not name or len(name) > LONGEST_PATH or "\x00" in name or "\\" in name:
        raise InvalidArchive(f"{name[:80]!r} is no file name: give 1 to {LONGEST_PATH} characters without backslashes.")
    if name.startswith("/"):
        raise InvalidArchive(f"{name!r} is an absolute path: give paths inside the folder, e.g. model/weights.bin.")
    if ".." in name.split("/"):
        raise InvalidArchive(f"{name!r} leads out of its folder by '..': give paths inside the folder.")
    return posixpath.normpath(name)


def safe_paths(names: Sequence[str]) -> list[str]:
    """All paths checked; each may come once and none may be a folder of another."""
    if len(names) > MOST_FILES:
        raise InvalidArchive(f"{len(names)} files are too many: at most {MOST_FILES} are taken.")
    paths = [safe_path(name) for name in names]
    seen: set[str] = set()
    for path in paths:
        if path in seen or path == ".":
            raise InvalidArchive(f"{path} comes twice or names no file.")
        seen.add(path)
    for path in paths:
        parent = posixpath.dirname(path)
        while parent:
            if parent in seen:
                raise InvalidArchive(f"{parent} is a file and the folder of {path}: it can be only one of them.")
            parent = posixpath.dirname(parent)
    return paths


def pack(files: Iterable[tuple[str, IO[bytes], int]], target: IO[bytes]) -> list[Entry]:
    """Write (path, stream, bytes) as a tar into `target`, the same bytes for the same files; answers what is in it."""
    entries = []
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, stream, size in sorted(files, key=lambda item: item[0]):
            info = tarfile.TarInfo(path)
            info.size, info.mode = size, 0o644
            hashed = Hashed(stream)
            tar.addfile(info, cast(IO[bytes], hashed))
            entries.append(Entry(path, hashed.size, hashed.hexdigest()))
    return entries


def inspect(stream: IO[bytes]) -> list[Entry]:
    """Read a whole .tar.gz and answer its files. Raises InvalidArchive for "..", absolute names, links, devices,
    a damaged or cut-off archive, or more than 10,000 files or 100 GiB unpacked.
    """
    found: list[Entry] = []
    try:
        with gzip.GzipFile(fileobj=stream) as plain:
            with tarfile.open(fileobj=plain, mode="r:") as tar:
                total = 0
                for member in tar:
                    total += member.size
                    _check_member(member, total)
                    if member.isfile():
                        found.append(_entry(tar, member))
            while plain.read(CHUNK):  # up to gzip's own end, which proves that nothing is cut off
                pass
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InvalidArchive(f"This is no whole tar.gz: {error}.") from None
    if not found:
        raise InvalidArchive("The archive has no files.")
    safe_paths([entry.path for entry in found])
    return found


def _check_member(member: tarfile.TarInfo, total: int) -> None:
    safe_path(member.name)
    if member.issym() or member.islnk():
        raise InvalidArchive(f"{member.name} is a link to {member.linkname}: archives may hold files and folders only.")
    if not member.isfile() and not member.isdir():
        raise InvalidArchive(f"{member.name} is a device or pipe: archives may hold files and folders only.")
    if total > MOST_BYTES:
        raise InvalidArchive(f"Unpacked it is larger than {MOST_BYTES // 1024**3} GiB.")


def _entry(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    opened = tar.extractfile(member)
    assert opened is not None  # noqa: S101  (only asked for files)
    hashed = Hashed(opened)
    while hashed.read(CHUNK):
        pass
    if hashed.size != member.size:
        raise InvalidArchive(f"{member.name} is cut off after {hashed.size} of {member.size} bytes.")
    return Entry(safe_path(member.name), member.size, hashed.hexdigest())


class Hashed:
    """A stream that counts and hashes what is read from it."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._hash, self.size = stream, hashlib.sha256(), 0

    def read(self, size: int = CHUNK) -> bytes:
        """At most `size` bytes; empty at the end."""
        data: bytes = self._stream.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    def hexdigest(self) -> str:
        """SHA-256 of all that was read."""
        return self._hash.hexdigest()
