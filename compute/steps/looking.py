"""What every attach looks at, however the cluster is known: who has it besides, and what it shows of itself."""

from __future__ import annotations

from compute import attach_checks, preflight, queries
from compute.models import ComputeTarget
from compute.steps import preflight as checks
from compute.steps.inside import look
from compute.types import Finding, Inside
from portal.problems import Problem


class AttachFailed(checks.PreflightFailed):
    title = "The cluster cannot be attached"


def joined(rules: list[Problem], findings: list[Finding]) -> list[Finding]:
    """Our own rules first; what one of them says already is not said twice."""
    said = {problem.code for problem in rules}
    return [*(preflight.rule(problem) for problem in rules), *(each for each in findings if each.code not in said)]


def others_with(target: ComputeTarget) -> tuple[list[str], int]:
    """Workspaces of the same team that have the cluster, and how many of other teams."""
    team = target.workspace.team_id
    rows = queries.attachments(target=target)
    return sorted(row.workspace.name for row in rows if row.workspace.team_id == team), sum(
        1 for row in rows if row.workspace.team_id != team
    )


def look_inside(target: ComputeTarget) -> Inside:
    """What the cluster shows of itself. Opens a connection of its own; asks no database."""
    cluster = queries.connect_anew(target)
    try:
        return look(cluster)
    finally:
        cluster.close()


def seen_findings(target: ComputeTarget, seen: Inside, is_entra: bool = False) -> list[Finding]:
    """What is found inside a cluster that answers: rights, the same cluster under another name, and other portals."""
    name, target.cluster_uid = target.cluster_name, seen.uid
    twin = queries.twin(target=target)
    return [
        *attach_checks.inside(name, target.cluster_id, seen.missing, is_entra),
        *(attach_checks.twice(name, twin.name) if twin else []),
        *attach_checks.owners(name, seen.notes, queries.installation(), target.workspace.slug),
    ]
