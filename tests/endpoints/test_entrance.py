"""Where callers find a gateway, in clusters with load balancers and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from compute import queries as compute
from compute.cluster import given
from compute.cluster.kubeconfig import Access
from compute.models import ComputeTarget
from compute.names import gateway_namespace
from endpoints import gateway
from endpoints.models import Gateway
from endpoints.steps import entrance, install, picture, publish
from endpoints.steps.certificate import apply_entrance
from endpoints.steps.entrance import Entrance
from portal.models import AuditEvent, Operation, User, Workspace
from tests import factories
from tests.endpoints.kube import Kube
from tests.endpoints.make import make_target


@pytest.fixture
def kube(tmp_path: Path, settings: Any) -> Iterator[Kube]:
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8"]
    settings.GATEWAY_HTTP_PORT, settings.GATEWAY_HTTPS_PORT = 80, 443
    made = Kube(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def row(kube: Kube, workspace: Workspace) -> Iterator[Gateway]:
    """The gateway of a cluster that was attached by its kubeconfig."""
    server = f"https://127.0.0.1:{kube.api.server_port}"
    kept = given.keep(Access(server, kube.certificate, "kube-token"))
    target = make_target(workspace, "edge", platform="Kubernetes", server=server, access=kept, is_attached=True)
    yield publish.gateway_of(target)
    compute.forget_cluster(target)


def service(kube: Kube, row: Gateway, *addresses: dict[str, str], **spec: Any) -> None:
    """What the cluster has made of the gateway's Service."""
    name = gateway_namespace(row.compute_target_id, row.compute_target.workspace.slug)
    kube.objects["services", name, "slipway-gateway"] = {
        "spec": {"type": "LoadBalancer", **spec}, "status": {"loadBalancer": {"ingress": list(addresses)}},
    }  # fmt: skip


def found(row: Gateway) -> Entrance | None:
    return entrance.find(compute.open_cluster(row.compute_target), row)


def give(row: Gateway, **how: str) -> None:
    row.compute_target.config = {"gateway": how}


def test_a_load_balancers_address_or_name_is_the_entrance(kube: Kube, row: Gateway) -> None:
    service(kube, row, {"ip": "203.0.113.9"})
    assert found(row) == Entrance("203.0.113.9", 80, 443)
    service(kube, row, {"hostname": "lb.example.com"})
    assert found(row) == Entrance("lb.example.com", 80, 443)


def test_a_load_balancer_without_address_is_waited_for_with_what_would_help(kube: Kube, row: Gateway) -> None:
    assert found(row) is None
    service(kube, row)
    assert found(row) is None
    words = entrance.missing(row.compute_target)
    assert "The load balancer has no address yet" in words
    assert "gateway_service NodePort" in words
    assert entrance.missing(ComputeTarget(platform="AKS")) == "Waiting for the load balancer's address"


def test_an_address_that_somebody_gave_counts_first(kube: Kube, row: Gateway) -> None:
    service(kube, row)
    give(row, address="score.example.com")
    assert found(row) == Entrance("score.example.com", 80, 443)
    service(kube, row, {"ip": "10.0.0.4"})
    assert found(row) == Entrance("score.example.com", 80, 443)


def test_a_node_port_is_reached_at_an_outer_address_of_a_node_else_an_inner_one(kube: Kube, row: Gateway) -> None:
    ports = [{"name": "https", "nodePort": 31443}, {"name": "http", "nodePort": 31080}]
    service(kube, row, type="NodePort", ports=ports)
    give(row, service="NodePort")
    assert found(row) is None  # no node yet
    inner = {"type": "InternalIP", "address": "10.0.0.7"}
    kube.objects["nodes", "", "n1"] = {"metadata": {"name": "n1"}, "status": {"addresses": [inner]}}
    assert found(row) == Entrance("10.0.0.7", 31080, 31443)
    outer = {"type": "ExternalIP", "address": "203.0.113.7"}
    kube.objects["nodes", "", "n2"] = {"metadata": {"name": "n2"}, "status": {"addresses": [inner, outer]}}
    assert found(row) == Entrance("203.0.113.7", 31080, 31443)
    give(row, service="NodePort", address="192.0.2.1")
    assert found(row) == Entrance("192.0.2.1", 31080, 31443)
    service(kube, row, type="NodePort", ports=[{"name": "https"}])
    assert found(row) is None  # its port is not chosen yet


def test_the_gateways_service_is_of_the_type_that_was_asked_for(row: Gateway) -> None:
    for how, type_ in (({}, "LoadBalancer"), ({"service": "NodePort"}, "NodePort")):
        give(row, **how)
        view = picture.draw(row)
        found = gateway.install(view, gateway.build(view, 0, {}))
        (made,) = [each for each in found if (each["kind"], each["metadata"]["name"]) == ("Service", gateway.COMPONENT)]
        assert made["spec"]["type"] == type_


def test_scoring_addresses_have_the_nodes_port(kube: Kube, row: Gateway) -> None:
    install.note_entrance(row, Entrance("10.0.0.7", 31080, 31443))
    row.refresh_from_db()
    assert install.scoring_uri(row, "iris") == "http://10.0.0.7:31080/api/v1/service/iris/score"


def test_the_entrance_is_changed_while_a_load_balancer_is_waited_for(
    kube: Kube, row: Gateway, operator: User, run_operations: Callable[[], None]
) -> None:
    target = row.compute_target
    Gateway.objects.filter(pk=row.pk).update(state="Starting")
    ComputeTarget.objects.filter(pk=target.pk).update(node_count=1)
    inner = {"type": "InternalIP", "address": "10.0.0.7"}
    kube.objects["nodes", "", "n1"] = {"metadata": {"name": "n1"}, "status": {"addresses": [inner]}}
    us, where = factories.client(operator), f"/api/v1/workspaces/{target.workspace.slug}/compute-targets/edge/"
    answer = us.put(f"{where}gateway/entrance/", {"gateway_service": "NodePort"}, format="json")
    assert answer.status_code == 202, answer.content
    home = gateway_namespace(target.pk, target.workspace.slug)
    op = Operation.objects.get()
    assert apply_entrance(op) is None
    assert kube.objects["services", home, "slipway-gateway"]["spec"]["type"] == "NodePort"
    asked = len(kube.asked)
    assert apply_entrance(op) is None  # killed before it was noted: nothing is asked twice
    assert len(kube.asked) == asked
    ports = [{"name": "https", "nodePort": 31443}, {"name": "http", "nodePort": 31080}]
    kube.objects["services", home, "slipway-gateway"]["spec"]["ports"] = ports
    run_operations()
    op.refresh_from_db()
    assert op.state == "Succeeded", op.error
    row.refresh_from_db()
    assert (row.address, row.http_port, row.https_port) == ("10.0.0.7", 31080, 31443)
    event = AuditEvent.objects.get(action="gateway.entrance_set")
    assert (event.before, event.after) == ({"gateway": {}}, {"gateway": {"service": "NodePort"}})


def test_what_cannot_be_an_entrance_is_refused_in_page_and_rest(row: Gateway, operator: User, client: Client) -> None:
    target = row.compute_target
    ComputeTarget.objects.filter(pk=target.pk).update(node_count=1)
    us, where = factories.client(operator), f"/api/v1/workspaces/{target.workspace.slug}/compute-targets/edge/"
    client.force_login(operator)
    page = f"/w/{target.workspace.slug}/compute/edge/gateway/entrance/"
    for body, status, words in (
        ({"gateway_address": "http://x"}, 422, "give an IP address or a host name"),
        ({}, 409, "is reached that way already"),
    ):
        answer = us.put(f"{where}gateway/entrance/", body, format="json")
        assert (answer.status_code, words in answer.json()["detail"]) == (status, True)
        told = client.post(page, body)
        assert (told.status_code, words in told.content.decode()) == (status, True)
    ComputeTarget.objects.filter(pk=target.pk).update(platform="AKS")
    assert us.put(f"{where}gateway/entrance/", {}, format="json").json()["code"] == "entrance_of_azure"
    assert not Operation.objects.exists()
