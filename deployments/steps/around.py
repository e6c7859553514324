"""What a workspace decides about all that runs, brought to its clusters: with each deployment, and by beat.

Outgoing connections, quotas and logins for registries are objects beside the replicas: none of them rolls a pod.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.utils.crypto import salted_hmac

from compute import names
from deployments import artifacts, manifests, queries, quotas, registries
from deployments.manifests import DeploymentView
from deployments.models import Deployment
from deployments.outgoing import Outgoing
from portal.models import Workspace

if TYPE_CHECKING:
    from compute.cluster import Cluster

OURS = "Namespace"


def decided(workspace: Workspace, images: Iterable[str]) -> dict[str, Any]:
    """The part of a deployment's picture that its workspace decides."""
    rules = queries.rules(workspace=workspace)
    logins = {row.server: (row.username, row.password) for row in queries.registry_logins(workspace=workspace)}
    return {
        "outgoing": Outgoing(rules.outgoing, tuple(rules.allowed)), "quota": quotas.hard(rules.quota),
        "login": registries.docker_config(logins, images),
    }  # fmt: skip


def apply(cluster: Cluster, row: Deployment, view: DeploymentView, *, force: bool = False) -> None:
    """Apply what is decided, take away what is no longer, and note what was applied."""
    known, objects = mark(row.workspace), manifests.around(view)
    ours = _is_ours(cluster, row.namespace)
    cluster.apply([each for each in objects if ours or each["kind"] != OURS], force=force)
    if not view.quota:
        cluster.remove("ResourceQuota", namespace=row.namespace, name=manifests.quota_name(view.workspace))
    Deployment.objects.filter(pk=row.pk).update(around=known)


def is_stale(row: Deployment) -> bool:
    """Whether the cluster has an older decision."""
    return row.around != mark(row.workspace)


def _is_ours(cluster: Cluster, namespace: str) -> bool:
    """Whether the portal made the namespace, or is to make it: our rules are not for what others run in theirs."""
    found = cluster.observe(OURS, name=namespace)
    return not found or names.MANAGED.items() <= (found[0]["metadata"].get("labels") or {}).items()


def mark(workspace: Workspace) -> str:
    """Changes whenever a workspace decides otherwise; tells nobody a password."""
    rules, logins = queries.rules(workspace=workspace), queries.registry_logins(workspace=workspace)
    passwords = [[row.server, row.username, row.password] for row in logins]
    told = [rules.outgoing, rules.allowed, rules.quota, passwords, artifacts.places()]
    return salted_hmac("deployments.around", json.dumps(told, sort_keys=True), algorithm="sha256").hexdigest()
