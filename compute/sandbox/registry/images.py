"""The images that every pretend cluster knows, by name and digest."""

import fcntl
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from compute.sandbox.db import Db
from compute.sandbox.registry.closing import close_to_others
from compute.sandbox.settings import Settings

_TABLE = "registry_images"
_PRIVATE = "registry_private"
_BASE_NAMES = ("slipway/inference-base:1",)


@dataclass(frozen=True)
class ImageInfo:
    """An image: the folder for the front of PATH, its digest, its variables."""

    path_bin: Path
    digest: str
    env: dict[str, str] = field(default_factory=dict)


class Images:
    """Built images by reference, the two that are always there, and copies in registries that ask for a login."""

    def __init__(self, settings: Settings, db: Db) -> None:
        self._settings, self._db = settings, db
        self.folder = settings.images
        self._docs = db.all(_TABLE)
        self._private = db.all(_PRIVATE)

    def prepare(self) -> None:
        """Make the inference base if it is missing: a bare Python. Raises CalledProcessError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        base = self.folder / "inference-base"
        with alone(self.folder, base.name):
            if not (base / "bin/python").exists():
                interpreter = str(getattr(sys, "_base_executable", sys.executable))
                words = [interpreter, "-m", "venv", "--clear", "--without-pip", str(base)]
                subprocess.run(words, check=True, timeout=60)
                close_to_others(base)

    def resolve(self, name: str) -> ImageInfo | None:
        """The image of that name, or None when nobody knows it."""
        if name in (self._settings.inference_image, *_BASE_NAMES):
            return ImageInfo(self.folder / "inference-base/bin", _digest("inference-base" + sys.version))
        if name in self._settings.envoy_images:
            return ImageInfo(self._settings.envoy.parent, _digest("envoy" + str(self._settings.envoy.stat().st_size)))
        if name in self._private:
            return self.resolve(self._private[name]["of"])
        doc = self._docs.get(name)
        path = self.folder / doc["folder"] / "bin" if doc else None
        return ImageInfo(path, doc["digest"]) if doc and path and path.exists() else None

    def login(self, name: str) -> tuple[str, str] | None:
        """User and password that its registry asks for, None for an image that is public."""
        doc = self._private.get(name)
        return (doc["username"], doc["password"]) if doc else None

    def put_private(self, name: str, of: str, username: str, password: str) -> None:
        """An image in somebody's registry, which asks for a login; it is a copy of one that is known."""
        if name == of or self.resolve(of) is None:
            raise ValueError(f"there is no image {of} to copy")
        self._private[name] = {"of": of, "username": username, "password": password}
        self._db.put(_PRIVATE, name, self._private[name])

    def add(self, repository: str, tag: str, folder: str, digest: str) -> None:
        """Know a built image by its tag and by its digest."""
        doc = {"folder": folder, "digest": digest}
        with self._db.transaction():
            for name in (f"{repository}:{tag}", f"{repository}@{digest}"):
                self._docs[name] = doc
                self._db.put(_TABLE, name, doc)


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """While it lasts no other sandbox makes the image of that name; waits for one that does."""
    with (folder / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
