"""The versions of an endpoint: add, change, split traffic, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction

from deployments import actions as deployments
from deployments.types import DeploymentSpec
from endpoints import traffic
from endpoints.actions import access, rows
from endpoints.models import Endpoint, EndpointVersion
from endpoints.types import AuthMode, EndpointKind, Version, VersionChange
from portal import audit, operations
from portal.models import Operation, User
from portal.problems import Invalid
from portal.types import OperationKind


@transaction.atomic
def endpoint_set_traffic(
    *, endpoint: Endpoint, wanted: Mapping[str, VersionChange], generation: int, actor: User
) -> Operation:
    """Store the wanted split and start the operation that makes it true.

    Raises Stale (412) with the present split if somebody was faster, InvalidTraffic (422), Busy (409).
    """
    _only_versioned(endpoint, "has one version and no split")
    found = rows.lock(endpoint, generation)
    before = [row.traffic() for row in found]
    after = traffic.change(before, wanted)
    rows.store(found, after)
    op = operations.start(
        kind=OperationKind.ENDPOINT_UPDATE, on=endpoint, actor=actor, endpoint_id=endpoint.pk,
        warnings=traffic.moved(before, after),
    )  # fmt: skip
    _record("endpoint.traffic_set", endpoint, actor, op, before, after)
    return op


@transaction.atomic
def version_create(
    *, endpoint: Endpoint, name: str, spec: DeploymentSpec, wanted: VersionChange, generation: int | None, actor: User
) -> Operation:
    """Deploy one more version; it takes traffic once it is healthy. Raises as `endpoint_set_traffic`."""
    _only_versioned(endpoint, "has one version only; create an endpoint to have several")
    rows.check_version_name(name)
    rows.check_target(endpoint.compute_target)
    found = rows.lock(endpoint, generation)
    before = [row.traffic() for row in found]
    after = traffic.add(before, name, wanted)
    deployment = deployments.deployment_create(
        workspace=endpoint.workspace,
        target=endpoint.compute_target,
        name=f"{endpoint.name}-{name}",
        spec=spec,
        actor=actor,
    )
    colors = {row.color for row in found}
    row = EndpointVersion.objects.create(
        endpoint=endpoint, name=name, deployment=deployment, color=next(n for n in range(99) if n not in colors)
    )
    rows.store([*found, row], after)
    op = operations.start(
        kind=OperationKind.VERSION_CREATE, on=endpoint, actor=actor, endpoint_id=endpoint.pk, version_id=row.pk,
        deployment_id=deployment.pk, revision=deployment.revision,
        warnings=[*traffic.moved(before, after), *rows.warnings(spec)],
    )  # fmt: skip
    _record("version.created", endpoint, actor, op, before, after, version=name)
    return op


@transaction.atomic
def version_update(
    *, endpoint: Endpoint, version: EndpointVersion, spec: DeploymentSpec, actor: User, auth: AuthMode | None = None,
    keys: tuple[str, str] | None = None,
) -> Operation:  # fmt: skip
    """Roll a version to new models, code or configuration; if that fails, the old ones go on serving.

    `auth` changes with it how callers sign in, when the new replicas are ready and not if they fail; given `keys` are
    stored at once.
    """
    rows.check_target(endpoint.compute_target)
    before = AuthMode(endpoint.auth)
    if auth is not None or keys:
        access.prepare(endpoint, auth or before, keys)
    revision = deployments.deployment_revise(deployment=version.deployment, spec=spec, actor=actor)
    wanted = auth if auth != before else None
    return _revised(endpoint, version, revision.number, "version.updated", actor, rows.warnings(spec), wanted)


@transaction.atomic
def version_rollback(*, endpoint: Endpoint, version: EndpointVersion, number: int, actor: User) -> Operation:
    """Roll a version to what an earlier revision was, as a new revision."""
    rows.check_target(endpoint.compute_target)
    revision = deployments.deployment_rollback(deployment=version.deployment, number=number, actor=actor)
    return _revised(endpoint, version, revision.number, "version.rolled_back", actor, [], to=number)


def _revised(
    endpoint: Endpoint, version: EndpointVersion, revision: int, action: str, actor: User, warnings: list[str],
    auth: AuthMode | None = None, **more: Any,
) -> Operation:  # fmt: skip
    is_service = endpoint.kind == EndpointKind.SERVICE
    access_wish = {"auth": auth.value} if auth is not None else {}
    op = operations.start(
        kind=OperationKind.SERVICE_UPDATE if is_service else OperationKind.VERSION_UPDATE, on=endpoint, actor=actor,
        endpoint_id=endpoint.pk, version_id=version.pk, deployment_id=version.deployment_id, revision=revision,
        warnings=warnings, **access_wish,
    )  # fmt: skip
    after = {"version": version.name, "revision": revision, **access_wish, **more}
    audit.record(action=action, on=endpoint, actor=actor, operation=op, after=after)
    return op


@transaction.atomic
def version_delete(*, endpoint: Endpoint, version: EndpointVersion, generation: int | None, actor: User) -> Operation:
    """Take a version off the split and remove its replicas; its share goes to the default.

    The default may go: `traffic.successor` says who follows. Raises InvalidTraffic (422) for the last version.
    """
    _only_versioned(endpoint, "has one version only; delete the service")
    found = rows.lock(endpoint, generation)
    before = [row.traffic() for row in found]
    after, heir = traffic.remove(before, version.name)
    EndpointVersion.objects.filter(pk=version.pk).update(is_default=False, is_control=False, traffic_percentile=0)
    rows.store([row for row in found if row.pk != version.pk], after)
    op = operations.start(
        kind=OperationKind.VERSION_DELETE, on=endpoint, actor=actor, endpoint_id=endpoint.pk, version_id=version.pk,
        deployment_id=version.deployment_id,
        warnings=[_heir(before, version.name, heir), *traffic.moved(before, after)],
    )  # fmt: skip
    _record("version.deleted", endpoint, actor, op, before, after, version=version.name, default=heir)
    return op


def _heir(before: Sequence[Version], name: str, heir: str) -> str:
    return f"{name} is deleted: its {traffic.plain(traffic.configured(before)[name])} % go to {heir}."


def _record(action: str, endpoint: Endpoint, actor: User, op: Operation, before: Any, after: Any, **more: Any) -> None:
    moved = traffic.moved(before, after)
    told = {"versions": rows.told(after), **({"moved": moved} if moved else {}), **more}
    audit.record(
        action=action, on=endpoint, actor=actor, operation=op, before={"versions": rows.told(before)}, after=told
    )


def _only_versioned(endpoint: Endpoint, why: str) -> None:
    if endpoint.kind != EndpointKind.VERSIONED:
        raise Invalid(f"{endpoint.name} is a service: it {why}.")
