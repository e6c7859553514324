"""Managed clusters: what a body may say, and what the service fills in."""

import copy
import ipaddress
import re
from typing import Any

from compute.sandbox.arm import catalogue, pools
from compute.sandbox.arm.errors import gateway, invalid
from compute.sandbox.ids import stable_uuid, tenant_of

Json = dict[str, Any]
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
MOST_POOLS = 100
_DNS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,52}[A-Za-z0-9])?")
_PROVIDER = "/providers/Microsoft.ContainerService/managedClusters"
_READ_ONLY = (
    "provisioningState", "powerState", "fqdn", "privateFQDN", "azurePortalFQDN", "currentKubernetesVersion",
    "identityProfile", "resourceUID", "maxAgentPools",
)  # fmt: skip
_REPLACED = ("apiServerAccessProfile", "autoScalerProfile", "autoUpgradeProfile", "disableLocalAccounts")
_FIXED = ("serviceCidr", "dnsServiceIP", "podCidr", "networkPlugin", "loadBalancerSku")
_NETWORK = {
    "networkPlugin": ("azure", "kubenet", "none"), "networkPluginMode": ("overlay",),
    "networkDataplane": ("azure", "cilium"), "networkPolicy": ("none", "azure", "calico", "cilium"),
    "loadBalancerSku": ("standard", "basic"),
    "outboundType": ("loadBalancer", "userDefinedRouting", "managedNATGateway"),
}  # fmt: skip

_DEFAULTS: Json = {
    "enableRBAC": True, "supportPlan": "KubernetesOfficial", "disableLocalAccounts": False,
    "storageProfile": {"diskCSIDriver": {"enabled": True}, "fileCSIDriver": {"enabled": True},
                       "snapshotController": {"enabled": True}},
    "oidcIssuerProfile": {"enabled": False}, "securityProfile": {}, "workloadAutoScalerProfile": {},
    "autoUpgradeProfile": {"nodeOSUpgradeChannel": "NodeImage"},
}  # fmt: skip


def fill(sub: str, group: str, name: str, asked: Json, old: Json | None, uid: str) -> Json:
    """The cluster as it will be (without states): what was asked, checked, with defaults. Raises refusals."""
    if not _NAME.fullmatch(name):
        words = "1 to 63 letters, digits, '-' and '_', beginning and ending with a letter or digit"
        raise invalid(f"The managed cluster name '{name}' is invalid; it must be {words}.", "name")
    location = _location(asked, old)
    body = _top(sub, group, name, asked, location)
    given = asked.get("properties")
    if not isinstance(given, dict):
        raise invalid("The body has no properties.", "properties", code="BadRequest")
    before = (old or {}).get("properties", {})
    # A PUT replaces: what it leaves out is gone, but for what cannot be taken away.
    kept = {key: value for key, value in before.items() if key not in _REPLACED}
    props: Json = {**kept, **{k: copy.deepcopy(v) for k, v in given.items() if k not in _READ_ONLY and v is not None}}
    props.update({key: before[key] for key in _READ_ONLY if key in before})
    _version(props, before, given)
    _dns(props, before, uid, location)
    props["networkProfile"] = _network(given.get("networkProfile"), before.get("networkProfile"))
    props["agentPoolProfiles"] = _pools(props, before, location)
    _fixed_group(props, before, f"MC_{group}_{name}_{location}")
    _access(props, before, uid)
    _directory(props, sub)
    _issuer(props, sub, uid, location)
    _service_principal(props, body["identity"])
    _kubelet_identity(props, body)
    body["properties"] = {**_DEFAULTS, "azurePortalFQDN": _portal_name(props), **props}
    body["properties"].update({"maxAgentPools": MOST_POOLS, "resourceUID": uid})
    return body


def _location(asked: Json, old: Json | None) -> str:
    location = str(asked.get("location") or "").replace(" ", "").lower()
    if not location:
        raise gateway(400, "LocationRequired", "The location property is required for this definition.")
    if location not in catalogue.REGIONS:
        regions = ",".join(catalogue.REGIONS)
        words = f"The provided location '{location}' is not available for resource type"
        raise gateway(
            400, "LocationNotAvailableForResourceType",
            f"{words} 'Microsoft.ContainerService/managedClusters'. List of available regions is '{regions}'.",
        )  # fmt: skip
    if old is not None and old["location"] != location:
        words = f"The resource already exists in location '{old['location']}'. A resource cannot be moved"
        raise gateway(409, "InvalidResourceLocation", f"{words} to '{location}'.")
    return location


def _top(sub: str, group: str, name: str, asked: Json, location: str) -> Json:
    tags = asked.get("tags") or {}
    if not isinstance(tags, dict) or len(tags) > 50 or any(len(str(key)) > 512 for key in tags):
        raise gateway(400, "InvalidTags", "tags must be at most 50 names of at most 512 characters with text values.")
    kept = {key: value for key, value in asked.items() if key not in ("id", "name", "type", "eTag", "systemData")}
    identity = dict(asked.get("identity") or {"type": "None"})
    if identity.get("type") == "SystemAssigned":
        identity |= {"principalId": stable_uuid(sub, group, name, "p"), "tenantId": tenant_of(sub)}
    elif identity.get("type") == "UserAssigned":
        rows = identity.get("userAssignedIdentities") or {}
        identity["userAssignedIdentities"] = {
            path: {"clientId": stable_uuid(path, "client"), "principalId": stable_uuid(path, "object")} for path in rows
        }
    return {
        **kept, "name": name, "location": location, "type": "Microsoft.ContainerService/ManagedClusters",
        "id": f"/subscriptions/{sub}/resourcegroups/{group}{_PROVIDER}/{name}",
        "tags": dict(tags), "identity": identity, "sku": asked.get("sku") or {"name": "Base", "tier": "Free"},
    }  # fmt: skip


def _version(props: Json, before: Json, given: Json) -> None:
    asked = str(given.get("kubernetesVersion") or before.get("kubernetesVersion") or catalogue.DEFAULT_VERSION)
    full = catalogue.full_version(asked)
    if before:
        if asked == before["kubernetesVersion"]:
            full = before["currentKubernetesVersion"]
        catalogue.check_upgrade(before["currentKubernetesVersion"], full)
    props["kubernetesVersion"], props["currentKubernetesVersion"] = asked, full


def _dns(props: Json, before: Json, uid: str, location: str) -> None:
    prefix = props.get("dnsPrefix")
    if not isinstance(prefix, str) or not _DNS.fullmatch(prefix):
        words = "1 to 54 letters, digits and '-', beginning and ending with a letter or digit"
        raise invalid(
            f"The dnsPrefix {prefix!r} is invalid; it must be {words}.", "dnsPrefix", subcode="InvalidDNSPrefix"
        )
    if before and before["dnsPrefix"] != prefix:
        _refuse_change("dnsPrefix", before["dnsPrefix"])
    props["fqdn"] = before.get("fqdn") or f"{prefix}-{uid[:8]}.hcp.{location}.azmk8s.io"


def _refuse_change(key: str, now: Any) -> None:
    words = f"Changing property 'properties.{key}' is not allowed; it is {now!r}."
    raise invalid(words, f"properties.{key}", code="PropertyChangeNotAllowed")


def _network(given: Any, before: Json | None) -> Json:
    if given is not None and not isinstance(given, dict):
        raise invalid("networkProfile must be an object.", "networkProfile", code="BadRequest")
    base: Json = before or {
        "networkPlugin": "azure", "loadBalancerSku": "standard", "serviceCidr": "10.0.0.0/16",
        "dnsServiceIP": "10.0.0.10", "outboundType": "loadBalancer",
    }  # fmt: skip
    wanted = {key: value for key, value in (given or {}).items() if key != "dockerBridgeCidr" and value is not None}
    if isinstance(wanted.get("loadBalancerProfile"), dict):
        wanted["loadBalancerProfile"] = {
            key: value for key, value in wanted["loadBalancerProfile"].items() if key != "effectiveOutboundIPs"
        }
    network = {**base, **wanted}
    if before is None and not wanted.get("networkPlugin"):
        network["networkPluginMode"] = "overlay"
    if before is None and (network["networkPlugin"] == "kubenet" or network.get("networkPluginMode") == "overlay"):
        network.setdefault("podCidr", "10.244.0.0/16")
    for key, allowed in _NETWORK.items():
        _choose(network, key, allowed)
    _check_cilium(network)
    if network["loadBalancerSku"] == "standard" and network["outboundType"] == "loadBalancer":
        network.setdefault("loadBalancerProfile", {"managedOutboundIPs": {"count": 1}})
    _check_addresses(network)
    for key in _FIXED:
        if before is not None and network.get(key) != before.get(key):
            _refuse_change(f"networkProfile.{key}", before.get(key))
    return network


def _check_cilium(network: Json) -> None:
    """Cilium is a data plane of Azure's plugin; its policies need it, and it keeps no others."""
    plane, policy = network.get("networkDataplane"), network.get("networkPolicy")
    if plane == "cilium" and network["networkPlugin"] != "azure":
        raise invalid("networkDataplane cilium requires networkPlugin azure.", "networkProfile.networkDataplane")
    if (policy == "cilium") != (plane == "cilium") and policy not in (None, "none"):
        words = f"networkPolicy {policy} cannot be used with networkDataplane {plane or 'azure'}."
        raise invalid(words, "networkProfile.networkPolicy")


def _choose(network: Json, key: str, allowed: tuple[str, ...]) -> None:
    value = network.get(key)
    match = next((word for word in allowed if word.lower() == str(value).lower()), None)
    if value and match is None:
        raise invalid(f"{key} is {value!r}; allowed: {', '.join(allowed)}.", f"networkProfile.{key}")
    if value:
        network[key] = match


def _check_addresses(network: Json) -> None:
    service = _range(network, "serviceCidr", 12)
    try:
        dns = ipaddress.ip_address(str(network["dnsServiceIP"]))
    except ValueError:
        raise invalid(
            f"dnsServiceIP {network['dnsServiceIP']!r} is no address.", "networkProfile.dnsServiceIP"
        ) from None
    if dns not in service or dns in (service[0], service[1]):
        words = f"dnsServiceIP {dns} must be within serviceCidr {service} and not its first address"
        raise invalid(f"{words}.", "networkProfile.dnsServiceIP", subcode="InvalidDNSServiceIP")
    if network.get("podCidr"):
        pods = _range(network, "podCidr", 8)
        if pods.overlaps(service):
            raise invalid(f"podCidr {pods} and serviceCidr {service} overlap.", "networkProfile.podCidr")


def _range(network: Json, key: str, shortest: int) -> ipaddress.IPv4Network:
    text = str(network[key])
    try:
        found = ipaddress.IPv4Network(text)
    except ValueError:
        raise invalid(f"{key} {text!r} is no range such as 10.0.0.0/16.", f"networkProfile.{key}") from None
    if not shortest <= found.prefixlen <= 24:
        raise invalid(f"{key} {text} must be from /{shortest} to /24.", f"networkProfile.{key}")
    return found


def _pools(props: Json, before: Json, location: str) -> list[Json]:
    asked = props.get("agentPoolProfiles")
    if not isinstance(asked, list) or not all(isinstance(pool, dict) for pool in asked) or not asked:
        raise invalid("A managed cluster needs at least one agent pool.", "agentPoolProfiles", code="BadRequest")
    names = [str(pool.get("name", "")) for pool in asked]
    if len(set(names)) != len(names):
        raise invalid(f"Agent pool names repeat: {', '.join(names)}.", "agentPoolProfiles.name")
    known = {pool["name"]: pool for pool in before.get("agentPoolProfiles") or []}
    missing = sorted(set(known) - set(names))
    if missing:
        raise invalid(f"The pool {missing[0]} is missing; delete pools by their own address.", code="BadRequest")
    overlay = props["networkProfile"].get("networkPluginMode") == "overlay"
    version = props["kubernetesVersion"]
    found = [
        pools.fill(name, pool, known.get(name), region=location, overlay=overlay, version=version)
        for name, pool in zip(names, asked, strict=True)
    ]
    check_modes(found)
    return found


def check_modes(found: list[Json]) -> None:
    """Refuse a cluster without a System pool, or with more pools than one may have."""
    if len(found) > MOST_POOLS:
        words = f"A managed cluster may have at most {MOST_POOLS} agent pools; {len(found)} were asked for."
        raise invalid(words, "agentPoolProfiles", code="BadRequest")
    if not any(pool["mode"] == "System" for pool in found):
        words = "A managed cluster must have at least one agent pool of mode System."
        raise invalid(words, "agentPoolProfiles.mode", code="BadRequest", subcode="MustHaveOneSystemPool")


def _fixed_group(props: Json, before: Json, default: str) -> None:
    props["nodeResourceGroup"] = props.get("nodeResourceGroup") or default[:80]
    if before and before["nodeResourceGroup"] != props["nodeResourceGroup"]:
        _refuse_change("nodeResourceGroup", before["nodeResourceGroup"])


def _access(props: Json, before: Json, uid: str) -> None:
    old = (before or {}).get("apiServerAccessProfile") or {}
    was = bool(old.get("enablePrivateCluster"))
    if was and not props.get("apiServerAccessProfile"):
        props["apiServerAccessProfile"] = old
    profile = props.get("apiServerAccessProfile") or {}
    ranges, private = profile.get("authorizedIPRanges") or [], bool(profile.get("enablePrivateCluster"))
    for text in ranges:
        try:
            ipaddress.ip_network(str(text), strict=False)
        except ValueError:
            words = f"The authorized range {text!r} is no address or range."
            raise invalid(words, "apiServerAccessProfile.authorizedIPRanges") from None
    if ranges and private:
        raise invalid(
            "authorizedIPRanges cannot be used with a private cluster.", "apiServerAccessProfile", code="BadRequest"
        )
    if before and was != private:
        _refuse_change("apiServerAccessProfile.enablePrivateCluster", was)
    if private:
        place = props["fqdn"].partition(".hcp.")
        props["privateFQDN"] = f"{place[0]}.{stable_uuid(uid)}.privatelink.{place[2]}"
        if not profile.get("enablePrivateClusterPublicFQDN"):
            del props["fqdn"]


def _directory(props: Json, sub: str) -> None:
    profile = props.get("aadProfile")
    if isinstance(profile, dict):
        props["aadProfile"] = {"managed": True, "enableAzureRBAC": False, "adminGroupObjectIDs": None,
                               "tenantID": tenant_of(sub), **profile}  # fmt: skip


def _issuer(props: Json, sub: str, uid: str, location: str) -> None:
    profile = props.get("oidcIssuerProfile")
    if isinstance(profile, dict) and profile.get("enabled"):
        place = f"https://{location}.oic.prod-aks.azure.com/{tenant_of(sub)}/{stable_uuid(uid, 'issuer')}/"
        props["oidcIssuerProfile"] = {**profile, "issuerURL": place}


def _service_principal(props: Json, identity: Json) -> None:
    profile = props.get("servicePrincipalProfile")
    if isinstance(profile, dict):
        profile.pop("secret", None)
    elif identity.get("type") in ("SystemAssigned", "UserAssigned"):
        props["servicePrincipalProfile"] = {"clientId": "msi"}
    else:
        words = "Required parameter servicePrincipalProfile is missing (null)."
        raise invalid(words, "servicePrincipalProfile")


def _kubelet_identity(props: Json, body: Json) -> None:
    """The identity by which the machines pull images; made with the cluster when it has one of its own."""
    if body["identity"].get("type") not in ("SystemAssigned", "UserAssigned") or props.get("identityProfile"):
        return
    group = f"{body['id'].partition('/resourcegroups/')[0]}/resourcegroups/{props['nodeResourceGroup']}"
    path = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{body['name']}-agentpool"
    ids = {"clientId": stable_uuid(path, "client"), "objectId": stable_uuid(path, "object")}
    props["identityProfile"] = {"kubeletidentity": {"resourceId": path, **ids}}


def _portal_name(props: Json) -> str:
    name = str(props.get("fqdn") or props.get("privateFQDN"))
    return name.replace(".hcp.", ".portal.hcp.", 1)
