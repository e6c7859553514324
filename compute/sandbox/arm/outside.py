"""What others do to clusters, without our asking: Azure itself, a colleague in the portal."""

import copy
from typing import Any

from compute.sandbox.arm import catalogue
from compute.sandbox.arm.groups import Groups, Removal
from compute.sandbox.arm.service import Service

Json = dict[str, Any]


class Outside:
    """Changes of clusters that pass no front door."""

    def __init__(self, service: Service, groups: Groups, removal: Removal) -> None:
        self._service, self._groups, self._removal = service, groups, removal

    def upgrade(self, group: str, name: str, seconds: float, version: str = "") -> Json:
        """Azure upgrades the cluster for that long: others get 409 meanwhile. The operation."""
        record = self._service.record(group, name)
        self._service.check_free(record)
        body = _with_version(record["body"], version) if version else copy.deepcopy(record["body"])
        return self._service.begin(record, body, "upgrade", bool(version), seconds=seconds)[1]

    def change(self, group: str, name: str, asked: Json) -> Json:
        """Somebody sets `count` (of `pool`, else of the first), `version`, `tags` or `power`: done in a moment."""
        record = self._service.record(group, name)
        self._service.check_free(record)
        if asked.get("power"):
            return self._service.act(group, name, {"Stopped": "stop", "Running": "start"}[asked["power"]], seconds=0)
        body = copy.deepcopy(record["body"])
        if "count" in asked:
            rows = body["properties"]["agentPoolProfiles"]
            next(row for row in rows if row["name"] == asked.get("pool", rows[0]["name"]))["count"] = int(
                asked["count"]
            )
        if asked.get("version"):
            body = _with_version(body, str(asked["version"]))
        if "tags" in asked:
            body["tags"] = dict(asked["tags"])
        return self._service.begin(record, body, "scale" if "count" in asked else "update", True, seconds=0)[1]

    def delete(self, group: str, name: str) -> Json:
        """Somebody deletes the cluster: done in a moment, whatever runs."""
        record = self._service.record(group, name)
        self._service.abort(group, name)
        return self._service.begin(record, record["body"], "delete", True, seconds=0)[1]

    def delete_group(self, group: str) -> None:
        """Somebody deletes the group with all that is in it."""
        name = self._groups.get(group)["name"]
        for record in self._service.records(name):
            self.delete(name, record["name"])
        self._removal.delete(name)


def _with_version(body: Json, version: str) -> Json:
    found = copy.deepcopy(body)
    full = catalogue.full_version(version)
    found["properties"] |= {"kubernetesVersion": version, "currentKubernetesVersion": full}
    for row in found["properties"]["agentPoolProfiles"]:
        row |= {"orchestratorVersion": version, "currentOrchestratorVersion": full}
    return found
