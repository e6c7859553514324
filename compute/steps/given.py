"""Clusters that are known by a kubeconfig only: looked at before an attach, watched, and given a newer kubeconfig."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from compute import actions, attach_checks, options, platforms, preflight, queries, sizes
from compute.cluster import Unauthorized
from compute.models import ComputeTarget
from compute.steps import preflight as checks
from compute.steps.inside import identity, store_observed, with_room
from compute.steps.looking import AttachFailed, joined, look_inside, others_with, seen_findings
from compute.steps.waiting import AttachRefused, patient, target_of
from compute.types import ComputeState, Finding, Inside, Platform, Purpose
from portal.models import Operation, Workspace
from portal.problems import Invalid, Problem, Retryable
from portal.types import OperationState, Wait

log = structlog.get_logger(__name__)
ARCHITECTURE = "kubernetes.io/arch"
Trouble = Retryable | None


class KubeconfigRefused(AttachFailed):
    title = "The kubeconfig cannot be used"


class NotKept(Invalid):
    code, title = "kubeconfig_not_kept", "The kubeconfig is not there any more"


def inspect_given(op: Operation, target: ComputeTarget) -> Wait | None:
    """Fail with all findings when the cluster cannot serve; else take its version and nodes."""
    findings, seen, trouble = _findings(target)
    _conclude(op, findings, trouble, AttachFailed)
    if seen is None:  # unreachable: an error among the findings
        raise AttachRefused(f"{target.cluster_name} was not seen.")
    _take(target, seen)
    told = [each.message for each in findings if each.level == preflight.WARNING]
    told += sizes.check_cores(parts=platforms.machines(seen.nodes), purpose=target.purpose)
    op.memo["warnings"] = [warning for warning in told if warning not in op.input.get("warnings", [])]
    return None


def given_findings(*, workspace: Workspace, wish: dict[str, Any]) -> list[Finding]:
    """All findings about an attach by kubeconfig: our own rules first, then what the cluster says. At most 15 s."""
    rules: list[Problem] = []
    given = wish["given"]
    region = str(wish.get("region") or "").strip() or actions.region_of(workspace.region)
    checks.attempt(rules, lambda: options.check_name(wish["name"]))
    checks.attempt(rules, lambda: actions.check_free(workspace, wish["name"], region))
    checks.attempt(rules, lambda: actions.check_server_free(workspace, given))
    checks.attempt(rules, lambda: options.gateway_of(wish))
    checks.attempt(rules, lambda: options.parse_given(wish.get("config") or {}))
    target = ComputeTarget(
        workspace=workspace, platform=Platform.KUBERNETES, cluster_name=given.name, server=given.server,
        access=given.kept, access_ends_at=given.ends, purpose=wish.get("purpose") or Purpose.FAST_PROD,
    )  # fmt: skip
    return joined(rules, _findings(target)[0])


def _findings(target: ComputeTarget) -> tuple[list[Finding], Inside | None, Trouble]:
    """All findings about a cluster, what it shows, and what may pass by itself. `target` may be a row not yet saved."""
    name, seen = target.cluster_name, checks.gather({"inside": lambda: look_inside(target)})["inside"]
    ends = attach_checks.credential_end(target.access_ends_at, timezone.now())
    if isinstance(seen, Unauthorized):
        return [*attach_checks.turned_away(name, "", seen.detail, is_entra=False), *ends], None, None
    if isinstance(seen, Problem | Retryable):
        slow = isinstance(seen, checks.TooSlow)
        words = f"It did not answer within {checks.CAP_SECONDS:g} s." if slow else seen.detail
        trouble = seen if isinstance(seen, Retryable) else None
        return [*attach_checks.reached(name, words, ()), *ends], None, trouble
    findings = [
        *attach_checks.reached(name, "", ()), *attach_checks.window(name, seen.version), *_nodes(target, seen),
        *attach_checks.elsewhere(name, *others_with(target)), *seen_findings(target, seen), *ends,
    ]  # fmt: skip
    return findings, seen, None


def _nodes(target: ComputeTarget, seen: Inside) -> list[Finding]:
    """Whether there are nodes for replicas, with enough vCPUs for the purpose, of the usual processors."""
    name, parts = target.cluster_name, platforms.machines(seen.nodes)
    if not parts:
        if "list nodes" in " ".join(seen.missing) or seen.missing:
            return []  # the missing right is told
        words = f"{name} has no node of Linux that replicas can run on."
        return [Finding("no_nodes", preflight.ERROR, words, "Add a node, or take its taints away.")]
    labels = [(node.get("metadata") or {}).get("labels") or {} for node in platforms.usable(seen.nodes)]
    kinds = Counter(str(each.get(ARCHITECTURE) or "amd64") for each in labels)
    try:
        sizes.check_cores(parts=parts, purpose=target.purpose)
    except Problem as problem:
        return [preflight.rule(problem), *attach_checks.processors(name, kinds)]
    total, count = sum(size.vcpus * number for size, number in parts), sum(number for _, number in parts)
    words = f"{name} has {total} vCPUs on {count} node{'s' if count > 1 else ''}."
    return [Finding("vcpus", preflight.OK, words, facts={"vcpus": total}), *attach_checks.processors(name, kinds)]


def _conclude(op: Operation, findings: list[Finding], trouble: Trouble, refused: type[AttachFailed]) -> None:
    try:
        checks.conclude(op, findings, trouble)
    except checks.PreflightFailed as failed:
        raise refused(failed.detail, **failed.extras) from None


def _take(target: ComputeTarget, seen: Inside) -> None:
    """Write what the cluster shows into the row. Raises AttachRefused when the workspace has it already."""
    observed = {**target.observed, "kubernetes_version": seen.version}
    facts = {**_machines(seen.nodes), "cluster_uid": seen.uid, "observed": observed}
    try:
        with transaction.atomic():
            ComputeTarget.objects.filter(pk=target.pk).update(**facts)
    except IntegrityError:
        raise AttachRefused(f"The workspace has the cluster of {target.name} already, under another name.") from None


def _machines(nodes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Count and size as the row has them: the biggest node's, since what fits there fits."""
    parts = platforms.machines(nodes)
    size = platforms.largest(parts)
    return {
        "vm_size": size.name, "vcpus": size.vcpus, "memory_gb": size.memory_gb, "gpus": size.gpus,
        "node_count": sum(count for _, count in parts),
    }  # fmt: skip


def watch_given(target: ComputeTarget) -> None:
    """Look at the cluster and write what was seen; nothing there is wanted by the portal, so nothing differs."""
    began = timezone.now()
    seen: dict[str, Any] = {}
    try:
        cluster = queries.open_cluster(target)
        uid, raw = identity(cluster), cluster.observe("Node")
        nodes = with_room(cluster, platforms.usable(raw))
        seen = {"nodes": nodes, "machines": _machines(raw), "version": cluster.version()}
        state, reason = _verdict(target, uid)
    except (Problem, Retryable) as trouble:
        log.info("cluster_unseen", target=target.ref, reason=trouble.detail)
        state, reason = _unseen(target, trouble)
    if queries.changed_since(target, began):
        return
    if seen:
        target.observed = {**target.observed, "kubernetes_version": seen["version"]}
        target.observed.pop("silent_since", None)
        store_observed(target, None, seen["nodes"])
        ComputeTarget.objects.filter(pk=target.pk).update(**seen["machines"])
    if (state, reason) != (target.state, target.reason):
        rows = ComputeTarget.objects.filter(pk=target.pk, state=target.state, generation=target.generation)
        rows.update(state=state, reason=reason)


def _verdict(target: ComputeTarget, uid: str) -> tuple[str, str]:
    """State and reason of a cluster that answered. An attach that never ended well is not mended by looking."""
    if target.state in (ComputeState.FAILED, ComputeState.CANCELED) and not queries.was_made(target):
        return target.state, target.reason
    if target.cluster_uid and uid and uid != target.cluster_uid:
        return ComputeState.FAILED, (
            f"Another cluster answers at {target.server} than the one that was attached: what the portal had there is "
            "gone. Detach it, and attach the new one."
        )
    return ComputeState.SUCCEEDED, ending_words(target, timezone.now())


def ending_words(target: ComputeTarget, now: datetime) -> str:
    """What to say about a credential that ends soon; empty while it lasts, or names no end."""
    ends = target.access_ends_at
    if ends is None or ends - now >= attach_checks.SOON:
        return ""
    when = f"{ends:%Y-%m-%d %H:%M} UTC"
    if ends <= now:
        return f"The kubeconfig's credential ended on {when}. Replace the kubeconfig."
    days = (ends - now).days
    left = f"in {days} day{'s' if days > 1 else ''}" if days else "within a day"
    return f"The kubeconfig's credential ends {left} ({when}). Replace the kubeconfig before."


def _unseen(target: ComputeTarget, trouble: Problem | Retryable) -> tuple[str, str]:
    """State and reason of a cluster that keeps the portal out, or is silent."""
    if target.state in (ComputeState.FAILED, ComputeState.CANCELED) and not queries.was_made(target):
        return target.state, target.reason
    now = timezone.now()
    has_ended = target.access_ends_at is not None and target.access_ends_at <= now
    if isinstance(trouble, Problem) or has_ended:  # a certificate that has ended is hung up on, not answered
        ended = ending_words(target, now) if has_ended else ""
        why = ended or f"{trouble.detail} Replace the kubeconfig, or give its account its rights back."
        return ComputeState.FAILED, f"The API server of {target.cluster_name} does not take the portal: {why}"
    since = target.observed.get("silent_since") or timezone.now().isoformat(timespec="seconds")
    if "silent_since" not in target.observed:
        target.observed = {**target.observed, "silent_since": since}
        ComputeTarget.objects.filter(pk=target.pk).update(observed=target.observed)
    began = parse_datetime(since)
    told = f"{began:%Y-%m-%d %H:%M} UTC" if began else since
    return target.state, f"The API server of {target.cluster_name} has not answered since {told}: {trouble.detail}"


@patient
def check_kubeconfig(op: Operation) -> Wait | None:
    """Fail with all findings when the newer kubeconfig does not let the portal into the same cluster."""
    target = target_of(op)
    if not target.access_next:
        raise NotKept("A kubeconfig that was refused is not kept. Give it again.")
    newer = ComputeTarget(
        pk=target.pk, workspace=target.workspace, platform=target.platform, cluster_name=target.cluster_name,
        purpose=target.purpose, server=op.input["server"], access=target.access_next, access_ends_at=_ends(op),
    )  # fmt: skip
    findings, seen, trouble = _findings(newer)
    if seen is not None and target.cluster_uid and seen.uid and seen.uid != target.cluster_uid:
        words = f"{op.input['server']} is another cluster than the one that is attached as {target.name}."
        fix = "Give a kubeconfig of the same cluster, or attach this one under a name of its own."
        findings.insert(0, Finding("another_cluster", preflight.ERROR, words, fix))
    _conclude(op, findings, trouble, KubeconfigRefused)
    return None


def _ends(op: Operation) -> datetime | None:
    return parse_datetime(op.input["ends"]) if op.input.get("ends") else None


@patient
def store_kubeconfig(op: Operation) -> Wait | None:
    """Use the newer kubeconfig from now on."""
    target = target_of(op)
    if not target.access_next:  # done before
        return None
    facts = {"access": target.access_next, "server": op.input["server"], "access_ends_at": _ends(op)}
    try:
        with transaction.atomic():
            ComputeTarget.objects.filter(pk=target.pk).update(access_next="", **facts)
    except IntegrityError:
        raise AttachRefused(f"The workspace has a target with the server {op.input['server']} already.") from None
    queries.forget_cluster(target)
    return None


def settle_kubeconfig(op: Operation) -> None:
    """What was refused is not kept; a cluster that kept the portal out is well again."""
    rows = ComputeTarget.objects.filter(pk=op.input["target_id"])
    rows.update(access_next="")
    if op.state == OperationState.SUCCEEDED:
        rows.filter(state=ComputeState.FAILED, node_count__gt=0).update(state=ComputeState.SUCCEEDED)
        rows.update(reason="")
