"""Which action a route needs and over which scope, read from its path as Azure's own names are made."""

import re
from dataclasses import dataclass

_VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete", "POST": "action"}


@dataclass(frozen=True)
class Need:
    """An action and the path (with {names}) over which it must be permitted. `lists`: a list of `scope`'s children."""

    action: str
    scope: str
    lists: bool

    def scope_of(self, names: dict[str, str]) -> str:
        """The scope with the names of a request."""
        return re.sub(r"\{(\w+)\}", lambda found: names.get(found.group(1), ""), self.scope)


def need(method: str, path: str) -> Need:
    """What `method` on `path` needs: `…/managedClusters/{cluster}/stop` by POST needs managedClusters/stop/action."""
    before, mark, after = path.rpartition("/providers/")
    if not mark:
        return _of_resources(method, path)
    space, *rest = after.split("/")
    types, odd = rest[::2], len(rest) % 2 == 1
    action = "/".join((space, *types, _VERBS[method]))
    if method == "POST" or (odd and len(rest) > 1):
        return Need(action, path.rpartition("/")[0], method == "GET")
    return Need(action, before if odd else path, odd)


def _of_resources(method: str, path: str) -> Need:
    kinds = [part for part in path.split("/") if part and not part.startswith("{")]
    lists = not path.endswith("}")
    action = "/".join(("Microsoft.Resources", *kinds, _VERBS[method]))
    return Need(action, path.rpartition("/")[0] if lists else path, lists)
