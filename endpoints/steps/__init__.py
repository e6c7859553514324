"""What a worker does for endpoints, and the plans: which steps each operation has, in order, with seconds allowed."""

from __future__ import annotations

from compute import steps as compute
from deployments import steps as deployments
from endpoints.steps.certificate import apply_entrance, confirm_certificate, publish_certificate
from endpoints.steps.install import await_gateway, install_gateway, put_back_gateway, remove_gateway
from endpoints.steps.removal import remove_endpoints, settle_target_removal
from endpoints.steps.restore import await_workloads, put_back_workloads
from endpoints.steps.scaling import release_scaler, settle_scalers
from endpoints.steps.settle import settle_deployed, settle_endpoint_removed, settle_version_removed
from endpoints.steps.versions import (
    confirm_loaded,
    confirm_routed,
    confirm_routes,
    confirm_unloaded,
    confirm_unrouted,
    drain_version,
    load_version,
    publish_routes,
    route_version,
    unload_version,
    unroute_version,
)
from endpoints.steps.wake import await_answers
from endpoints.steps.workloads import remove_workloads
from portal import operations
from portal.types import OperationKind as Kind

BUILD = ((deployments.start_environment, 120), (deployments.await_environment, 1800))
DEPLOY = (
    (deployments.apply_workload, 120),
    (install_gateway, 120),
    (deployments.await_replicas, 900),
    (await_gateway, 900),
)
STOP_BUILD = operations.Abort(
    deployments.abort_environment, 120, since=deployments.start_environment, until=deployments.await_environment
)
REACH = ((load_version, 60), (confirm_loaded, 120), (route_version, 60), (confirm_routed, 60), (settle_scalers, 60))
REMOVE = (
    (unroute_version, 60), (confirm_unrouted, 60), (drain_version, 400), (unload_version, 60), (confirm_unloaded, 60),
    (remove_workloads, 300),
)  # fmt: skip

for kind in (Kind.SERVICE_CREATE, Kind.ENDPOINT_CREATE, Kind.VERSION_CREATE):
    operations.define(kind, *BUILD, *DEPLOY, *REACH, settle=settle_deployed, abort=STOP_BUILD)
for kind in (Kind.SERVICE_UPDATE, Kind.VERSION_UPDATE):
    # The whole way again: after a create that failed, an update is what brings the service up.
    operations.define(
        kind, *BUILD, (release_scaler, 300), *DEPLOY, *REACH, undo=((deployments.restore_workload, 120),),
        settle=settle_deployed, abort=STOP_BUILD,
    )  # fmt: skip
operations.define(Kind.GATEWAY_UPDATE, (apply_entrance, 60), (publish_certificate, 60), (confirm_certificate, 120))
operations.define(Kind.ENDPOINT_UPDATE, (publish_routes, 60), (confirm_routes, 60))
operations.define(
    Kind.ENDPOINT_PUT_BACK,
    (put_back_workloads, 120), (install_gateway, 120), (await_workloads, 900), (await_gateway, 900),
    (publish_routes, 60), (confirm_routes, 60), (settle_scalers, 60),
)  # fmt: skip
operations.define(Kind.GATEWAY_PUT_BACK, (put_back_gateway, 120), (await_gateway, 900), (confirm_routes, 60))
operations.define(Kind.VERSION_DELETE, *REMOVE, settle=settle_version_removed)
for kind in (Kind.SERVICE_DELETE, Kind.ENDPOINT_DELETE):
    operations.define(kind, *REMOVE, settle=settle_endpoint_removed)
operations.define(
    Kind.COMPUTE_DETACH,
    (remove_endpoints, 300),
    (remove_gateway, 300),
    (compute.forget_target, 120),
    (compute.verify_detached, 300),
    settle=settle_target_removal,
    check=compute.remove_again,
)
# A cluster is back when what it served answers again.
operations.define(
    Kind.COMPUTE_START,
    (compute.submit_power, 600),
    (compute.await_power, 3600, compute.START),
    (compute.await_nodes, 900),
    (await_answers, 900),
    settle=compute.settle_power,
    check=compute.start_again,
    abort=operations.Abort(compute.abort_work, compute.ABORT, since=compute.submit_power, until=compute.await_power),
)
# A deleted cluster takes all that runs on it along: nothing is taken out of it before.
operations.define(
    Kind.COMPUTE_DELETE,
    (compute.submit_delete, 600),
    (compute.await_deleted, 3600, compute.DELETE),
    (compute.verify_deleted, 900),
    settle=settle_target_removal,
    check=compute.remove_again,
)
