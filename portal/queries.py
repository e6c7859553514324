"""Every read of the shared tables, with the permission check. Nobody finds another team's objects."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Avg, Count, DurationField, ExpressionWrapper, F, Max, Min, Q, QuerySet
from django.utils import timezone

from portal import credentials, insights
from portal.models import ApiToken, AuditEvent, Beat, Membership, Operation, OperationLog, Team, User, Workspace
from portal.operations.plans import plan_of, step_names
from portal.operations.usual import usual_times
from portal.problems import Forbidden, NotFound
from portal.secrets import fingerprint
from portal.types import ACTIVE_STATES, OperationState, Role


def role_in(*, actor: User, team: Team, workspace: Workspace | None = None) -> Role | None:
    """The role that counts for this request: the member's, cut down to the API token's. None: not a member."""
    membership = Membership.objects.filter(team=team, user=actor, user__is_active=True).first()
    if membership is None:
        return None
    token = actor.acting_token
    if token is None:
        return Role(membership.role)
    if token.workspace_id and (workspace is None or token.workspace_id != workspace.pk):
        return None
    return Role(min(membership.role, token.role))


def require(*, actor: User, workspace: Workspace, needs: Role) -> Role:
    """The actor's role in the workspace. Raises NotFound for strangers and Forbidden when the role is too low."""
    role = role_in(actor=actor, team=workspace.team, workspace=workspace)
    if role is None:
        raise NotFound(f"There is no workspace {workspace.slug}.")
    if role < needs:
        raise Forbidden(f"This needs the role {needs.label}; you are {role.label} in {workspace.name}.")
    return role


def workspace(*, actor: User, slug: str, needs: Role) -> Workspace:
    """One workspace by its slug."""
    found = Workspace.objects.select_related("team").filter(slug=slug).first()
    if found is None:
        raise NotFound(f"There is no workspace {slug}.")
    require(actor=actor, workspace=found, needs=needs)
    return found


def settings_shown(row: Workspace) -> dict[str, Any]:
    """A workspace's settings as its Owners see them and history keeps them: of the credential nothing secret."""
    names = ("name", "region", "registry", "arm_endpoint", "arm_ca_file")
    shown: dict[str, Any] = {name: getattr(row, name) for name in names}
    shown["cloud"] = credentials.cloud_of(row.arm_endpoint)
    shown["credential"] = credentials.described(row.arm_credential)
    shown["app_insights"] = insights.described(row.app_insights)
    shown["collection"] = {"days": row.collection_days, "daily_mib": row.collection_daily_mib}
    return shown


def workspaces(*, actor: User) -> QuerySet[Workspace]:
    """The workspaces that the actor can see, by name."""
    found = Workspace.objects.select_related("team").filter(team__memberships__user=actor).order_by("name", "pk")
    token = actor.acting_token
    return found.filter(pk=token.workspace_id) if token and token.workspace_id else found


def team(*, actor: User, slug: str, needs: Role) -> Team:
    """One team by its slug; a token of one workspace reaches no team."""
    found = Team.objects.filter(slug=slug).first()
    role = role_in(actor=actor, team=found) if found else None
    if found is None or role is None:
        raise NotFound(f"There is no team {slug}.")
    if role < needs:
        raise Forbidden(f"This needs the role {needs.label}; you are {role.label} in {found.name}.")
    return found


def teams(*, actor: User) -> QuerySet[Team]:
    """The teams that the actor belongs to, by name."""
    return Team.objects.filter(memberships__user=actor).order_by("name", "pk")


def members(*, actor: User, team: Team) -> QuerySet[Membership]:
    """The members of a team with their roles."""
    return Membership.objects.select_related("user").filter(team=team).order_by("user__username")


def operation(*, actor: User, slug: str, id: UUID, needs: Role) -> Operation:
    """One operation of the workspace with that slug."""
    home = workspace(actor=actor, slug=slug, needs=needs)
    found = Operation.objects.select_related("workspace__team", "actor").filter(workspace=home, pk=id).first()
    if found is None:
        raise NotFound(f"There is no operation {id} in {home.name}.")
    return found


def operation_to_control(*, actor: User, slug: str, id: UUID) -> Operation:
    """One operation that the actor may cancel or run again: Operators all, Contributors those not on clusters."""
    op = operation(actor=actor, slug=slug, id=id, needs=Role.CONTRIBUTOR)
    require(actor=actor, workspace=op.workspace, needs=_controls(op))
    return op


def may_control(*, actor: User, op: Operation) -> bool:
    """Whether the actor, who sees the operation, may cancel it or run it again."""
    role = role_in(actor=actor, team=op.workspace.team, workspace=op.workspace)
    return role is not None and role >= _controls(op)


def _controls(op: Operation) -> Role:
    return Role.OPERATOR if op.kind.startswith(("compute.", "pool.", "gateway.")) else Role.CONTRIBUTOR


def operation_percent(*, op: Operation) -> int:
    """The share of steps that are done, 0 to 100; what failed keeps the share that it reached."""
    if op.state == OperationState.SUCCEEDED:
        return 100
    steps = len(plan_of(op.kind).steps) or 1
    return min(99, round(100 * (_failed_step(op) if op.is_undoing else op.step) / steps))


def operation_steps(*, op: Operation) -> list[dict[str, Any]]:
    """The steps in order with state (waiting, running, done, failed) and times, from the log.

    Of an operation that is undone: those up to the one that failed, then those of the undo. `usual` is how long a step
    takes elsewhere, or None.
    """
    times: dict[str, dict[str, Any]] = {}
    for line in operation_log(op=op).exclude(event="line"):
        mark = times.setdefault(line.step, {"started_at": None, "ended_at": None})
        if line.event == "started":
            mark.update(started_at=line.at, ended_at=None)
        elif line.event in ("done", "failed"):
            mark["ended_at"] = line.at
    empty = {"started_at": None, "ended_at": None}
    states = [*_undone(op), *((name, _step_state(op, index)) for index, name in enumerate(step_names(op)))]
    usual = usual_times(op.kind)
    return [
        {"name": name, "state": state, **times.get(name, empty), "usual": usual.get(name)} for name, state in states
    ]


def operation_left(*, op: Operation, steps: list[dict[str, Any]]) -> tuple[float, float] | None:
    """Seconds that what is left usually takes, from and to; None for an operation that ended or is undone.

    Steps of which nothing is known count as none: they are the quick ones.
    """
    if not op.is_active or op.is_undoing:
        return None
    known = [(step, step["usual"]) for step in steps if step["state"] in ("running", "waiting") and step["usual"]]
    if not known:
        return None
    spent = {
        step["name"]: (timezone.now() - step["started_at"]).total_seconds() for step, _ in known if step["started_at"]
    }
    low, high = (
        sum(max(0.0, getattr(usual, end) - spent.get(step["name"], 0.0)) for step, usual in known)
        for end in ("low", "high")
    )
    return low, high


def _undone(op: Operation) -> list[tuple[str, str]]:
    if not op.is_undoing:
        return []
    failed = _failed_step(op)
    steps = plan_of(op.kind).steps[: failed + 1]
    return [(step.name, "done" if index < failed else "failed") for index, step in enumerate(steps)]


def _failed_step(op: Operation) -> int:
    """The step at which the operation turned back."""
    return int(op.memo.get("_failed_step", 0))


def _step_state(op: Operation, index: int) -> str:
    if index < op.step or op.state == OperationState.SUCCEEDED:
        return "done"
    if index > op.step or op.state == OperationState.NOT_STARTED:
        return "waiting"
    return "running" if op.is_active else "failed"


def operations(*, workspace: Workspace, state: str = "", kind: str = "", target: str = "") -> QuerySet[Operation]:
    """The operations of a workspace that the caller has already been let into, newest first."""
    found = Operation.objects.select_related("actor").filter(workspace=workspace).order_by("-created_at", "-pk")
    for name, value in (("state", state), ("kind", kind), ("target_name", target)):
        found = found.filter(**{name: value}) if value else found
    return found


def latest_operation(*, ref: str) -> Operation | None:
    """The newest operation on a target, running or ended."""
    return Operation.objects.filter(target_ref=ref).order_by("-created_at").first()


def operation_log(*, op: Operation) -> QuerySet[OperationLog]:
    """The lines of an operation, oldest first."""
    return OperationLog.objects.filter(operation=op).order_by("pk")


def audit_events(*, workspace: Workspace) -> QuerySet[AuditEvent]:
    """The history of a workspace, newest first."""
    return AuditEvent.objects.filter(workspace=workspace).order_by("-pk")


def api_tokens(*, actor: User) -> QuerySet[ApiToken]:
    """The actor's own tokens, newest first."""
    return ApiToken.objects.select_related("workspace").filter(user=actor).order_by("-created_at", "-pk")


def user_of_token(secret: str) -> User | None:
    """The user that a live API token belongs to, with `acting_token` set; None when it is unknown or over."""
    found = ApiToken.objects.select_related("user", "workspace").filter(digest=fingerprint(secret)).first()
    now = timezone.now()
    if found is None or found.revoked_at or (found.expires_at and found.expires_at <= now) or not found.user.is_active:
        return None
    if found.last_used_at is None or (now - found.last_used_at).total_seconds() > 60:
        ApiToken.objects.filter(pk=found.pk).update(last_used_at=now)
    found.user.acting_token = found
    return found.user


def beat_at(*, name: str) -> datetime | None:
    """When a periodic task last ran."""
    return Beat.objects.filter(name=name).values_list("at", flat=True).first()


def beats() -> dict[str, datetime]:
    """Periodic task -> when it last ran."""
    return dict(Beat.objects.values_list("name", "at"))


def operation_counts() -> dict[tuple[str, ...], int]:
    """(kind, state) -> operations of all workspaces, for who runs the portal."""
    rows = Operation.objects.values_list("kind", "state").annotate(count=Count("pk")).order_by("kind", "state")
    return {(kind, state): count for kind, state, count in rows}


def operation_seconds(window: timedelta = timedelta(hours=1)) -> dict[str, tuple[float, float]]:
    """Kind -> mean and longest time of the operations of all workspaces that ended well within `window`."""
    took = ExpressionWrapper(F("ended_at") - F("started_at"), output_field=DurationField())
    rows = Operation.objects.filter(state=OperationState.SUCCEEDED, ended_at__gte=timezone.now() - window)
    found = rows.annotate(took=took).values_list("kind").annotate(mean=Avg("took"), most=Max("took")).order_by("kind")
    return {kind: (mean.total_seconds(), most.total_seconds()) for kind, mean, most in found if mean is not None}


def operation_queue_age() -> float:
    """Seconds for which the step that waits longest has been due without a worker; 0 when none waits."""
    now = timezone.now()
    free = Q(leased_until__isnull=True) | Q(leased_until__lt=now)
    rows = Operation.objects.filter(free, state__in=ACTIVE_STATES, due_at__lt=now)
    oldest: datetime | None = rows.aggregate(oldest=Min("due_at"))["oldest"]
    return (now - oldest).total_seconds() if oldest else 0.0
