"""Who a request speaks for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class User:
    """An authenticated caller of one cluster."""

    name: str
    groups: tuple[str, ...]

    @property
    def is_admin(self) -> bool:
        """Cluster users may do everything; service accounts what roles give them."""
        return "system:masters" in self.groups


def service_account_user(namespace: str, name: str) -> User:
    """The user that a service account's token stands for."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups)
