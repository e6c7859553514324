"""Role assignments that somebody makes by ARM; those of principals known here give them rights."""

from typing import Any

from compute.sandbox.db import Db
from compute.sandbox.entra.principals import Principals
from compute.sandbox.entra.rights import BUILT_IN, assignment
from compute.sandbox.ids import stable_uuid

Json = dict[str, Any]
_TABLE = "entra_assignments"
# The ids of the built-in roles are the same in every directory.
ROLE_IDS = {
    "Owner": "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "Contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "Reader": "acdd72a7-3385-48ef-bd42-f606fba81ae7",
    "Network Contributor": "4d97b98b-1d4f-4787-a291-c67834d212e7",
    "Azure Kubernetes Service Cluster User Role": "4abbcc35-e782-43d8-92c5-2d3f1bd2253f",
    "Azure Kubernetes Service Cluster Admin Role": "0ab0b1a8-8aac-4efd-b8c2-3ee1fb270be8",
    "Azure Kubernetes Service RBAC Cluster Admin": "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b",
}  # fmt: skip


class Assignments:
    """Assignments by their name (a UUID); a principal's own roles are shown among them."""

    def __init__(self, db: Db, principals: Principals) -> None:
        self._db, self._principals = db, principals
        self._docs: dict[str, Json] = db.all(_TABLE)

    def rows(self, scope: str) -> list[Json]:
        """Those at the scope and above it: {name, scope, role, principal}."""
        own = [
            {"name": stable_uuid(doc["client_id"], row["scope"], row["role"]), "scope": row["scope"],
             "role": row["role"], "principal": doc["object_id"]}
            for doc in self._principals.docs() for row in doc["roles"] if row.get("name") not in self._docs
        ]  # fmt: skip
        here = f"{scope.lower().rstrip('/')}/"
        return [row for row in (*own, *self._docs.values()) if here.startswith(f"{row['scope'].lower().rstrip('/')}/")]

    def find(self, name: str) -> Json | None:
        """The assignment that was made by that name, or None."""
        return self._docs.get(name.lower())

    def put(self, name: str, scope: str, role_id: str, principal: str) -> Json | None:
        """Give the principal the role at the scope. None for a role that is not known."""
        role = next((text for text, uid in ROLE_IDS.items() if uid == role_id.rpartition("/")[2].lower()), None)
        if role is None:
            return None
        doc = {"name": name.lower(), "scope": scope, "role": role, "principal": principal}
        self._docs[doc["name"]] = doc
        self._db.put(_TABLE, doc["name"], doc)
        self._principals.grant(principal, {**assignment({"scope": scope, "role": role}), "name": doc["name"]})
        return doc

    def delete(self, name: str) -> bool:
        """Take an assignment away; False when there is none."""
        doc = self._docs.pop(name.lower(), None)
        if doc is None:
            return False
        self._db.delete(_TABLE, name.lower())
        self._principals.revoke(doc["principal"], doc["name"])
        return True


def definition(name: str, scope: str) -> Json:
    """A built-in role as ARM shows it."""
    lists = {key: BUILT_IN[name].get(key, []) for key in ("actions", "notActions", "dataActions", "notDataActions")}
    return {
        "id": f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{ROLE_IDS[name]}", "name": ROLE_IDS[name],
        "type": "Microsoft.Authorization/roleDefinitions",
        "properties": {"roleName": name, "type": "BuiltInRole", "description": "", "assignableScopes": ["/"],
                       "permissions": [lists]},
    }  # fmt: skip
