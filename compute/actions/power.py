"""Start and stop clusters, and set the autoscaler of their first pool. No socket is opened here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db import transaction
from django.db.models import F

from compute import options, platforms, power, queries, sizes
from compute.models import ComputeTarget
from compute.types import ComputeState, Power
from portal import audit, operations
from portal.models import Operation, User
from portal.operations.start import busy
from portal.problems import Conflict, Stale
from portal.types import OperationKind


class AlreadySo(Conflict):
    code, title = "power_unchanged", "The cluster is as it was asked for"


class NoPowerNow(Conflict):
    code, title = "power_not_now", "The cluster cannot be started or stopped now"


class StopsAnswering(Conflict):
    code, title = "stops_answering", "Something would stop answering"


class NotAutoscalable(Conflict):
    code, title = "not_autoscalable", "The autoscaler cannot be set now"


@transaction.atomic
def compute_target_start(*, target: ComputeTarget, actor: User, generation: int | None = None) -> Operation:
    """Start to start a stopped cluster. Raises AlreadySo, NoPowerNow or Busy (409), Stale (412)."""
    _check(target, Power.RUNNING)
    return _begin(target, Power.RUNNING, actor, generation, [])


@transaction.atomic
def compute_target_stop(
    *, target: ComputeTarget, actor: User, force: bool = False, generation: int | None = None
) -> Operation:
    """Start to stop a cluster: its nodes go, and cost nothing, until it is started.

    Raises StopsAnswering (409) with the names of what runs on it, unless forced; AlreadySo, NoPowerNow or Busy (409),
    Stale (412).
    """
    _check(target, Power.STOPPED)
    names, others = _served(target)
    if not force:
        check_silenced(target)
    told = _told(target, names, others)
    return _begin(target, Power.STOPPED, actor, generation, [told] if told else [], endpoints=names, others=others)


def check_silenced(target: ComputeTarget, known: Collection[str] = (), others_known: int = 0) -> None:
    """Whether a stop would silence more than is `known`. Raises StopsAnswering (409) with the names."""
    names, others = _served(target)
    if set(names) <= set(known) and others <= others_known:
        return
    words = f"{_told(target, names, others)} Force it to stop all the same."
    raise StopsAnswering(words, endpoints=names, other_workspaces=others)


def _served(target: ComputeTarget) -> tuple[list[str], int]:
    """What runs on the cluster by name, and how many other workspaces have it."""
    return queries.on_target(target=target), len(queries.attachments(target=target))


@transaction.atomic
def compute_target_autoscale(
    *, target: ComputeTarget, actor: User, min_count: int | None = None, max_count: int | None = None,
    node_count: int | None = None, generation: int | None = None,
) -> Operation:  # fmt: skip
    """Start to switch the autoscaler of the first pool on, or to change its bounds; with `node_count` it goes off.

    Raises BadOption or TooFewCores (422), NotAutoscalable, AlreadySo or Busy (409), Stale (412).
    """
    platforms.refuse_without_azure(target, "its nodes cannot be left to the load here")
    bounds = _bounds(min_count, max_count, node_count)
    least = node_count if bounds is None else bounds["min_count"]
    size, others = queries.pools(target=target)
    warnings = sizes.check_count(size=size, count=int(least or 0), purpose=target.purpose, others=others)
    _check_autoscalable(target)
    before = wanted_of(target)
    count = target.node_count if node_count is None else node_count
    after = {"autoscaler": bounds, "node_count": count}
    if before == after and not target.observed.get("drift"):
        raise AlreadySo(f"{target.name} has that already: {words(bounds, count)}.")
    _take(
        target, generation, config=power.config_of(target, bounds), node_count=count, state=ComputeState.UPDATING,
        reason="",
    )  # fmt: skip
    op = operations.start(
        kind=OperationKind.COMPUTE_AUTOSCALER, on=target, actor=actor, target_id=target.pk, wish=after, before=before,
        state_before=target.state, warnings=warnings,
    )  # fmt: skip
    audit.record(
        action="compute_target.autoscaler_set", on=target, actor=actor, operation=op, before=before, after=after
    )
    return op


def words(bounds: dict[str, int] | None, count: int) -> str:
    """What is wanted of the first pool, for people."""
    return f"{count} nodes, no autoscaler" if bounds is None else f"an autoscaler from {power.words(bounds)} nodes"


def _bounds(low: int | None, high: int | None, count: int | None) -> dict[str, int] | None:
    """The autoscaler's bounds, or None for off. Raises BadOption."""
    if low is None and high is None:
        if count is None:
            raise options.BadOption(
                "Give min_count and max_count to switch the autoscaler on, or node_count to switch it off."
            )
        return None
    if count is not None:
        raise options.BadOption("With min_count and max_count the autoscaler chooses the count: leave node_count out.")
    found: dict[str, int] = options.parse({"autoscaler": {"min_count": low, "max_count": high}}).values["autoscaler"]
    return found


def wanted_of(target: ComputeTarget) -> dict[str, Any]:
    """Bounds and count that are wanted of the first pool."""
    return {"autoscaler": power.bounds_wanted(target), "node_count": target.node_count}


def _check_autoscalable(target: ComputeTarget) -> None:
    _refuse_if_busy(target)
    queries.refuse_if_stopped(target, "its autoscaler can be set when it runs")
    if not queries.is_changeable(target):
        raise NotAutoscalable(f"{target.name} is {target.state}; its autoscaler can be set when it is Succeeded.")


def _refuse_if_busy(target: ComputeTarget) -> None:
    """Say busy before anything about states, which only mirror what is running."""
    if operations.active_on(target.ref):
        raise busy(target.ref, target.name)


def _check(target: ComputeTarget, wanted: Power) -> None:
    verb = "started" if wanted == Power.RUNNING else "stopped"
    platforms.refuse_without_azure(target, f"it cannot be {verb} here")
    _refuse_if_busy(target)
    if not queries.is_changeable(target):
        raise NoPowerNow(f"{target.name} is {target.state}; it can be {verb} when it is Succeeded.")
    if power.seen(target) == power.wanted(target) == wanted:
        raise AlreadySo(f"{target.name} is {'running' if wanted == Power.RUNNING else 'stopped'} already.")


def _told(target: ComputeTarget, names: list[str], others: int) -> str:
    """What a stop silences, in one sentence; empty when nothing."""
    parts = []
    if names:
        parts.append(
            f"{', '.join(names)} stop{'s' if len(names) == 1 else ''} answering while {target.name} is stopped."
        )
    if others:
        whom = "another workspace has" if others == 1 else f"{others} other workspaces have"
        parts.append(f"So does what {whom} on the same cluster.")
    return " ".join(parts)


def _begin(
    target: ComputeTarget, wanted: Power, actor: User, generation: int | None, warnings: list[str], **served: Any
) -> Operation:
    before = power.wanted(target).value
    _take(target, generation, config=power.config_with(target, wanted), state=ComputeState.UPDATING, reason="")
    is_on = wanted == Power.RUNNING
    op = operations.start(
        kind=OperationKind.COMPUTE_START if is_on else OperationKind.COMPUTE_STOP, on=target, actor=actor,
        target_id=target.pk, power=wanted.value, power_before=before, state_before=target.state, warnings=warnings,
        **served,
    )  # fmt: skip
    told = {name: value for name, value in served.items() if name == "endpoints"}
    audit.record(
        action=f"compute_target.{'started' if is_on else 'stopped'}", on=target, actor=actor, operation=op,
        before={"power_state": before}, after={"power_state": wanted.value, **told},
    )  # fmt: skip
    return op


def _take(target: ComputeTarget, generation: int | None, **facts: Any) -> None:
    wanted = target.generation if generation is None else generation
    rows = ComputeTarget.objects.filter(pk=target.pk, generation=wanted)
    if not rows.update(generation=F("generation") + 1, **facts):
        now = ComputeTarget.objects.get(pk=target.pk)
        raise Stale(
            f"{target.name} was changed meanwhile: it has {now.node_count} nodes now. Look again.",
            generation=now.generation, node_count=now.node_count,
        )  # fmt: skip
