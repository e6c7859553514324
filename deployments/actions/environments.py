"""Environments: registered and built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max

from deployments import environments
from deployments.actions.models import check_labels, check_name
from deployments.models import Environment
from deployments.types import EnvironmentState
from portal import audit, operations
from portal.models import Operation, User, Workspace
from portal.problems import Conflict, Invalid
from portal.types import OperationKind


@transaction.atomic
def environment_register(
    *, workspace: Workspace, name: str, actor: User, python: str = "3.11", pip: list[Any] | None = None,
    requirements: str = "", conda: str = "", image: str = "", base_image: str = "", description: str = "",
    tags: Mapping[str, str] | None = None,
) -> Environment:  # fmt: skip
    """Register the next version. An equal environment that is built already lends its image; an image needs no build.

    Raises InvalidRequirements (422) naming the line that is wrong.
    """
    check_name(name, "an environment")
    base = base_image or ("" if image else settings.CONDA_BASE_IMAGE if conda else settings.BASE_IMAGE)
    spec = environments.spec(
        python=python, pip=pip, requirements=requirements, conda=conda, image=image, base_image=base
    )
    digest = environments.content_hash(spec)
    built = None if "image" in spec else _built(workspace, digest)
    image = spec.get("image") or (built.image if built else "")
    facts = {
        "spec": spec, "content_hash": digest, "image": image, "description": description,
        "tags": check_labels(tags, "tags"), "log": built.log if built else "", "same_as": str(built or ""),
        "state": EnvironmentState.SUCCEEDED if image else EnvironmentState.NOT_BUILT,
    }  # fmt: skip
    row = _next_version(workspace, name, actor, facts)
    audit.record(action="environment.registered", on=row, actor=actor, after={"version": row.version, "hash": digest})
    return row


def _built(workspace: Workspace, digest: str) -> Environment | None:
    rows = Environment.objects.filter(workspace=workspace, content_hash=digest, state=EnvironmentState.SUCCEEDED)
    return rows.first()


def _next_version(workspace: Workspace, name: str, actor: User, facts: dict[str, Any]) -> Environment:
    rows = Environment.objects.filter(workspace=workspace, name=name)
    for _ in range(5):
        version = (rows.aggregate(Max("version"))["version__max"] or 0) + 1
        try:
            with transaction.atomic():
                return Environment.objects.create(
                    workspace=workspace, name=name, version=version, created_by=actor, **facts
                )
        except IntegrityError:
            continue
    raise Conflict(f"Other versions of {name} are being registered at the moment. Try again.")


@transaction.atomic
def environment_build(*, environment: Environment, actor: User) -> Operation:
    """Start to build the image in the workspace's registry. Raises Invalid when there is nothing to build."""
    if "image" in environment.spec:
        raise Invalid(f"{environment} is the image {environment.image}: there is nothing to build.")
    if environment.state == EnvironmentState.SUCCEEDED:
        why = f" It has the content of {environment.same_as}, whose image it uses." if environment.same_as else ""
        raise Invalid(f"{environment} is built already.{why} Register a new version to change it.")
    op = operations.start(
        kind=OperationKind.ENVIRONMENT_BUILD, on=environment, actor=actor, environment_id=environment.pk
    )
    audit.record(action="environment.build_started", on=environment, actor=actor, operation=op)
    return op
