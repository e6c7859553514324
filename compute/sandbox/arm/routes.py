"""Every ARM path that is served, and its answer."""

import base64
import re
from typing import Any, Literal

from aiohttp import web

from compute.sandbox.arm import catalogue, fates, machines, placing
from compute.sandbox.arm.access import Access
from compute.sandbox.arm.door import Call, Door, answer
from compute.sandbox.arm.errors import gateway
from compute.sandbox.arm.service import KIND, Service
from compute.sandbox.arm.signing import Signer

Json = dict[str, Any]
PAGE = 50
_SUB = "/subscriptions/{sub}"
_GROUP = _SUB + "/resourceGroups/{group}"
_ONE = _GROUP + f"/providers/{KIND}/{{cluster}}"
_POOLS = _ONE + "/agentPools"
_PLACE = _SUB + "/providers/Microsoft.ContainerService/locations/{location}"


class Routes:
    """Handlers over the service."""

    def __init__(self, service: Service, signer: Signer, access: Access) -> None:
        self._service, self._groups, self._signer = service, service.groups, signer
        self._access = access
        self._sub = service.settings.subscription

    def register(self, door: Door) -> None:
        """Add every path to the door."""
        add = door.add
        add("GET", _SUB + f"/providers/{KIND}", self.clusters)
        add("GET", _GROUP + f"/providers/{KIND}", self.clusters)
        add("GET HEAD", _ONE, self.get)
        add("PUT", _ONE, self.put)
        add("PATCH", _ONE, self.tags)
        add("DELETE", _ONE, self.delete)
        add("POST", _ONE + "/stop", self.stop)
        add("POST", _ONE + "/start", self.start)
        add("POST", _ONE + "/abort", self.abort)
        add("POST", _ONE + "/listClusterUserCredential", self.user_credential)
        add("POST", _ONE + "/listClusterAdminCredential", self.admin_credential)
        add("GET", _ONE + "/upgradeProfiles/default", self.upgrades)
        add("GET", _POOLS, self.pools)
        add("GET", _POOLS + "/{pool}", self.pool)
        add("GET", _POOLS + "/{pool}/upgradeProfiles/default", self.pool_upgrades)
        add("PUT", _POOLS + "/{pool}", self.put_pool)
        add("DELETE", _POOLS + "/{pool}", self.delete_pool)
        add("POST", _POOLS + "/{pool}/abort", self.abort_pool)
        # The signature in the address is the right: a caller with a role on one cluster only must be able to poll.
        add("GET", _PLACE + "/operations/{operation}", self.operation, free=True)
        add("GET", _PLACE + "/operationresults/{operation}", self.operation_result, free=True)

    # --- reading

    async def clusters(self, call: Call) -> web.Response:
        """Managed clusters, a page at a time."""
        group = call.names.get("group", "")
        if group:
            self._groups.get(group)
        bodies = [_shown(row["body"]) for row in self._service.records(group)]
        if self._service.faults.take("arm.empty_page"):
            return answer({"value": [], "nextLink": _next(call, 0)})
        return _page(call, [body for body in bodies if call.caller.may(f"{KIND}/read", body["id"])])

    async def get(self, call: Call) -> web.Response:
        """One managed cluster."""
        return answer(_shown(self._record(call)["body"]))

    async def upgrades(self, call: Call) -> web.Response:
        """Where the version may go."""
        record = self._record(call)
        now = record["body"]["properties"]["currentKubernetesVersion"]
        profile = {
            "kubernetesVersion": now, "osType": "Linux",
            "upgrades": [{"kubernetesVersion": name, "isPreview": None} for name in catalogue.upgrades(now)],
        }  # fmt: skip
        pools = [{**profile, "name": row["name"]} for row in record["body"]["properties"]["agentPoolProfiles"]]
        properties = {"controlPlaneProfile": profile, "agentPoolProfiles": pools}
        return answer(
            {"id": f"{record['body']['id']}/upgradeprofiles/default", "name": "default", "properties": properties}
        )

    async def pool_upgrades(self, call: Call) -> web.Response:
        """Where the version of a pool may go: not beyond the cluster's."""
        record = self._record(call)
        row = self._service.pool(record, call.names["pool"])
        now, most = row["currentOrchestratorVersion"], record["body"]["properties"]["currentKubernetesVersion"]
        names = [name for name in catalogue.upgrades(now) if catalogue.number(name) <= catalogue.number(most)]
        profile = {
            "kubernetesVersion": now, "osType": "Linux", "latestNodeImageVersion": row["nodeImageVersion"],
            "upgrades": [{"kubernetesVersion": name, "isPreview": None} for name in names],
        }  # fmt: skip
        path = f"{record['body']['id']}/agentPools/{row['name']}/upgradeProfiles/default"
        return answer({"id": path, "name": "default", "properties": profile})

    async def pools(self, call: Call) -> web.Response:
        """The pools of a cluster."""
        record = self._record(call)
        return answer({"value": [_pool(record, row) for row in record["body"]["properties"]["agentPoolProfiles"]]})

    async def pool(self, call: Call) -> web.Response:
        """One pool."""
        record = self._record(call)
        return answer(_pool(record, self._service.pool(record, call.names["pool"])))

    # --- operations

    async def operation(self, call: Call) -> web.Response:
        """How far an operation is."""
        doc = self._operation(call)
        status = self._service.operations.status(doc)
        body = {"name": doc["name"], "status": status, "startTime": machines.stamp(doc["started"])}
        if doc["ended"]:
            body["endTime"] = machines.stamp(doc["ended"])
        error = doc["error"] or fates.error_beside(doc)
        if error:
            body["error"] = error
        return answer(body) if doc["status"] else answer(body, 200, **self._wait())

    async def operation_result(self, call: Call) -> web.Response:
        """202 while it runs, then 204."""
        doc = self._operation(call)
        return answer(None, 204) if doc["status"] else answer(None, 202, **self._follow(call, doc, location=True))

    def _operation(self, call: Call) -> Json:
        path = call.request.path
        signed = path[path.lower().index("/subscriptions/") :].rstrip("/")
        if not self._signer.is_operation(signed, call.request.query):
            raise gateway(403, "InvalidSignature", "The signature of the operation's address is missing or wrong.")
        found = self._service.operations.get(call.names["operation"])
        if found is None:
            raise gateway(404, "NotFound", f"The operation {call.names['operation']} was not found.")
        return found

    def _wait(self) -> dict[str, str]:
        """When to ask again; real AKS does not say."""
        seconds = self._service.settings.retry_after
        return (
            {"Retry-After": f"{seconds:g}"} if seconds and not self._service.faults.take("arm.no_retry_after") else {}
        )

    def _follow(self, call: Call, doc: Json, *, location: bool) -> dict[str, str]:
        place = f"/subscriptions/{self._sub}/providers/Microsoft.ContainerService/locations/{doc['region']}"
        found = self._wait()
        names = (("Azure-AsyncOperation", "operations"), *((("Location", "operationresults"),) if location else ()))
        for header, kind in names:
            path = f"{place}/{kind}/{doc['id']}"
            query = self._signer.operation_query(path, int(doc["started"] * 10_000_000))
            found[header] = f"{call.base}{path}?{query}"
        return found

    # --- changing

    def _record(self, call: Call) -> Json:
        self._groups.get(call.names["group"])
        return self._service.record(call.names["group"], call.names["cluster"])

    async def put(self, call: Call) -> web.Response:
        """Make or change a cluster."""
        group = self._groups.get(call.names["group"])["name"]
        body, name = await call.json(), call.names["cluster"]
        placing.check_links(call.caller, f"{KIND}/write", call.scope, body)
        old = self._service.find(group, name)
        call.check_etag(old["body"]["eTag"] if old else None)
        record, operation, call.effective = self._service.put(group, name, body)
        return answer(_shown(record["body"]), 200 if old else 201, **self._follow(call, operation, location=False))

    async def tags(self, call: Call) -> web.Response:
        """Set the tags."""
        record, body = self._record(call), await call.json()
        call.check_etag(record["body"]["eTag"])
        found, call.effective = self._service.tags(record["group"], record["name"], body.get("tags") or {})
        return answer(_shown(found["body"]))

    async def delete(self, call: Call) -> web.Response:
        """Delete a cluster; 204 when there is none."""
        self._groups.get(call.names["group"])
        record = self._service.find(call.names["group"], call.names["cluster"])
        if record is None:
            return answer(None, 204)
        call.check_etag(record["body"]["eTag"])
        return self._act(call, "delete")

    async def stop(self, call: Call) -> web.Response:
        """Stop a cluster."""
        return self._act(call, "stop")

    async def start(self, call: Call) -> web.Response:
        """Start a cluster."""
        return self._act(call, "start")

    def _act(self, call: Call, kind: str) -> web.Response:
        record = self._record(call)
        operation = self._service.act(record["group"], record["name"], kind)
        call.effective = True
        return answer(None, 202, **self._follow(call, operation, location=True))

    async def abort(self, call: Call) -> web.Response:
        """Cancel what runs."""
        record = self._record(call)
        call.effective = self._service.abort(record["group"], record["name"])
        return answer(None, 204)

    async def abort_pool(self, call: Call) -> web.Response:
        """Cancel what runs on a pool; what else runs on the cluster goes on."""
        record = self._record(call)
        pool = self._service.pool(record, call.names["pool"])["name"]
        call.effective = self._service.abort(record["group"], record["name"], pool)
        return answer(None, 204)

    async def put_pool(self, call: Call) -> web.Response:
        """Make or change a pool."""
        record, body = self._record(call), await call.json()
        placing.check_links(call.caller, f"{KIND}/agentPools/write", call.scope, body)
        rows = record["body"]["properties"]["agentPoolProfiles"]
        old = next((row for row in rows if row["name"] == call.names["pool"].lower()), None)
        call.check_etag(old["eTag"] if old else None)
        made, operation, call.effective = self._service.put_pool(
            record["group"], record["name"], call.names["pool"], body
        )
        found = _pool(made, self._service.pool(made, call.names["pool"]))
        return answer(found, 200 if old else 201, **self._follow(call, operation, location=False))

    async def delete_pool(self, call: Call) -> web.Response:
        """Delete a pool."""
        record = self._record(call)
        rows = record["body"]["properties"]["agentPoolProfiles"]
        old = next((row for row in rows if row["name"] == call.names["pool"].lower()), None)
        call.check_etag(old["eTag"] if old else None)
        ignoring = call.request.query.get("ignore-pod-disruption-budget", "").lower() == "true"
        operation = self._service.delete_pool(record["group"], record["name"], call.names["pool"], ignoring)
        call.effective = True
        return answer(None, 202, **self._follow(call, operation, location=True))

    async def user_credential(self, call: Call) -> web.Response:
        """A kubeconfig."""
        return self._credential(call, "clusterUser")

    async def admin_credential(self, call: Call) -> web.Response:
        """A kubeconfig of the administrator."""
        return self._credential(call, "clusterAdmin")

    def _credential(self, call: Call, user: Literal["clusterUser", "clusterAdmin"]) -> web.Response:
        value = base64.b64encode(self._access.kubeconfig(self._record(call), user)).decode()
        return answer({"kubeconfigs": [{"name": user, "value": value}]})


def _pool(record: Json, row: Json) -> Json:
    properties = {key: value for key, value in row.items() if key != "name"}
    return {
        "id": f"{record['body']['id']}/agentPools/{row['name']}", "name": row["name"],
        "type": "Microsoft.ContainerService/managedClusters/agentPools", "properties": properties,
    }  # fmt: skip


def _shown(body: Json) -> Json:
    """A cluster as the provider answers it: a finished one has its outbound addresses, and another letter case."""
    props = body["properties"]
    network = props["networkProfile"]
    if props["provisioningState"] != "Succeeded" or not network.get("loadBalancerProfile"):
        return body
    group = f"{body['id'].partition('/resourcegroups/')[0]}/resourceGroups/{props['nodeResourceGroup']}"
    address = {"id": f"{group}/providers/Microsoft.Network/publicIPAddresses/outbound"}
    profile = {**network["loadBalancerProfile"], "effectiveOutboundIPs": [address]}
    network = {**network, "loadBalancerSku": network["loadBalancerSku"].capitalize(), "loadBalancerProfile": profile}
    return {**body, "properties": {**props, "networkProfile": network}}


def _page(call: Call, rows: list[Json]) -> web.Response:
    text = call.request.query.get("$skipToken", "0")
    start = int(text) if text.isdigit() else 0
    body: Json = {"value": rows[start : start + PAGE]}
    if start + PAGE < len(rows):
        body["nextLink"] = _next(call, start + PAGE)
    return answer(body)


def _next(call: Call, start: int) -> str:
    version = re.sub(r"[^\w.-]", "", call.request.query["api-version"])
    return f"{call.base}{call.request.rel_url.raw_path}?api-version={version}&$skipToken={start}"
