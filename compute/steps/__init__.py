"""What a worker does with Azure and clusters, and the plans: which steps each operation has, with seconds allowed.

Detach and delete begin with what runs on the target, so `endpoints/steps` lines those plans up from the steps here.
"""

from __future__ import annotations

from compute.steps.abort import abort_work
from compute.steps.again import (
    autoscale_again,
    remove_again,
    remove_pool_again,
    scale_again,
    scale_pool_again,
    start_again,
    stop_again,
)
from compute.steps.attach import authorize_portal, inspect_cluster, reach_cluster
from compute.steps.autoscaler import (
    await_autoscaler,
    check_autoscaler,
    settle_autoscaler,
    submit_autoscaler,
)
from compute.steps.create import await_created, settle_created, submit_create
from compute.steps.drift import watch_target
from compute.steps.given import check_kubeconfig, settle_kubeconfig, store_kubeconfig
from compute.steps.inside import await_nodes, claim_cluster
from compute.steps.leftovers import verify_detached
from compute.steps.pool_checks import check_pool
from compute.steps.pools import (
    await_pool,
    await_pool_gone,
    await_pool_nodes,
    settle_pool,
    settle_pool_removal,
    submit_pool,
    submit_pool_removal,
    submit_pool_scale,
)
from compute.steps.power import await_power, settle_power, submit_power
from compute.steps.preflight import check_create
from compute.steps.removal import await_deleted, forget_target, settle_removal, submit_delete, verify_deleted
from compute.steps.scale import await_scaled, settle_scaled, submit_scale
from portal import operations
from portal.operations import Abort
from portal.types import OperationKind

__all__ = [
    "ABORT", "DELETE", "START", "abort_work", "await_deleted", "await_nodes", "await_power",
    "forget_target", "remove_again", "settle_power", "settle_removal", "start_again", "submit_delete", "submit_power",
    "verify_deleted", "verify_detached", "watch_target",
]  # fmt: skip

# Seconds that Azure usually takes for the long part, from recorded runs: from, to.
CREATE, SCALE, POOL, DELETE = (240, 720), (180, 240), (180, 300), (600, 720)
START, STOP, UPDATE = (240, 360), (90, 180), (60, 120)
ABORT = 900  # seconds that a cancel waits for Azure to stop its work

operations.define(
    OperationKind.COMPUTE_CREATE,
    (check_create, 300),
    (submit_create, 300),
    (await_created, 3600, CREATE),
    (await_nodes, 900),
    (claim_cluster, 120),
    settle=settle_created,
    abort=Abort(abort_work, ABORT, since=submit_create, until=await_created),
)
operations.define(
    OperationKind.COMPUTE_ATTACH,
    (inspect_cluster, 120),
    (authorize_portal, 900),
    (reach_cluster, 120),
    (claim_cluster, 120),
    settle=settle_created,
)
operations.define(
    OperationKind.COMPUTE_KUBECONFIG,
    (check_kubeconfig, 120),
    (store_kubeconfig, 60),
    settle=settle_kubeconfig,
)
operations.define(
    OperationKind.COMPUTE_SCALE,
    (submit_scale, 600),
    (await_scaled, 3600, SCALE),
    (await_nodes, 900),
    settle=settle_scaled,
    check=scale_again,
    abort=Abort(abort_work, ABORT, since=submit_scale, until=await_scaled),
)
operations.define(
    OperationKind.COMPUTE_STOP,
    (submit_power, 600),
    (await_power, 3600, STOP),
    settle=settle_power,
    check=stop_again,
    abort=Abort(abort_work, ABORT, since=submit_power, until=await_power),
)
operations.define(
    OperationKind.COMPUTE_AUTOSCALER,
    (check_autoscaler, 300),
    (submit_autoscaler, 600),
    (await_autoscaler, 3600, UPDATE),
    (await_nodes, 900),
    settle=settle_autoscaler,
    check=autoscale_again,
    abort=Abort(abort_work, ABORT, since=submit_autoscaler, until=await_autoscaler),
)
operations.define(
    OperationKind.POOL_ADD,
    (check_pool, 300),
    (submit_pool, 600),
    (await_pool, 3600, POOL),
    (await_pool_nodes, 900),
    settle=settle_pool,
    abort=Abort(abort_work, ABORT, since=submit_pool, until=await_pool),
)
operations.define(
    OperationKind.POOL_SCALE,
    (check_pool, 300),
    (submit_pool_scale, 600),
    (await_pool, 3600, POOL),
    (await_pool_nodes, 900),
    settle=settle_pool,
    check=scale_pool_again,
    abort=Abort(abort_work, ABORT, since=submit_pool_scale, until=await_pool),
)
operations.define(
    OperationKind.POOL_REMOVE,
    (submit_pool_removal, 600),
    (await_pool_gone, 3600),
    settle=settle_pool_removal,
    check=remove_pool_again,
)
