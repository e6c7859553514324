"""How what the portal makes in clusters is called and marked, for who makes it and who looks for it. Pure."""

from __future__ import annotations

import re

MANAGED = {"app.kubernetes.io/managed-by": "slipway"}
SELECTOR = "app.kubernetes.io/managed-by=slipway"
LINUX = {"kubernetes.io/os": "linux"}  # the nodes that our pods can run on


def clean(text: str, most: int) -> str:
    """A DNS label of at most `most` characters that starts with a letter."""
    label = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    label = label if label[:1].isalpha() else f"d-{label}"
    return label[:most].strip("-")


def workspace_namespace(slug: str, workspace_id: int) -> str:
    """The namespace of a workspace's workloads, unless they name another; no other workspace has it."""
    return f"slipway-{clean(slug, 40)}-{workspace_id}"


def gateway_namespace(target_id: int, slug: str) -> str:
    """A gateway's own namespace: another workspace's gateway on the same cluster has another."""
    return f"slipway-gw-{slug[:38].strip('-')}-{target_id}"
