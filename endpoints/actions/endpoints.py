"""Create, describe and delete services and endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import IntegrityError, transaction

from compute import queries as compute
from compute.models import ComputeTarget
from deployments import actions as deployments
from deployments.types import DeploymentSpec
from endpoints import traffic
from endpoints.actions import access, rows, versions
from endpoints.models import Endpoint, EndpointVersion
from endpoints.types import AuthMode, EndpointKind, EndpointState, Version, VersionChange
from portal import audit, operations
from portal.models import Operation, User, Workspace
from portal.problems import Conflict, Invalid
from portal.types import OperationKind

SERVICE_VERSION = "v1"


@dataclass(frozen=True)
class Draft:
    """What somebody wants to deploy under a name. `keys` are given ones, else both are made."""

    name: str
    spec: DeploymentSpec
    auth: AuthMode = AuthMode.KEY
    keys: tuple[str, str] | None = field(repr=False, default=None)
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """What one request wants to change of a service or endpoint; None and empty leave it as it is."""

    spec: DeploymentSpec | None = None
    auth: AuthMode | None = None
    keys: tuple[str, str] | None = field(repr=False, default=None)
    told: Mapping[str, Any] = field(default_factory=dict)


def service_create(*, workspace: Workspace, target: ComputeTarget, draft: Draft, actor: User) -> Operation:
    """A new service: one deployment with one scoring URI. Raises Conflict (409) for a taken name, Invalid (422)."""
    split = traffic.add((), SERVICE_VERSION, VersionChange())
    return _create(EndpointKind.SERVICE, workspace, target, draft, split, actor)


def endpoint_create(
    *, workspace: Workspace, target: ComputeTarget, draft: Draft, version: str, wanted: VersionChange, actor: User
) -> Operation:
    """A new endpoint with its first version, which is the default. Raises as `service_create`."""
    rows.check_version_name(version)
    return _create(EndpointKind.VERSIONED, workspace, target, draft, traffic.add((), version, wanted), actor)


@transaction.atomic
def _create(
    kind: EndpointKind,
    workspace: Workspace,
    target: ComputeTarget,
    draft: Draft,
    split: tuple[Version, ...],
    actor: User,
) -> Operation:
    rows.check_name(draft.name)
    rows.check_target(target)
    endpoint = _endpoint_row(kind, workspace, target, draft, actor)
    if draft.auth == AuthMode.KEY:
        access.store_keys(endpoint, draft.keys)
    access.signing_key_ensure()
    (first,) = split
    deployment = deployments.deployment_create(
        workspace=workspace,
        target=target,
        name=_deployment_name(kind, draft.name, first.name),
        spec=draft.spec,
        actor=actor,
    )
    version = EndpointVersion.objects.create(
        endpoint=endpoint, name=first.name, deployment=deployment, traffic_percentile=first.percentile,
        is_default=True, is_control=first.is_control,
    )  # fmt: skip
    op = operations.start(
        kind=OperationKind.SERVICE_CREATE if kind == EndpointKind.SERVICE else OperationKind.ENDPOINT_CREATE,
        on=endpoint, actor=actor, endpoint_id=endpoint.pk, version_id=version.pk, deployment_id=deployment.pk,
        revision=deployment.revision, warnings=rows.warnings(draft.spec),
    )  # fmt: skip
    after = {"compute_target": target.name, "auth": draft.auth.value, "versions": rows.told([replace(first)])}
    audit.record(action=f"{kind.label.lower()}.created", on=endpoint, actor=actor, operation=op, after=after)
    return op


def _deployment_name(kind: EndpointKind, name: str, version: str) -> str:
    return name if kind == EndpointKind.SERVICE else f"{name}-{version}"


def _endpoint_row(
    kind: EndpointKind, workspace: Workspace, target: ComputeTarget, draft: Draft, actor: User
) -> Endpoint:
    taken = Endpoint.objects.filter(workspace=workspace, name=draft.name).first()
    if taken is None:
        try:
            with transaction.atomic():
                return Endpoint.objects.create(
                    workspace=workspace, compute_target=target, name=draft.name, kind=kind, auth=draft.auth,
                    description=draft.description, tags=dict(draft.tags), properties=dict(draft.properties),
                    created_by=actor,
                )  # fmt: skip
        except IntegrityError:
            pass
    word = taken.kind.lower() if taken else "service or endpoint"
    raise Conflict(f"{workspace.name} has a {word} {draft.name} already. Services and endpoints share their names.")


@transaction.atomic
def endpoint_describe(
    *, endpoint: Endpoint, actor: User, description: str | None = None, tags: Mapping[str, str] | None = None,
    properties: Mapping[str, str] | None = None,
) -> Endpoint:  # fmt: skip
    """Change description and tags, and add properties, which can be written once. Nothing restarts."""
    before = _described(endpoint)
    given = dict(properties or {})
    changed = sorted(name for name in given if endpoint.properties.get(name, given[name]) != given[name])
    if changed:
        raise Invalid(f"Properties are written once: {', '.join(changed)} cannot change. Use tags for what changes.")
    endpoint.description = endpoint.description if description is None else description
    endpoint.tags = endpoint.tags if tags is None else dict(tags)
    endpoint.properties = {**endpoint.properties, **given}
    endpoint.save(update_fields=["description", "tags", "properties", "updated_at"])
    audit.record(
        action=f"{endpoint.kind.lower()}.described", on=endpoint, actor=actor, before=before,
        after=_described(endpoint),
    )  # fmt: skip
    return endpoint


@transaction.atomic
def endpoint_change(*, endpoint: Endpoint, change: Change, actor: User) -> Operation | None:
    """All of a change or nothing of it; None when nothing has to be brought to the cluster.

    `spec` is for services. Raises Invalid (422) for keys where callers do not use keys, and as `version_update`.
    """
    auth = change.auth or AuthMode(endpoint.auth)
    if change.keys and auth != AuthMode.KEY:
        raise Invalid(f"keys are given, but {endpoint.name} would not take keys: keys belong to key authentication.")
    if change.told:
        endpoint_describe(endpoint=endpoint, actor=actor, **change.told)
    if change.spec is not None:
        return versions.version_update(
            endpoint=endpoint, version=endpoint.versions.get(), spec=change.spec, actor=actor, auth=change.auth,
            keys=change.keys,
        )  # fmt: skip
    if change.keys or auth != endpoint.auth:
        return access.auth_set(endpoint=endpoint, auth=auth, actor=actor, pair=change.keys)
    return None


def _described(endpoint: Endpoint) -> dict[str, Any]:
    return {"description": endpoint.description, "tags": endpoint.tags, "properties": endpoint.properties}


@transaction.atomic
def endpoint_delete(*, endpoint: Endpoint, actor: User) -> Operation:
    """Take a service or endpoint off the gateway, let requests end, and remove its replicas. Raises Busy or
    ClusterStopped (409).
    """
    compute.refuse_if_stopped(endpoint.compute_target, f"{endpoint.name} can be deleted when it runs")
    kind = OperationKind.SERVICE_DELETE if endpoint.kind == EndpointKind.SERVICE else OperationKind.ENDPOINT_DELETE
    op = operations.start(kind=kind, on=endpoint, actor=actor, endpoint_id=endpoint.pk)
    before = rows.told([row.traffic() for row in endpoint.versions.select_related("deployment")])
    Endpoint.objects.filter(pk=endpoint.pk).update(state=EndpointState.DELETING)
    audit.record(
        action=f"{endpoint.kind.lower()}.deleted", on=endpoint, actor=actor, operation=op,
        before={"versions": before, "scoring_uri": endpoint.scoring_uri},
    )  # fmt: skip
    return op
