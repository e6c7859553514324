"""ARM paths about the subscription: groups, providers, sizes, quotas, versions."""

import re
from typing import Any

from aiohttp import web

from compute.sandbox.arm import reads
from compute.sandbox.arm.door import Call, Door, answer, not_authorized
from compute.sandbox.arm.errors import gateway
from compute.sandbox.arm.groups import Removal
from compute.sandbox.arm.providers import Providers
from compute.sandbox.arm.service import Service

Json = dict[str, Any]
_SUB = "/subscriptions/{sub}"
_GROUP = _SUB + "/resourceGroups/{group}"
_COMPUTE = _SUB + "/providers/Microsoft.Compute"
_PLACE = _SUB + "/providers/Microsoft.ContainerService/locations/{location}"


class Account:
    """Handlers over groups, providers and the catalogue."""

    def __init__(self, service: Service, removal: Removal, providers: Providers) -> None:
        self._service, self._groups, self._providers = service, service.groups, providers
        self._removal = removal
        self._sub = service.settings.subscription

    def register(self, door: Door) -> None:
        """Add every path to the door."""
        add = door.add
        add("GET", "/subscriptions", self.subscriptions, free=True)
        add("GET", _SUB, self.subscription)
        add("GET", _SUB + "/resourceGroups", self.groups)
        add("GET HEAD", _GROUP, self.group)
        add("PUT", _GROUP, self.put_group)
        add("DELETE", _GROUP, self.delete_group)
        add("GET", _GROUP + "/resources", self.resources)
        add("GET", _SUB + "/resources", self.all_resources)
        add("GET", _SUB + "/locations", self.locations)
        add("GET", _SUB + "/operationresults/{token}", self.group_result, free=True)
        add("GET", _SUB + "/providers/{space}", self.provider, free=True)
        add("POST", _SUB + "/providers/{space}/register", self.register_provider, free=True)
        add("GET", _PLACE + "/kubernetesVersions", self.versions)
        add("GET", _COMPUTE + "/skus", self.skus)
        add("GET", _COMPUTE + "/locations/{location}/usages", self.usages)
        add("GET", _COMPUTE + "/locations/{location}/vmSizes", self.vm_sizes)

    async def subscriptions(self, call: Call) -> web.Response:
        """The only subscription, shown to who has any role in it."""
        mine = call.caller.touches(f"/subscriptions/{self._sub}")
        return answer({"value": [reads.subscription(self._sub)] if mine else []})

    async def subscription(self, call: Call) -> web.Response:
        """The subscription."""
        return answer(reads.subscription(self._sub))

    async def locations(self, call: Call) -> web.Response:
        """The regions."""
        return answer({"value": reads.locations(self._sub)})

    async def groups(self, call: Call) -> web.Response:
        """The resource groups that the caller may read."""
        action = "Microsoft.Resources/subscriptions/resourceGroups/read"
        rows = [row for row in self._groups.all() if call.caller.may(action, row["id"])]
        return answer({"value": [reads.plain_group(row) for row in rows]})

    async def group(self, call: Call) -> web.Response:
        """One resource group; HEAD answers 204."""
        found = self._groups.get(call.names["group"])
        return answer(None, 204) if call.request.method == "HEAD" else answer(reads.plain_group(found))

    async def put_group(self, call: Call) -> web.Response:
        """Make a resource group."""
        doc, call.effective = self._groups.put(call.names["group"], await call.json())
        return answer(reads.plain_group(doc), 201 if call.effective else 200)

    async def delete_group(self, call: Call) -> web.Response:
        """Delete a group with all that is in it; it takes a while."""
        name = self._groups.get(call.names["group"])["name"]
        token, call.effective = self._removal.delete(name), True
        return answer(None, 202, **self._later(call, token))

    async def group_result(self, call: Call) -> web.Response:
        """202 while the group is going, then 200."""
        try:
            over = self._removal.is_over(call.names["token"])
        except ValueError:
            raise gateway(404, "NotFound", "The operation was not found.") from None
        return answer(None, 200) if over else answer(None, 202, **self._later(call, call.names["token"]))

    def _later(self, call: Call, token: str) -> dict[str, str]:
        place = f"{call.base}/subscriptions/{self._sub}/operationresults/{token}?api-version=2021-04-01"
        return {"Location": place, "Retry-After": "15"}

    async def resources(self, call: Call) -> web.Response:
        """What is in a group, by id, type and place."""
        return answer({"value": self._contents(call, self._groups.get(call.names["group"]))})

    async def all_resources(self, call: Call) -> web.Response:
        """What is in every group, or in the one that the filter names."""
        wanted = re.search(r"resourceGroup eq '([^']+)'", call.request.query.get("$filter", ""))
        groups = [self._groups.get(wanted.group(1))] if wanted else self._groups.all()
        return answer({"value": [row for group in groups for row in self._contents(call, group)]})

    def _contents(self, call: Call, group: Json) -> list[Json]:
        bodies = [row["body"] for row in self._service.records(group["name"])]
        found = [{key: body[key] for key in ("id", "name", "type", "location", "tags")} for body in bodies]
        rows = [*found, *reads.machinery(group)]
        return [row for row in rows if call.caller.may(f"{row['type']}/read", row["id"])]

    # --- providers

    async def provider(self, call: Call) -> web.Response:
        """One resource provider."""
        self._need(call, "Microsoft.Resources/subscriptions/providers/read")
        return answer(self._providers.doc(call.names["space"], self._sub))

    async def register_provider(self, call: Call) -> web.Response:
        """Register a provider: it takes a moment."""
        doc = self._providers.doc(call.names["space"], self._sub)
        self._need(call, f"{doc['namespace']}/register/action")
        call.effective = doc["registrationState"] == "NotRegistered"
        self._providers.register(doc["namespace"])
        return answer(self._providers.doc(doc["namespace"], self._sub))

    def _need(self, call: Call, action: str) -> None:
        scope = f"/subscriptions/{self._sub}"
        if not call.caller.may(action, scope):
            raise not_authorized(call.caller, action, scope)

    # --- what there is

    async def versions(self, call: Call) -> web.Response:
        """Kubernetes versions."""
        return answer({"values": reads.versions()})

    async def skus(self, call: Call) -> web.Response:
        """Resource SKUs, of one location if the filter says so."""
        found = re.fullmatch(r"\s*location eq '([^']*)'\s*", call.request.query.get("$filter", ""))
        if call.request.query.get("$filter") and not found:
            raise gateway(400, "InvalidFilter", "Only the filter \"location eq 'REGION'\" is supported.")
        return answer({"value": reads.skus(self._service.offers, _region(found.group(1)) if found else "")})

    async def usages(self, call: Call) -> web.Response:
        """Quotas."""
        return answer({"value": reads.usages(self._service, _region(call.names["location"]))})

    async def vm_sizes(self, call: Call) -> web.Response:
        """The older list of sizes."""
        return answer({"value": reads.vm_sizes(_region(call.names["location"]))})


def _region(name: str) -> str:
    return name.replace(" ", "").lower()
