"""Virtual networks and subnets, and whether a cluster fits into one."""

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from compute.sandbox.arm.errors import ArmError, absent, gateway, invalid
from compute.sandbox.arm.groups import Groups
from compute.sandbox.db import Db

Json = dict[str, Any]
_TABLE = "arm_networks"
KIND = "Microsoft.Network/virtualNetworks"
VNET, SUBNET = "slipway-vnet", "default"
RESERVED = 5
"""Addresses that Azure keeps in each subnet."""
_ID = re.compile(
    rf"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/{KIND}/([^/]+)/subnets/([^/]+)/?", re.IGNORECASE
)


class Networks:
    """All networks. Every group has one from the start: slipway-vnet with the subnet default."""

    def __init__(self, subscription: str, groups: Groups, db: Db) -> None:
        self._subscription, self._groups, self._db = subscription, groups, db
        self._docs: dict[str, Json] = db.all(_TABLE)
        self.held: Callable[[], dict[str, int]] = dict
        """Set by the service: addresses that clusters hold, by subnet id in lower case."""

    def find(self, group: str, name: str) -> Json | None:
        """The network, or None."""
        found = self._docs.get(f"{group}/{name}".lower())
        if found is None and name.lower() == VNET:
            where = self._groups.get(group)
            return {"group": where["name"], "name": VNET, "location": where["location"], "tags": {},
                    "addressPrefixes": ["10.224.0.0/12"],
                    "subnets": {SUBNET: _subnet(SUBNET, {"addressPrefix": "10.224.0.0/16"})}}  # fmt: skip
        return found

    def get(self, group: str, name: str) -> Json:
        """The network; 404 when absent."""
        found = self.find(group, name)
        if found is None:
            raise absent(KIND, name, group)
        return found

    def all(self, group: str = "") -> list[Json]:
        """The networks of a group, or of all."""
        names = [group] if group else [row["name"] for row in self._groups.all()]
        kept = {key: row for key, row in self._docs.items() if not group or row["group"].lower() == group.lower()}
        first = [row for name in names if (row := self.find(name, VNET)) is not None]
        return [*(row for row in first if f"{row['group']}/{VNET}".lower() not in kept), *kept.values()]

    def put(self, group: str, name: str, asked: Json, *, used: bool = False) -> Json:
        """Make or change a network, subnets included. `used`: take the admin's count of used addresses too."""
        props = asked.get("properties", {})
        old = self.find(group, name)
        prefixes = (props.get("addressSpace") or {}).get("addressPrefixes") or []
        location = str(asked.get("location") or "").replace(" ", "").lower()
        if not prefixes or not location:
            raise gateway(400, "InvalidRequestFormat", "A virtual network needs a location and address prefixes.")
        doc: Json = {"group": group, "name": name, "location": location, "tags": asked.get("tags") or {},
                     "addressPrefixes": [str(_range(text)) for text in prefixes], "subnets": {}}  # fmt: skip
        given = props.get("subnets")
        rows = given if given is not None else [_asked(row) for row in (old or {"subnets": {}})["subnets"].values()]
        for row in rows:
            _add(doc, str(row["name"]), row.get("properties", {}), keep_used=used)
        return self._save(doc)

    def put_subnet(self, group: str, vnet: str, name: str, props: Json, *, used: bool = False) -> Json:
        """Make or change a subnet of a network."""
        doc = self.get(group, vnet)
        doc = {**doc, "subnets": {key: row for key, row in doc["subnets"].items() if key != name.lower()}}
        _add(doc, name, props, keep_used=used)
        self._save(doc)
        return dict(doc["subnets"][name.lower()])

    def delete(self, group: str, vnet: str, name: str = "") -> bool:
        """Remove a network or a subnet; False when there is none. 400 while machines are in it."""
        doc = self._docs.get(f"{group}/{vnet}".lower())
        if doc is None or (name and name.lower() not in doc["subnets"]):
            return False
        for row in [doc["subnets"][name.lower()]] if name else doc["subnets"].values():
            if self.used(doc, row):
                words = f"Subnet {row['name']} is in use by {self.used(doc, row)} addresses and cannot be deleted."
                raise gateway(400, "InUseSubnetCannotBeDeleted", words)
        if name:
            self._save({**doc, "subnets": {key: row for key, row in doc["subnets"].items() if key != name.lower()}})
        else:
            del self._docs[f"{group}/{vnet}".lower()]
            self._db.delete(_TABLE, f"{group}/{vnet}".lower())
        return True

    def subnet_id(self, doc: Json, row: Json) -> str:
        """The ARM id of a subnet."""
        return f"{self.vnet_id(doc)}/subnets/{row['name']}"

    def vnet_id(self, doc: Json) -> str:
        """The ARM id of a network."""
        return f"/subscriptions/{self._subscription}/resourceGroups/{doc['group']}/providers/{KIND}/{doc['name']}"

    def used(self, doc: Json, row: Json, without: int = 0) -> int:
        """Addresses in use; `without` are those that the asking cluster holds itself."""
        return int(row["used"]) + self.held().get(self.subnet_id(doc, row).lower(), 0) - without

    def of_id(self, text: str) -> tuple[Json, Json] | None:
        """Network and subnet of an ARM id, or None when there is none."""
        found = _ID.fullmatch(text)
        if found is None or found.group(1).lower() != self._subscription.lower():
            return None
        if self._groups.find(found.group(2)) is None:
            return None
        doc = self.find(found.group(2), found.group(3))
        row = doc["subnets"].get(found.group(4).lower()) if doc else None
        return (doc, row) if doc is not None and row is not None else None

    def _save(self, doc: Json) -> Json:
        key = f"{doc['group']}/{doc['name']}".lower()
        self._docs[key] = doc
        self._db.put(_TABLE, key, doc)
        return doc


def size_of(row: Json) -> int:
    """Addresses of a subnet that machines may have."""
    return int(_range(row["addressPrefix"]).num_addresses) - RESERVED


def is_id(text: Any) -> bool:
    """Whether it has the form of a subnet's ARM id."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def _asked(row: Json) -> Json:
    return {"name": row["name"], "properties": row}


def _subnet(name: str, props: Json, used: int = 0) -> Json:
    names = [str((one.get("properties") or one).get("serviceName", one)) for one in props.get("delegations") or []]
    return {"name": name, "addressPrefix": props["addressPrefix"], "delegations": names, "used": used}


def _add(doc: Json, name: str, props: Json, *, keep_used: bool) -> None:
    prefix = props.get("addressPrefix") or next(iter(props.get("addressPrefixes") or []), "")
    wanted = _range(prefix)
    if not any(wanted.subnet_of(_range(text)) for text in doc["addressPrefixes"]):
        words = f"Subnet '{name}' is not valid because its IP address range is outside the IP address range of"
        raise gateway(400, "NetcfgSubnetRangeOutsideVnet", f"{words} virtual network '{doc['name']}'.")
    for other in doc["subnets"].values():
        if wanted.overlaps(_range(other["addressPrefix"])):
            words = f"Subnet '{name}' is not valid because its IP address range overlaps with that of an existing"
            raise gateway(400, "NetcfgSubnetRangesOverlap", f"{words} subnet in virtual network '{doc['name']}'.")
    used = int(props.get("used", 0)) if keep_used else 0
    doc["subnets"][name.lower()] = _subnet(name, {**props, "addressPrefix": str(wanted)}, used)


def _range(text: Any) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(str(text))
    except ValueError:
        raise gateway(400, "InvalidAddressPrefixFormat", f"Address prefix {text} is not formatted correctly.") from None


def missing(text: str) -> ArmError:
    """400 of the provider for a subnet that is not there."""
    found = _ID.fullmatch(text)
    sub, group, vnet, name = found.groups() if found else ("", "", "", text)
    words = f"Could not find subnet {name} in vnet {vnet} from resource group {group} of subscription {sub}."
    return invalid(words, "agentPoolProfile.vnetSubnetID", code="SubnetNotFound")
