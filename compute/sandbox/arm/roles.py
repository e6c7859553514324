"""ARM paths about rights, at every scope: permissions, role assignments, role definitions."""

import re
from typing import Any

from aiohttp import web

from compute.sandbox.arm.door import Call, Door, answer, not_authorized
from compute.sandbox.arm.errors import gateway
from compute.sandbox.entra.assignments import ROLE_IDS, Assignments, definition

Json = dict[str, Any]
_SUB = "/subscriptions/{sub}"
_ANY = "/resourceGroups/{group}/providers/{space}/{type}/{name}"
_SCOPES = ("", "/resourceGroups/{group}", _ANY, _ANY + "/{type2}/{name2}")
_SPACE = "/providers/Microsoft.Authorization/"


class Roles:
    """Handlers over the assignments."""

    def __init__(self, assignments: Assignments, subscription: str) -> None:
        self._assignments, self._subscription = assignments, subscription

    def register(self, door: Door) -> None:
        """Add every path to the door."""
        for tail in _SCOPES:
            scope = _SUB + tail + _SPACE
            door.add("GET", scope + "permissions", self.permissions, free=True)
            door.add("GET", scope + "roleAssignments", self.assignments, free=True)
            door.add("GET", scope + "roleDefinitions", self.definitions, free=True)
            for method, handler in (("GET", self.assignment), ("PUT", self.assign), ("DELETE", self.unassign)):
                door.add(method, scope + "roleAssignments/{assignment}", handler, free=True)

    async def permissions(self, call: Call) -> web.Response:
        """What the caller may do at the scope."""
        return answer({"value": call.caller.rights_at(_scope(call, "permissions/read"))})

    async def assignments(self, call: Call) -> web.Response:
        """Who has a role at the scope or above it; the filter may name a principal."""
        rows = self._assignments.rows(_scope(call, "roleAssignments/read"))
        wanted = re.search(r"(?:principalId eq|assignedTo\()\s*'([^']+)'", call.request.query.get("$filter", ""))
        shown = [row for row in rows if wanted is None or row["principal"].lower() == wanted.group(1).lower()]
        return answer({"value": [self._shown(row) for row in shown]})

    async def assignment(self, call: Call) -> web.Response:
        """One assignment."""
        _scope(call, "roleAssignments/read")
        found = self._assignments.find(call.names["assignment"])
        if found is None:
            words = f"The role assignment '{call.names['assignment']}' is not found."
            raise gateway(404, "RoleAssignmentNotFound", words)
        return answer(self._shown(found))

    async def assign(self, call: Call) -> web.Response:
        """Give a role."""
        scope, asked = _scope(call, "roleAssignments/write"), (await call.json()).get("properties") or {}
        role, principal = str(asked.get("roleDefinitionId", "")), str(asked.get("principalId", ""))
        made = self._assignments.put(call.names["assignment"], scope, role, principal) if principal else None
        if made is None:
            words = f"The role definition '{role}' or the principal '{principal}' does not exist."
            raise gateway(400, "RoleDefinitionDoesNotExist", words)
        call.effective = True
        return answer(self._shown(made), 201)

    async def unassign(self, call: Call) -> web.Response:
        """Take a role away; 204 when there is none."""
        _scope(call, "roleAssignments/delete")
        call.effective = self._assignments.delete(call.names["assignment"])
        return answer(None, 200 if call.effective else 204)

    async def definitions(self, call: Call) -> web.Response:
        """The roles that are known here; the filter may name one."""
        _scope(call, "roleDefinitions/read")
        wanted = re.search(r"roleName eq '([^']+)'", call.request.query.get("$filter", ""))
        names = [name for name in ROLE_IDS if wanted is None or name.lower() == wanted.group(1).lower()]
        return answer({"value": [definition(name, f"/subscriptions/{self._subscription}") for name in names]})

    def _shown(self, row: Json) -> Json:
        role = f"/subscriptions/{self._subscription}{_SPACE}roleDefinitions/{ROLE_IDS.get(row['role'], row['role'])}"
        return {
            "id": f"{row['scope']}{_SPACE}roleAssignments/{row['name']}", "name": row["name"],
            "type": "Microsoft.Authorization/roleAssignments",
            "properties": {"roleDefinitionId": role, "principalId": row["principal"], "scope": row["scope"],
                           "principalType": "ServicePrincipal"},
        }  # fmt: skip


def _scope(call: Call, action: str) -> str:
    """The scope that the path names, when the caller may do the action there."""
    path = call.request.path
    scope = path[: path.lower().rindex(_SPACE.lower())]
    if not call.caller.may(f"Microsoft.Authorization/{action}", scope):
        raise not_authorized(call.caller, f"Microsoft.Authorization/{action}", scope)
    return scope
