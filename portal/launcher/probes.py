"""Quick looks at running processes: each answers within about a second and raises nothing."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import urllib.request
from pathlib import Path
from typing import Any

from portal.launcher.ports import LOOPBACK

SECONDS = 1.0


def _status(port: int, path: str, ca_file: Path | None) -> int:
    if ca_file:
        context = ssl.create_default_context(cafile=str(ca_file))
        link: http.client.HTTPConnection = http.client.HTTPSConnection(LOOPBACK, port, timeout=SECONDS, context=context)
    else:
        link = http.client.HTTPConnection(LOOPBACK, port, timeout=SECONDS)
    try:
        link.request("GET", path)
        return link.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        link.close()


def answers(port: int) -> bool:
    """Whether anything speaks HTTP on the port."""
    return _status(port, "/", None) > 0


def is_healthy(port: int, ca_file: Path | None = None) -> bool:
    """Whether /healthz answers 200; over TLS when a CA file is given."""
    return _status(port, "/healthz", ca_file) == 200


def _ask_broker(path: Path, password: str, command: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(SECONDS)
        try:
            link.connect(str(path))
            link.sendall(f"AUTH {password}\r\n".encode())
            if link.recv(64) != b"+OK\r\n":
                return b""
            link.sendall(command + b"\r\n")
            answer = link.recv(65536)
            while answer.startswith(b"$") and not answer.endswith(b"\r\n"):
                answer += link.recv(65536)
        except OSError:
            return b""
    return answer


def broker_answers(path: Path, password: str) -> bool:
    """Whether the broker answers a ping on its socket."""
    return _ask_broker(path, password, b"PING").startswith(b"+PONG")


def has_worker(path: Path, password: str) -> bool:
    """Whether a worker waits for messages: some client of the broker blocks on its queue."""
    return b"cmd=brpop" in _ask_broker(path, password, b"CLIENT LIST")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token goes where it belongs and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow nothing."""


def subscriptions(endpoint: str, token: str) -> list[str]:
    """The subscriptions that an ARM shows to a token; none when it does not answer well within 10 s."""
    request = urllib.request.Request(  # noqa: S310  (https, or http to loopback: the launcher has checked it)
        f"{endpoint}/subscriptions?api-version=2022-12-01", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=10) as answer:
            return [str(row["subscriptionId"]) for row in json.load(answer)["value"]]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return []
