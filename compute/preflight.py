"""What a cluster or pool needs, compared with what Azure has: facts in, findings out. Pure."""

from __future__ import annotations

import fnmatch
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any

from compute import rights, sizes
from compute.pools import SYSTEM_LEAST
from compute.types import Finding, Offer, Subnet, Usage, VmSize
from portal.problems import Problem

RESERVED = 5  # addresses that Azure keeps in each subnet
SURGE = 0.1  # share of nodes that an upgrade adds for a while, at least one
FLAT_PODS = 30  # pods a node in a flat network: each has an address of the subnet
SERVICE_CIDR, POD_CIDR = "10.0.0.0/16", "10.244.0.0/16"  # Azure's defaults
ERROR, WARNING, OK = "error", "warning", "ok"
SHOWN = 5
MORE_QUOTA = "Ask for more quota in the Azure portal (Quotas, Compute), or take fewer or smaller nodes."


def passes(findings: Iterable[Finding]) -> bool:
    """Whether none of them is an error."""
    return all(finding.level != ERROR for finding in findings)


def told(findings: Iterable[Finding]) -> str:
    """The errors' sentences and fixes as one text."""
    return " ".join(f"{each.message} {each.fix}".strip() for each in findings if each.level == ERROR)


def rule(problem: Problem) -> Finding:
    """A rule of ours that the wish breaks."""
    return Finding(problem.code, ERROR, problem.detail)


def unknown(code: str, what: str, why: str) -> Finding:
    """Something that Azure did not tell: a warning, since Azure itself checks it again."""
    return Finding(code, WARNING, f"{what} could not be checked: {why}", "Azure checks it when the request comes.")


def size(offers: Sequence[Offer], name: str, region: str, zones: Sequence[str] = ()) -> list[Finding]:
    """Whether a region offers the size, to this subscription, in the zones."""
    found = next((offer for offer in offers if offer.size.name.lower() == name.lower()), None)
    if found is None:
        return [Finding("size_not_offered", ERROR, f"{region} does not offer {name}.", _others(offers, name))]
    if found.is_barred:
        words = f"The subscription may not use {name} in {region}."
        return [Finding("size_restricted", ERROR, words, _others(offers, name))]
    good = [zone for zone in found.zones if zone not in found.barred_zones]
    bad = sorted(set(zones) - set(good))
    if bad:
        left = f"It has it in: {', '.join(good)}." if good else "It has it in no zone: leave zones out."
        words = f"{name} is not available in zone{'s' if len(bad) > 1 else ''} {', '.join(bad)} of {region}."
        return [Finding("zone_not_offered", ERROR, words, left, {"zones": good})]
    return [Finding("size_offered", OK, f"{region} offers {name}.", facts={"vcpus": found.size.vcpus, "zones": good})]


def system_size(wanted: VmSize, offers: Sequence[Offer]) -> list[Finding]:
    """An error where the size is too small for a cluster's first pool, which holds what Kubernetes itself needs."""
    if not _is_small(wanted):
        return []
    least = f"{SYSTEM_LEAST[0]} vCPUs and {SYSTEM_LEAST[1]} GB"
    words = (
        f"{wanted.name} has {wanted.vcpus} vCPU{'s' if wanted.vcpus > 1 else ''} and {wanted.memory_gb:g} GB. "
        f"Azure refuses a cluster's first pool, which holds what Kubernetes itself needs, below {least} a node."
    )
    fix = _others([offer for offer in offers if not _is_small(offer.size)], wanted.name)
    return [Finding("size_too_small", ERROR, words, fix, {"vcpus": wanted.vcpus, "memory_gb": wanted.memory_gb})]


def _is_small(given: VmSize) -> bool:
    """What Azure does not tell (0) counts as enough."""
    return 0 < given.vcpus < SYSTEM_LEAST[0] or 0 < given.memory_gb < SYSTEM_LEAST[1]


def _others(offers: Sequence[Offer], name: str) -> str:
    """Sizes that may be had, the nearest in vCPUs first where the size is known."""
    mine = next((each.vcpus for each in sizes.bundled() if each.name.lower() == name.lower()), 4)
    free = [offer.size for offer in offers if not offer.is_barred and offer.size.vcpus]
    near = sorted(free, key=lambda each: (abs(each.vcpus - mine), each.name))[:SHOWN]
    return f"Choose another size, e.g. {', '.join(each.name for each in near)}." if near else "Choose another region."


def quota(usages: Sequence[Usage], *, vcpus: int, family: str, count: int, name: str, region: str) -> list[Finding]:
    """Regional and family vCPUs left against what `count` nodes of `vcpus` need; both are always told."""
    need = vcpus * count
    rows = {usage.name.lower(): usage for usage in usages}
    found = []
    for code, key, what in (
        ("quota_region", "cores", f"regional vCPUs in {region}"),
        ("quota_family", family.lower(), f"vCPUs of the family {family} in {region}"),
    ):
        if key and key in rows:
            found.append(_quota(code, rows[key], need, f"{count} × {name} ({vcpus} vCPUs each)", what))
    return found


def _quota(code: str, usage: Usage, need: int, wish: str, what: str) -> Finding:
    left = max(0, usage.limit - usage.used)
    facts = {"left": left, "needed": need, "limit": usage.limit, "used": usage.used}
    words = f"{wish} need {need} {what}; {left} are left ({usage.used} of {usage.limit} in use)."
    if need <= left:
        return Finding(code, OK, words, facts=facts)
    return Finding(code, ERROR, words, f"{MORE_QUOTA} {need - left} more would do.", facts)


def grown(findings: Sequence[Finding], most: int, count: int) -> list[Finding]:
    """A warning where the autoscaler's most nodes go over a quota in which the first nodes fit."""
    found = []
    for each in findings:
        left, needed = each.facts.get("left"), each.facts.get("needed")
        if each.level != OK or left is None or not needed or not count:
            continue
        need = needed // count * most
        if need > left:
            words = f"The autoscaler's {most} nodes would need {need} vCPUs of that quota; {left} are left."
            found.append(Finding(f"{each.code}_later", WARNING, words, MORE_QUOTA, {"left": left, "needed": need}))
    return found


def version(offered: Sequence[str], wanted: str, region: str) -> list[Finding]:
    """Whether AKS offers the Kubernetes version (1.33 or 1.33.6) in the region; nothing for Azure's default."""
    if not wanted or not offered:
        return []
    if ".".join(wanted.split(".")[:2]) in offered:
        return [Finding("version_offered", OK, f"{region} offers Kubernetes {wanted}.")]
    words = f"AKS does not offer Kubernetes {wanted} in {region}."
    fix = f"Take one of {', '.join(offered)}, or leave it out for Azure's default."
    return [Finding("version_not_offered", ERROR, words, fix, {"offered": list(offered)})]


def group(is_there: bool, name: str, region: str) -> list[Finding]:
    """Whether the resource group exists."""
    if is_there:
        return [Finding("resource_group", OK, f"The resource group {name} is there.")]
    words = f"There is no resource group {name} in the workspace's subscription."
    fix = f"Make it: az group create --name {name} --location {region}. Or choose another one."
    return [Finding("resource_group_missing", ERROR, words, fix)]


def allows(rows: Iterable[Mapping[str, Any]], action: str) -> bool:
    """Whether rows of Azure's permissions permit an action: one row has it and does not take it back."""
    return any(
        _meets(row.get("actions") or [], action) and not _meets(row.get("notActions") or [], action) for row in rows
    )


def _meets(patterns: Iterable[str], action: str) -> bool:
    return any(fnmatch.fnmatchcase(action.lower(), str(pattern).lower()) for pattern in patterns)


def permitted(rows: Sequence[Mapping[str, Any]], actions: Sequence[str], scope: str, role: str) -> list[Finding]:
    """Whether the credential may do all actions at a scope, with the role that would permit them."""
    missing = [action for action in actions if not allows(rows, action)]
    if not missing:
        return [Finding("permitted", OK, f"The workspace's identity may do what is needed on {scope}.")]
    words = f"The workspace's identity may not do {', '.join(missing)} on {scope}."
    fix = f'Give it the role "{role}" there: {rights.grant(role, scope)}'
    return [Finding("permission_missing", ERROR, words, fix, {"missing": missing, "scope": scope, "role": role})]


def subnet(
    found: Subnet | None, wanted: str, *, region: str, count: int, is_flat: bool, max_pods: int = FLAT_PODS
) -> list[Finding]:
    """Whether the subnet exists, is in the region, not delegated, and has room for nodes and those of an upgrade."""
    if found is None:
        words = f"There is no subnet {wanted}."
        return [Finding("subnet_missing", ERROR, words, "Give the resource id of one that exists.")]
    name, rows = wanted.rstrip("/").rsplit("/", 1)[-1], []
    if found.region and found.region != region:
        words = f"The subnet {name} is in {found.region}; the cluster is to be in {region}."
        rows.append(Finding("subnet_region", ERROR, words, f"Choose a subnet in {region}, or that region."))
    if found.delegations:
        words = f"The subnet {name} is delegated to {', '.join(found.delegations)}: nodes cannot join it."
        rows.append(Finding("subnet_delegated", ERROR, words, "Choose a subnet without delegation."))
    return [*rows, _room(found, name, count, 1 + max_pods if is_flat else 1)]


def _room(found: Subnet, name: str, count: int, each: int) -> Finding:
    total = sum(ipaddress.IPv4Network(text, strict=False).num_addresses for text in found.ranges)
    surge = max(1, ceil(count * SURGE))
    need, left = (count + surge) * each, max(0, total - RESERVED - found.used)
    facts = {"needed": need, "left": left, "total": total, "used": found.used, "reserved": RESERVED, "surge": surge}
    pods = f" × {each} (itself and {each - 1} pods)" if each > 1 else ""
    words = (
        f"{count} nodes and {surge} more during an upgrade{pods} need {need} addresses of the subnet {name}; {left} "
        f"are left ({total} less {RESERVED} that Azure keeps and {found.used} in use)."
    )
    if need <= left:
        return Finding("subnet_room", OK, words, facts=facts)
    prefix = 32 - (need + RESERVED + found.used - 1).bit_length()
    return Finding("subnet_full", ERROR, words, f"Choose a subnet of at least /{prefix}, or fewer nodes.", facts)


def ranges(service_cidr: str, dns_service_ip: str, found: Subnet | None, pod_cidr: str = "") -> list[Finding]:
    """Whether the ranges of services, pods and subnet are apart, and the DNS address is in that of services."""
    services = ipaddress.IPv4Network(service_cidr or SERVICE_CIDR)
    named = [("service", services)]
    named += [("pod", ipaddress.IPv4Network(pod_cidr))] if pod_cidr else []
    named += [("subnet", ipaddress.IPv4Network(text, strict=False)) for text in (found.ranges if found else ())]
    rows = [
        Finding(
            f"{left}_cidr_overlaps", ERROR, f"The {left} range {mine} overlaps the {right} range {other}.",
            f"Give a service range outside of {other}." if left == "service" else f"Choose a subnet outside of {mine}.",
        )
        for number, (left, mine) in enumerate(named)
        for right, other in named[number + 1 :]
        if left != right and mine.overlaps(other)
    ]  # fmt: skip
    usual = services[min(10, services.num_addresses - 2)]
    address = ipaddress.IPv4Address(dns_service_ip) if dns_service_ip else usual
    if address not in services:
        words = f"The DNS address {address} lies outside of the service range {services}."
        rows.append(Finding("dns_outside", ERROR, words, f"Give one in it, e.g. {usual}."))
    return rows
