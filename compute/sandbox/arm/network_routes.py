"""ARM paths of virtual networks."""

import hashlib
from typing import Any

from aiohttp import web

from compute.sandbox.arm.door import Call, Door, answer
from compute.sandbox.arm.errors import absent
from compute.sandbox.arm.groups import Groups
from compute.sandbox.arm.networks import KIND, Networks, size_of

Json = dict[str, Any]
_SUB = "/subscriptions/{sub}"
_ALL = _SUB + "/resourceGroups/{group}/providers/" + KIND
_ONE = _ALL + "/{vnet}"
_SUBNETS = _ONE + "/subnets"
_MOST_SHOWN = 256


class NetworkRoutes:
    """Handlers over the networks."""

    def __init__(self, networks: Networks, groups: Groups) -> None:
        self._networks, self._groups = networks, groups

    def register(self, door: Door) -> None:
        """Add every path to the door."""
        add = door.add
        add("GET", _SUB + "/providers/" + KIND, self.vnets)
        add("GET", _ALL, self.vnets)
        add("GET", _ONE, self.vnet)
        add("PUT", _ONE, self.put_vnet)
        add("DELETE", _ONE, self.delete_vnet)
        add("GET", _ONE + "/usages", self.usages)
        add("GET", _SUBNETS, self.subnets)
        add("GET", _SUBNETS + "/{subnet}", self.subnet)
        add("PUT", _SUBNETS + "/{subnet}", self.put_subnet)
        add("DELETE", _SUBNETS + "/{subnet}", self.delete_subnet)

    async def vnets(self, call: Call) -> web.Response:
        """The networks that the caller may read."""
        group = call.names.get("group", "")
        rows = self._networks.all(self._groups.get(group)["name"] if group else "")
        shown = [self._vnet(row) for row in rows]
        return answer({"value": [row for row in shown if call.caller.may(f"{KIND}/read", row["id"])]})

    async def vnet(self, call: Call) -> web.Response:
        """One network."""
        return answer(self._vnet(self._found(call)))

    async def put_vnet(self, call: Call) -> web.Response:
        """Make or change a network."""
        group = self._groups.get(call.names["group"])["name"]
        self._groups.writable(group)
        new = self._networks.find(group, call.names["vnet"]) is None
        doc = self._networks.put(group, call.names["vnet"], await call.json())
        call.effective = True
        return answer(self._vnet(doc), 201 if new else 200)

    async def delete_vnet(self, call: Call) -> web.Response:
        """Delete a network."""
        return self._delete(call)

    async def usages(self, call: Call) -> web.Response:
        """How many addresses of each subnet are in use, and how many there are."""
        doc = self._found(call)
        return answer({"value": [
            {"id": self._networks.subnet_id(doc, row), "unit": "Count", "limit": size_of(row),
             "currentValue": self._networks.used(doc, row),
             "name": {"value": "SubnetSpace", "localizedValue": "Subnet size and usage"}}
            for row in doc["subnets"].values()
        ]})  # fmt: skip

    async def subnets(self, call: Call) -> web.Response:
        """The subnets of a network."""
        doc = self._found(call)
        return answer({"value": [self._subnet(doc, row) for row in doc["subnets"].values()]})

    async def subnet(self, call: Call) -> web.Response:
        """One subnet."""
        doc = self._found(call)
        row = doc["subnets"].get(call.names["subnet"].lower())
        if row is None:
            raise absent(f"{KIND}/{doc['name']}/subnets", call.names["subnet"], doc["group"])
        return answer(self._subnet(doc, row))

    async def put_subnet(self, call: Call) -> web.Response:
        """Make or change a subnet."""
        doc, name = self._found(call), call.names["subnet"]
        self._groups.writable(doc["group"])
        new = name.lower() not in doc["subnets"]
        row = self._networks.put_subnet(doc["group"], doc["name"], name, (await call.json()).get("properties") or {})
        call.effective = True
        return answer(self._subnet(doc, row), 201 if new else 200)

    async def delete_subnet(self, call: Call) -> web.Response:
        """Delete a subnet."""
        return self._delete(call)

    def _delete(self, call: Call) -> web.Response:
        group = self._groups.get(call.names["group"])["name"]
        call.effective = self._networks.delete(group, call.names["vnet"], call.names.get("subnet", ""))
        return answer(None, 200 if call.effective else 204)

    def _found(self, call: Call) -> Json:
        return self._networks.get(self._groups.get(call.names["group"])["name"], call.names["vnet"])

    def _vnet(self, doc: Json) -> Json:
        rows = [self._subnet(doc, row) for row in doc["subnets"].values()]
        return {
            "id": self._networks.vnet_id(doc), "name": doc["name"], "type": KIND, "location": doc["location"],
            "tags": doc["tags"], "etag": _etag(doc),
            "properties": {"addressSpace": {"addressPrefixes": doc["addressPrefixes"]}, "subnets": rows,
                           "provisioningState": "Succeeded", "enableDdosProtection": False},
        }  # fmt: skip

    def _subnet(self, doc: Json, row: Json) -> Json:
        path, used = self._networks.subnet_id(doc, row), self._networks.used(doc, row)
        properties: Json = {
            "addressPrefix": row["addressPrefix"], "provisioningState": "Succeeded",
            "delegations": [{"name": name, "properties": {"serviceName": name}} for name in row["delegations"]],
            "privateEndpointNetworkPolicies": "Disabled", "privateLinkServiceNetworkPolicies": "Enabled",
        }  # fmt: skip
        if used:
            shown = range(min(used, _MOST_SHOWN))
            properties["ipConfigurations"] = [{"id": f"{path}/ipConfigurations/{number}"} for number in shown]
        return {"id": path, "name": row["name"], "type": f"{KIND}/subnets", "etag": _etag(row),
                "properties": properties}  # fmt: skip


def _etag(doc: Json) -> str:
    return f'W/"{hashlib.sha256(repr(doc).encode()).hexdigest()[:32]}"'
