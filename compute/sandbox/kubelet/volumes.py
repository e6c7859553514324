"""Volumes of pods as folders: what they hold, and how a change swaps all files at once."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compute.sandbox.kubelet import environment
from compute.sandbox.kubelet.environment import ConfigError, Lookup

_DATA = "..data"
_DEFAULT_MODE = 0o644
Files = dict[str, tuple[bytes, int]]


@dataclass(frozen=True)
class Source:
    """Where a pod's volumes get their content: its objects, its tokens and its node."""

    pod: dict[str, Any]
    lookup: Lookup
    token: Callable[[str, int], str]
    """(audience, seconds) -> a service account token for this pod."""
    allocatable: dict[str, str]


def is_folder(volume: dict[str, Any]) -> bool:
    """Whether the volume is an empty folder that containers write to."""
    return "emptyDir" in volume


def content(volume: dict[str, Any], source: Source) -> Files:
    """Every file of the volume with its mode. ConfigError says which object or key is missing."""
    for kind in ("configMap", "secret"):
        if kind in volume:
            return _object_files(kind, volume[kind], source, volume[kind].get("defaultMode", _DEFAULT_MODE))
    if "downwardAPI" in volume:
        return _downward(volume["downwardAPI"], source, volume["downwardAPI"].get("defaultMode", _DEFAULT_MODE))
    if "projected" in volume:
        return _projected(volume["projected"], source)
    raise ConfigError(f'volume "{volume["name"]}" has a kind that this cluster cannot mount')


def _object_files(kind: str, wanted: dict[str, Any], source: Source, mode: int) -> Files:
    name = wanted.get("secretName") or wanted["name"]
    resource = "configmaps" if kind == "configMap" else "secrets"
    found = source.lookup(resource, name)
    if found is None:
        if wanted.get("optional"):
            return {}
        raise ConfigError(f'{kind.lower()} "{name}" not found')
    values = environment.text_of(resource, found)
    if not wanted.get("items"):
        return {key: (value, mode) for key, value in values.items()}
    files: Files = {}
    for item in wanted["items"]:
        if item["key"] in values:
            files[item["path"]] = (values[item["key"]], item.get("mode", mode))
        elif not wanted.get("optional"):
            raise ConfigError(f"{kind.lower()} references non-existent {kind.lower()} key: {item['key']}")
    return files


def _downward(wanted: dict[str, Any], source: Source, mode: int) -> Files:
    files: Files = {}
    for item in wanted.get("items") or []:
        if "fieldRef" in item:
            text = environment.field(source.pod, item["fieldRef"]["fieldPath"])
        else:
            text = environment.resource_field(source.pod, "", item["resourceFieldRef"], source.allocatable)
        files[item["path"]] = (text.encode(), item.get("mode", mode))
    return files


def _projected(wanted: dict[str, Any], source: Source) -> Files:
    mode = wanted.get("defaultMode", _DEFAULT_MODE)
    files: Files = {}
    for part in wanted.get("sources") or []:
        for kind in ("configMap", "secret"):
            if kind in part:
                files |= _object_files(kind, part[kind], source, mode)
        if "downwardAPI" in part:
            files |= _downward(part["downwardAPI"], source, mode)
        if "serviceAccountToken" in part:
            token = part["serviceAccountToken"]
            text = source.token(token.get("audience", ""), token.get("expirationSeconds", 3600))
            files[token["path"]] = (text.encode(), 0o600)
    return files


def write(folder: Path, files: Files) -> bool:
    """Make the folder hold exactly these files, all at once for readers of `..data`. True when it changed."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = _fingerprint(files)
    data = folder / _DATA
    if data.is_symlink() and os.readlink(data).endswith(mark):
        return False
    fresh = folder / f"..{time.strftime('%Y_%m_%d_%H_%M_%S')}.{time.time_ns() % 10**9:09d}{mark}"
    _fill(fresh, files)
    old = folder / os.readlink(data) if data.is_symlink() else None
    swap = folder / "..data_tmp"
    swap.unlink(missing_ok=True)
    swap.symlink_to(fresh.name)
    swap.rename(data)
    _link_names(folder, files)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
    return True


def _fingerprint(files: Files) -> str:
    digest = hashlib.sha256()
    for name, (value, mode) in sorted(files.items()):
        digest.update(f"{len(name)} {name} {mode} {len(value)} ".encode() + value)
    return digest.hexdigest()[:12]


def _fill(fresh: Path, files: Files) -> None:
    fresh.mkdir()
    for name, (value, mode) in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)
        # Never for other users of this machine, whatever the manifest says.
        path.chmod(mode & 0o700)


def _link_names(folder: Path, files: Files) -> None:
    names = {name.split("/")[0] for name in files}
    for name in names:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(f"{_DATA}/{name}")
    for present in os.listdir(folder):
        if not present.startswith("..") and present not in names:
            (folder / present).unlink(missing_ok=True)
