"""The managed clusters: one change at a time, work in the background, everything on disk before it is answered."""

import asyncio
import copy
import logging
import uuid
from typing import Any

from compute.sandbox.arm import catalogue, cluster_body, machines, pools
from compute.sandbox.arm.errors import ArmError, absent, invalid
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
    "delete": "Deleting", "stop": "Stopping", "start": "Starting",
}  # fmt: skip
_log = logging.getLogger(__name__)


class Service:
    """All managed clusters. A record is {group, name, uid, body, operation, parked}."""

    def __init__(self, settings: Settings, db: Db, clock: Clock, faults: Faults, kube: Clusters) -> None:
        self.settings, self.clock, self.faults, self.kube = settings, clock, faults, kube
        self.operations = Operations(db, clock)
        self._db = db
        self._records: dict[str, Json] = db.all(_TABLE)
        self._tasks: dict[str, asyncio.Task[None]] = {}

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
        return self._records.get(_key(group, name))

    def record(self, group: str, name: str) -> Json:
        """The record of a cluster; the front door's 404 when it is absent."""
        found = self.find(group, name)
        if found is None:
            raise absent(KIND, name, group)
        return found

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
        uid = old["uid"] if old else uuid.uuid4().hex[:12]
        body = cluster_body.fill(self.settings.subscription, group, name, asked, old and old["body"], uid)
        self._check_quota(_key(group, name), name, body["location"], body["properties"]["agentPoolProfiles"])
        record = old or {"group": group, "name": name, "uid": uid, "made": False, "parked": {}}
        changed = old is None or _wanted(old["body"]) != _wanted(body)
        kind = self._kind(record, old, body)
        body["properties"].setdefault("powerState", {"code": "Running"})
        return self._begin(record, body, kind, changed)

    def put_pool(self, group: str, name: str, pool: str, asked: Any) -> tuple[Json, Json, bool]:
        """Make or change a pool: the record, the operation, and whether the wanted state changed."""
        record = self.record(group, name)
        self.check_free(record)
        given = asked.get("properties") if isinstance(asked, dict) else None
        if not isinstance(given, dict):
            raise invalid("The body has no properties.", "properties", code="BadRequest")
        body = copy.deepcopy(record["body"])
        props = body["properties"]
        old = next((row for row in props["agentPoolProfiles"] if row["name"].lower() == pool.lower()), None)
        overlay = props["networkProfile"].get("networkPluginMode") == "overlay"
        record = {**record, "parked": dict(record["parked"])}
        version, given = props["kubernetesVersion"], _parking(record, pool, dict(given), old)
        merged = {**(old or {}), **given}
        new = pools.fill(pool, merged, old, region=body["location"], overlay=overlay, version=version)
        rows = [row for row in props["agentPoolProfiles"] if row["name"].lower() != pool.lower()]
        props["agentPoolProfiles"] = rows + [new] if old is None else [
            new if row["name"].lower() == pool.lower() else row for row in props["agentPoolProfiles"]
        ]  # fmt: skip
        cluster_body.check_modes(props["agentPoolProfiles"])
        self._check_quota(_key(group, name), name, body["location"], props["agentPoolProfiles"])
        changed = _wanted(record["body"]) != _wanted(body)
        kind = "pool" if old is None else "scale" if old["count"] != new["count"] else "update"
        return self._begin(record, body, kind, changed, pool=new["name"])

    def delete_pool(self, group: str, name: str, pool: str) -> Json:
        """Take a pool away: the operation."""
        record = self.record(group, name)
        gone = self.pool(record, pool)["name"]
        self.check_free(record)
        rest = [row for row in record["body"]["properties"]["agentPoolProfiles"] if row["name"] != gone]
        cluster_body.check_modes(rest)
        return self._begin(record, record["body"], "pool_delete", True, pool=gone)[1]

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

    def act(self, group: str, name: str, kind: str) -> Json:
        """`stop`, `start` or `delete` a cluster: the operation."""
        record = self.record(group, name)
        self.check_free(record)
        power = record["body"]["properties"]["powerState"]["code"]
        if (kind, power) in (("stop", "Stopped"), ("start", "Running")):
            words = f"Managed cluster {name} is already in power state {power}."
            raise ArmError(409, "OperationNotAllowed", words)
        return self._begin(record, record["body"], kind, True)[1]

    def abort(self, group: str, name: str) -> bool:
        """Cancel what runs on the cluster; False when nothing ran."""
        record = self.record(group, name)
        operation = self.operations.get(record["operation"])
        if operation is None or operation["status"]:
            return False
        task = self._tasks.pop(operation["id"], None)
        if task is not None:
            task.cancel()
        error = {"code": "OperationCanceled", "message": "The operation was canceled by a request."}
        self._end(operation, "Canceled", error)
        return True

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
        before = now["body"]["properties"]["agentPoolProfiles"] if now else []
        if fault is None and catalogue.cores(wanted) <= catalogue.cores(before):
            return
        catalogue.check_quota(region, others, wanted, left)

    @staticmethod
    def _kind(record: Json, old: Json | None, body: Json) -> str:
        if old is None or not record["made"]:
            return "create"
        before = {row["name"]: row["count"] for row in old["body"]["properties"]["agentPoolProfiles"]}
        after = {row["name"]: row["count"] for row in body["properties"]["agentPoolProfiles"]}
        return "update" if before == after else "scale"

    def _begin(self, record: Json, body: Json, kind: str, changed: bool, pool: str = "") -> tuple[Json, Json, bool]:
        settings, region = self.settings, body["location"]
        seconds = {
            "create": settings.create_seconds,
            "delete": settings.delete_seconds,
            "pool_delete": settings.delete_seconds,
        }
        nodes = sum(row["count"] for row in body["properties"]["agentPoolProfiles"])
        match = {"cluster": record["name"], "kind": kind}
        late, stuck = self.faults.take("arm.late_failure", **match), self.faults.take("arm.stuck", **match)
        with self._db.transaction():
            operation = self.operations.begin(
                kind, _key(record["group"], record["name"]), region, seconds.get(kind, settings.scale_seconds),
                nodes=nodes, pool=pool, late=late, stuck=stuck is not None,
            )  # fmt: skip
            record["body"], record["operation"] = body, operation["id"]
            _mark(record["body"], _WORDS[kind], pool)
            self._save(record)
        self._work(operation)
        return record, operation, changed

    def _save(self, record: Json) -> None:
        record["body"]["eTag"] = str(uuid.uuid4())
        key = _key(record["group"], record["name"])
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
            if operation["late"]:
                await self.clock.sleep(until - self.clock.time())
                self._end(operation, "Failed", _late(operation["late"]))
                return
            if operation["kind"] in ("scale", "pool", "update", "pool_delete"):
                await self._nodes(operation)
            await self.clock.sleep(until - self.clock.time())
            await self._finish(operation)
        except DrainRefused as refused:
            self._end(operation, "Failed", {"code": "UnsatisfiablePDB", "message": str(refused)})
        except Exception as error:
            _log.exception("an operation on a managed cluster ended by an error")
            words = f"The operation failed inside the sandbox ({type(error).__name__}: {error})."
            self._end(operation, "Failed", {"code": "InternalServerError", "message": words})

    async def _nodes(self, operation: Json) -> None:
        record = self._records[operation["cluster"]]
        machines.ensure(self.kube, record)
        if record["body"]["properties"]["powerState"]["code"] == "Running":
            without = operation["pool"] if operation["kind"] == "pool_delete" else ""
            await self.kube.set_nodes(record["uid"], machines.specs(record, without))

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
            _mark(record["body"], status)
            self._save(record)


def _key(group: str, name: str) -> str:
    return f"{group}/{name}".lower()


def _mark(body: Json, state: str, pool: str = "") -> None:
    body["properties"]["provisioningState"] = state
    for row in body["properties"]["agentPoolProfiles"]:
        if not pool or row["name"] == pool:
            row["provisioningState"] = state
            row["eTag"] = str(uuid.uuid4())


def _wanted(body: Json) -> Json:
    plain = copy.deepcopy({key: value for key, value in body.items() if key != "eTag"})
    plain["properties"].pop("provisioningState", None)
    for row in plain["properties"]["agentPoolProfiles"]:
        for key in ("provisioningState", "eTag"):
            row.pop(key, None)
    return plain


def _parking(record: Json, pool: str, given: Json, old: Json | None) -> Json:
    """A stopped pool reads count 0; starting it gives the old count back."""
    if old is None:
        return given
    was, now = old["powerState"]["code"], (given.get("powerState") or old["powerState"]).get("code")
    if (was, now) == ("Running", "Stopped"):
        record["parked"][pool.lower()] = old["count"]
        given["count"] = 0
    elif (was, now) == ("Stopped", "Running"):
        given["count"] = record["parked"].pop(pool.lower(), 1)
    elif now == "Stopped":
        given["count"] = 0
    return given


def _late(fault: Json) -> Json:
    code = str(fault.get("code", "CreateVMSSAgentPoolFailed"))
    message = str(fault.get("message", "Agents failed to start: the machines of the pool did not come up in time."))
    return {"code": code, "message": message, "details": [{"code": code, "message": message}]}
