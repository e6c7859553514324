"""Whether the pools of a cluster may stand in the subnets that they name."""

import ipaddress
from typing import Any

from compute.sandbox.arm.errors import ArmError, gateway, invalid
from compute.sandbox.arm.networks import Networks, is_id, missing, size_of
from compute.sandbox.entra.rights import Caller

Json = dict[str, Any]
_JOIN = "Microsoft.Network/virtualNetworks/subnets/join/action"
_ASSIGN = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
_SURGE = 1
"""A node more than wanted, while an upgrade goes over a pool."""


def check_links(caller: Caller, action: str, scope: str, asked: Json) -> None:
    """The front door's check of what a body points to: well-formed, and the caller may use it."""
    props = _object(asked, "properties")
    rows = props.get("agentPoolProfiles")
    pools = rows if isinstance(rows, list) else []
    links = [(f"properties.agentPoolProfiles[{index}].vnetSubnetID", pool.get("vnetSubnetID"))
             for index, pool in enumerate(pools) if isinstance(pool, dict)]  # fmt: skip
    links.append(("properties.vnetSubnetID", props.get("vnetSubnetID")))
    for path, link in links:
        if link and not is_id(link):
            words = f"Property id '{link}' at path '{path}' is invalid. Expect fully qualified resource Id that start"
            more = "with '/subscriptions/{subscriptionId}' or '/providers/{resourceProviderNamespace}/'."
            raise gateway(400, "LinkedInvalidPropertyId", f"{words} {more}")
        if link and not caller.may(_JOIN, link):
            raise _not_linked(caller, action, scope, _JOIN, link)
    for link in _object(_object(asked, "identity"), "userAssignedIdentities"):
        if not caller.may(_ASSIGN, link):
            raise _not_linked(caller, action, scope, _ASSIGN, link)


def _object(around: Json, name: str) -> Json:
    found = around.get(name)
    return found if isinstance(found, dict) else {}


def _not_linked(caller: Caller, action: str, scope: str, needed: str, link: str) -> ArmError:
    who = f"The client '{caller.client_id}' with object id '{caller.object_id}' has permission to perform action"
    more = f"however, it does not have permission to perform action(s) '{needed}' on the linked scope(s) '{link}'"
    words = f"{who} '{action}' on scope '{scope}'; {more} (respectively) or the linked scope(s) are invalid."
    return gateway(403, "LinkedAuthorizationFailed", words)


def addresses(props: Json) -> dict[str, int]:
    """Addresses that the pools of a cluster need, by subnet id in lower case."""
    network = props["networkProfile"]
    flat = network.get("networkPlugin") == "azure" and network.get("networkPluginMode") != "overlay"
    found: dict[str, int] = {}
    for pool in props["agentPoolProfiles"]:
        where = str(pool.get("vnetSubnetID") or "").lower()
        if where:
            most = max(pool["count"], pool.get("maxCount") or 0 if pool["enableAutoScaling"] else 0)
            each = 1 + pool["maxPods"] if flat else 1
            found[where] = found.get(where, 0) + (most + _SURGE) * each
    return found


def check(networks: Networks, body: Json, before: Json) -> None:
    """Refuse as the provider does: no such subnet, another region, delegated, too small, overlapping ranges."""
    props, old = body["properties"], before.get("properties", {})
    held = addresses(old) if old else {}
    _check_unchanged(props, old)
    _check_all_or_none(props["agentPoolProfiles"])
    for where, need in addresses(props).items():
        found = networks.of_id(where)
        if found is None:
            raise missing(_as_asked(props, where))
        vnet, row = found
        _check_place(vnet, row, body["location"])
        free = size_of(row) - networks.used(vnet, row, without=held.get(where, 0))
        if need > free and need > held.get(where, 0):
            raise _too_small(need, max(free, 0), row)
        if not old:
            _check_ranges(props["networkProfile"], vnet)


def _as_asked(props: Json, where: str) -> str:
    names = (str(pool.get("vnetSubnetID")) for pool in props["agentPoolProfiles"])
    return next(name for name in names if name.lower() == where)


def _check_place(vnet: Json, row: Json, location: str) -> None:
    if vnet["location"] != location:
        words = f"The virtual network '{vnet['name']}' is in location '{vnet['location']}'; the managed cluster is in"
        raise invalid(f"{words} '{location}'. They must be in the same location.", "agentPoolProfile.vnetSubnetID")
    if row["delegations"]:
        words = f"The subnet '{row['name']}' is delegated to {', '.join(row['delegations'])} and cannot be used by"
        raise invalid(f"{words} agent pools.", "agentPoolProfile.vnetSubnetID", code="SubnetIsDelegated")


def _too_small(need: int, free: int, row: Json) -> ArmError:
    words = f"Pre-allocated IPs {need} exceeds IPs available {free} in Subnet Cidr {row['addressPrefix']}, Subnet Name"
    more = "If Autoscaler is enabled, the max-count from each nodepool is counted towards this total (which means that"
    rest = "pre-allocated IPs count represents a theoretical max value, not the actual number of IPs requested)."
    text = f"{words} {row['name']}. {more} {rest} http://aka.ms/aks/insufficientsubnetsize"
    return invalid(text, "agentPoolProfile.count", code="InsufficientSubnetSize")


def _check_ranges(network: Json, vnet: Json) -> None:
    service = ipaddress.IPv4Network(network["serviceCidr"])
    for row in vnet["subnets"].values():
        if service.overlaps(ipaddress.IPv4Network(row["addressPrefix"])):
            words = f"The specified service CIDR {service} is conflicted with an existing subnet CIDR"
            raise invalid(f"{words} {row['addressPrefix']}", "networkProfile.serviceCidr",
                          code="ServiceCidrOverlapExistingSubnetsCidr")  # fmt: skip
    pods = network.get("podCidr")
    for text in vnet["addressPrefixes"] if pods else []:
        if ipaddress.IPv4Network(pods).overlaps(ipaddress.IPv4Network(text)):
            words = f"NetworkProfile CIDR {pods} overlaps with reserved VNET CIDR {text}"
            raise invalid(words, "networkProfile.podCIDR", code="NetworkProfileCIDROverlapVNET")


def _check_unchanged(props: Json, old: Json) -> None:
    known = {pool["name"]: str(pool.get("vnetSubnetID") or "") for pool in old.get("agentPoolProfiles", [])}
    for pool in props["agentPoolProfiles"]:
        now = str(pool.get("vnetSubnetID") or "")
        if now.lower() != known.get(pool["name"], now).lower():
            words = "Changing property 'agentPoolProfile.vnetSubnetID' is not allowed."
            raise invalid(words, "agentPoolProfile.vnetSubnetID", code="PropertyChangeNotAllowed")


def _check_all_or_none(pools: list[Json]) -> None:
    without = [pool["name"] for pool in pools if not pool.get("vnetSubnetID")]
    if without and len(without) < len(pools):
        raise invalid(f"The Agentpool {without[0]} does not have subnet defined.", "agentPoolProfile.vnetSubnetID")
