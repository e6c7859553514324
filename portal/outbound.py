"""Where the portal may connect: one check for every address that a person can give (SSRF)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings

from portal.problems import Invalid, Retryable

# Answers virtual machines of Azure only, with what is theirs, though its address is a public one.
HOST_OF_AZURE = ipaddress.ip_address("168.63.129.16")
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(Invalid):
    code, title = "address_refused", "The portal does not connect there"


@dataclass(frozen=True)
class Place:
    """A checked address: connect to `ip`, and speak to `host` there (Host header, certificate name)."""

    scheme: str
    host: str
    ip: str
    port: int
    path: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine; proxies are off for it."""
        return ipaddress.ip_address(self.ip).is_loopback

    @property
    def origin(self) -> str:
        """Scheme, name and port, as the person gave it."""
        return f"{self.scheme}://{_bracket(self.host)}:{self.port}"

    @property
    def pinned_url(self) -> str:
        """The same address with the resolved IP instead of the name."""
        return f"{self.scheme}://{_bracket(self.ip)}:{self.port}{self.path}"


def place(url: str) -> Place:
    """Check an address that a person gave, and resolve it once.

    Only https, without user names; loopback, private, link-local and metadata addresses only where
    `OUTBOUND_ALLOW` (CIDRs) names them, and plain http only to a loopback address named there.
    Raises AddressRefused, or Retryable when the name cannot be resolved now.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressRefused(f"{url!r} is not an address.") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise AddressRefused(f"{_shown(parts.scheme, parts.hostname)} is not an https address.")
    if parts.username or parts.password:
        raise AddressRefused(f"The address of {parts.hostname} must not contain a user name or password.")
    port = port or (443 if parts.scheme == "https" else 80)
    ip = _resolve(parts.hostname, port)
    if parts.scheme == "http" and not ip.is_loopback:
        raise AddressRefused(f"{parts.hostname} is given with http. Give https: http is for this machine only.")
    return Place(parts.scheme, parts.hostname, str(ip), port, parts.path.rstrip("/"))


def same_origin(url: str, base: str) -> bool:
    """Whether a URL that an answer gave us has the scheme, host and port of `base`: else no token goes there."""
    return _origin(url) == _origin(base)


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def _resolve(host: str, port: int) -> IpAddress:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Retryable(f"The name {host} cannot be resolved.") from None
    addresses = [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found]
    refused = [address for address in addresses if not _is_allowed(address)]
    if refused:  # one bad address among good ones is refused too: nobody has a reason to mix them
        raise AddressRefused(
            f"{host} is {refused[0]}, an address inside a network. The portal connects only to public addresses, "
            "and to those that the setting SLIPWAY_OUTBOUND_ALLOW names."
        )
    return next((address for address in addresses if address.version == 4), addresses[0])


def _is_allowed(address: IpAddress) -> bool:
    plain = _unwrapped(address)
    if any(plain in network for network in _networks(settings.OUTBOUND_ALLOW)):
        return True
    return plain.is_global and not plain.is_multicast and plain != HOST_OF_AZURE


def _unwrapped(address: IpAddress) -> IpAddress:
    """The IPv4 address inside an IPv6 one (mapped, 6to4, NAT64), so that it cannot hide there."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    nat64 = ipaddress.ip_network("64:ff9b::/96")
    if address in nat64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _networks(texts: Iterable[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(text, strict=False) for text in texts]


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _shown(scheme: str, host: str | None) -> str:
    return f"{scheme}://{host}" if host else repr(scheme or "the text")
