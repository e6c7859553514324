"""One line of history for each deed, in the deed's own transaction."""

from __future__ import annotations

from typing import Any

from portal.models import AuditEvent, Operation, User
from portal.types import Target


def record(
    *,
    action: str,
    on: Target,
    actor: User | None,
    operation: Operation | None = None,
    before: Any = None,
    after: Any = None,
) -> AuditEvent:
    """Add one line: `actor` (None: the portal itself) did `action` (past tense, "noun.verb") to `on`.

    `before` and `after` are JSON without secrets.
    """
    return AuditEvent.objects.create(
        workspace=on.workspace,
        team_slug=on.workspace.team.slug,
        actor_name=actor.username if actor else "portal",
        actor_id_text=str(actor.pk) if actor else "",
        action=action,
        target_ref=on.ref,
        target_name=on.name,
        operation_id_text=str(operation.pk) if operation else "",
        before=before,
        after=after,
    )
