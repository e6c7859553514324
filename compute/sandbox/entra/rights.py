"""What a caller may do: roles on scopes, with wildcards, as Azure's role assignments work."""

import re
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
_LISTS = ("actions", "notActions", "dataActions", "notDataActions")
_AKS = "Microsoft.ContainerService/managedClusters"
_BLOB = "Microsoft.Storage/storageAccounts/blobServices"
_READ_GROUPS = ["Microsoft.Authorization/*/read", "Microsoft.Resources/subscriptions/resourceGroups/read"]
# The built-in roles that documents of ours name; others are given by their actions.
BUILT_IN: dict[str, Json] = {
    "Owner": {"actions": ["*"]},
    "Contributor": {
        "actions": ["*"],
        "notActions": [
            "Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write",
            "Microsoft.Authorization/elevateAccess/Action",
        ],
    },
    "Reader": {"actions": ["*/read"]},
    "Network Contributor": {"actions": [*_READ_GROUPS, "Microsoft.Network/*"]},
    "Azure Kubernetes Service Cluster User Role": {
        "actions": [f"{_AKS}/listClusterUserCredential/action", f"{_AKS}/read"],
    },
    "Azure Kubernetes Service Cluster Admin Role": {
        "actions": [
            f"{_AKS}/listClusterAdminCredential/action", f"{_AKS}/accessProfiles/listCredential/action",
            f"{_AKS}/read", f"{_AKS}/runcommand/action",
        ],
    },
    "Azure Kubernetes Service RBAC Cluster Admin": {
        "actions": [*_READ_GROUPS, f"{_AKS}/listClusterUserCredential/action"],
        "dataActions": [f"{_AKS}/*"],
    },
    "Storage Blob Data Contributor": {
        "actions": [
            f"{_BLOB}/containers/delete", f"{_BLOB}/containers/read", f"{_BLOB}/containers/write",
            f"{_BLOB}/generateUserDelegationKey/action",
        ],
        "dataActions": [
            f"{_BLOB}/containers/blobs/{each}" for each in ("delete", "read", "write", "move/action", "add/action")
        ],
    },
    "Storage Blob Data Reader": {
        "actions": [f"{_BLOB}/containers/read", f"{_BLOB}/generateUserDelegationKey/action"],
        "dataActions": [f"{_BLOB}/containers/blobs/read"],
    },
    "Storage Blob Delegator": {"actions": [f"{_BLOB}/generateUserDelegationKey/action"]},
}  # fmt: skip


@dataclass(frozen=True)
class Caller:
    """Who a request to ARM or a cluster speaks for. `assignments` are {scope, actions, notActions, …}."""

    client_id: str
    object_id: str
    assignments: tuple[Json, ...]
    groups: tuple[str, ...] = ()

    def may(self, action: str, scope: str, *, data: bool = False) -> bool:
        """Whether a role at the scope or above it permits the action."""
        return any(_within(scope, row["scope"]) and _permits(row, action, data) for row in self.assignments)

    def may_below(self, action: str, scope: str) -> bool:
        """Whether the action is permitted at the scope, above it, or on something inside it."""
        return self.may(action, scope) or any(
            _within(row["scope"], scope) and _permits(row, action, False) for row in self.assignments
        )

    def rights_at(self, scope: str) -> list[Json]:
        """The roles that count at the scope, as ARM lists them."""
        return [{key: list(row[key]) for key in _LISTS} for row in self.assignments if _within(scope, row["scope"])]

    def touches(self, scope: str) -> bool:
        """Whether any role is at the scope, above or inside it: then a list shows the scope."""
        return any(_within(scope, row["scope"]) or _within(row["scope"], scope) for row in self.assignments)


def assignment(asked: Any) -> Json:
    """An assignment from `{"scope", "role"}` or `{"scope", "actions", …}`. ValueError with what is wrong."""
    if not isinstance(asked, dict) or not str(asked.get("scope", "")).startswith("/"):
        raise ValueError("an assignment needs a scope that begins with '/'")
    role = asked.get("role")
    if role is not None and role not in BUILT_IN:
        raise ValueError(f"the role {role!r} is not known here; known: {', '.join(BUILT_IN)}")
    given = BUILT_IN[role] if role is not None else asked
    found: Json = {"scope": "/" + str(asked["scope"]).strip("/"), "role": role or str(asked.get("name", "custom"))}
    for key in _LISTS:
        rows = given.get(key) or []
        if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
            raise ValueError(f"{key} must be a list of texts")
        found[key] = list(rows)
    return found


def _permits(row: Json, action: str, data: bool) -> bool:
    allowed, refused = ("dataActions", "notDataActions") if data else ("actions", "notActions")
    return _any(row[allowed], action) and not _any(row[refused], action)


def _any(patterns: list[str], action: str) -> bool:
    return any(
        re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), action, re.IGNORECASE)
        for pattern in patterns
    )


def _within(scope: str, outer: str) -> bool:
    inner, around = scope.lower().rstrip("/"), outer.lower().rstrip("/")
    return inner == around or inner.startswith(f"{around}/")
