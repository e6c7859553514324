"""Steps against a cluster at the socket with a real Envoy: order, idempotence, interruptions, one publisher."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jwt
import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from compute import certificates
from compute import queries as compute
from compute.models import ComputeTarget
from deployments import manifests
from deployments.models import Deployment
from endpoints import actions, gateway, queries
from endpoints.models import Endpoint, EndpointVersion, Gateway, SigningKey, TrafficSample
from endpoints.steps import install, numbers, picture, publish, removal, versions, wake
from endpoints.types import AuthMode, EndpointKind, Slot, VersionChange
from portal import operations
from portal.models import Operation, User, Workspace
from portal.problems import Retryable
from portal.types import OperationKind, OperationState, Wait
from tests import kept
from tests.endpoints.box import ADDRESS, BLOCK, Replica
from tests.endpoints.keeps import blue, workspace
from tests.endpoints.kube import TOKEN, Kube
from tests.endpoints.make import SCRIPT, Caller, deployment_body, make_environment, make_target, make_version

__all__ = ["blue", "workspace"]
pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def replicas() -> Iterator[dict[str, Replica]]:
    made = {name: Replica(name, f"{BLOCK}.{i}") for i, name in enumerate(("a", "b"), 31)}
    yield made
    for replica in made.values():
        replica.shutdown()
        replica.server_close()


@pytest.fixture
def kube(tmp_path: Path, settings: Any) -> Iterator[Kube]:
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8"]
    settings.GATEWAY_HTTP_PORT, settings.GATEWAY_HTTPS_PORT = 8080, 8443
    made = Kube(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def target(kube: Kube, workspace: Workspace) -> Iterator[ComputeTarget]:
    Workspace.objects.filter(pk=workspace.pk).update(arm_endpoint=kube.arm_url)
    workspace.refresh_from_db()
    workspace.arm_credential = f'{{"kind": "static", "token": "{TOKEN}"}}'
    workspace.save()
    kept.once("aks", lambda: make_target(workspace, "aks", observed={"nodes": []}))
    made = ComputeTarget.objects.get(name="aks")
    yield made
    compute.forget_cluster(made)


@pytest.fixture
def endpoint(target: ComputeTarget, kube: Kube, replicas: dict[str, Replica]) -> Endpoint:
    """An endpoint with two versions whose replicas run; the gateway is not there yet."""

    def make() -> None:
        facts = {"workspace": target.workspace, "kind": EndpointKind.VERSIONED, "auth": AuthMode.NONE}
        made = Endpoint.objects.create(compute_target=target, name="iris", **facts)
        for name in ("a", "b"):
            make_version(made, name, is_default=name == "a")

    kept.once("iris", make)
    for row in EndpointVersion.objects.select_related("deployment"):
        kube.replicas(f"ws-a/{manifests.service_name(row.deployment)}", replicas[row.name])
    return Endpoint.objects.select_related("workspace", "compute_target__workspace").get(name="iris")


def operation(endpoint: Endpoint, kind: OperationKind = OperationKind.VERSION_CREATE, **more: Any) -> Operation:
    given = {"endpoint_id": endpoint.pk, **more}
    return Operation(
        workspace=endpoint.workspace, kind=kind, target_ref=endpoint.ref, target_name=endpoint.name, input=given
    )


def run(step: Callable[[Operation], Wait | None], op: Operation, seconds: float = 15) -> None:
    """A step until it is done."""
    end = time.monotonic() + seconds
    while (waiting := step(op)) is not None:
        assert time.monotonic() < end, waiting
        time.sleep(min(waiting.seconds, 0.2))


def reach(endpoint: Endpoint, name: str) -> Operation:
    """Bring one version to the gateway by its steps."""
    op = operation(endpoint, version_id=endpoint.versions.get(name=name).pk)
    for step in (install.install_gateway, install.await_gateway, *REACH):
        run(step, op)
    return op


REACH = (versions.load_version, versions.confirm_loaded, versions.route_version, versions.confirm_routed)


@pytest.fixture
def up(endpoint: Endpoint, kube: Kube) -> Endpoint:
    """Both versions are served."""
    kept.once("up", lambda: [reach(endpoint, name) for name in ("a", "b")], kube)
    if kube.envoy is None:
        kube.mounted.clear()
        kube.start_envoy()
        kube.wait(Gateway.objects.get().published)
    kube.asked.clear()
    endpoint.refresh_from_db()
    return endpoint


def answered(kube: Kube, count: int = 40) -> dict[str, int]:
    found: dict[str, int] = {}
    for _ in range(count):
        status, headers, _ = kube.score("iris")
        assert status == 200
        name = headers["azureml-model-deployment"]
        found[name] = found.get(name, 0) + 1
    return found


def change(up: Endpoint, actor: User, **percent: int) -> Operation:
    up.refresh_from_db()
    wanted = {name: VersionChange(Decimal(value)) for name, value in percent.items()}
    return actions.endpoint_set_traffic(endpoint=up, wanted=wanted, generation=up.generation, actor=actor)


def test_the_gateway_is_installed_with_the_first_version_and_scores(endpoint: Endpoint, kube: Kube) -> None:
    reach(endpoint, "a")
    endpoint.refresh_from_db()
    assert endpoint.scoring_uri == f"http://{ADDRESS}:8080/api/v1/service/iris/score"
    assert answered(kube) == {"a": 40}


def test_installing_twice_changes_nothing_the_second_time(endpoint: Endpoint, kube: Kube) -> None:
    op = reach(endpoint, "a")
    kube.asked.clear()
    for step in (install.install_gateway, install.await_gateway, *REACH):
        run(step, op)
    assert kube.asked == []


def test_the_first_publish_of_the_certificate_names_the_gateways_address(endpoint: Endpoint, kube: Kube) -> None:
    reach(endpoint, "a")
    run(versions.publish_routes, operation(endpoint))
    assert ADDRESS in Gateway.objects.get().tls_names
    assert kube.envoy is not None


def test_a_version_is_loaded_and_confirmed_before_a_route_names_it(endpoint: Endpoint, kube: Kube) -> None:
    reach(endpoint, "a")
    op = operation(endpoint, version_id=endpoint.versions.get(name="b").pk)
    run(versions.load_version, op)
    run(versions.confirm_loaded, op)
    assert kube.score("iris", version="b")[0] == 404
    run(versions.route_version, op)
    run(versions.confirm_routed, op)
    assert kube.score("iris", version="b")[0] == 200


def test_a_version_without_a_ready_replica_is_not_confirmed(endpoint: Endpoint, kube: Kube) -> None:
    reach(endpoint, "a")
    row = endpoint.versions.get(name="b")
    kube.replicas(f"ws-a/{manifests.service_name(row.deployment)}")
    op = operation(endpoint, version_id=row.pk)
    run(versions.load_version, op)
    time.sleep(0.3)
    waiting = versions.confirm_loaded(op)
    assert waiting is not None


def test_a_change_of_traffic_is_in_effect_within_a_second(
    up: Endpoint, kube: Kube, owner: User, run_operations: Any
) -> None:
    began = time.monotonic()
    op = change(up, owner, b=100)
    run_operations()
    took = time.monotonic() - began
    op.refresh_from_db()
    assert op.state == OperationState.SUCCEEDED, op.error
    assert answered(kube) == {"b": 40}
    assert took < 1


def test_a_change_of_traffic_writes_the_config_map_and_touches_the_pod_and_nothing_else(
    up: Endpoint, kube: Kube, owner: User, run_operations: Any
) -> None:
    change(up, owner, b=50)
    run_operations()
    assert kube.asked == ["PATCH configmaps/gateway-config", "PATCH pods/gateway-pod"]


def test_publishing_again_without_a_change_writes_nothing(up: Endpoint, kube: Kube) -> None:
    run(versions.publish_routes, operation(up))
    assert kube.asked == []


def test_one_publisher_at_a_time(up: Endpoint) -> None:
    row = publish.gateway_of(up.compute_target)
    with publish.lease(row) as first, publish.lease(row) as second:
        assert first is not None
        assert second is None
        assert versions.publish_routes(operation(up)) == Wait(
            publish.SOON, "Another change is being brought to the gateway"
        )
    with publish.lease(row) as third:
        assert third is not None
        assert third.revision > first.revision


def test_a_lease_that_ran_out_is_taken_over_and_the_late_one_writes_nothing(up: Endpoint, kube: Kube) -> None:
    row = publish.gateway_of(up.compute_target)
    EndpointVersion.objects.filter(endpoint=up, name="b").update(traffic_percentile=50)
    with publish.lease(row) as late:
        assert late is not None
        Gateway.objects.filter(pk=row.pk).update(leased_until=timezone.now() - timedelta(seconds=1))
        with publish.lease(row) as other:
            assert other is not None
        late.leased_until = timezone.now() + timedelta(seconds=5)
        view = picture.draw(late)
        files = gateway.build(view, late.revision, {})
        with pytest.raises(publish.LeaseLost):
            publish._write(compute.open_cluster(up.compute_target), late, view, files, set(files.versions))
        late.leased_until = timezone.now() + publish.LEASE
        with pytest.raises(publish.LeaseLost):
            publish._write(compute.open_cluster(up.compute_target), late, view, files, set(files.versions))
    assert kube.asked == []


def test_a_publish_that_dies_between_the_write_and_its_note_is_done_again_with_a_later_counter(
    up: Endpoint, kube: Kube, owner: User, run_operations: Any
) -> None:
    before = Gateway.objects.get().published
    EndpointVersion.objects.filter(endpoint=up, name="b").update(traffic_percentile=50)
    kube.refuse = "pods/"
    with pytest.raises(Retryable):
        versions.publish_routes(operation(up))
    assert "rds.json" not in Gateway.objects.get().published
    kube.refuse = ""
    EndpointVersion.objects.filter(endpoint=up, name="b").update(traffic_percentile=0)
    op = operation(up)
    run(versions.publish_routes, op)
    run(versions.confirm_routes, op)
    assert op.memo["published"]["rds.json"] != before["rds.json"]
    assert answered(kube) == {"a": 40}


def test_a_publish_that_dies_after_its_write_is_taken_over_and_not_written_again(up: Endpoint, kube: Kube) -> None:
    EndpointVersion.objects.filter(endpoint=up, name="b").update(traffic_percentile=100)
    kube.refuse = "pods/"
    with pytest.raises(Retryable):
        versions.publish_routes(operation(up))
    kube.refuse = ""
    kube.asked.clear()
    op = operation(up)
    run(versions.publish_routes, op)
    run(versions.confirm_routes, op)
    assert kube.asked == ["PATCH pods/gateway-pod"]
    assert answered(kube) == {"b": 40}
    assert Gateway.objects.get().published == op.memo["published"]


def test_a_first_publish_that_dies_between_its_two_writes_writes_the_second_only(
    endpoint: Endpoint, kube: Kube
) -> None:
    kube.refuse = "gateway-config"
    op = operation(endpoint, version_id=endpoint.versions.get(name="a").pk)
    with pytest.raises(Retryable):
        install.install_gateway(op)
    kube.refuse = ""
    reach(endpoint, "a")
    first = kube.objects["secrets", kube.namespace, "gateway-secret"]["data"]["ecds.keys.json"]
    assert json.loads(base64.b64decode(first))["version_info"].startswith("1-")
    assert answered(kube) == {"a": 40}


def test_what_a_cluster_holds_under_a_version_that_does_not_fit_it_is_written_again(up: Endpoint, kube: Kube) -> None:
    data = kube.objects["configmaps", kube.namespace, "gateway-config"]["data"]
    table = json.loads(data["rds.json"])
    table["resources"][0]["virtual_hosts"] = []
    data["rds.json"] = json.dumps(table)
    row = publish.gateway_of(up.compute_target)
    publish.publish(compute.open_cluster(up.compute_target), row, doubt=True)
    assert kube.asked == ["PATCH configmaps/gateway-config", "PATCH pods/gateway-pod"]
    assert answered(kube) == {"a": 40}


def test_an_api_that_is_away_is_tried_again_and_the_change_arrives(
    up: Endpoint, kube: Kube, owner: User, run_operations: Any
) -> None:
    kube.refuse = "gateway-config"
    op = change(up, owner, b=100)
    operations.advance(str(op.pk))
    assert answered(kube) == {"a": 40}
    kube.refuse = ""
    run_operations()
    op.refresh_from_db()
    assert op.state == OperationState.SUCCEEDED
    assert answered(kube) == {"b": 40}


def test_two_endpoints_changed_at_once_both_end_as_last_set(
    up: Endpoint, kube: Kube, owner: User, replicas: dict[str, Replica], run_operations: Any
) -> None:
    other = Endpoint.objects.create(
        workspace=up.workspace, compute_target=up.compute_target, name="other", kind=EndpointKind.VERSIONED, auth="None"
    )
    for name in ("a", "b"):
        row = make_version(other, name, is_default=name == "a")
        kube.replicas(f"ws-a/{manifests.service_name(row.deployment)}", replicas[name])
        reach(other, name)
    for percent in (30, 70, 100):
        change(up, owner, b=percent)
        change(other, owner, b=100 - percent)
        run_operations()
    assert answered(kube) == {"b": 40}
    assert {kube.score("other")[1]["azureml-model-deployment"] for _ in range(20)} == {"a"}


def test_a_deleted_version_is_unrouted_drained_unloaded_in_this_order_without_a_failed_request(
    up: Endpoint, kube: Kube, owner: User, run_operations: Any
) -> None:
    change(up, owner, b=50)
    run_operations()
    up.refresh_from_db()
    row = up.versions.get(name="b")
    op = actions.version_delete(endpoint=up, version=row, generation=up.generation, actor=owner)
    for _ in range(100):
        operations.advance(str(op.pk))
        assert kube.score("iris")[0] == 200
        op.refresh_from_db()
        if not op.is_active:
            break
        time.sleep(0.02)
    assert op.state == OperationState.SUCCEEDED, op.error
    done = list(op.log.filter(event="done").values_list("step", flat=True))
    assert done[:5] == ["unroute_version", "confirm_unrouted", "drain_version", "unload_version", "confirm_unloaded"]
    assert [version.name for version in up.versions.all()] == ["a"]
    assert "iris/b" not in kube.objects["configmaps", kube.namespace, "gateway-config"]["data"]["cds.json"]


def test_a_request_under_way_ends_before_its_version_is_unloaded(
    up: Endpoint, kube: Kube, owner: User, run_operations: Any
) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(kube.score, "iris", "", {"sleep": 1.2}, "b")
        time.sleep(0.2)
        actions.version_delete(endpoint=up, version=up.versions.get(name="b"), generation=None, actor=owner)
        run_operations()
        assert slow.result()[0] == 200


def test_a_deleted_endpoint_is_unknown_to_the_gateway(
    up: Endpoint, kube: Kube, owner: User, run_operations: Any
) -> None:
    op = actions.endpoint_delete(endpoint=up, actor=owner)
    run_operations()
    op.refresh_from_db()
    assert op.state == OperationState.SUCCEEDED, op.error
    assert kube.score("iris")[0] == 404
    assert not Endpoint.objects.exists()


def test_an_endpoint_on_a_missing_cluster_can_be_deleted(
    up: Endpoint, kube: Kube, owner: User, run_operations: Any
) -> None:
    ComputeTarget.objects.update(state="Missing")
    kube.stop_envoy()
    op = actions.endpoint_delete(endpoint=up, actor=owner)
    run_operations()
    op.refresh_from_db()
    assert op.state == OperationState.SUCCEEDED, op.error
    assert kube.asked == []


def test_keys_reach_the_gateway_and_a_regenerated_one_ends(
    up: Endpoint, kube: Kube, owner: User, run_operations: Any
) -> None:
    actions.auth_set(endpoint=up, auth=AuthMode.KEY, actor=owner)
    run_operations()
    up.refresh_from_db()
    before = actions.keys_reveal(endpoint=up, actor=owner)
    assert kube.score("iris")[0] == 401
    assert kube.score("iris", before["primary"])[0] == kube.score("iris", before["secondary"])[0] == 200
    actions.key_regenerate(endpoint=up, slot=Slot.PRIMARY, actor=owner)
    run_operations()
    after = actions.keys_reveal(endpoint=up, actor=owner)
    assert kube.score("iris", before["primary"])[0] == 401
    assert kube.score("iris", after["primary"])[0] == kube.score("iris", before["secondary"])[0] == 200


def test_tokens_of_the_portal_are_taken_at_the_gateway(
    up: Endpoint, kube: Kube, owner: User, run_operations: Any
) -> None:
    actions.auth_set(endpoint=up, auth=AuthMode.TOKEN, actor=owner)
    run_operations()
    up.refresh_from_db()
    assert kube.score("iris", actions.token_issue(endpoint=up, actor=owner).access_token)[0] == 200
    assert kube.score("iris")[0] == 401


def test_a_new_signing_key_is_taken_beside_the_old_one(
    up: Endpoint, kube: Kube, owner: User, run_operations: Any
) -> None:
    actions.auth_set(endpoint=up, auth=AuthMode.TOKEN, actor=owner)
    run_operations()
    up.refresh_from_db()
    old = actions.token_issue(endpoint=up, actor=owner).access_token
    SigningKey.objects.update(created_at=timezone.now() - timedelta(days=3))
    fresh = actions.signing_key_rotate()
    numbers.look(Gateway.objects.get().pk)
    SigningKey.objects.filter(pk=fresh.pk).update(created_at=timezone.now() - timedelta(minutes=2))
    time.sleep(0.3)
    new = actions.token_issue(endpoint=up, actor=owner).access_token
    assert jwt.get_unverified_header(new)["kid"] == fresh.kid
    assert kube.score("iris", old)[0] == kube.score("iris", new)[0] == 200


def look(again: bool = False) -> None:
    Gateway.objects.update(read_at=timezone.now() - timedelta(seconds=1))
    numbers.look(Gateway.objects.get().pk)


def test_how_long_a_score_takes_is_learned_and_one_unusual_second_unlearns_nothing(up: Endpoint, kube: Kube) -> None:
    version = up.versions.get(name="a")
    for seconds, expected in ((30, 20), (0, 1)):  # a minute of scores of 30 ms; then only those of this test count
        TrafficSample.objects.all().delete()
        for age in range(10, 60, 10):
            at = timezone.now() - timedelta(seconds=age)
            rest = {"codes": {"200": 1000}, "seconds": seconds, "buckets": {"25000": 0, "50000": 1000}}
            TrafficSample.objects.create(endpoint=up, version="a", at=at, **(rest if seconds else {}))
        look()
        answered(kube)
        time.sleep(1.1)  # times are added up each second
        look()
        version.refresh_from_db()
        assert version.expected_ms in range(expected, expected + 10)


def test_a_gateway_that_was_not_ready_for_a_moment_is_not_counted_from_its_beginning(up: Endpoint, kube: Kube) -> None:
    look()
    answered(kube, 30)
    look()
    kube.is_gateway_ready = False
    look()
    kube.is_gateway_ready = True
    answered(kube, 5)
    look()
    look()
    assert sum(told.requests for told in queries.observed(endpoint=up).values()) == 35


def test_what_the_gateway_counted_becomes_the_observed_share(
    up: Endpoint, kube: Kube, owner: User, run_operations: Any
) -> None:
    look()
    change(up, owner, b=100)
    run_operations()
    answered(kube, 30)
    kube.score("iris", version="a")
    look()
    look()
    told = queries.observed(endpoint=up)
    assert (told["a"].requests, told["b"].requests) == (1, 30)
    assert told["b"].share == Decimal("96.77")


def test_counters_that_start_anew_are_added_and_not_subtracted(up: Endpoint, kube: Kube) -> None:
    answered(kube, 30)
    look()
    kube.stop_envoy()
    kube.start_envoy()
    kube.wait(Gateway.objects.get().published)
    answered(kube, 5)
    look()
    assert sum(sample.codes["200"] for sample in TrafficSample.objects.all()) == 35


def test_a_version_that_lost_its_last_replica_gives_its_share_to_the_default(
    up: Endpoint, kube: Kube, owner: User, run_operations: Any, replicas: dict[str, Replica]
) -> None:
    change(up, owner, b=100)
    run_operations()
    service = f"ws-a/{manifests.service_name(up.versions.get(name='b').deployment)}"
    look()
    kube.replicas(service)
    time.sleep(0.3)
    look()
    kube.wait(Gateway.objects.get().published)
    assert answered(kube) == {"a": 40}
    kube.replicas(service, replicas["b"])
    time.sleep(0.3)
    look()
    kube.wait(Gateway.objects.get().published)
    assert answered(kube) == {"b": 40}


def test_a_look_without_news_writes_nothing_to_the_cluster(up: Endpoint, kube: Kube) -> None:
    look()
    look()
    kube.asked.clear()
    look()
    assert kube.asked == []


def test_a_gateway_that_is_away_is_no_trouble_for_a_look(up: Endpoint, kube: Kube) -> None:
    kube.stop_envoy()
    look()
    assert TrafficSample.objects.count() == 0


def test_old_samples_are_forgotten(up: Endpoint) -> None:
    for hours in (1, 25):
        at = timezone.now() - timedelta(hours=hours)
        TrafficSample.objects.create(endpoint=up, version="a", at=at)
    numbers.forget_old()
    assert TrafficSample.objects.count() == 1


def test_a_target_is_emptied_before_it_is_detached(up: Endpoint, kube: Kube, run_operations: Any) -> None:
    op = operation(up, OperationKind.COMPUTE_DETACH, target_id=up.compute_target_id, force=True)
    run(removal.remove_endpoints, op)
    run(install.remove_gateway, op)
    left = [key for key in kube.objects if key[0] in ("namespaces", "roles", "rolebindings")]
    assert not [key for key in left if not key[1].startswith("slipway-gw-")]  # what is in it goes with its namespace
    assert kube.envoy is None


def test_a_cluster_that_is_missing_is_forgotten_without_a_word_to_it(up: Endpoint, kube: Kube) -> None:
    ComputeTarget.objects.update(state="Missing")
    op = operation(up, OperationKind.COMPUTE_DETACH, target_id=up.compute_target_id)
    run(removal.remove_endpoints, op)
    run(install.remove_gateway, op)
    assert kube.asked == []


def fixed(up: Endpoint, name: str, **config: Any) -> EndpointVersion:
    """Another configuration of a version, as if its revision had it from the start."""
    row = up.versions.get(name=name)
    row.deployment.revisions.update(config=config)
    return row


def busy(kube: Kube, count: int, seconds: float) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(count)
    for _ in range(count):
        pool.submit(kube.score, "iris", "", {"sleep": seconds}, "a")
    time.sleep(0.3)
    return pool


def test_load_asks_for_more_replicas_at_once_within_the_limits_and_never_for_nodes(up: Endpoint, kube: Kube) -> None:
    row = fixed(up, "a", autoScaler={"maxReplicas": 3})
    with busy(kube, 3, 1.0):
        look()
        look()
    row.deployment.refresh_from_db()
    assert row.deployment.wanted_replicas == 3
    name = manifests.workload_name(row.deployment)
    assert kube.asked.count(f"PATCH deployments/{name}/scale") == 1
    assert [asked for asked in kube.asked if "scale" in asked or "node" in asked.lower()] == [
        f"PATCH deployments/{name}/scale"
    ]
    assert ComputeTarget.objects.get().node_count == up.compute_target.node_count


def test_replicas_go_down_only_after_a_minute_of_quiet(up: Endpoint, kube: Kube) -> None:
    row = fixed(up, "a", autoScaler={"maxReplicas": 3})
    type(row.deployment).objects.filter(pk=row.deployment_id).update(wanted_replicas=3)
    EndpointVersion.objects.update(busy_at=timezone.now() - timedelta(seconds=50))
    look()
    row.deployment.refresh_from_db()
    assert row.deployment.wanted_replicas == 3
    EndpointVersion.objects.update(busy_at=timezone.now() - timedelta(seconds=61))
    look()
    row.deployment.refresh_from_db()
    assert row.deployment.wanted_replicas == 1


def test_after_a_time_without_a_look_the_minute_of_quiet_begins_anew(up: Endpoint, kube: Kube) -> None:
    row = fixed(up, "a", autoScaler={"maxReplicas": 3})
    type(row.deployment).objects.filter(pk=row.deployment_id).update(wanted_replicas=3)
    EndpointVersion.objects.update(busy_at=timezone.now() - timedelta(days=40))
    Gateway.objects.update(read_at=timezone.now() - timedelta(days=40))
    numbers.look(Gateway.objects.get().pk)
    look()
    row.deployment.refresh_from_db()
    assert row.deployment.wanted_replicas == 3
    assert not kube.changed("/scale")


def test_a_fixed_number_of_replicas_is_left_alone(up: Endpoint, kube: Kube) -> None:
    row = fixed(up, "a", numReplicas=1)
    with busy(kube, 3, 1.0):
        look()
        look()
    row.deployment.refresh_from_db()
    assert row.deployment.wanted_replicas == 1
    assert not kube.changed("/scale")


CRASHED = {
    "conditions": [{"type": "Ready", "status": "False"}],
    "containerStatuses": [
        {
            "name": "server", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}},
        }
    ],
}  # fmt: skip


@pytest.fixture
def us(target: ComputeTarget, contributor: User, client_of: Callable[[User], APIClient]) -> Caller:
    make_environment(target.workspace)
    return Caller(client_of(contributor), target.workspace)


def answer_with(kube: Kube, name: str, replica: Replica) -> None:
    """What the companion does once the newest workload has a ready replica."""
    deployment = Deployment.objects.get(name=name)
    kube.replicas(f"{deployment.namespace}/{manifests.service_name(deployment)}", replica)


def last(run_operations: Callable[[], None]) -> Operation:
    run_operations()
    return Operation.objects.latest("created_at")


def test_a_service_goes_its_whole_way_from_a_request_to_an_answer_and_away(
    us: Caller, kube: Kube, replicas: dict[str, Replica], run_operations: Any
) -> None:
    assert us.post("services/", {"name": "iris", "compute_target": "aks", **deployment_body()}).status_code == 202
    answer_with(kube, "iris", replicas["a"])
    assert last(run_operations).state == OperationState.SUCCEEDED, Operation.objects.latest("created_at").error
    shown = us.get("services/iris/").json()
    assert (shown["state"], shown["versions"]["v1"]["effective_share"]) == ("Healthy", 100)
    keys = us.post("services/iris/keys/").json()
    assert kube.score("iris", keys["primary"])[0] == 200
    tried = us.post("services/iris/score/", {"body": {"x": 1}}).json()
    assert (tried["status"], tried["version"]) == (200, "v1")
    assert us.get("services/iris/logs/").json()["items"][0]["version"] == "v1"
    assert us.get("services/iris/events/").status_code == 200
    assert us.delete("services/iris/").status_code == 202
    assert last(run_operations).state == OperationState.SUCCEEDED
    assert us.get("services/iris/").status_code == 404
    assert not Deployment.objects.exists()
    assert kube.score("iris", keys["primary"])[0] == 404


def test_a_service_whose_init_raises_fails_with_the_evidence_and_an_update_brings_it_up(
    us: Caller, kube: Kube, replicas: dict[str, Replica], run_operations: Any
) -> None:
    kube.pod_status = CRASHED
    us.post("services/", {"name": "iris", "compute_target": "aks", **deployment_body()})
    op = last(run_operations)
    assert (op.state, op.error["step"]) == (OperationState.FAILED, "await_replicas")
    shown = us.get("services/iris/").json()
    assert shown["state"] == "Failed"
    assert "init()" in shown["reason"]
    kube.pod_status = {}
    answer_with(kube, "iris", replicas["a"])
    assert us.patch("services/iris/", {"code": {"files": {"score.py": SCRIPT + "# better\n"}}}).status_code == 202
    assert last(run_operations).state == OperationState.SUCCEEDED
    assert us.get("services/iris/").json()["state"] == "Healthy"
    assert kube.score("iris", us.post("services/iris/keys/").json()["primary"])[0] == 200


def test_a_failed_update_leaves_the_old_revision_serving(
    us: Caller, kube: Kube, replicas: dict[str, Replica], run_operations: Any
) -> None:
    us.post("services/", {"name": "iris", "compute_target": "aks", **deployment_body()})
    answer_with(kube, "iris", replicas["a"])
    run_operations()
    kube.pod_status = CRASHED
    worse = {"code": {"files": {"score.py": SCRIPT + "# worse\n"}}, "deployment_config": {"authEnabled": False}}
    us.patch("services/iris/", worse)
    op = last(run_operations)
    assert op.state == OperationState.ROLLED_BACK
    assert us.get("services/iris/").json()["auth"] == "Key"
    shown = us.get("services/iris/").json()
    assert (shown["state"], shown["versions"]["v1"]["revision"]) == ("Healthy", 1)
    assert kube.score("iris", us.post("services/iris/keys/").json()["primary"])[0] == 200
    kube.pod_status = {}
    assert us.post(f"operations/{op.pk}/retry/").status_code == 202
    assert last(run_operations).state == OperationState.SUCCEEDED
    assert us.get("services/iris/").json()["auth"] == "None"
    assert kube.score("iris", "")[0] == 200


def test_a_second_version_takes_its_share_once_it_is_deployed(
    us: Caller, kube: Kube, replicas: dict[str, Replica], run_operations: Any
) -> None:
    config = {"deployment_config": {"authEnabled": False}}
    us.post("endpoints/", {"name": "iris", "compute_target": "aks", "version": "a", **deployment_body(), **config})
    answer_with(kube, "iris-a", replicas["a"])
    assert last(run_operations).state == OperationState.SUCCEEDED
    us.post("endpoints/iris/versions/", {"version": "b", "traffic_percentile": 100, **deployment_body()})
    answer_with(kube, "iris-b", replicas["b"])
    assert last(run_operations).state == OperationState.SUCCEEDED
    assert answered(kube) == {"b": 40}


def test_any_step_of_a_create_may_run_twice(
    us: Caller, kube: Kube, replicas: dict[str, Replica], run_operations: Any
) -> None:
    us.post("services/", {"name": "iris", "compute_target": "aks", **deployment_body()})
    answer_with(kube, "iris", replicas["a"])
    op = Operation.objects.get()
    for step in operations.plan_of(op.kind).steps:
        for _ in range(2):
            run(step.function, op)
    assert kube.score("iris", us.post("services/iris/keys/").json()["primary"])[0] == 200


def woken(target: ComputeTarget) -> Operation:
    given = {"target_id": target.pk}
    kind = OperationKind.COMPUTE_START
    return Operation(workspace=target.workspace, kind=kind, target_ref=target.ref, target_name=target.name, input=given)


def test_a_start_waits_until_the_gateway_and_what_it_served_are_back(
    up: Endpoint, kube: Kube, target: ComputeTarget
) -> None:
    op = woken(target)
    kube.stop_envoy()
    Deployment.objects.update(wanted_replicas=1, ready_replicas=0, state="Unhealthy", reason="aks is stopped")
    waiting = wake.await_answers(op)
    assert waiting is not None
    assert waiting.note == "Waiting for the gateway to start"
    kube.start_envoy()
    end = time.monotonic() + 10
    while (waiting := wake.await_answers(op)) is not None and "gateway" in waiting.note:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert waiting is not None
    assert waiting.note == "Waiting for iris to answer again"
    for row in Deployment.objects.all():
        labels = {"slipway.dev/deployment": str(row.pk)}
        template = {"metadata": {"labels": labels}}
        kube.objects["deployments", row.namespace, f"w-{row.pk}"] = {"spec": {"template": template}}
    run(wake.await_answers, op)
    assert {(row.state, row.reason) for row in Deployment.objects.all()} == {("Healthy", "")}
    assert "warnings" not in op.memo


def test_a_start_names_after_ten_minutes_what_does_not_answer(up: Endpoint, target: ComputeTarget) -> None:
    op = woken(target)
    Deployment.objects.update(wanted_replicas=1, ready_replicas=0, state="Unhealthy")
    op.memo["waking_since"] = time.time() - wake.PATIENCE - 1
    assert wake.await_answers(op) is None
    assert op.warnings == ["Not answering yet (Waiting for iris to answer again). The pages of what runs here say why."]


def test_a_start_of_a_cluster_that_serves_nothing_waits_for_nothing(target: ComputeTarget, kube: Kube) -> None:
    assert wake.await_answers(woken(target)) is None
    assert kube.asked == []


def handshake() -> str:
    """The fingerprint of the certificate that a new connection is shown, checked by its own bytes."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((ADDRESS, 8443), timeout=5) as plain, context.wrap_socket(plain) as link:
        return hashlib.sha256(link.getpeercert(binary_form=True) or b"").hexdigest()


def test_a_certificate_is_changed_while_callers_connect_and_every_handshake_succeeds(
    up: Endpoint, kube: Kube, contributor: User, run_operations: Callable[[], None]
) -> None:
    ComputeTarget.objects.update(node_count=3)
    before, over, seen = handshake(), threading.Event(), []

    def call() -> None:
        while not over.is_set():
            seen.append(handshake())

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(call) for _ in range(2)]
        try:
            given = certificates.make(["score.example.com"], timezone.now())
            actions.certificate_set(
                target=up.compute_target, certificate=given[0], key=given[1], cname="score.example.com",
                actor=contributor,
            )  # fmt: skip
            run_operations()
        finally:
            over.set()
        for each in calls:
            each.result()
    row, after = Gateway.objects.get(), certificates.facts(given[0]).fingerprint
    assert Operation.objects.latest("created_at").state == OperationState.SUCCEEDED
    assert handshake() == after != before
    assert set(seen) <= {before, after}
    assert row.tls_seen["fingerprint"] == after
    assert row.tls_seen["days_left"] in ([824], [825])
    up.refresh_from_db()
    assert up.scoring_uri == "https://score.example.com:8443/api/v1/service/iris/score"
    assert kube.score("iris")[0] == 200
