"""How callers reach what runs on a cluster: its load balancer, the name they call, TLS. Parse and check. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from compute import certificates
from portal.problems import Invalid

BALANCER = {"internal", "subnet", "sku", "type", "dns_label", "ip", "ip_name", "ip_resource_group"}
TYPES = {"publicip": False, "public": False, "internalloadbalancer": True, "internal": True}
TLS = {"certificate", "key", "cname", "leaf_domain"}
DNS_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+", re.I)
LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
AZURE_LABEL = re.compile(r"[a-z][-a-z0-9]{1,61}[a-z0-9]")
IP_NAME = re.compile(r"[A-Za-z0-9][-\w.]{0,79}(?<![-.])")
GROUP = re.compile(r"[-\w.()]{0,89}[-\w()]")
ZONES = (("usgov", "cloudapp.usgovcloudapi.net"), ("usdod", "cloudapp.usgovcloudapi.net"),
         ("china", "cloudapp.chinacloudapi.cn"), ("", "cloudapp.azure.com"))  # fmt: skip


class BadOption(Invalid):
    code, title = "bad_option", "A setting does not fit"


def host(config: Mapping[str, Any], region: str) -> str:
    """The name that clients call: the cname, else that of the DNS label; "" where there is only an address."""
    cname = (config.get("tls") or {}).get("cname")
    if cname:
        return str(cname)
    label = (config.get("load_balancer") or {}).get("dns_label")
    zone = next(zone for start, zone in ZONES if region.startswith(start))
    return f"{label}.{region}.{zone}" if label else ""


def balancer(given: Any, warnings: list[str]) -> dict[str, Any]:
    """The load balancer's settings; {} is a public one with an address of its own. Raises BadOption."""
    if not isinstance(given, dict) or set(given) - BALANCER:
        raise BadOption(
            "load_balancer has internal (true or false) or type, subnet, sku, dns_label, ip or ip_name, and "
            "ip_resource_group."
        )
    wanted = {name: value for name, value in _typed(given).items() if value not in ("", None)}
    if not isinstance(wanted.get("internal", False), bool):
        raise BadOption(f"load_balancer.internal is {wanted['internal']!r}; it can be true or false.")
    _check_sku(str(wanted.get("sku") or "standard").lower(), warnings)
    if wanted.get("internal"):
        return _internal(wanted)
    if "subnet" in wanted:
        raise BadOption("A load balancer's subnet goes with internal: true; a public one has none.")
    return _public(wanted)


def _check_sku(sku: str, warnings: list[str]) -> None:
    if sku not in ("standard", "basic"):
        raise BadOption(f"The load balancer's sku is {sku!r}; it can be standard.")
    if sku == "basic":
        warnings.append("The basic load balancer is retired at Azure: a standard one is used.")


def _typed(wanted: dict[str, Any]) -> dict[str, Any]:
    """`type` (PublicIp or InternalLoadBalancer, as older callers say) as `internal`."""
    given = str(wanted.get("type") or "")
    if not given:
        return wanted
    if given.lower() not in TYPES:
        raise BadOption(f"load_balancer.type is {given!r}; it can be PublicIp or InternalLoadBalancer.")
    internal = TYPES[given.lower()]
    if wanted.get("internal", internal) != internal:
        raise BadOption(f"load_balancer.type is {given} and internal is {wanted['internal']}: give one of them.")
    return {**wanted, "internal": internal}


def _internal(wanted: dict[str, Any]) -> dict[str, Any]:
    wrong = sorted({"dns_label", "ip_name", "ip_resource_group"} & set(wanted))
    if wrong:
        raise BadOption(f"load_balancer.{wrong[0]} is for a public address; an internal load balancer has none.")
    values: dict[str, Any] = {"internal": True, "subnet": str(wanted.get("subnet") or "")}
    return values | ({"ip": _address(wanted["ip"])} if "ip" in wanted else {})


def _public(wanted: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if "dns_label" in wanted:
        values["dns_label"] = _label(wanted["dns_label"])
    if "ip" in wanted and "ip_name" in wanted:
        raise BadOption("load_balancer: give the public address by ip or by ip_name, not by both.")
    if "ip" in wanted:
        values["ip"] = _address(wanted["ip"])
        if ipaddress.IPv4Address(values["ip"]).is_private:
            raise BadOption(f"load_balancer.ip {values['ip']} is private; with internal: true it can be used.")
    if "ip_name" in wanted:
        values["ip_name"] = _fit(wanted["ip_name"], IP_NAME, "ip_name", "the name of a public address in Azure")
    if "ip_resource_group" in wanted:
        if not {"ip", "ip_name"} & set(values):
            raise BadOption("load_balancer.ip_resource_group says where ip or ip_name is: give one of them too.")
        values["ip_resource_group"] = _fit(wanted["ip_resource_group"], GROUP, "ip_resource_group", "a resource group")
    return values


def _label(text: Any) -> str:
    if not isinstance(text, str) or not AZURE_LABEL.fullmatch(text):
        raise BadOption(
            f"load_balancer.dns_label is {text!r}; it has 3 to 63 lower-case letters, digits and '-', begins with a "
            "letter and does not end with '-'."
        )
    return text


def _address(text: Any) -> str:
    try:
        return str(ipaddress.IPv4Address(str(text)))
    except ValueError:
        raise BadOption(f"load_balancer.ip is {text!r}, not an IPv4 address.") from None


def _fit(text: Any, pattern: re.Pattern[str], name: str, what: str) -> str:
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise BadOption(f"load_balancer.{name} is {text!r}, not {what}.")
    return text


def tls(given: Any, values: dict[str, Any], now: datetime) -> tuple[str, str]:
    """Put the TLS settings into `values`, and a leaf domain as the load balancer's label; the own pair, or "" twice.

    Raises BadOption, or BadCertificate for a pair that cannot be used.
    """
    if not given:
        return "", ""
    if not isinstance(given, dict) or set(given) - TLS:
        raise BadOption("tls has certificate and key (PEM) with cname, or leaf_domain or cname for a generated one.")
    cname, leaf = check_cname(str(given.get("cname") or "")), str(given.get("leaf_domain") or "")
    if leaf:
        _leaf(leaf, values)
    certificate, key = str(given.get("certificate") or ""), str(given.get("key") or "")
    if bool(certificate) != bool(key):
        raise BadOption("tls: an own certificate needs both certificate and key.")
    if certificate:
        if not cname:
            raise BadOption("tls: an own certificate needs the cname that clients call.")
        certificates.check(certificate, key, cname, now)
    values["tls"] = {"mode": "own" if certificate else "generated", "cname": cname, "leaf_domain": leaf}
    return certificate, key


def check_cname(name: str) -> str:
    """A domain name that clients call; may be empty. Raises BadOption."""
    if name and not DNS_NAME.fullmatch(name):
        raise BadOption(f"tls: {name!r} is not a domain name such as score.example.com.")
    return name


def _leaf(leaf: str, values: dict[str, Any]) -> None:
    """A leaf domain is the label of a public load balancer: LEAF.REGION.cloudapp.azure.com."""
    if not LABEL.fullmatch(leaf):
        raise BadOption(f"tls: {leaf!r} is not a domain label of lower-case letters, digits and '-'.")
    known = values.get("load_balancer") or {}
    if known.get("internal"):
        raise BadOption(
            "tls.leaf_domain is a label of a public address; an internal load balancer has none: give cname."
        )
    if known.get("dns_label", leaf) != leaf:
        raise BadOption(f"tls.leaf_domain is {leaf} and load_balancer.dns_label is {known['dns_label']}: give one.")
    values["load_balancer"] = {**known, "dns_label": _label(leaf)}
