"""What a replica gets when its requests are collected: a wrapper around the server, a spool, and who empties it. Pure.

The collector is a sidecar, an init container that goes on: it starts before the server and ends after it, so that what
the last scores left is brought, too. The server sees nothing of the portal and holds no token.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployments.collected import MIB, SPOOL_BYTES

Json = dict[str, Any]
POD = Path(__file__).parent.parent / "pod"
LAST_SECONDS = 10  # after the server's end, for what is left
SPARE_BYTES = 16 * MIB  # above what the collector keeps: workers stop writing there
KEY = "collect"  # in the deployment's Secret
SERVER, WRAPPED = "azureml_inference_server_http.server.entry:app", "slipway_capture:app"


@dataclass(frozen=True)
class Collect:
    """What is collected and where it goes; `token` may add to what the deployment collected, and nothing else."""

    url: str
    token: str = field(repr=False)
    service: str
    version: str
    revision: int
    percent: float
    body_bytes: int
    seconds: int
    workers: int

    @property
    def spool_mib(self) -> int:
        """The most that the spool ever holds: each worker may be writing one line when it is full."""
        line = 2 * self.body_bytes * 2 + 64 * 1024
        return math.ceil((SPOOL_BYTES + SPARE_BYTES + self.workers * line) / MIB) + 8


def programs() -> dict[str, str]:
    """Files of the ConfigMap."""
    return {name: (POD / name).read_text() for name in ("capture.py", "collect.py")}


def added(spec: Json, wish: Collect | None, name: str) -> Json:
    """The spec of a replica's pod with the collection, or as it is without one. `name` is of ConfigMap and Secret."""
    if wish is None:
        return spec
    fetch, (server, *rest) = spec["initContainers"][0], spec["containers"]
    return {
        **spec,
        "terminationGracePeriodSeconds": spec["terminationGracePeriodSeconds"] + LAST_SECONDS,
        "initContainers": [*spec["initContainers"], _collector(wish, fetch)],
        "containers": [_captured(server, wish), *rest],
        "volumes": [*spec["volumes"], *_volumes(wish, name)],
    }


def _captured(server: Json, wish: Collect) -> Json:
    """The server with the wrapper around its application."""
    shell, flag, serve = server["command"]
    home, gunicorn = server["workingDir"], 'exec gunicorn --pythonpath "$SLIPWAY_SPOOL/../capture" '
    serve = serve.replace("exec gunicorn ", gunicorn).replace(SERVER, WRAPPED)
    mounts = [
        {"name": "spool", "mountPath": f"{home}/spool"},
        {"name": "capture", "mountPath": f"{home}/capture", "readOnly": True},
    ]
    return {
        **server,
        "command": [shell, flag, f'export SLIPWAY_SPOOL="$PWD/spool" && {serve}'],
        "env": [*server["env"], *_environment(wish)],
        "volumeMounts": [*server["volumeMounts"], *mounts],
    }


def _environment(wish: Collect) -> list[Json]:
    """What both containers are told."""
    facts = {
        "url": wish.url, "service": wish.service, "version": wish.version, "revision": wish.revision,
        "percent": wish.percent, "body_bytes": wish.body_bytes, "seconds": wish.seconds, "spool_bytes": SPOOL_BYTES,
        "hard_bytes": SPOOL_BYTES + SPARE_BYTES,
    }  # fmt: skip
    return [
        {"name": "SLIPWAY_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "SLIPWAY_COLLECT", "value": json.dumps(facts)},
    ]


def _volumes(wish: Collect, name: str) -> list[Json]:
    """The wrapper stands alone in its folder: the server's code may import from there."""
    capture = {"name": name, "items": [{"key": "capture.py", "path": "slipway_capture.py"}]}
    token = {"secretName": name, "defaultMode": 0o440, "items": [{"key": KEY, "path": KEY}]}
    return [
        {"name": "spool", "emptyDir": {"sizeLimit": f"{wish.spool_mib}Mi"}},
        {"name": "capture", "configMap": capture},
        {"name": "collect-token", "secret": token},
    ]


def _collector(wish: Collect, fetch: Json) -> Json:
    """The sidecar; image, folder and limits of rights are those of the container that fetches."""
    home, disk = fetch["workingDir"], "ephemeral-storage"
    return {
        "name": "collector",
        **{name: fetch[name] for name in ("image", "workingDir", "securityContext")},
        "restartPolicy": "Always",
        "command": ["python", "program/collect.py"],
        "env": [*_environment(wish), {"name": "PYTHONUNBUFFERED", "value": "1"}],
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi", disk: "64Mi"},
            "limits": {"memory": "64Mi", disk: f"{wish.spool_mib + 64}Mi"},
        },
        "volumeMounts": [
            {"name": "spool", "mountPath": f"{home}/spool"},
            {"name": "program", "mountPath": f"{home}/program", "readOnly": True},
            {"name": "collect-token", "mountPath": f"{home}/token", "readOnly": True},
        ],
    }
