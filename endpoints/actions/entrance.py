"""How callers reach the gateway of a cluster outside of Azure, where a load balancer may never get an address."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F

from compute import options
from compute import queries as compute
from compute.models import ComputeTarget
from portal import audit, operations
from portal.models import Operation, User
from portal.operations.start import busy
from portal.problems import Conflict
from portal.types import OperationKind


class EntranceOfAzure(Conflict):
    code, title = "entrance_of_azure", "Azure's load balancer is the entrance"


class NoEntranceNow(Conflict):
    code, title = "no_entrance_now", "The entrance cannot be changed now"


class EntranceUnchanged(Conflict):
    code, title = "entrance_unchanged", "The entrance is as it was asked for"


@transaction.atomic
def entrance_set(
    *, target: ComputeTarget, actor: User, gateway_service: str = "", gateway_address: str = ""
) -> Operation:
    """Reach the gateway by a load balancer or by a port of the nodes, at the address that is given; scoring addresses
    change with it.

    Raises BadOption (422); EntranceOfAzure, NoEntranceNow, EntranceUnchanged or Busy (409). Should the cluster be out
    of reach, the operation fails and the next change of what runs there brings it.
    """
    if target.is_azure:
        raise EntranceOfAzure(
            f"{target.name} is an AKS cluster: callers reach it by its load balancer, as it was made."
        )
    if operations.active_on(target.ref):
        raise busy(target.ref, target.name)
    if not compute.is_changeable(target):
        raise NoEntranceNow(f"{target.name} is {target.state}; its entrance can be changed when it is Succeeded.")
    wanted = options.gateway_of({"gateway_service": gateway_service, "gateway_address": gateway_address})
    before = target.config.get("gateway") or {}
    if wanted == before:
        raise EntranceUnchanged(f"The gateway of {target.name} is reached that way already.")
    rest = {name: value for name, value in target.config.items() if name != "gateway"}
    config = rest | ({"gateway": wanted} if wanted else {})
    ComputeTarget.objects.filter(pk=target.pk).update(generation=F("generation") + 1, config=config)
    op = operations.start(
        kind=OperationKind.GATEWAY_UPDATE, on=target, actor=actor, target_id=target.pk, entrance=wanted
    )
    audit.record(
        action="gateway.entrance_set", on=target, actor=actor, operation=op, before={"gateway": before},
        after={"gateway": wanted},
    )  # fmt: skip
    return op
