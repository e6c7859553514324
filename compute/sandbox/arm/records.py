"""Small works on the record of a cluster."""

import copy
import uuid
from typing import Any

from compute.sandbox.arm.errors import ArmError

Json = dict[str, Any]


def key(group: str, name: str) -> str:
    """The key of a record."""
    return f"{group}/{name}".lower()


def mark(body: Json, state: str, pool: str = "") -> None:
    """Set the state of the cluster and of one pool, or of all."""
    body["properties"]["provisioningState"] = state
    for row in body["properties"]["agentPoolProfiles"]:
        if not pool or row["name"] == pool:
            row["provisioningState"] = state
            row["eTag"] = str(uuid.uuid4())


def wanted(body: Json) -> Json:
    """What of a body people asked for: without states and eTags."""
    plain = copy.deepcopy({name: value for name, value in body.items() if name != "eTag"})
    plain["properties"].pop("provisioningState", None)
    for row in plain["properties"]["agentPoolProfiles"]:
        for name in ("provisioningState", "eTag"):
            row.pop(name, None)
    return plain


def parking(record: Json, pool: str, given: Json, old: Json | None) -> Json:
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


def check_power(record: Json, doing: str, refused: str = "Stopped") -> None:
    """400 when the cluster's power state is `refused`; `doing` is what was asked, as `stopping`."""
    props = record["body"]["properties"]
    power = props["powerState"]["code"]
    if power == refused:
        states = f"Provisioning State({props['provisioningState']}) and Power State({power})"
        raise ArmError(400, "BadRequest", f"managed cluster is in {states}, {doing} cannot be performed")
