"""Deployments: their rows and revisions. Called inside the transactions of endpoints, which start the operations."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Max

from compute import placed
from compute.models import ComputeTarget
from compute.names import workspace_namespace
from deployments import archives, checks, placing, queries, quotas
from deployments.actions.models import read_script
from deployments.config import DeploymentConfig
from deployments.models import Artifact, Deployment, Revision
from deployments.types import DeploymentSpec, DeploymentState
from portal import audit
from portal.models import User, Workspace
from portal.problems import Invalid, NotFound

MOST_MODELS = 20
ACCESS = ("keys",)  # secrets are never part of a revision


@transaction.atomic
def deployment_create(
    *, workspace: Workspace, target: ComputeTarget, name: str, spec: DeploymentSpec, actor: User
) -> Deployment:
    """A new deployment with its first revision. Raises InvalidConfig, InvalidScript or Invalid (422)."""
    config = check(workspace, target, spec)
    row = Deployment.objects.create(
        workspace=workspace, compute_target=target, name=name, wanted_replicas=config.first_replicas, created_by=actor,
        namespace=config.namespace or workspace_namespace(workspace.slug, workspace.pk),
    )  # fmt: skip
    _revise(row, spec, actor, spec.comment)
    return row


@transaction.atomic
def deployment_revise(*, deployment: Deployment, spec: DeploymentSpec, actor: User) -> Revision:
    """The next revision, wanted from now on. Raises as `deployment_create`; the namespace cannot change."""
    config = check(deployment.workspace, deployment.compute_target, spec)
    if config.namespace and config.namespace != deployment.namespace:
        raise Invalid(
            f"{deployment.name} runs in the namespace {deployment.namespace}, which cannot change to "
            f"{config.namespace}. Create a new one there."
        )
    return _revise(deployment, spec, actor, spec.comment)


@transaction.atomic
def deployment_rollback(*, deployment: Deployment, number: int, actor: User) -> Revision:
    """The next revision, equal to an earlier one. Raises NotFound, or Invalid for the present one."""
    old = Revision.objects.prefetch_related("models").filter(deployment=deployment, number=number).first()
    if old is None:
        raise NotFound(f"{deployment.name} has no revision {number}.")
    if number == deployment.revision:
        raise Invalid(f"{deployment.name} is at revision {number} already.")
    spec = DeploymentSpec(list(old.models.all()), old.environment, old.entry_script, old.code, old.config)
    check(deployment.workspace, deployment.compute_target, spec)
    return _revise(deployment, spec, actor, f"Back to revision {number}")


def check(workspace: Workspace, target: ComputeTarget, spec: DeploymentSpec) -> DeploymentConfig:
    """Refuse early what cannot run; nothing is written."""
    config = DeploymentConfig.parse(spec.config)
    _check_models(workspace, spec)
    if spec.environment.workspace_id != workspace.pk:
        raise NotFound(f"There is no environment {spec.environment} in {workspace.name}.")
    path = archives.safe_path(spec.entry_script)
    if spec.code is not None:
        if spec.code.workspace_id != workspace.pk:
            raise NotFound(f"There is no such code in {workspace.name}.")
        _check_script(spec.code, path)
    elif "image" not in spec.environment.spec:
        raise Invalid(f"There is no code with the entry script {path}: give code, or an image that has it.")
    placing.check(placed.choices(target=target), config, target.name)
    each = {"cpu": config.cpu, "memory_gb": config.memory_gb, "gpus": config.gpu_cores or 0}
    replicas = config.min_replicas if config.num_replicas is None else config.num_replicas
    quotas.check(queries.rules(workspace=workspace).quota, replicas, each)
    return config


def _check_models(workspace: Workspace, spec: DeploymentSpec) -> None:
    if len(spec.models) > MOST_MODELS:
        raise Invalid(f"{len(spec.models)} models are too many: at most {MOST_MODELS} for one deployment.")
    seen: set[str] = set()
    for model in spec.models:
        if model.workspace_id != workspace.pk:
            raise NotFound(f"There is no model {model} in {workspace.name}.")
        if str(model) in seen:
            raise Invalid(f"The model {model} is given twice.")
        seen.add(str(model))


def _check_script(code: Artifact, path: str) -> None:
    checks.entry_script(path, read_script(code, path))


def _revise(deployment: Deployment, spec: DeploymentSpec, actor: User, comment: str) -> Revision:
    newest = deployment.revisions.aggregate(Max("number"))["number__max"] or 0
    config = {name: value for name, value in spec.config.items() if name not in ACCESS}
    choices = placed.choices(target=deployment.compute_target)
    pool = placing.pool_of(choices, DeploymentConfig.parse(spec.config))
    row = Revision.objects.create(
        deployment=deployment, number=newest + 1, environment=spec.environment, code=spec.code,
        entry_script=archives.safe_path(spec.entry_script), config=config, comment=comment, created_by=actor,
        node_pool=pool.name if pool else "",
    )  # fmt: skip
    row.models.set(spec.models)
    before = deployment.revision
    deployment.revision = row.number
    if deployment.state != DeploymentState.HEALTHY:  # while the old revision serves, it is healthy
        deployment.state, deployment.is_reason_observed = DeploymentState.TRANSITIONING, False
        deployment.reason = deployment.evidence = deployment.fix = ""
    deployment.save(update_fields=["revision", "state", "reason", "evidence", "fix", "is_reason_observed"])
    after = {"revision": row.number, "models": [str(model) for model in spec.models], "comment": comment}
    audit.record(action="deployment.revised", on=deployment, actor=actor, before={"revision": before}, after=after)
    return row
