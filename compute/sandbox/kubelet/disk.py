"""What a pod has on its node's disk against what it may, in the kubelet's words. Pure but for reading sizes."""

from __future__ import annotations

import asyncio
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

from compute.sandbox.kube import quantity

Doc = dict[str, Any]
SECONDS = 10.0  # how often a kubelet looks
GRACE_SECONDS = 1.0
NEVER = 10.0**9
EPHEMERAL = "ephemeral-storage"


def _is_limited(spec: Doc) -> bool:
    """Whether anything of the pod has a limit on disk."""
    return bool(_folders(spec) or any(_limit(each) for each in spec["containers"]))


async def until_exceeded(spec: Doc, folder: Path) -> str:
    """Which limit the pod is over, once it is over one."""
    while True:
        await asyncio.sleep(SECONDS if _is_limited(spec) else NEVER)
        why = await asyncio.to_thread(exceeded, spec, folder)
        if why is not None:
            return why


def exceeded(spec: Doc, folder: Path) -> str | None:
    """Which limit the pod is over, or None."""
    used = {volume["name"]: _size(folder / "volumes" / volume["name"]) for volume in spec.get("volumes") or []
            if "emptyDir" in volume}  # fmt: skip
    for name, limit in _folders(spec).items():
        if used[name] > quantity.parse(limit):
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". '
    own = {each["name"]: _own(folder, str(each["name"])) for each in spec["containers"]}
    limits = {str(each["name"]): _limit(each) for each in spec["containers"]}
    for name, most in limits.items():
        if most and own[name] > quantity.parse(most):
            return f'Container {name} exceeded its local ephemeral storage limit "{most}". '
    if all(limits.values()):
        total = sum((quantity.parse(limit) for limit in limits.values() if limit), Decimal(0))
        if sum(used.values()) + sum(own.values()) > total:
            shown = quantity.show(total, EPHEMERAL)
            return f"Pod ephemeral local storage usage exceeds the total limit of containers {shown}. "
    return None


def _folders(spec: Doc) -> dict[str, str]:
    """Limits of emptyDirs by volume."""
    rows = [(each["name"], (each.get("emptyDir") or {}).get("sizeLimit")) for each in spec.get("volumes") or []]
    return {str(name): str(limit) for name, limit in rows if limit and quantity.parse(limit)}


def _limit(container: Doc) -> str | None:
    limit = ((container.get("resources") or {}).get("limits") or {}).get(EPHEMERAL)
    return None if limit is None else str(limit)


def _own(folder: Path, name: str) -> int:
    """What a container wrote beside its volumes, with its log."""
    return _size(folder / name) + _size(folder / "logs" / name)


def _size(root: Path) -> int:
    """Bytes that a folder takes on disk; what vanishes meanwhile has none."""
    total, folders = 0, [root]
    while folders:
        try:
            rows = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for row in rows:
            try:
                total += row.stat(follow_symlinks=False).st_blocks * 512
            except OSError:
                continue
            if row.is_dir(follow_symlinks=False):
                folders.append(Path(row.path))
    return total
