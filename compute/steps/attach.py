"""Attach an existing cluster: find all that stands against it, let the portal in, reach its API server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from compute import actions, attach_checks, options, platforms, preflight, queries, rights, sizes
from compute.arm import Arm, ArmDenied, ArmNotFound
from compute.attach_checks import covers
from compute.cluster import Unauthorized
from compute.models import ComputeTarget
from compute.steps import preflight as checks
from compute.steps.given import given_findings, inspect_given
from compute.steps.inside import store_observed, with_room
from compute.steps.looking import AttachFailed, joined, look_inside, others_with, seen_findings
from compute.steps.waiting import (
    AttachRefused,
    accept,
    arm_for,
    follow,
    mark,
    patient,
    settled_view,
    submit,
    target_of,
    view_of,
)
from compute.types import ClusterView, ComputeState, Finding, Purpose, VmSize
from portal.models import Operation, Workspace
from portal.problems import Problem, Retryable
from portal.types import Wait

TRIES_TO_REACH = 4
Trouble = Retryable | None


@patient
def inspect_cluster(op: Operation) -> Wait | None:
    """Fail with all findings when the cluster cannot serve; else take size, count and version from Azure."""
    target = target_of(op)
    mark(target, ComputeState.CREATING)
    if not target.is_azure:
        return inspect_given(op, target)
    view, findings, trouble = cluster_findings(target, arm_for(target), str(op.input.get("authorize_range") or ""))
    if view is None and trouble is not None:  # nothing is known yet, whatever else was found
        raise trouble
    try:
        checks.conclude(op, findings, trouble)
    except checks.PreflightFailed as failed:
        raise AttachFailed(failed.detail, **failed.extras) from None
    if view is None:  # unreachable: its absence is an error among the findings
        raise AttachRefused(f"Azure has no cluster {target.cluster_name} in {target.resource_group}.")
    _take(target, view, sizes.find(view.vm_size))
    op.memo["ranges"] = list(view.authorized_ip_ranges)
    warnings = sizes.check_cores(parts=_parts(view), purpose=target.purpose)
    warnings += [each.message for each in findings if each.level == preflight.WARNING]
    op.memo["warnings"] = [warning for warning in warnings if warning not in op.input.get("warnings", [])]
    return None


def attach_findings(*, workspace: Workspace, wish: dict[str, Any]) -> list[Finding]:
    """All findings about an attach call or form: our own rules first, then what Azure and the cluster say.

    `wish` has the keyword arguments of `compute_target_attach`, or of `compute_target_attach_given` where it has a
    `given`. It takes up to 15 s for each of two rounds.
    """
    if "given" in wish:
        return given_findings(workspace=workspace, wish=wish)
    rules: list[Problem] = []
    wanted = checks.attempt(rules, lambda: options.check_range(wish.get("authorize_range") or "")) or ""
    checks.attempt(rules, lambda: options.check_name(wish["name"]))
    checks.attempt(rules, lambda: options.parse(wish.get("config") or {}, options.ATTACHED))
    checks.attempt(rules, lambda: actions.check_free(workspace, wish["name"], actions.region_of(workspace.region)))
    names = [wish.get(name) or "" for name in ("cluster_id", "resource_group", "cluster_name")]
    which = checks.attempt(rules, lambda: actions.which_cluster(workspace, *names))
    if which is None:
        return joined(rules, [])
    checks.attempt(rules, lambda: actions.check_not_attached(workspace, *which))
    target = ComputeTarget(
        workspace=workspace, subscription_id=which[0], resource_group=which[1], cluster_name=which[2],
        purpose=wish.get("purpose") or Purpose.FAST_PROD,
    )  # fmt: skip
    return joined(rules, cluster_findings(target, arm_for(target), wanted)[1])


def cluster_findings(target: ComputeTarget, arm: Arm, wanted: str) -> tuple[ClusterView | None, list[Finding], Trouble]:
    """The cluster, all findings about it, and what may pass by itself. `target` may be a row not yet saved."""
    reads = {"view": lambda: view_of(target, arm), "rights": lambda: arm.reads.rights(target.cluster_id)}
    answers = checks.ask(arm, reads)
    if "denied" in answers:
        return None, [answers["denied"]], None
    view = answers["view"]
    may = _permission(answers["rights"], target, wanted)
    if isinstance(view, Retryable):
        words = f"Azure could not be asked about {target.cluster_name}: {view.detail}"
        return None, [Finding("cluster_unknown", preflight.ERROR, words, "Try again in a moment."), *may], view
    if isinstance(view, Problem):
        words = f"Azure does not let the workspace read {target.cluster_name}: {view.detail}"
        findings = [
            Finding("cluster_unreadable", preflight.ERROR, words, "Give its identity the role Reader there."),
            *may,
        ]
        return None, findings, None
    there = attach_checks.existence(view, target.resource_group, target.cluster_name)
    if view is None:
        return None, there, None
    outside, trouble = _outside(target, arm, view, wanted)
    return view, [*there, *may, *outside], trouble


def _permission(rows: Any, target: ComputeTarget, wanted: str) -> list[Finding]:
    if isinstance(rows, ArmNotFound):
        return []
    if isinstance(rows, Problem | Retryable):
        return [preflight.unknown("permission_unknown", "What the workspace's identity may do", rows.detail)]
    needed, role = (
        (rights.AUTHORIZE_ACTIONS, rights.CLUSTER_ROLE) if wanted else (rights.ATTACH_ACTIONS, rights.ATTACH_ROLE)
    )
    return preflight.permitted(rows, needed, target.cluster_id, role)


def _outside(target: ComputeTarget, arm: Arm, view: ClusterView, wanted: str) -> tuple[list[Finding], Trouble]:
    """What Azure shows of the cluster, who else has it, and what its API server says."""
    adds = bool(wanted and view.authorized_ip_ranges and not covers(view.authorized_ip_ranges, wanted))
    reads: dict[str, Callable[[], Any]] = {
        "versions": lambda: [version.name for version in arm.versions(view.region)],
    }
    if not view.is_stopped and not adds:  # till its range is added nothing answers
        reads["inside"] = lambda: look_inside(target)
    answers = checks.gather(reads)
    versions = answers["versions"]
    unsaid = isinstance(versions, Problem | Retryable)
    inside = answers.get("inside")
    rows = _inside_findings(target, view, inside)
    proved = bool(view.authorized_ip_ranges) and any(row.code == "reachable" for row in rows)
    findings = [
        *attach_checks.state(view), *attach_checks.power(view),
        *attach_checks.version(view, [] if unsaid else versions), *_cores(view, target.purpose),
        *attach_checks.elsewhere(view.name, *others_with(target)),
        *([] if proved else attach_checks.ranges(view, settings.OUTGOING_RANGES, wanted)),
        *attach_checks.sign_in(view), *rows,
    ]  # fmt: skip
    return findings, inside if isinstance(inside, Retryable) else versions if isinstance(versions, Retryable) else None


def _parts(view: ClusterView) -> list[sizes.Pool]:
    return [(sizes.find(size), count) for _, size, count in view.pools]


def _cores(view: ClusterView, purpose: str) -> list[Finding]:
    try:
        parts = _parts(view)
        sizes.check_cores(parts=parts, purpose=purpose)
    except Problem as problem:
        return [preflight.rule(problem)]
    total = sum(size.vcpus * count for size, count in parts)
    return [Finding("vcpus", preflight.OK, f"{view.name} has {total} vCPUs in all.", facts={"vcpus": total})]


def _inside_findings(target: ComputeTarget, view: ClusterView, seen: Any) -> list[Finding]:
    if seen is None:
        return []
    if isinstance(seen, ArmDenied) or (isinstance(seen, Problem) and seen.code.startswith("azure")):
        words = f"Azure does not hand out the credential of {view.name}: {seen.detail}"
        return [Finding("credential_refused", preflight.ERROR, words, f'Give the role "{rights.ATTACH_ROLE}".')]
    if isinstance(seen, Unauthorized):
        return attach_checks.turned_away(view.name, target.cluster_id, seen.detail, view.is_entra)
    if isinstance(seen, Problem | Retryable):
        return attach_checks.reached(view.name, seen.detail, view.authorized_ip_ranges)
    return [*attach_checks.reached(view.name, "", ()), *seen_findings(target, seen, view.is_entra)]


def _take(target: ComputeTarget, view: ClusterView, size: VmSize) -> None:
    fields: dict[str, Any] = {
        "region": view.region, "vm_size": size.name, "vcpus": size.vcpus, "memory_gb": size.memory_gb,
        "gpus": size.gpus, "node_count": view.node_count, "kubernetes_version": view.kubernetes_version,
        "tags": view.tags, "config": {**target.config, **({"private_cluster": True} if view.is_private else {})},
    }  # fmt: skip
    try:
        with transaction.atomic():
            ComputeTarget.objects.filter(pk=target.pk).update(**fields)
    except IntegrityError:
        raise AttachRefused(f"The name {target.name} is taken in the cluster's region ({view.region}).") from None
    store_observed(target, view, None)


@patient
def authorize_portal(op: Operation) -> Wait | None:
    """Add the portal's range to the authorized ones where that was asked for and is missing."""
    wanted, ranges = op.input.get("authorize_range"), op.memo.get("ranges") or []
    if not wanted or not ranges or covers(ranges, wanted):
        return None
    target = target_of(op)
    arm = arm_for(target)
    if not op.memo.get("accepted"):
        view = view_of(target, arm)
        if view is not None and covers(list(view.authorized_ip_ranges), wanted):
            accept(op, None)
        else:
            submit(op, lambda: arm.authorize(target.resource_group, target.cluster_name, [*ranges, wanted]))
    wait = follow(op, target, arm)
    if wait is None:
        settled_view(op, target, arm)
    return wait


@patient
def reach_cluster(op: Operation) -> Wait | None:
    """Talk to the API server, or say why it cannot be reached."""
    target = target_of(op)
    try:
        cluster = queries.open_cluster(target)
        cluster.version()
        found = cluster.observe("Node")
        store_observed(target, None, with_room(cluster, found if target.is_azure else platforms.usable(found)))
    except Retryable as trouble:
        if op.memo.get("troubles", 0) + 1 < TRIES_TO_REACH:
            raise
        words = attach_checks.unreachable(target.cluster_name, op.memo.get("ranges") or [], trouble.detail)
        raise AttachRefused(" ".join(words)) from None
    return None
