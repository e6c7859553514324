"""Loopback addresses of pods and load balancers, drawn from the home's block. What the store shows in use is in use."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from compute.sandbox.kube.store import Store

_FIRST, _LAST = 2, 254


class NoAddress(Exception):
    """Every address of the block is taken."""


class Addresses:
    """Draws addresses of `block` ("127.a.b"), going round so that one just given back is not used again at once."""

    def __init__(self, store: Store, block: str, *, downwards: bool = False) -> None:
        self._store, self._block = store, block
        self._numbers = list(range(_FIRST, _LAST + 1))
        if downwards:
            self._numbers.reverse()

    def owns(self, ip: str) -> bool:
        """Whether the address is of this block."""
        return ip.startswith(f"{self._block}.")

    def take(self, ports: Iterable[int] = ()) -> str:
        """An unused address, free on these TCP ports; the caller stores it at once. NoAddress when there is none."""
        used, wanted = self.used(), list(ports)
        free = [number for number in self._numbers if f"{self._block}.{number}" not in used]
        if not free:
            raise NoAddress(f"all {_LAST - _FIRST + 1} addresses of {self._block}.0/24 are in use")
        # A port that somebody has on every address is the program's error to report, not ours to wait for.
        found = next((number for number in free if is_free(f"{self._block}.{number}", wanted)), free[0])
        at = self._numbers.index(found) + 1
        self._numbers = self._numbers[at:] + self._numbers[:at]
        return f"{self._block}.{found}"

    def is_free(self, ip: str) -> bool:
        """Whether the address is of this block and nobody has it."""
        return self.owns(ip) and ip not in self.used()

    def used(self) -> set[str]:
        """The addresses of all pods and load balancers."""
        found: set[str] = set()
        for resource, read in (("pods", _pod_ip), ("services", _ingress_ips)):
            for cluster in self._store.clusters_with(resource):
                for obj in self._store.list(cluster, resource):
                    found.update(read(obj))
        return found


def _pod_ip(pod: dict[str, Any]) -> Iterator[str]:
    if "podIP" in (pod.get("status") or {}):
        yield pod["status"]["podIP"]


def _ingress_ips(service: dict[str, Any]) -> Iterator[str]:
    for row in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []:
        yield row["ip"]


def is_free(ip: str, ports: Iterable[int]) -> bool:
    """Whether nobody listens on these ports of the address."""
    for port in ports:
        with contextlib.closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ip, port))
            except PermissionError:
                continue
            except OSError:
                return False
    return True
