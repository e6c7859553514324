"""Long-running operations: rows that survive a restart, with a status told by the clock."""

import uuid
from typing import Any

from compute.sandbox.clock import Clock
from compute.sandbox.db import Db

Json = dict[str, Any]
_TABLE = "arm_operations"
_KEEP_SECONDS = 2 * 86_400
PHASES = {
    "create": (
        "InProgress", "ProvisioningNetworkResources", "ProvisioningControlPlane", "ReconcilingDNS",
        "CreatingAgentPools", "CreatingAgentPool: 0/{nodes} nodes completed",
    ),
    "update": ("InProgress", "ProvisioningControlPlane", "ReconcilingDNS", "UpdatingAgentPools"),
    "scale": ("InProgress", "ReconcilingAgentPool", "CreatingAgentPool: 0/{nodes} nodes completed", "ReconcilingDNS"),
    "pool": (
        "InProgress", "ProvisioningNetworkResources", "CreatingAgentPool",
        "CreatingAgentPool: 0/{nodes} nodes completed",
    ),
    "pool_delete": ("InProgress", "DrainingAgentPool", "DeletingAgentPool", "ReconcilingDNS"),
    "delete": ("InProgress", "DeletingAgentPools", "DeletingControlPlane", "DeletingNetworkResources"),
    "stop": ("InProgress", "DrainingAgentPools", "DeallocatingNodes", "StoppingControlPlane"),
    "upgrade": ("InProgress", "UpgradingControlPlane", "UpgradingAgentPools", "ReconcilingDNS"),
    "start": ("InProgress", "ProvisioningControlPlane", "ReconcilingDNS", "StartingNodes"),
}  # fmt: skip


class Operations:
    """All operations by id; those that ended long ago are forgotten."""

    def __init__(self, db: Db, clock: Clock) -> None:
        self._db, self._clock = db, clock
        self._docs: dict[str, Json] = db.all(_TABLE)

    def begin(self, kind: str, cluster: str, region: str, seconds: float, **more: Any) -> Json:
        """A new running operation."""
        now = self._clock.time()
        self._forget(now)
        doc = {
            "id": str(uuid.uuid4()), "name": str(uuid.uuid4()), "kind": kind, "cluster": cluster, "region": region,
            "started": now, "seconds": seconds, "status": "", "ended": None, "error": None, **more,
        }  # fmt: skip
        self._save(doc)
        return doc

    def get(self, operation_id: str) -> Json | None:
        """The operation of that id, if it is remembered."""
        return self._docs.get(operation_id.lower())

    def running(self) -> list[Json]:
        """Those that have not ended."""
        return [doc for doc in self._docs.values() if not doc["status"]]

    def end(self, doc: Json, status: str, error: Json | None = None) -> None:
        """Give an operation its last status; the first one given stays."""
        if not doc["status"]:
            doc.update(status=status, error=error, ended=self._clock.time())
            self._save(doc)

    def note(self, doc: Json, **facts: Any) -> None:
        """Add facts to a running operation."""
        doc.update(facts)
        self._save(doc)

    def status(self, doc: Json) -> str:
        """The last status, or the word for how far it is."""
        if doc["status"]:
            return str(doc["status"])
        phases = doc.get("words") or PHASES[doc["kind"]]
        share = (self._clock.time() - doc["started"]) / max(doc["seconds"], 0.001)
        index = min(int(share * len(phases)), len(phases) - 1)
        return str(phases[max(index, 0)]).replace("{nodes}", str(doc.get("nodes", 1)))

    def _save(self, doc: Json) -> None:
        self._docs[doc["id"]] = doc
        self._db.put(_TABLE, doc["id"], doc)

    def _forget(self, now: float) -> None:
        old = [key for key, doc in self._docs.items() if doc["ended"] and doc["ended"] < now - _KEEP_SECONDS]
        for key in old:
            del self._docs[key]
            self._db.delete(_TABLE, key)
