"""What a workspace decides about all that runs: outgoing connections, quotas, logins for registries.

What runs already takes a change by beat (`steps.around`), without rolling a pod.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction

from deployments import outgoing as outgoings
from deployments import queries, quotas, registries
from deployments.models import RegistryLogin, RunRules
from portal import audit
from portal.models import User, Workspace
from portal.problems import Invalid

MOST_LOGINS = 50


@transaction.atomic
def rules_set(
    *, workspace: Workspace, actor: User, outgoing: str | None = None, allowed: Sequence[str] | None = None,
    quota: Mapping[str, Any] | None = None,
) -> RunRules:  # fmt: skip
    """Change what is given; the rest stays. Raises InvalidOutgoing, InvalidQuota."""
    Workspace.objects.select_for_update().get(pk=workspace.pk)
    row = queries.rules(workspace=workspace)
    before = shown(row)
    wish = outgoings.checked(
        row.outgoing if outgoing is None else outgoing, row.allowed if allowed is None else list(allowed)
    )
    row.outgoing, row.allowed = wish.mode, list(wish.allowed)
    row.quota = row.quota if quota is None else quotas.checked(quota)
    after = shown(row)
    if after != before:
        row.save()
        changed = sorted(name for name in after if after[name] != before[name])
        audit.record(
            action="rules.set", on=workspace, actor=actor, before={name: before[name] for name in changed},
            after={name: after[name] for name in changed},
        )  # fmt: skip
    return row


def shown(row: RunRules) -> dict[str, Any]:
    """The rules as JSON."""
    return {"outgoing": row.outgoing, "allowed": list(row.allowed), "quota": dict(row.quota)}


@transaction.atomic
def registry_set(*, workspace: Workspace, actor: User, server: str, username: str, password: str) -> RegistryLogin:
    """Store or replace the login of a registry. The password is in no line of history. Raises InvalidLogin."""
    name = registries.checked(server, username, password)
    Workspace.objects.select_for_update().get(pk=workspace.pk)
    known = queries.registry_logins(workspace=workspace)
    if not known.filter(server=name).exists() and known.count() >= MOST_LOGINS:
        raise Invalid(f"{workspace.name} has {MOST_LOGINS} logins, which are the most. Remove one first.")
    row, is_new = RegistryLogin.objects.update_or_create(
        workspace=workspace, server=name, defaults={"username": username, "password": password}
    )
    audit.record(
        action="registry.added" if is_new else "registry.changed", on=workspace, actor=actor,
        after={"server": name, "username": username},
    )  # fmt: skip
    return row


@transaction.atomic
def registry_remove(*, login: RegistryLogin, actor: User) -> None:
    """Forget a login. Replicas that run go on; new ones find no image that is not on their node."""
    audit.record(
        action="registry.removed", on=login.workspace, actor=actor,
        before={"server": login.server, "username": login.username},
    )  # fmt: skip
    login.delete()
