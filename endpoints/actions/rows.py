"""What several actions do to rows: lock by generation, store a split, check names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.db.models import F

from compute import queries as compute
from compute.models import ComputeTarget
from compute.types import ComputeState
from deployments.config import DeploymentConfig
from deployments.types import DeploymentSpec
from endpoints import queries, traffic
from endpoints.models import Endpoint, EndpointVersion
from endpoints.types import Version
from portal.problems import Conflict, Invalid, NotFound, Stale

SERVICE_NAME = re.compile(r"[a-z]([a-z0-9-]{1,30}[a-z0-9])")
VERSION_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
DEPLOYABLE = (ComputeState.SUCCEEDED, ComputeState.SCALING, ComputeState.UPDATING)


class TargetNotReady(Conflict):
    code, title = "target_not_ready", "Nothing can be deployed to this compute target now"


def check_name(name: str) -> None:
    """A service's or endpoint's name is part of its URI."""
    if not SERVICE_NAME.fullmatch(name) or len(name) > 32:
        raise Invalid(
            f"{name!r} cannot be a name: 3 to 32 lower-case letters, digits and -, starting with a letter and ending "
            "with a letter or digit, e.g. iris-2."
        )


def check_version_name(name: str) -> None:
    """A version's name is a header value and part of names in the gateway."""
    if not VERSION_NAME.fullmatch(name):
        raise Invalid(
            f"{name!r} cannot be a version: 1 to 32 lower-case letters, digits and -, with a letter or digit at both "
            "ends, e.g. v2."
        )


def check_target(target: ComputeTarget) -> None:
    """Only a compute target that is there and stays takes deployments."""
    is_cancelled = target.state == ComputeState.CANCELED and compute.was_made(target)  # a change of it was
    if target.state not in DEPLOYABLE and not is_cancelled:
        raise TargetNotReady(
            f"{target.name} is {target.state}; a compute target takes deployments when it is "
            f"{ComputeState.SUCCEEDED.value}."
        )
    compute.refuse_if_stopped(target, "it takes deployments when it runs")


def lock(endpoint: Endpoint, generation: int | None) -> list[EndpointVersion]:
    """Take the next generation and the rows of versions. Raises Stale (412) with the split, ClusterStopped (409)."""
    compute.refuse_if_stopped(endpoint.compute_target, f"{endpoint.name} can change when it runs")
    wanted = Endpoint.objects.filter(pk=endpoint.pk)
    if generation is not None:
        wanted = wanted.filter(generation=generation)
    if not wanted.update(generation=F("generation") + 1):
        raise stale(endpoint, generation)
    endpoint.refresh_from_db()
    return list(EndpointVersion.objects.select_related("deployment").filter(endpoint=endpoint).order_by("pk"))


def stale(endpoint: Endpoint, generation: int | None) -> Stale:
    """The 412 that carries what is true now, so that the page can show it."""
    now = Endpoint.objects.prefetch_related("versions__deployment").filter(pk=endpoint.pk).first()
    if now is None:
        raise NotFound(f"{endpoint.name} was deleted meanwhile.")
    return Stale(
        f"{now.name} is at generation {now.generation}, you started from {generation}. "
        "Look at the present split and apply again.",
        generation=now.generation,
        versions=queries.split(endpoint=now),
    )


def store(rows: Sequence[EndpointVersion], after: Sequence[Version]) -> None:
    """Write a split. Flags are cleared before they are set, since the database allows one of each at any moment."""
    wanted = {version.name: version for version in after}
    pks = [row.pk for row in rows]
    for flag in ("is_default", "is_control"):
        keep = [row.pk for row in rows if row.name in wanted and getattr(wanted[row.name], flag)]
        EndpointVersion.objects.filter(pk__in=pks).exclude(pk__in=keep).update(**{flag: False})
        EndpointVersion.objects.filter(pk__in=keep).update(**{flag: True})
    for row in rows:
        if row.name in wanted:
            EndpointVersion.objects.filter(pk=row.pk).update(traffic_percentile=wanted[row.name].percentile)


def warnings(spec: DeploymentSpec) -> list[str]:
    """What a deployment configuration asks for that is accepted and not done: never silently."""
    has_insights = bool(spec.environment.workspace.app_insights)
    return list(DeploymentConfig.parse(spec.config).warnings_in(has_insights=has_insights))


def told(versions: Sequence[Version]) -> dict[str, Any]:
    """A split as history keeps it."""
    shares = traffic.configured(versions)
    return {
        version.name: {
            "traffic_percentile": traffic.plain(version.percentile), "share": traffic.plain(shares[version.name]),
            "is_default": version.is_default, "is_control": version.is_control,
        }
        for version in versions
    }  # fmt: skip
