"""What can be customised when a cluster is created: parse and check. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from compute import edge
from compute.edge import BadOption as BadOption
from portal.problems import Invalid

KNOWN = {
    "autoscaler", "authorized_ip_ranges", "dns_service_ip", "docker_bridge_cidr", "identity", "load_balancer",
    "network_mode", "os_disk_gb", "private_cluster", "service_cidr", "subnet_id", "tls", "vnet", "zones",
}  # fmt: skip
ATTACHED = {"load_balancer", "tls"}
SUBNET_ID = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Network/virtualNetworks/[^/]+/subnets/[^/]+",
    re.IGNORECASE,
)
IDENTITY_ID = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.ManagedIdentity/userAssignedIdentities/[^/]+",
    re.IGNORECASE,
)
ZONES = ("1", "2", "3")
NETWORK_MODES = ("overlay", "flat")
DISK_GB = (30, 2048)
MOST_TAGS, TAG_NAME, TAG_VALUE, TAG_BARRED = 50, 512, 256, "<>%&\\?/"
VERSION = re.compile(r"1\.\d{1,2}(\.\d{1,3})?")
MOST_RANGES = 200
NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{2,23}")


class BadName(Invalid):
    code, title = "bad_compute_name", "The name does not fit the rules"


@dataclass(frozen=True)
class Options:
    """Checked settings; `values` has no secret and is stored, the own certificate and key are apart."""

    values: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    tls_certificate: str = ""
    tls_key: str = field(default="", repr=False)


def check_name(name: str) -> None:
    """A compute target's name. Raises BadName."""
    if not NAME.fullmatch(name):
        raise BadName(
            f"{name!r} has {len(name)} characters. A compute target's name has 3 to 24 letters, digits and '-', and "
            "starts with a letter, e.g. prod-1."
        )


def check_version(version: str) -> None:
    """A Kubernetes version as people write it: 1.33 or 1.33.6; empty is Azure's default. Raises BadOption."""
    if version and not VERSION.fullmatch(version):
        raise BadOption(
            f"{version!r} is not a Kubernetes version. Write 1.33 or 1.33.6, or nothing for Azure's default."
        )


def check_supported(version: str, offered: list[str]) -> None:
    """Refuse a version whose minor Azure does not offer; an empty offer refuses nothing. Raises BadOption."""
    minor = ".".join(version.split(".")[:2])
    if version and offered and minor not in offered:
        raise BadOption(f"Kubernetes {version} is not supported by AKS here. It offers {', '.join(offered)}.")


def parse(given: dict[str, Any], known: Set[str] = KNOWN, now: datetime | None = None) -> Options:
    """Check the customisation of a create call, or of an attach, which knows less: ATTACHED.

    Raises BadOption or BadCertificate (422) with what would pass.
    """
    unknown = sorted(set(given) - known)
    if unknown:
        raise BadOption(f"Unknown settings: {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
    values: dict[str, Any] = {}
    warnings: list[str] = []
    parsers: tuple[Callable[[dict[str, Any], dict[str, Any], list[str]], None], ...] = (
        _network, _balancer, _api_server, _autoscaler, _nodes, _identity,
    )  # fmt: skip
    for parser in parsers:
        parser(given, values, warnings)
    certificate, key = edge.tls(given.get("tls") or {}, values, now or datetime.now(UTC))
    return Options(values, tuple(warnings), certificate, key)


def _network(given: dict[str, Any], values: dict[str, Any], warnings: list[str]) -> None:
    subnet = given.get("subnet_id") or _subnet(given.get("vnet") or {})
    if subnet:
        if not SUBNET_ID.fullmatch(str(subnet)):
            raise BadOption(f"{subnet!r} is not a subnet's resource id.")
        values["subnet_id"] = subnet
    cidr = _cidr(given, "service_cidr")
    if given.get("dns_service_ip"):
        values["dns_service_ip"] = str(_dns_ip(str(given["dns_service_ip"]), cidr))
    if cidr:
        values["service_cidr"] = str(cidr)
        values.setdefault("dns_service_ip", str(cidr[min(10, cidr.num_addresses - 2)]))  # Azure's own is in 10.0.0.0/16
    mode = given.get("network_mode") or "overlay"
    if mode not in NETWORK_MODES:
        raise BadOption(f"network_mode is {mode!r}; it can be overlay (pods have their own range) or flat.")
    if mode == "flat":
        if not subnet:
            raise BadOption("network_mode flat gives pods addresses of the subnet: give subnet_id too.")
        values["network_mode"] = "flat"
    if _cidr(given, "docker_bridge_cidr", strict=False):
        warnings.append("docker_bridge_cidr is accepted but unused: Azure no longer has this setting.")


def _subnet(vnet: dict[str, Any]) -> str:
    """The subnet's id from the names that older callers give."""
    if not vnet:
        return ""
    needed = ("subscription_id", "resource_group", "name", "subnet")
    missing = [name for name in needed if not vnet.get(name)]
    if missing:
        raise BadOption(f"vnet needs {', '.join(needed)}; missing: {', '.join(missing)}.")
    return (
        f"/subscriptions/{vnet['subscription_id']}/resourceGroups/{vnet['resource_group']}"
        f"/providers/Microsoft.Network/virtualNetworks/{vnet['name']}/subnets/{vnet['subnet']}"
    )


def _cidr(given: dict[str, Any], name: str, *, strict: bool = True) -> ipaddress.IPv4Network | None:
    text = str(given.get(name) or "")
    if not text:
        return None
    try:
        return ipaddress.IPv4Network(text, strict=strict)
    except ValueError:
        raise BadOption(f"{name}: {text!r} is not an IPv4 range such as 10.0.0.0/16.") from None


def _dns_ip(text: str, cidr: ipaddress.IPv4Network | None) -> ipaddress.IPv4Address:
    cidr = cidr or ipaddress.IPv4Network("10.0.0.0/16")
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        raise BadOption(f"dns_service_ip: {text!r} is not an IPv4 address.") from None
    if address not in cidr or address in (cidr[0], cidr[1]):
        raise BadOption(f"dns_service_ip {address} has to lie in the service range {cidr}, and not be its first two.")
    return address


def _balancer(given: dict[str, Any], values: dict[str, Any], warnings: list[str]) -> None:
    found = edge.balancer(given.get("load_balancer") or {}, warnings)
    if found:
        values["load_balancer"] = found


def _api_server(given: dict[str, Any], values: dict[str, Any], warnings: list[str]) -> None:
    ranges = given.get("authorized_ip_ranges") or []
    if given.get("private_cluster"):
        values["private_cluster"] = True
        if ranges:
            raise BadOption("A private cluster has no authorized_ip_ranges: its API server has no public address.")
        warnings.append("A private cluster's API server has to be reachable from the portal's network.")
    if ranges:
        values["authorized_ip_ranges"] = _ranges(ranges)


def _ranges(given: list[Any]) -> list[str]:
    if len(given) > MOST_RANGES:
        raise BadOption(f"{len(given)} authorized ranges were given; Azure takes {MOST_RANGES}.")
    try:
        return [str(ipaddress.IPv4Network(str(text), strict=False)) for text in given]
    except ValueError as error:
        raise BadOption(f"authorized_ip_ranges: {error}. Write 203.0.113.0/24.") from None


def _autoscaler(given: dict[str, Any], values: dict[str, Any], warnings: list[str]) -> None:
    bounds = given.get("autoscaler")
    if not bounds:
        return
    low, high = (bounds.get("min_count"), bounds.get("max_count")) if isinstance(bounds, dict) else (None, None)
    if type(low) is not int or type(high) is not int or not 1 <= low <= high <= 1000:
        raise BadOption(f"autoscaler: min_count {low} and max_count {high} need 1 ≤ min_count ≤ max_count ≤ 1000.")
    values["autoscaler"] = {"min_count": low, "max_count": high}


def _nodes(given: dict[str, Any], values: dict[str, Any], warnings: list[str]) -> None:
    zones = given.get("zones") or []
    if zones:
        values["zones"] = check_zones(zones)
    disk = given.get("os_disk_gb")
    if disk is not None:
        values["os_disk_gb"] = check_disk(disk)


def check_zones(zones: Any) -> list[str]:
    """Availability zones, sorted. Raises BadOption."""
    if not isinstance(zones, list) or not {str(zone) for zone in zones} <= set(ZONES):
        raise BadOption(f"zones is {zones!r}; give a list out of {', '.join(ZONES)}.")
    return sorted({str(zone) for zone in zones})


def check_disk(disk: Any) -> int:
    """A node's disk in GB. Raises BadOption."""
    if type(disk) is not int or not DISK_GB[0] <= disk <= DISK_GB[1]:
        raise BadOption(f"os_disk_gb is {disk!r}; a node's disk has {DISK_GB[0]} to {DISK_GB[1]} GB.")
    return disk


def _identity(given: dict[str, Any], values: dict[str, Any], warnings: list[str]) -> None:
    wanted = given.get("identity") or "system"
    if str(wanted).lower() in ("system", "systemassigned"):
        return
    if not isinstance(wanted, str) or not IDENTITY_ID.fullmatch(wanted):
        raise BadOption(f"identity is {wanted!r}; it can be system, or a user-assigned identity's resource id.")
    values["identity"] = wanted


def check_tags(tags: dict[str, str]) -> None:
    """Tags as Azure takes them. Raises BadOption."""
    if len(tags) > MOST_TAGS - 1:
        raise BadOption(f"{len(tags)} tags were given; Azure takes {MOST_TAGS}, and one is the portal's.")
    for name, value in tags.items():
        barred = [sign for sign in TAG_BARRED if sign in name]
        if not name or len(name) > TAG_NAME or barred:
            raise BadOption(f"The tag's name {name[:60]!r} needs 1 to {TAG_NAME} characters without {TAG_BARRED}.")
        if len(value) > TAG_VALUE:
            raise BadOption(f"The tag {name} has {len(value)} characters; Azure takes {TAG_VALUE}.")


CLUSTER_ID = re.compile(
    r"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.ContainerService/managedClusters/([^/]+)/?",
    re.IGNORECASE,
)


def parse_cluster_id(text: str) -> tuple[str, str, str]:
    """Subscription, resource group and name in a cluster's resource id. Raises BadOption."""
    found = CLUSTER_ID.fullmatch(text.strip())
    if found is None:
        raise BadOption(
            f"{text!r} is not a cluster's resource id. It looks like /subscriptions/…/resourceGroups/…"
            "/providers/Microsoft.ContainerService/managedClusters/NAME."
        )
    return found[1], found[2], found[3]


REGION_LABEL = r"^[A-Za-z0-9][A-Za-z0-9 -]{0,48}[A-Za-z0-9]$"
LONGEST_ADDRESS = 100
GATEWAY_SERVICES = ("LoadBalancer", "NodePort")


def parse_given(given: dict[str, Any]) -> Options:
    """Check the customisation of a cluster outside of Azure. Raises BadOption or BadCertificate (422)."""
    checked = parse(given, {"tls"})
    if "load_balancer" in checked.values:
        raise BadOption("tls.leaf_domain is a label of Azure's; for another cluster give cname.")
    return checked


def gateway_of(given: Mapping[str, Any]) -> dict[str, str]:
    """How the gateway of a cluster outside of Azure is reached, of `gateway_service` and `gateway_address`; empty: by
    the address that its load balancer gets. Raises BadOption.
    """
    service, address = str(given.get("gateway_service") or ""), str(given.get("gateway_address") or "").strip()
    if service and service not in GATEWAY_SERVICES:
        raise BadOption(f"gateway_service is {service!r}; it can be {' or '.join(GATEWAY_SERVICES)}.")
    if address and (len(address) > LONGEST_ADDRESS or not _is_host(address)):
        raise BadOption(
            f"gateway_address is {address[:60]!r}; give an IP address or a host name of at most {LONGEST_ADDRESS} "
            "characters, without port."
        )
    found = {"service": service if service != GATEWAY_SERVICES[0] else "", "address": address}
    return {name: value for name, value in found.items() if value}


def _is_host(text: str) -> bool:
    try:
        return ipaddress.ip_address(text) is not None
    except ValueError:
        return bool(edge.DNS_NAME.fullmatch(text))


def check_range(text: str) -> str:
    """One IPv4 range to add to a cluster's authorized ranges, normalised; empty stays empty. Raises BadOption."""
    return _ranges([text])[0] if text else ""
