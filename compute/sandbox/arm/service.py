"""The managed clusters: one change at a time, work in the background, everything on disk before it is answered."""

import asyncio
import copy
import logging
import uuid
from typing import Any

from compute.sandbox.arm import catalogue, cluster_body, fates, machines, placing, pools, records
from compute.sandbox.arm.errors import ArmError, absent, invalid
from compute.sandbox.arm.groups import Groups
from compute.sandbox.arm.networks import Networks
from compute.sandbox.arm.offers import Offers
from compute.sandbox.arm.operations import Operations
from compute.sandbox.clock import Clock
from compute.sandbox.controllers.machines import DrainRefused
from compute.sandbox.db import Db
from compute.sandbox.faults import Faults
from compute.sandbox.kube.clusters import Clusters
from compute.sandbox.settings import Settings

Json = dict[str, Any]
KIND = "Microsoft.ContainerService/managedClusters"
_TABLE = "arm_clusters"
_WORDS = {
    "create": "Creating", "update": "Updating", "scale": "Scaling", "pool": "Updating", "pool_delete": "Updating",
    "delete": "Deleting", "stop": "Stopping", "start": "Starting", "upgrade": "Upgrading",
}  # fmt: skip
_NO_CHANGE = {"stop": "Stopped", "start": "Running"}
_log = logging.getLogger(__name__)


class Service:
    """All managed clusters. A record is {group, name, uid, body, operation, parked}."""

    def __init__(
        self, settings: Settings, db: Db, clock: Clock, faults: Faults, kube: Clusters, groups: Groups,
        networks: Networks,
    ) -> None:  # fmt: skip
        self.settings, self.clock, self.faults, self.kube = settings, clock, faults, kube
        self.groups, self.networks = groups, networks
        self.operations = Operations(db, clock)
        self.offers = Offers(db)
        self._db = db
        self._records: dict[str, Json] = db.all(_TABLE)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        groups.node_groups, networks.held = self._node_groups, self._addresses

    async def start(self) -> None:
        """Go on with the operations that were under way."""
        for operation in self.operations.running():
            self._work(operation)

    async def stop(self) -> None:
        """Leave the operations as they are."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- reading

    def records(self, group: str = "") -> list[Json]:
        """Records of a group, or of all, by id."""
        found = [row for row in self._records.values() if not group or row["group"].lower() == group.lower()]
        return sorted(found, key=lambda row: str(row["body"]["id"]).lower())

    def find(self, group: str, name: str) -> Json | None:
        """The record of a cluster, or None."""
        return self._records.get(records.key(group, name))

    def record(self, group: str, name: str) -> Json:
        """The record of a cluster; the front door's 404 when it is absent."""
        found = self.find(group, name)
        if found is None:
            raise absent(KIND, name, group)
        return found

    def by_uid(self, uid: str) -> Json | None:
        """The record of the cluster whose pretend Kubernetes has this id, or None."""
        return next((row for row in self._records.values() if row["uid"] == uid), None)

    @staticmethod
    def pool(record: Json, name: str) -> Json:
        """A pool of the cluster; the provider's 404 when it is absent."""
        for found in record["body"]["properties"]["agentPoolProfiles"]:
            if found["name"].lower() == name.lower():
                return dict(found)
        words = f"Could not find the agent pool {name} of managed cluster {record['name']}."
        raise ArmError(404, "NotFound", words, subcode="GetAgentPool_NotFound")

    def pools_of(self, region: str, without: str = "") -> list[Json]:
        """Running pools of the region, but not those of one record."""
        return [
            pool for key, row in self._records.items() if key != without and row["body"]["location"] == region
            and row["body"]["properties"]["powerState"]["code"] == "Running"
            for pool in row["body"]["properties"]["agentPoolProfiles"]
        ]  # fmt: skip

    # --- changing

    def put(self, group: str, name: str, asked: Json) -> tuple[Json, Json, bool]:
        """Make or change a cluster: its record, the operation, and whether the wanted state changed."""
        old = self.find(group, name)
        if old is not None:
            self.check_free(old)
            records.check_power(old, "updating")
        self.groups.writable(group)
        uid = old["uid"] if old else uuid.uuid4().hex[:12]
        body = cluster_body.fill(self.settings.subscription, group, name, asked, old and old["body"], uid)
        placing.check(self.networks, body, old["body"] if old else {})
        self._check_quota(records.key(group, name), name, body["location"], body["properties"]["agentPoolProfiles"])
        record = old or {"group": group, "name": name, "uid": uid, "made": False, "parked": {}}
        changed = old is None or records.wanted(old["body"]) != records.wanted(body)
        kind = self._kind(record, old, body)
        body["properties"].setdefault("powerState", {"code": "Running"})
        return self.begin(record, body, kind, changed)

    def put_pool(self, group: str, name: str, pool: str, asked: Any) -> tuple[Json, Json, bool]:
        """Make or change a pool: the record, the operation, and whether the wanted state changed."""
        record = self.record(group, name)
        self.check_free(record)
        records.check_power(record, "updating agent pool")
        given = asked.get("properties") if isinstance(asked, dict) else None
        if not isinstance(given, dict):
            raise invalid("The body has no properties.", "properties", code="BadRequest")
        body = copy.deepcopy(record["body"])
        props = body["properties"]
        old = next((row for row in props["agentPoolProfiles"] if row["name"].lower() == pool.lower()), None)
        overlay = props["networkProfile"].get("networkPluginMode") == "overlay"
        record = {**record, "parked": dict(record["parked"])}
        version, given = props["kubernetesVersion"], records.parking(record, pool, dict(given), old)
        new = pools.fill(pool, pools.merged(old, given), old, region=body["location"], overlay=overlay, version=version)
        rows = [row for row in props["agentPoolProfiles"] if row["name"].lower() != pool.lower()]
        props["agentPoolProfiles"] = rows + [new] if old is None else [
            new if row["name"].lower() == pool.lower() else row for row in props["agentPoolProfiles"]
        ]  # fmt: skip
        cluster_body.check_modes(props["agentPoolProfiles"])
        placing.check(self.networks, body, record["body"])
        self._check_quota(records.key(group, name), name, body["location"], props["agentPoolProfiles"])
        changed = records.wanted(record["body"]) != records.wanted(body)
        kind = "pool" if old is None else "scale" if old["count"] != new["count"] else "update"
        return self.begin(record, body, kind, changed, pool=new["name"])

    def delete_pool(self, group: str, name: str, pool: str, ignore_budgets: bool = False) -> Json:
        """Take a pool away: the operation. `ignore_budgets`: no disruption budget holds its nodes."""
        record = self.record(group, name)
        gone = self.pool(record, pool)["name"]
        self.check_free(record)
        records.check_power(record, "deleting agent pool")
        rest = [row for row in record["body"]["properties"]["agentPoolProfiles"] if row["name"] != gone]
        cluster_body.check_modes(rest)
        operation = self.begin(record, record["body"], "pool_delete", True, pool=gone)[1]
        if ignore_budgets:
            self.operations.note(operation, ignore_budgets=True)
        return operation

    def tags(self, group: str, name: str, tags: Json) -> tuple[Json, bool]:
        """Set the tags at once."""
        record = self.record(group, name)
        self.check_free(record)
        if not isinstance(tags, dict) or len(tags) > 50 or not all(isinstance(value, str) for value in tags.values()):
            raise invalid("tags must be at most 50 names with text values.", "tags", code="BadRequest")
        changed = bool(record["body"]["tags"] != tags)
        record["body"] = {**record["body"], "tags": dict(tags)}
        self._save(record)
        return record, changed

    def act(self, group: str, name: str, kind: str, seconds: float | None = None) -> Json:
        """`stop`, `start` or `delete` a cluster: the operation. `seconds`: how long, else as the settings say."""
        record = self.record(group, name)
        self.check_free(record)
        if kind in ("stop", "start"):
            records.check_power(record, f"{kind}{'p' if kind == 'stop' else ''}ing", _NO_CHANGE[kind])
        if kind == "start":
            pools = record["body"]["properties"]["agentPoolProfiles"]
            self._check_quota(records.key(group, name), name, record["body"]["location"], pools)
        return self.begin(record, record["body"], kind, True, seconds=seconds)[1]

    def abort(self, group: str, name: str, pool: str = "") -> bool:
        """Cancel what runs on the cluster, or only what runs on a pool of it; False when nothing such ran."""
        record = self.record(group, name)
        operation = self.operations.get(record["operation"])
        if operation is None or operation["status"] or (pool and operation["pool"].lower() != pool.lower()):
            return False
        task = self._tasks.pop(operation["id"], None)
        if task is not None:
            task.cancel()
        self._end(operation, "Canceled", fates.canceled())
        return True

    def clear_group(self, group: str) -> bool:
        """Begin to delete what is in a group, as deleting the group does; True when nothing is left."""
        rows = self.records(group)
        for row in rows:
            operation = self.operations.get(row["operation"])
            if operation is None or operation["status"] or operation["kind"] != "delete":
                self.abort(group, row["name"])
                self.begin(row, row["body"], "delete", True)
        if not rows:
            for vnet in self.networks.all(group):
                self.networks.delete(group, vnet["name"])
        return not rows

    # --- inside

    def check_free(self, record: Json) -> None:
        """409 while something runs on the cluster."""
        operation = self.operations.get(record["operation"])
        if operation is None or operation["status"]:
            return
        words = f"Operation is not allowed: another operation ({_WORDS[operation['kind']]} - {operation['id']}) is"
        began = f"in progress since {machines.stamp(operation['started'])}"
        raise ArmError(
            409, "OperationNotAllowed", f"{words} {began}. Please wait for it to finish before starting a new one."
        )

    def _check_quota(self, key: str, name: str, region: str, wanted: list[Json]) -> None:
        fault = self.faults.take("arm.quota", cluster=name, region=region)
        left = int(fault.get("left", 0)) if fault else None
        others = self.pools_of(region, without=key)
        now = self._records.get(key)
        props = now["body"]["properties"] if now else {}
        holds = props.get("powerState", {}).get("code") == "Running"  # a stopped cluster has given its vCPUs back
        before = props["agentPoolProfiles"] if holds else []
        self.offers.check_pools(region, wanted, before)
        if fault is None and catalogue.cores(wanted) <= catalogue.cores(before):
            return
        self.offers.check_quota(region, others, wanted, left)

    @staticmethod
    def _kind(record: Json, old: Json | None, body: Json) -> str:
        if old is None or not record["made"]:
            return "create"
        before = {row["name"]: row["count"] for row in old["body"]["properties"]["agentPoolProfiles"]}
        after = {row["name"]: row["count"] for row in body["properties"]["agentPoolProfiles"]}
        return "update" if before == after else "scale"

    def begin(
        self, record: Json, body: Json, kind: str, changed: bool, pool: str = "", seconds: float | None = None
    ) -> tuple[Json, Json, bool]:
        """Store the body and start the operation that makes it true."""
        settings, region = self.settings, body["location"]
        if seconds is None:
            usual = {"create": settings.create_seconds, "delete": settings.delete_seconds}
            usual["pool_delete"] = settings.delete_seconds
            seconds = usual.get(kind, settings.scale_seconds)
        nodes = sum(row["count"] for row in body["properties"]["agentPoolProfiles"])
        fate = fates.draw(self.faults, {"cluster": record["name"], "kind": kind, "pool": pool})
        with self._db.transaction():
            key = records.key(record["group"], record["name"])
            operation = self.operations.begin(kind, key, region, seconds, nodes=nodes, pool=pool, **fate)
            record["body"], record["operation"] = body, operation["id"]
            records.mark(record["body"], _WORDS[kind], pool)
            self._save(record)
        self._work(operation)
        return record, operation, changed

    def _node_groups(self) -> list[Json]:
        return [
            {"name": row["body"]["properties"]["nodeResourceGroup"], "location": row["body"]["location"],
             "managedBy": row["body"]["id"], "tags": row["body"]["tags"]}
            for row in self._records.values()
        ]  # fmt: skip

    def _addresses(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in self._records.values():
            for where, count in placing.addresses(row["body"]["properties"]).items():
                found[where] = found.get(where, 0) + count
        return found

    def _save(self, record: Json) -> None:
        record["body"]["eTag"] = str(uuid.uuid4())
        key = records.key(record["group"], record["name"])
        self._records[key] = record
        self._db.put(_TABLE, key, record)

    def _work(self, operation: Json) -> None:
        task = asyncio.get_running_loop().create_task(self._run(operation))
        self._tasks[operation["id"]] = task
        task.add_done_callback(lambda _: self._tasks.pop(operation["id"], None))

    async def _run(self, operation: Json) -> None:
        if operation["stuck"]:
            await asyncio.Event().wait()
        until = operation["started"] + operation["seconds"]
        try:
            await self.clock.sleep((until - self.clock.time()) * 0.6)
            if operation["late"] or operation.get("canceled"):
                await self.clock.sleep(until - self.clock.time())
                self._end_badly(operation)
                return
            if operation["kind"] in ("scale", "pool", "update", "upgrade", "pool_delete"):
                await self._nodes(operation)
            await self.clock.sleep(until - self.clock.time())
            await self._finish(operation)
        except DrainRefused as refused:
            self._end(operation, "Failed", {"code": "UnsatisfiablePDB", "message": str(refused)})
        except Exception as error:
            _log.exception("an operation on a managed cluster ended by an error")
            words = f"The operation failed inside the sandbox ({type(error).__name__}: {error})."
            self._end(operation, "Failed", {"code": "InternalServerError", "message": words})

    def _end_badly(self, operation: Json) -> None:
        if operation.get("canceled"):
            self._end(operation, "Canceled", fates.canceled(operation["canceled"]))
        else:
            self._end(operation, "Failed", fates.late_failure(operation["late"]))

    async def _nodes(self, operation: Json) -> None:
        record = self._records[operation["cluster"]]
        machines.ensure(self.kube, record)
        if record["body"]["properties"]["powerState"]["code"] == "Running":
            without = operation["pool"] if operation["kind"] == "pool_delete" else ""
            specs, ignoring = machines.specs(record, without), bool(operation.get("ignore_budgets"))
            await self.kube.set_nodes(record["uid"], specs, ignore_budgets=ignoring)

    async def _finish(self, operation: Json) -> None:
        record, kind = self._records[operation["cluster"]], operation["kind"]
        props = record["body"]["properties"]
        if kind == "create":
            await self._nodes(operation)
        elif kind == "pool_delete":
            props["agentPoolProfiles"] = [row for row in props["agentPoolProfiles"] if row["name"] != operation["pool"]]
        elif kind in ("stop", "start") and self.kube.exists(record["uid"]):
            (self.kube.stop if kind == "stop" else self.kube.start)(record["uid"])
        elif kind == "delete":
            self.kube.delete(record["uid"])
            if operation.get("leftovers"):
                self.groups.keep(next(row for row in self._node_groups() if row["managedBy"] == record["body"]["id"]))
        if kind in ("stop", "start"):
            props["powerState"] = {"code": "Stopped" if kind == "stop" else "Running"}
        record["made"] = True
        self._end(operation, "Succeeded")

    def _end(self, operation: Json, status: str, error: Json | None = None) -> None:
        record = self._records.get(operation["cluster"])
        with self._db.transaction():
            self.operations.end(operation, status, error)
            if record is None:
                return
            if operation["kind"] == "delete" and status == "Succeeded":
                self._records.pop(operation["cluster"])
                self._db.delete(_TABLE, operation["cluster"])
                return
            records.mark(record["body"], status, operation["pool"])
            self._save(record)
