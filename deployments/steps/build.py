"""Build an environment's image once per content hash, by the registry. User code never runs in the worker."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils import timezone

from compute import queries as compute
from deployments import diagnose, environments
from deployments.models import Environment, Revision
from deployments.types import EnvironmentState
from portal import operations
from portal.models import Operation, OperationLog
from portal.problems import Problem
from portal.types import Wait

LOG_CHARACTERS = 60_000
EVIDENCE_LINES = 30
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
        run = compute.arm_of(row.workspace).build_start(registry, context, image)
    operations.remember(op, run=run)
    Environment.objects.filter(pk=row.pk).update(state=EnvironmentState.BUILDING, run_id=run, reason="")
    return None


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
    text, after = arm.build_log(registry, run, offset)
    if after > offset:
        operations.remember(op, log_offset=after)
        _keep_log(op, row, text, offset)
    if status not in OVER:
        return Wait(1, f"Building {row}: {status}")
    if after > offset:
        return Wait(0.1, f"Reading the log of {row}")
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
    operations.remember(op, run="", log_offset=0, asked_at=None)
    return BuildFailed(detail, evidence=_tail(row.log))


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
    now = timezone.now()
    lines = [line for line in text.splitlines() if line.strip()][-200:]
    OperationLog.objects.bulk_create(
        OperationLog(operation=op, at=now, step="await_environment", event="line", text=line[:1000]) for line in lines
    )


def _tail(log: str) -> str:
    return "\n".join(log.splitlines()[-EVIDENCE_LINES:])[-4000:]


def _sentence(row: Environment, status: str) -> str:
    return f"Building {row} ended as {status}: {diagnose.build_cause(row.log)}"
