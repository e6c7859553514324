"""What replicas of a workspace may call, beside what they need to start: a choice and a list of exceptions. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compute import reach
from portal.problems import Invalid

NEEDED, HTTPS, OPEN = "needed", "https", "open"
MODES = {
    NEEDED: "only what they need to start: names, the portal or its storage, Application Insights when it is on",
    HTTPS: "also https (port 443), wherever it is",
    OPEN: "everything but the cloud's machine identity",
}
ENTRY = re.compile(r"\[(?P<six>[^\]]+)\](?::(?P<port6>\d{1,5}))?|(?P<four>[0-9./]+)(?::(?P<port4>\d{1,5}))?")
MOST = 50
EXAMPLE = "10.1.0.0/16:5432"


class InvalidOutgoing(Invalid):
    code, title = "invalid_outgoing", "This is no rule for outgoing connections"


@dataclass(frozen=True)
class Outgoing:
    """The choice of a workspace: `mode` is one of MODES, `allowed` are blocks of addresses with a port or without."""

    mode: str = HTTPS
    allowed: tuple[str, ...] = ()

    def rules(self, urls: Sequence[str]) -> list[dict[str, Any]]:
        """The egress rules of a NetworkPolicy for pods that need to reach `urls`; each rule once."""
        found = [reach.to_dns(), *(rule for url in urls for rule in reach.to_url(url))]
        if self.mode == HTTPS:
            found.append(reach.to_ports(reach.HTTPS))
        if self.mode == OPEN:
            found += [*(reach.to_block(cidr) for cidr in reach.EVERYWHERE), reach.to_pods()]
        found += [reach.to_block(cidr, port) for cidr, port in map(_parts, self.allowed)]
        return [rule for place, rule in enumerate(found) if rule not in found[:place]]


def checked(mode: str, allowed: Sequence[str]) -> Outgoing:
    """The choice as it is stored: entries in one form, sorted, each once. Raises InvalidOutgoing naming the entry."""
    if mode not in MODES:
        raise InvalidOutgoing(f"{mode!r} is no choice: give one of {', '.join(MODES)}.")
    if len(allowed) > MOST:
        raise InvalidOutgoing(f"{len(allowed)} exceptions are too many: {MOST} are the most.")
    found = {f"[{cidr}]:{port}" if port and ":" in cidr else f"{cidr}:{port}" if port else cidr
             for cidr, port in map(_parts, allowed)}  # fmt: skip
    return Outgoing(mode, tuple(sorted(found)))


def _parts(entry: str) -> tuple[str, int]:
    """Block and port (0: all) of one entry."""
    text = entry.strip()
    match = ENTRY.fullmatch(text)
    cidr = (match["six"] or match["four"]) if match else text
    port = (match["port6"] or match["port4"]) if match else None
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError as error:
        raise InvalidOutgoing(f"{entry!r} is no block of addresses ({error}). Write for example {EXAMPLE}.") from None
    if port is not None and not 1 <= int(port) <= 65535:
        raise InvalidOutgoing(f"{entry!r} has the port {port}: ports go from 1 to 65535.")
    if any(network.version == 4 and network.subnet_of(each) for each in reach.METADATA):
        raise InvalidOutgoing(f"{entry!r} is where the cloud hands out machine identities: replicas never reach it.")
    return str(network), int(port or 0)
