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
    """The namespace of a workspace's workloads, unless they name another; no other workspace or gateway has it."""
    label = clean(slug, 38)
    return f"slipway-{f'w-{label}' if label.startswith('gw-') else label}-{workspace_id}"


def gateway_namespace(target_id: int, slug: str) -> str:
    """A gateway's own namespace: another workspace's gateway on the same cluster has another."""
    return f"slipway-gw-{re.sub(r'[^a-z0-9-]', '-', slug.lower())[:38].strip('-') or 'x'}-{target_id}"


def named(name: str, instance: str, component: str) -> dict[str, str]:
    """The labels that Kubernetes recommends, for tools that group by them."""
    return {
        "app.kubernetes.io/name": name, "app.kubernetes.io/instance": clean(instance, 63),
        "app.kubernetes.io/component": component, "app.kubernetes.io/part-of": "slipway",
    }  # fmt: skip
