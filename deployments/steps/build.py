"""Build an environment's image once per content hash, by the registry. User code never runs in the worker."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils import timezone

from compute import queries as compute
from compute.arm import ArmRefused
from deployments import diagnose, environments, queries, registries
from deployments.models import Environment, Revision
from deployments.types import EnvironmentState
from portal import operations
from portal.models import Operation, OperationLog
from portal.problems import Problem
from portal.types import ACTIVE_STATES, Wait

LOG_CHARACTERS = 60_000
EVIDENCE_LINES = 30
LOG_LOOKS = 5
OVER = ("Succeeded", "Failed", "Canceled", "Error", "Timeout")


class BuildFailed(Problem):
    status, code, title = 422, "environment_build_failed", "The environment could not be built"


class NoRegistry(Problem):
    status, code, title = 422, "no_registry", "The workspace has no container registry"


def environment_of(op: Operation) -> Environment:
    """The environment that an operation builds, or needs for its deployment."""
    if "environment_id" in op.input:
        return Environment.objects.select_related("workspace").get(pk=op.input["environment_id"])
    found = Revision.objects.select_related("environment__workspace").get(
        deployment_id=op.input["deployment_id"], number=op.input["revision"]
    )
    return found.environment


def start_environment(op: Operation) -> Wait | None:
    """Queue the build unless the image is there, or another operation is building the same content."""
    row = environment_of(op)
    if row.state == EnvironmentState.SUCCEEDED or op.memo.get("run"):
        return None
    twin = _equal(row).filter(state=EnvironmentState.SUCCEEDED).first()
    if twin is not None:
        words = f"{row} has the content of {twin}, which is built: its image is used, nothing is built anew."
        _say(op, "start_environment", [words])
        Environment.objects.filter(pk=row.pk).update(same_as=str(twin))
        _finish(row, twin.image, twin.log)
        return None
    running = _equal(row).filter(state=EnvironmentState.BUILDING).exclude(run_id="").first()
    registry = _registry(row)
    run = running.run_id if running else _asked_before(op, row, registry)
    if run is None:
        return None
    if not run:
        operations.remember(op, asked_at=timezone.now().timestamp())
        context = environments.context(row.spec)
        image = environments.image_name(row.content_hash)
        run = compute.arm_of(row.workspace).build_start(registry, context, image, _logins(row))
    operations.remember(op, run=run)
    Environment.objects.filter(pk=row.pk).update(state=EnvironmentState.BUILDING, run_id=run, reason="")
    return None


def _logins(row: Environment) -> dict[str, tuple[str, str]]:
    """The workspace's login for the registry of the base image, if it has one; no other goes along."""
    server = registries.server_of(environments.base_of(row.spec))
    found = queries.registry_logins(workspace=row.workspace).filter(server=server)
    return {each.server: (each.username, each.password) for each in found}


def _asked_before(op: Operation, row: Environment, registry: str) -> str | None:
    """The run that a worker queued before it died, or before the answer was lost; None while it cannot be told."""
    if not op.memo.get("asked_at"):
        return ""
    known = set(Environment.objects.exclude(run_id="").values_list("run_id", flat=True))
    image = environments.image_name(row.content_hash)
    return compute.arm_of(row.workspace).build_find(registry, image, float(op.memo["asked_at"]), known)


def await_environment(op: Operation) -> Wait | None:
    """Wait for the build; its log lines become those of the operation. Raises BuildFailed with the log's end."""
    row = environment_of(op)
    if row.state == EnvironmentState.SUCCEEDED:
        return None
    if not op.memo.get("run"):  # run again after a build that failed, or not sure yet which run it is
        return start_environment(op) or Wait(0.5, f"Building {row}")
    arm, registry, run = compute.arm_of(row.workspace), _registry(row), str(op.memo["run"])
    status, digest = arm.build_state(registry, run)
    offset = int(op.memo.get("log_offset", 0))
    text, after, is_all = arm.build_log(registry, run, offset)
    if after > offset:
        operations.remember(op, log_offset=after)
        _keep_log(op, row, text, offset)
    if status not in OVER:
        return Wait(1, f"Building {row}: {status}")
    if after > offset and not is_all:
        return Wait(0.1, f"Reading the log of {row}")
    if not is_all and op.memo.setdefault("log_looks", 0) < LOG_LOOKS:  # the registry writes its end a moment later
        op.memo["log_looks"] += 1
        return Wait(1, f"Waiting for the end of the log of {row}")
    row.refresh_from_db()
    if status != "Succeeded":
        raise _failure(op, row, status)
    host = row.workspace.registry if "." in row.workspace.registry else f"{row.workspace.registry}.azurecr.io"
    name = environments.image_name(row.content_hash)
    image = f"{host}/{name.partition(':')[0]}@{digest}" if digest else f"{host}/{name}"
    _finish(row, image, row.log)
    return None


def _failure(op: Operation, row: Environment, status: str) -> BuildFailed:
    """Note the end in the environment, so that the next operation builds anew."""
    detail = _sentence(row, status)
    Environment.objects.filter(pk=row.pk).update(state=EnvironmentState.FAILED, reason=detail)
    _forget(op)
    return BuildFailed(detail, evidence=_tail(row.log))


def _forget(op: Operation) -> None:
    operations.remember(op, run="", log_offset=0, log_looks=0, asked_at=None)


def abort_environment(op: Operation) -> Wait | None:
    """Stop the run in the registry when somebody cancels, unless another operation waits for the same image.

    Raises TooLate when the registry refuses: then the operation goes on.
    """
    row, run = environment_of(op), str(op.memo.get("run") or "")
    if not run or row.state == EnvironmentState.SUCCEEDED or _is_shared(op, run):
        return None
    arm, registry = compute.arm_of(row.workspace), _registry(row)
    status, _ = arm.build_state(registry, run)
    if status in OVER:
        Environment.objects.filter(pk=row.pk).update(state=EnvironmentState.FAILED, reason="The build was cancelled.")
        _forget(op)
        return None
    if not op.memo.get("cancel_sent"):
        try:
            arm.build_cancel(registry, run)
        except ArmRefused as refusal:
            raise operations.TooLate(f"The registry did not stop the build ({refusal.detail}).") from None
        operations.remember(op, cancel_sent=True)
    return Wait(1, f"The registry stops building {row} ({status})")


def _is_shared(op: Operation, run: str) -> bool:
    return Operation.objects.filter(state__in=ACTIVE_STATES, memo__run=run).exclude(pk=op.pk).exists()


def settle_environment(op: Operation) -> None:
    """When a build ended badly the environment says why; it can be built again."""
    row = environment_of(op)
    if row.state != EnvironmentState.SUCCEEDED:
        reason = str((op.error or {}).get("detail") or "The build was stopped.")
        Environment.objects.filter(pk=row.pk).update(state=EnvironmentState.FAILED, reason=reason)


def _equal(row: Environment) -> QuerySet[Environment]:
    """Itself and others of the workspace that have the same content."""
    return Environment.objects.filter(workspace_id=row.workspace_id, content_hash=row.content_hash)


def _registry(row: Environment) -> str:
    name = row.workspace.registry.partition(".")[0]
    if not name:
        raise NoRegistry(
            f"{row.workspace.name} has no container registry to build {row}. Give it one, "
            "or use an environment that is an image."
        )
    return name


def _finish(row: Environment, image: str, log: str) -> None:
    Environment.objects.filter(pk=row.pk).update(state=EnvironmentState.SUCCEEDED, image=image, log=log, reason="")


def _keep_log(op: Operation, row: Environment, text: str, offset: int) -> None:
    kept = text if offset == 0 else row.log + text
    Environment.objects.filter(pk=row.pk).update(log=kept[-LOG_CHARACTERS:])
    _say(op, "await_environment", [line for line in text.splitlines() if line.strip()][-200:])


def _say(op: Operation, step: str, lines: list[str]) -> None:
    now = timezone.now()
    OperationLog.objects.bulk_create(
        OperationLog(operation=op, at=now, step=step, event="line", text=line[:1000]) for line in lines
    )


def _tail(log: str) -> str:
    return "\n".join(log.splitlines()[-EVIDENCE_LINES:])[-4000:]


def _sentence(row: Environment, status: str) -> str:
    return f"Building {row} ended as {status}: {diagnose.build_cause(row.log)}"
