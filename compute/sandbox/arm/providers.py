"""Which resource providers the subscription has registered."""

from typing import Any

from compute.sandbox.arm.errors import ArmError, gateway
from compute.sandbox.clock import Clock
from compute.sandbox.db import Db

Json = dict[str, Any]
_TABLE = "arm_providers"
_SECONDS = 2.0
KNOWN = (
    "Microsoft.Authorization", "Microsoft.Compute", "Microsoft.ContainerRegistry", "Microsoft.ContainerService",
    "Microsoft.ManagedIdentity", "Microsoft.Network", "Microsoft.Resources",
)  # fmt: skip


class Providers:
    """All are registered at first; the admin may take one back, and ARM's register brings it again."""

    def __init__(self, db: Db, clock: Clock) -> None:
        self._db, self._clock = db, clock
        self._docs: dict[str, Json] = db.all(_TABLE)

    def state(self, name: str) -> str:
        """`Registered`, `NotRegistered` or, for a moment after a request, `Registering`."""
        doc = self._docs.get(name.lower(), {})
        since = doc.get("asked")
        if since is not None:
            return "Registered" if self._clock.time() - since >= _SECONDS else "Registering"
        return str(doc.get("state", "Registered"))

    def set(self, name: str, state: str) -> None:
        """Make it `Registered` or `NotRegistered`. ValueError for another word."""
        if state not in ("Registered", "NotRegistered"):
            raise ValueError("the state of a provider is Registered or NotRegistered")
        self._save(_known(name), {"state": state, "asked": None})

    def register(self, name: str) -> None:
        """What ARM's register does: done a little later."""
        if self.state(_known(name)) == "NotRegistered":
            self._save(name, {"state": "Registered", "asked": self._clock.time()})

    def doc(self, name: str, subscription: str) -> Json:
        """The provider as ARM shows it; 404 for one that is not known."""
        found = _known(name)
        return {
            "id": f"/subscriptions/{subscription}/providers/{found}", "namespace": found,
            "registrationPolicy": "RegistrationRequired", "registrationState": self.state(found), "resourceTypes": [],
        }  # fmt: skip

    def check(self, path: str, subscription: str) -> None:
        """Refuse a path into a provider that is not registered."""
        _, mark, rest = path.lower().rpartition("/providers/")
        name = rest.partition("/")[0]
        if not mark or "/" not in rest or rest.endswith("/register") or self.state(name) == "Registered":
            return
        raise _missing(_known(name), subscription)

    def _save(self, name: str, doc: Json) -> None:
        self._docs[name.lower()] = doc
        self._db.put(_TABLE, name.lower(), doc)


def _known(name: str) -> str:
    found = next((known for known in KNOWN if known.lower() == name.lower()), None)
    if found is None:
        raise gateway(404, "InvalidResourceNamespace", f"The resource namespace '{name}' is invalid.")
    return found


def _missing(name: str, subscription: str) -> ArmError:
    words = f"The subscription is not registered to use namespace '{name}'. See https://aka.ms/rps-not-found for how"
    detail = {"code": "MissingSubscriptionRegistration", "target": name,
              "message": f"{words} to register subscriptions."}  # fmt: skip
    return ArmError(
        409, "MissingSubscriptionRegistration", f"The subscription is not registered to use namespace '{name}'.",
        wrapped=True, details=[detail],
    )  # fmt: skip
