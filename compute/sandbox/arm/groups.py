"""Resource groups: those that people made, and the node groups of clusters."""

import asyncio
import base64
import binascii
from collections.abc import Callable
from typing import Any

from compute.sandbox.arm import catalogue
from compute.sandbox.arm.errors import gateway
from compute.sandbox.db import Db

Json = dict[str, Any]
_TABLE, _FIRST = "arm_groups", "arm_groups_first"


class Groups:
    """The resource groups."""

    def __init__(self, subscription: str, first: tuple[str, ...], region: str, db: Db) -> None:
        self._subscription, self._db = subscription, db
        self._docs: dict[str, Json] = db.all(_TABLE)
        self.node_groups: Callable[[], list[Json]] = list
        """Set by the service: {name, location, managedBy} of the group of each cluster's machines."""
        # A group that was deleted must not come back with the next start.
        known = db.all(_FIRST)
        for name in first:
            if name.lower() not in self._docs and name.lower() not in known:
                self.put(name, {"location": region})
            db.put(_FIRST, name.lower(), {})

    def get(self, name: str) -> Json:
        """The group; 404 when absent."""
        found = self.find(name)
        if found is None:
            raise gateway(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
        return found

    def find(self, name: str) -> Json | None:
        """The group, or None."""
        if name.lower() in self._docs:
            return self._docs[name.lower()]
        return next((row for row in self._managed() if row["name"].lower() == name.lower()), None)

    def all(self) -> list[Json]:
        """All groups by name."""
        found = {row["name"].lower(): row for row in self._managed()} | self._docs
        return [found[key] for key in sorted(found)]

    def put(self, name: str, asked: Json) -> tuple[Json, bool]:
        """Make or retag a group; True when it is new."""
        location = str(asked.get("location") or "").replace(" ", "").lower()
        if location not in catalogue.REGIONS:
            words = f"The provided location '{location}' is not available for resource group."
            raise gateway(400, "LocationNotAvailableForResourceGroup", words)
        old = self.find(name)
        if old is not None and old["location"] != location:
            words = f"The resource group '{name}' already exists in location '{old['location']}'."
            raise gateway(409, "InvalidResourceGroupLocation", words)
        self.writable(name)
        doc = self._doc({"name": name, "location": location, "tags": asked.get("tags") or {}})
        self._save(doc)
        return doc, old is None

    def keep(self, group: Json) -> None:
        """Let a node group outlive its cluster, with the load balancer and address in it."""
        self._save({**self._doc(group), "leftovers": True})

    def writable(self, name: str) -> None:
        """409 while the group is being deleted."""
        found = self._docs.get(name.lower())
        if found is not None and found["properties"]["provisioningState"] == "Deleting":
            words = f"The resource group '{name}' is in deprovisioning state and cannot perform this operation."
            raise gateway(409, "ResourceGroupBeingDeleted", words)

    def mark_deleting(self, name: str) -> None:
        """Show the group as going. 409 for a group that a living cluster owns."""
        if name.lower() not in self._docs:
            words = f"The resource group '{name}' belongs to a managed cluster; delete the cluster instead."
            raise gateway(409, "ResourceGroupManagedByCluster", words)
        doc = self._docs[name.lower()]
        self._save({**doc, "properties": {"provisioningState": "Deleting"}})

    def forget(self, name: str) -> None:
        """The group is gone."""
        self._docs.pop(name.lower(), None)
        self._db.delete(_TABLE, name.lower())

    def _managed(self) -> list[Json]:
        return [self._doc(row) for row in self.node_groups()]

    def _doc(self, row: Json) -> Json:
        more = {"managedBy": row["managedBy"]} if row.get("managedBy") else {}
        return {
            "id": f"/subscriptions/{self._subscription}/resourceGroups/{row['name']}", "name": row["name"],
            "type": "Microsoft.Resources/resourceGroups", "location": row["location"], "tags": row.get("tags") or {},
            "properties": {"provisioningState": "Succeeded"}, **more,
        }  # fmt: skip

    def _save(self, doc: Json) -> None:
        self._docs[doc["name"].lower()] = doc
        self._db.put(_TABLE, doc["name"].lower(), doc)


class Removal:
    """Deletes groups with all that is in them, in the background; a restart goes on with it."""

    def __init__(self, groups: Groups, empty: Callable[[str], bool]) -> None:
        self._groups, self._empty = groups, empty
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Go on with what was under way."""
        for row in self._groups.all():
            if row["properties"]["provisioningState"] == "Deleting":
                self._watch(row["name"])

    async def stop(self) -> None:
        """Leave the groups as they are."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def delete(self, name: str) -> str:
        """Begin; the token by which the end can be asked for."""
        self._groups.mark_deleting(name)
        self._watch(name)
        return base64.urlsafe_b64encode(f"RESOURCEGROUPDELETIONJOB-{name}".encode()).decode().rstrip("=")

    def is_over(self, token: str) -> bool:
        """Whether the group of the token is gone. ValueError for a token that is none."""
        try:
            text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ValueError(token) from None
        return self._groups.find(text.partition("-")[2]) is None

    def _watch(self, name: str) -> None:
        if name.lower() not in self._tasks:
            self._tasks[name.lower()] = asyncio.get_running_loop().create_task(self._run(name))

    async def _run(self, name: str) -> None:
        while not self._empty(name):
            await asyncio.sleep(0.2)
        self._groups.forget(name)
        self._tasks.pop(name.lower(), None)
