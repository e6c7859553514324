"""Put a gateway into a cluster with the first endpoint, and take it away with the last compute target."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from compute import edge, ownership
from compute import queries as compute
from compute.steps.reaching import reached
from deployments.steps import why
from endpoints import actions, issuing
from endpoints import gateway as builder
from endpoints.models import Endpoint, Gateway
from endpoints.steps import entrance, picture, publish
from endpoints.types import GatewayState
from portal.models import Operation
from portal.problems import Problem
from portal.types import Wait

if TYPE_CHECKING:
    from compute.cluster import Cluster


class GatewayFailed(Problem):
    status, code, title = 422, "gateway_failed", "The gateway did not get ready"


GATEWAY_PATIENCE = 30.0  # seconds: one that served may have ended several times in its life, and starts again
BEFORE = ("Namespace", "PriorityClass", "ServiceAccount", "Role", "RoleBinding")
PUBLISHED = tuple(builder.HOLDERS.values())


def install_gateway(op: Operation) -> Wait | None:
    """Apply the gateway's objects when they are not there yet or differ, e.g. because of one more namespace."""
    target = publish.target_of(op)
    return apply(op, compute.open_cluster(target), publish.gateway_of(target))


def apply(op: Operation, cluster: Cluster, row: Gateway) -> Wait | None:
    """Apply the objects of a gateway that are not there, or not as they are wanted."""
    view = picture.draw(row)
    objects = builder.install(view, builder.build(view, 0, {}))
    if row.installed == _mark(objects) and _is_there(cluster, row):
        return None
    if _put(cluster, row, objects, force=bool(op.memo.get("take_over"))) is None:
        return Wait(publish.SOON, "Another change is being brought to the gateway")
    return None


def put_back_gateway(op: Operation) -> Wait | None:
    """Apply all of the gateway's objects again, over what others changed or deleted."""
    target = publish.target_of(op)
    cluster, row = compute.open_cluster(target), publish.gateway_of(target)
    view = picture.draw(row)
    versions = _put(cluster, row, builder.install(view, builder.build(view, 0, {})), whole=True)
    if versions is None:
        return Wait(publish.SOON, "Another change is being brought to the gateway")
    op.memo["published"] = versions
    return None


def _put(
    cluster: Cluster, row: Gateway, objects: list[dict[str, Any]], *, whole: bool = False, force: bool = False
) -> dict[str, str] | None:
    """Apply what the gateway is, files in between; answers their versions, None while another one publishes."""
    before = [item for item in objects if item["kind"] in BEFORE]
    rest = [item for item in objects if item not in before and item["metadata"]["name"] not in PUBLISHED]
    there: list[dict[str, Any]] = []
    cluster.apply(before, force=whole or force, there=there)
    versions = publish.publish(cluster, row, whole=whole, doubt=whole or not _is_there(cluster, row))
    if versions is None:
        return None
    cluster.apply(rest, force=whole or force, there=there)
    publish.note_applied(row, ownership.marks([cluster.strip(item) for item in there] if whole else there))
    Gateway.objects.filter(pk=row.pk).update(installed=_mark(objects), drift=[])
    Gateway.objects.filter(pk=row.pk, state=GatewayState.ABSENT).update(state=GatewayState.STARTING)
    return versions


def _mark(objects: list[dict[str, Any]]) -> str:
    lasting = [item for item in objects if item["metadata"]["name"] not in PUBLISHED]
    return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()


def _is_there(cluster: Cluster, row: Gateway) -> bool:
    return bool(cluster.observe("Deployment", namespace=publish.namespace(row), name=builder.COMPONENT))


def await_gateway(op: Operation) -> Wait | None:
    """Wait for a ready gateway pod and the address of its load balancer, and note where scoring is."""
    target = publish.target_of(op)
    cluster, row = compute.open_cluster(target), publish.gateway_of(target)
    wait = gateway_is_up(cluster, row)
    if wait is not None and not publish.pods(cluster, row):
        return Wait(wait.seconds, f"{wait.note}. {_why_not(op, cluster, row)}".removesuffix(". "))
    return wait


def _why_not(op: Operation, cluster: Cluster, row: Gateway) -> str:
    """What keeps the gateway's pods from getting ready. Raises GatewayFailed when that will not pass by itself."""
    home = publish.namespace(row)
    found = cluster.observe("Deployment", namespace=home, name=builder.COMPONENT)
    pods = publish.all_pods(cluster, row)
    note, finding = why.judged(op, cluster, home, pods, found[0] if found else None, least=GATEWAY_PATIENCE)
    if finding is None:
        return note
    told = finding.trouble
    text = f"The gateway of {row.compute_target.name} does not start. {told.text}"
    raise GatewayFailed(text, evidence=finding.evidence, fix=told.fix, pod=told.pod, reason=told.reason)


def gateway_is_up(cluster: Cluster, row: Gateway) -> Wait | None:
    """A Wait until a gateway pod is ready and the load balancer has an address, which is noted then."""
    if not publish.pods(cluster, row):
        return Wait(0.5, "Waiting for the gateway to start")
    door = entrance.find(cluster, row)
    if door is None:
        return Wait(0.5, f"{entrance.missing(row.compute_target)}{_told_against(cluster, row)}")
    note_entrance(row, door)
    return None


def _told_against(cluster: Cluster, row: Gateway) -> str:
    """What the cluster says against the address, e.g. that the wanted one is not there."""
    found = cluster.observe("Event", namespace=publish.namespace(row))
    told = [item for item in found if item["involvedObject"].get("kind") == "Service" and item["type"] == "Warning"]
    return f": {told[-1]['message']}" if told else ""


def note_entrance(row: Gateway, door: entrance.Entrance) -> None:
    """Write down where scoring is; a made certificate that is not for these names is made anew."""
    address = door.address
    fields: dict[str, Any] = {
        "address": address, "state": GatewayState.READY, "http_port": door.http_port, "https_port": door.https_port,
    }  # fmt: skip
    names = issuing.names_of(row.compute_target, address)
    if names != row.tls_names:
        certificate, key = issuing.pair(names, timezone.now())
        fields |= {"tls_certificate": certificate, "tls_key": key, "tls_names": names}
    for name, value in fields.items():
        setattr(row, name, value)
    row.save(update_fields=list(fields))
    for endpoint in Endpoint.objects.filter(compute_target_id=row.compute_target_id):
        Endpoint.objects.filter(pk=endpoint.pk).update(scoring_uri=scoring_uri(row, endpoint.name))
    actions.certificate_watch(row)


def scoring_uri(row: Gateway, name: str) -> str:
    """Where callers score: under the name they were given, else the address; https where TLS was asked for."""
    target = row.compute_target
    scheme, port, usual = ("https", row.https_port, 443) if target.config.get("tls") else ("http", row.http_port, 80)
    host = edge.host(target.config, target.region) or row.address
    return f"{scheme}://{host}{'' if port == usual else f':{port}'}/api/v1/service/{name}/score"


def remove_gateway(op: Operation) -> Wait | None:
    """Take everything of the gateway out of the cluster."""
    row = (
        Gateway.objects.select_related("compute_target__workspace")
        .filter(compute_target_id=op.input["target_id"])
        .first()
    )
    if row is None:
        return None
    namespaces = op.memo.get("namespaces", [])
    is_there = reached(op, row.compute_target, lambda cluster: _remove(cluster, row, namespaces))
    return Wait(0.5, "Waiting for the gateway to end") if is_there else None


def _remove(cluster: Cluster, row: Gateway, namespaces: list[str]) -> bool:
    """Ask for all of it to go; whether its namespace is still there."""
    name, home = builder.name_of(row.compute_target_id), publish.namespace(row)
    for namespace in namespaces:
        cluster.remove("RoleBinding", namespace=namespace, name=name)
        cluster.remove("Role", namespace=namespace, name=name)
    found = cluster.observe("Namespace", name=home)
    if found and not found[0]["metadata"].get("deletionTimestamp"):
        cluster.remove("Namespace", namespace="", name=home)
    return bool(found)
