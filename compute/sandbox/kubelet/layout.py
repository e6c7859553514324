"""Where the files of a pod are. There is no mount namespace: paths below a container's workingDir map to a folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from compute.sandbox.kubelet import confine
from compute.sandbox.kubelet.environment import ConfigError

Doc = dict[str, Any]
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TEMPORARY = "/tmp"  # noqa: S108 - a path in containers; here it is what TMPDIR names


class Place:
    """The folders of one container: `root` stands for its file system, `cwd` for its workingDir."""

    def __init__(self, pod_folder: Path, container: Doc, pod: Doc) -> None:
        self._pod_folder, self._container = pod_folder, container
        self._volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}
        self.base = pod_folder / str(container["name"])
        self.home, self.temporary = self.base / "home", self.base / "tmp"
        self.working_dir = PurePosixPath(container.get("workingDir") or "/")
        mounted = {PurePosixPath(mount["mountPath"]): mount for mount in container.get("volumeMounts") or []}
        whole = mounted.pop(self.working_dir, None)
        self._mounts = mounted
        self._cwd_mount = whole
        self.cwd = self._target(whole) if whole else self.base / "root"

    def make(self) -> None:
        """Make the folders new, with a link for each mount. ConfigError for a mount that cannot be mapped."""
        self._check()
        for folder in (self.home, self.temporary, self.base / "root", self.base / "var"):
            if folder.is_symlink():  # a volume at its place; the volume stays
                folder.unlink()
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        for path, mount in sorted(self._mounts.items()):
            link = self._link(path)
            link.parent.mkdir(parents=True, exist_ok=True)
            if link == self.temporary:
                link.rmdir()
            if link.is_symlink():
                link.unlink()
            link.symlink_to(self._target(mount))

    def log(self, attempt: int) -> Path:
        """The log of the n-th run."""
        return self._pod_folder / "logs" / str(self._container["name"]) / f"{attempt}.log"

    def readable(self) -> list[str]:
        """Folders that the container may only read."""
        return [str(self._folder(mount)) for mount in self._all() if not self._writable(mount)]

    def writable(self) -> list[str]:
        """Folders that the container may change."""
        own = [] if self._is_read_only() else [self.home, self.temporary, self.base / "root"]
        return [str(path) for path in (*own, *(self._folder(m) for m in self._all() if self._writable(m)))]

    def _is_read_only(self) -> bool:
        return bool((self._container.get("securityContext") or {}).get("readOnlyRootFilesystem"))

    def _all(self) -> list[Doc]:
        return [*self._mounts.values(), *([self._cwd_mount] if self._cwd_mount else [])]

    def _check(self) -> None:
        for path in self._mounts:
            below = path.is_relative_to(self.working_dir) and self._container.get("workingDir")
            if not below and str(path) not in (SERVICE_ACCOUNT, TEMPORARY):
                where = self._container.get("workingDir") or "not set"
                raise ConfigError(
                    f"mountPath {path} of container {self._container['name']} is not below its workingDir ({where}): "
                    "this cluster has no mount namespaces and maps only what is below the workingDir"
                )

    def _link(self, path: PurePosixPath) -> Path:
        if path.is_relative_to(self.working_dir):
            return self.cwd / path.relative_to(self.working_dir)
        return self.base / str(path).lstrip("/")

    def _folder(self, mount: Doc) -> Path:
        return self._pod_folder / "volumes" / str(mount["name"])

    def _target(self, mount: Doc) -> Path:
        return self._folder(mount) / str(mount.get("subPath") or "")

    def _writable(self, mount: Doc) -> bool:
        return "emptyDir" in self._volumes.get(mount["name"], {}) and not mount.get("readOnly")


def image_roots(path_bin: Path) -> list[str]:
    """What must be readable to run the programs of an image: its environment and the interpreter beneath."""
    roots = [str(path_bin.parent if (path_bin.parent / "pyvenv.cfg").exists() else path_bin)]
    for name in ("python", "python3"):
        if (path_bin / name).exists():
            roots += confine.python_roots(str(path_bin / name))
    resolved = [os.path.realpath(root) for root in roots]
    return [root for root in dict.fromkeys(resolved) if root != "/"]
