"""Every write of compute targets; those of node pools are in `pools`, of power and autoscaler in `power`."""

from __future__ import annotations

from compute.actions.targets import (
    NotScalable,
    check_free,
    check_nodes,
    check_not_attached,
    check_server_free,
    check_unused,
    compute_target_adopt,
    compute_target_attach,
    compute_target_create,
    compute_target_delete,
    compute_target_detach,
    compute_target_reveal,
    compute_target_scale,
    region_of,
    which_cluster,
)

__all__ = [
    "NotScalable", "check_free", "check_nodes", "check_not_attached", "check_server_free", "check_unused",
    "compute_target_adopt", "compute_target_attach", "compute_target_create", "compute_target_delete",
    "compute_target_detach", "compute_target_reveal", "compute_target_scale", "region_of", "which_cluster",
]  # fmt: skip
