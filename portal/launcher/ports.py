"""Ports on 127.0.0.1: which ones to use, and whether they are free."""

from __future__ import annotations

import os
import secrets
import socket

from portal.launcher.errors import Stop
from portal.launcher.home import Home

LOOPBACK = "127.0.0.1"


def number(name: str, default: int) -> int:
    """A port from the environment. Raises Stop when it is none."""
    text = os.environ.get(name) or str(default)
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise Stop(f"{name} is {text!r}: give a port from 1 to 65535.")
    return int(text)


def is_free(port: int) -> bool:
    """Whether we could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose(home: Home) -> dict[str, int]:
    """The four ports of this home: two that people know, two of the sandbox that the home remembers.

    Raises Stop with the name of the port when one that people know is taken.
    """
    known = home.facts.get("ports", {})
    ports = {"http": number("SLIPWAY_HTTP_PORT", 8000), "https": number("SLIPWAY_HTTPS_PORT", 8443)}
    if ports["http"] == ports["https"]:
        raise Stop(f"http and https cannot share port {ports['http']}: set SLIPWAY_HTTP_PORT or SLIPWAY_HTTPS_PORT.")
    for kind, port in ports.items():
        if not is_free(port):
            raise Stop(
                f"port {port} on {LOOPBACK} is in use. "
                f"Choose another with SLIPWAY_{kind.upper()}_PORT, or end what uses it."
            )
    taken = set(ports.values())
    for kind in ("arm", "kube"):
        port = int(known.get(kind, 0))
        if not port or port in taken or not is_free(port):
            port = draw(taken)
        ports[kind] = port
        taken.add(port)
    home.remember(ports=ports)
    return ports


def draw(taken: set[int]) -> int:
    """A free port below the range that outgoing connections draw from, so that none of them ever holds it."""
    for _ in range(500):
        port = 20000 + secrets.randbelow(12000)
        if port not in taken and is_free(port):
            return port
    raise Stop(f"found no free port from 20000 to 32000 on {LOOPBACK}.")
