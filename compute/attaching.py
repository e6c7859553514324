"""What REST and page do alike for an attach: which kind of cluster is meant, its kubeconfig read at the door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compute import actions, options, queries
from compute.actions import given as given_actions
from portal.models import Operation, User, Workspace
from portal.problems import Invalid

OF_AZURE = ("cluster_id", "resource_group", "cluster_name", "authorize_range", "load_balancer")
OF_OTHERS = ("region", "gateway_service", "gateway_address")


def wish_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `compute_target_attach`, or with a kubeconfig of `compute_target_attach_given`.

    Raises Invalid, BadKubeconfig or AddressRefused (422).
    """
    text = str(data.get("kubeconfig") or "")
    barred, kind = (OF_AZURE, "another cluster") if text.strip() else (OF_OTHERS, "an AKS cluster")
    odd = [name for name in barred if data.get(name)]
    if odd:
        raise Invalid(
            f"{', '.join(odd)} {'does' if len(odd) == 1 else 'do'} not go with {kind}. Give either a kubeconfig, or "
            "an AKS cluster by its id or name."
        )
    config = {name: data[name] for name in sorted(options.ATTACHED) if data.get(name)}
    kept = {name: value for name, value in data.items() if name not in (*barred, *options.ATTACHED, "kubeconfig")}
    kept |= {"config": config}
    return kept | {"given": queries.given_cluster(text)} if text.strip() else kept


def attach(*, workspace: Workspace, actor: User, wish: dict[str, Any]) -> Operation:
    """Start the attach that a wish of `wish_of` asks for."""
    if "given" in wish:
        return given_actions.compute_target_attach_given(workspace=workspace, actor=actor, **wish)
    return actions.compute_target_attach(workspace=workspace, actor=actor, **wish)
