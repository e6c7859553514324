"""Every write of the shared tables: teams, members, tokens, workspaces."""

from __future__ import annotations

import secrets as random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from portal import audit, credentials, insights
from portal.models import ApiToken, Beat, IdempotencyKey, Membership, Team, User, Workspace
from portal.problems import Conflict, Forbidden, Invalid
from portal.queries import role_in, settings_shown
from portal.secrets import fingerprint
from portal.types import Role

TOKEN_START = "slw_"  # noqa: S105  (a prefix, so that scanners recognise a leaked token)


@transaction.atomic
def team_create(*, slug: str, name: str, owner: User) -> Team:
    """A new team with its first Owner. Raises Conflict when the slug is taken."""
    if Team.objects.filter(slug=slug).exists():
        raise Conflict(f"The name {slug} is taken.")
    team = Team.objects.create(slug=slug, name=name)
    Membership.objects.create(team=team, user=owner, role=Role.OWNER)
    return team


@transaction.atomic
def workspace_create(
    *,
    team: Team,
    slug: str,
    name: str,
    subscription_id: str,
    resource_group: str,
    region: str,
    actor: User,
    **azure: Any,
) -> Workspace:
    """A new workspace of a team. Raises Conflict when the slug, or the Azure name, is taken."""
    try:
        with transaction.atomic():
            created = Workspace.objects.create(
                team=team,
                slug=slug,
                name=name,
                subscription_id=subscription_id,
                resource_group=resource_group,
                region=region,
                **azure,
            )
    except IntegrityError:
        raise Conflict(f"A workspace {name} exists already in {resource_group}, or the name {slug} is taken.") from None
    audit.record(action="workspace.created", on=created, actor=actor, after={"name": name, "region": region})
    return created


@transaction.atomic
def workspace_update(*, workspace: Workspace, actor: User, **wish: Any) -> Workspace:
    """Change name, region, registry, `credential`, `app_insights` (empty: none), `collection`, and for superusers
    `cloud`, `arm_endpoint`, `arm_ca_file` and `authority_host`. Absent ones stay. Raises Forbidden, Invalid, Conflict.
    """
    row = Workspace.objects.select_related("team").select_for_update().get(pk=workspace.pk)
    before = settings_shown(row)
    for name in ("name", "region", "registry"):
        setattr(row, name, wish.get(name, getattr(row, name)))
    _set_place(row, actor, wish)
    if "credential" in wish:
        row.arm_credential = _credential(row, actor, wish["credential"])
    known = row.app_insights
    if "app_insights" in wish:
        row.app_insights = insights.checked(wish["app_insights"]) if wish["app_insights"] else ""
    for name, value in wish.get("collection", {}).items():
        setattr(row, f"collection_{name}", value)
    after = settings_shown(row)
    changed = {name for name in after if after[name] != before[name]}
    changed |= {"app_insights"} if row.app_insights != known else set()  # another key may end alike
    if not changed and "credential" not in wish:
        return row
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        raise Conflict(f"A workspace {row.name} exists already in {row.resource_group}.") from None
    if "credential" in wish:
        changed.add("credential")  # another secret looks the same
    audit.record(
        action="workspace.updated", on=row, actor=actor, before={name: before[name] for name in sorted(changed)},
        after={name: after[name] for name in sorted(changed)},
    )  # fmt: skip
    return row


def _set_place(row: Workspace, actor: User, wish: dict[str, Any]) -> None:
    """Where Azure is: for superusers only."""
    asked = [name for name in ("cloud", "arm_endpoint", "arm_ca_file", "authority_host") if name in wish]
    if not asked:
        return
    if not actor.is_superuser:
        raise Forbidden(f"Only a superuser may set {', '.join(asked)}.")
    authority = wish.get("authority_host")
    if "cloud" in wish:
        cloud = credentials.CLOUDS[wish["cloud"]]
        row.arm_endpoint, row.arm_ca_file = cloud.arm_endpoint, ""
        authority = cloud.authority_host if authority is None else authority
    row.arm_endpoint = wish.get("arm_endpoint", row.arm_endpoint).rstrip("/")
    row.arm_ca_file = wish.get("arm_ca_file", row.arm_ca_file)
    if row.arm_ca_file and not Path(row.arm_ca_file).is_file():
        raise Invalid(f"There is no file {row.arm_ca_file} on the portal's machine.")
    if authority is not None:
        if authority:
            credentials.check_https("authority_host", authority)
        row.arm_credential = credentials.with_authority(row.arm_credential, authority)


def _credential(row: Workspace, actor: User, given: dict[str, Any]) -> str:
    """The new credential; it keeps the authority of the one before unless it names one."""
    text = credentials.checked(given, arm_endpoint=row.arm_endpoint, is_superuser=actor.is_superuser)
    if given.get("authority_host"):
        return text
    known = credentials.stored(row.arm_credential).get("authority_host", "")
    named = credentials.CLOUDS.get(credentials.cloud_of(row.arm_endpoint))
    return credentials.with_authority(text, known or (named.authority_host if named else ""))


@transaction.atomic
def member_set_role(*, team: Team, user: User, role: Role, actor: User) -> Membership:
    """Add a member or change a role. The last Owner of a team stays Owner."""
    before = Membership.objects.filter(team=team, user=user).first()
    if before and before.role == Role.OWNER and role != Role.OWNER and _owners(team) == 1:
        raise Invalid(f"{user.username} is the only Owner of {team.name}. Make somebody else Owner first.")
    membership, _ = Membership.objects.update_or_create(team=team, user=user, defaults={"role": role})
    for home in team.workspaces.all():
        audit.record(
            action="member.role_set",
            on=home,
            actor=actor,
            before=before and before.role,
            after={"user": user.username, "role": role.label},
        )
    return membership


def _owners(team: Team) -> int:
    return Membership.objects.filter(team=team, role=Role.OWNER).count()


@transaction.atomic
def token_create(
    *, user: User, name: str, role: Role = Role.OWNER, workspace: Workspace | None = None, days: int | None = 90
) -> tuple[ApiToken, str]:
    """A new API token for `user`; the secret is returned once and stored only as a hash. `days=None`: no expiry."""
    if days is not None and not 1 <= days <= 3650:
        raise Invalid(f"A token lives 1 to 3650 days, not {days}.")
    acting = user.acting_token
    if acting and (role > acting.role or (acting.workspace_id and acting.workspace != workspace)):
        raise Forbidden("A token cannot make one that may do more than itself.")
    secret = TOKEN_START + random.token_urlsafe(32)
    expires: datetime | None = timezone.now() + timedelta(days=days) if days else None
    token = ApiToken.objects.create(
        user=user,
        name=name,
        role=role,
        workspace=workspace,
        prefix=secret[:10],
        digest=fingerprint(secret),
        expires_at=expires,
    )
    for home in [workspace] if workspace else Workspace.objects.filter(team__memberships__user=user):
        audit.record(action="token.created", on=home, actor=user, after={"name": name, "role": role.label})
    return token, secret


@transaction.atomic
def token_revoke(*, token: ApiToken, actor: User) -> None:
    """End a token at once. Its owner may, and an Owner of a team that they share."""
    if token.user_id != actor.pk and not _owns_a_team_of(actor, token.user):
        raise Forbidden(f"Only {token.user.username} or an Owner of their team can end this token.")
    ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=timezone.now())
    for home in Workspace.objects.filter(team__memberships__user=token.user):
        audit.record(action="token.revoked", on=home, actor=actor, after={"name": token.name})


def _owns_a_team_of(actor: User, user: User) -> bool:
    return any(role_in(actor=actor, team=team) == Role.OWNER for team in Team.objects.filter(memberships__user=user))


def beat_seen(*, name: str) -> None:
    """Note that a periodic task ran."""
    Beat.objects.update_or_create(name=name, defaults={"at": timezone.now()})


def idempotency_keys_forget() -> None:
    """Drop stored answers after a day: nobody repeats a request later than that."""
    IdempotencyKey.objects.filter(created_at__lt=timezone.now() - timedelta(days=1)).delete()
