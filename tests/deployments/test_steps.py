"""The steps, against a small Azure and Kubernetes at the socket: once, twice, and when things go wrong."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from django.utils import timezone

from compute import placed
from compute import queries as compute
from compute.models import ComputeTarget, NodePool
from deployments import actions, manifests, steps
from deployments.models import Deployment
from deployments.types import DeploymentSpec, DeploymentState, EnvironmentState
from portal import operations
from portal.models import Operation
from portal.problems import Invalid
from portal.secrets import fingerprint
from portal.types import OperationState
from tests.compute.azure import Azure

READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def job(row: Deployment, revision: int | None = None) -> Operation:
    given = {"deployment_id": row.pk, "revision": revision or row.revision}
    return Operation(workspace=row.workspace, kind="service.create", input=given, due_at=timezone.now())


def place(row: Deployment, kind: str, name: str = "", group: str = "/api/v1") -> str:
    return f"{group}/namespaces/{row.namespace}/{kind}/{name or manifests.workload_name(row)}"


def put_pod(azure: Azure, row: Deployment, name: str, status: dict[str, Any]) -> None:
    labels = {"slipway.dev/deployment": str(row.pk), "slipway.dev/revision": str(row.revision)}
    meta = {"name": name, "namespace": row.namespace, "labels": labels}
    azure.objects[place(row, "pods", name)] = {"metadata": meta, "status": status}


def crash(code: int = 3, container: str = "server") -> dict[str, Any]:
    last = {"terminated": {"exitCode": code, "reason": "Error"}}
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    return {"containerStatuses": [{"name": container, "restartCount": 3, "state": state, "lastState": last}]}


def pass_time(op: Operation, seconds: float) -> None:
    """As if an operation had waited for so long."""
    known = op.memo["_why"]
    known |= {"since": known["since"] - seconds, "at": known["at"] - seconds}


def test_applying_twice_keeps_the_token_and_the_objects(azure: Azure, deployment: Deployment) -> None:
    steps.apply_workload(job(deployment))
    first = dict(azure.objects)
    steps.apply_workload(job(deployment))
    assert azure.objects == first
    deployment.refresh_from_db()
    token = base64.b64decode(azure.objects[place(deployment, "secrets")]["data"]["token"]).decode()
    assert deployment.fetch_token_digest == fingerprint(token)
    assert token not in json.dumps([azure.objects[place(deployment, "deployments", group="/apis/apps/v1")]])


def test_a_token_that_was_stored_but_never_applied_is_made_anew(azure: Azure, deployment: Deployment) -> None:
    Deployment.objects.update(fetch_token_digest=fingerprint("lost with a killed worker"))
    steps.apply_workload(job(deployment))
    deployment.refresh_from_db()
    token = base64.b64decode(azure.objects[place(deployment, "secrets")]["data"]["token"]).decode()
    assert deployment.fetch_token_digest == fingerprint(token)


def test_replicas_are_awaited_until_all_are_ready(azure: Azure, deployment: Deployment) -> None:
    op = job(deployment)
    steps.apply_workload(op)
    put_pod(azure, deployment, "a", READY)
    put_pod(azure, deployment, "b", {"phase": "Pending"})
    waiting = steps.await_replicas(op)
    assert waiting is not None
    assert waiting.note == "1 of 2 replicas are ready"
    put_pod(azure, deployment, "b", READY)
    assert steps.await_replicas(op) is None
    deployment.refresh_from_db()
    assert deployment.ready_replicas == 2


def test_an_init_that_raises_fails_with_the_cause_and_the_log(azure: Azure, deployment: Deployment) -> None:
    op = job(deployment)
    steps.apply_workload(op)
    put_pod(azure, deployment, "a", crash())
    log = b"Traceback (most recent call last):\n  File x\nValueError: no such model\nWorker exiting\n"
    azure.objects[place(deployment, "pods", "a/log")] = log  # type: ignore[assignment]
    with pytest.raises(steps.DeploymentFailed) as caught:
        steps.await_replicas(op)
    assert "init() failed; it ended 4 times. ValueError: no such model" in caught.value.detail
    assert "Worker exiting" in caught.value.extras["evidence"]


def test_what_does_not_fit_is_unschedulable_with_the_numbers_after_a_while(
    azure: Azure, deployment: Deployment
) -> None:
    op = job(deployment)
    steps.apply_workload(op)
    message = "0/3 nodes are available: 3 Insufficient cpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    put_pod(azure, deployment, "a", {"phase": "Pending", "conditions": [condition]})
    event = {"type": "Warning", "reason": "FailedScheduling", "message": message}
    azure.objects[place(deployment, "events", "e")] = {"metadata": {}, "involvedObject": {"name": "a"}, **event}
    waiting = steps.await_replicas(op)
    assert waiting is not None
    assert f"fits on no node: {message}" in waiting.note
    pass_time(op, 60)
    with pytest.raises(steps.DeploymentFailed, match="3 Insufficient cpu") as caught:
        steps.await_replicas(op)
    assert caught.value.detail.endswith("The most that one node has free: CPU 3.86 (sys-0), memory in GiB 12 (sys-0).")
    assert caught.value.extras["evidence"] == f"Warning FailedScheduling: {message}"
    assert "containerResourceRequirements.cpu" in caught.value.extras["fix"]
    op.state, op.error = OperationState.FAILED, caught.value.as_dict()
    steps.settle_deployment(op)
    deployment.refresh_from_db()
    assert deployment.state == DeploymentState.UNSCHEDULABLE
    assert "3 Insufficient cpu" in deployment.reason
    assert deployment.fix == caught.value.extras["fix"]


def test_a_failed_update_applies_what_served_before(
    azure: Azure, deployment: Deployment, spec: DeploymentSpec, author: Any
) -> None:
    first = job(deployment)
    steps.apply_workload(first)
    first.state = OperationState.SUCCEEDED
    steps.settle_deployment(first)
    deployment.refresh_from_db()
    actions.deployment_revise(deployment=deployment, spec=spec, actor=author)
    second = job(deployment)
    assert second.input["revision"] == 2
    steps.apply_workload(second)
    put_pod(azure, deployment, "a", READY)
    put_pod(azure, deployment, "b", READY)
    shown = azure.objects[place(deployment, "deployments", group="/apis/apps/v1")]
    shown["status"] = {"observedGeneration": 2, "unavailableReplicas": 1}  # ready, but not for long enough to count
    assert steps.await_replicas(second) is not None
    shown["status"] = {"observedGeneration": 2}
    assert steps.await_replicas(second) is None
    Deployment.objects.update(ready_replicas=2)
    steps.restore_workload(second)
    steps.restore_workload(second)
    labels = azure.objects[place(deployment, "deployments", group="/apis/apps/v1")]["metadata"]["labels"]
    assert labels["slipway.dev/revision"] == "1"
    second.state, second.error = OperationState.ROLLED_BACK, {"detail": "It broke.", "code": "deployment_failed"}
    steps.settle_deployment(second)
    deployment.refresh_from_db()
    assert (deployment.state, deployment.revision) == (DeploymentState.HEALTHY, 1)
    assert deployment.reason == "The change to revision 2 failed: It broke."
    third = actions.deployment_revise(deployment=deployment, spec=spec, actor=author)
    assert third.number == 3


def test_a_rollback_is_a_new_revision_equal_to_the_old(
    deployment: Deployment, spec: DeploymentSpec, author: Any
) -> None:
    actions.deployment_revise(deployment=deployment, spec=spec, actor=author)
    back = actions.deployment_rollback(deployment=deployment, number=1, actor=author)
    assert (back.number, back.comment) == (3, "Back to revision 1")
    with pytest.raises(Invalid, match="already"):
        actions.deployment_rollback(deployment=deployment, number=3, actor=author)


def test_removing_takes_everything_and_the_token(azure: Azure, deployment: Deployment) -> None:
    steps.apply_workload(job(deployment))
    put_pod(azure, deployment, "a", READY)
    cluster = compute.open_cluster(deployment.compute_target)
    assert steps.remove_from(cluster, deployment) is False
    del azure.objects[place(deployment, "pods", "a")]
    assert steps.remove_from(cluster, deployment) is True
    left = [path for path in azure.objects if manifests.workload_name(deployment) in path]
    assert left == []
    deployment.refresh_from_db()
    assert (deployment.state, deployment.fetch_token_digest) == (DeploymentState.DELETING, "")


def test_health_follows_the_pods_once_the_operation_is_over(azure: Azure, deployment: Deployment) -> None:
    Deployment.objects.update(state=DeploymentState.HEALTHY)
    put_pod(azure, deployment, "a", crash(1))
    azure.objects[place(deployment, "pods", "a/log")] = b"no such file\n"  # type: ignore[assignment]
    steps.observe_target(deployment.compute_target_id)
    deployment.refresh_from_db()
    assert deployment.state == DeploymentState.UNHEALTHY
    assert "exit code 1" in deployment.reason
    assert (deployment.evidence, bool(deployment.fix)) == ("no such file\n", True)
    put_pod(azure, deployment, "a", READY)
    put_pod(azure, deployment, "b", READY)
    steps.observe_target(deployment.compute_target_id)
    deployment.refresh_from_db()
    assert (deployment.state, deployment.ready_replicas) == (DeploymentState.HEALTHY, 2)
    assert (deployment.reason, deployment.evidence, deployment.fix) == ("", "", "")


def test_a_service_that_lost_some_replicas_serves_on_and_says_why_until_all_are_back(
    azure: Azure, deployment: Deployment
) -> None:
    Deployment.objects.update(state=DeploymentState.HEALTHY, wanted_replicas=2)
    put_pod(azure, deployment, "a", READY)
    put_pod(azure, deployment, "b", crash(137))
    steps.observe_target(deployment.compute_target_id)
    deployment.refresh_from_db()
    assert deployment.state == DeploymentState.HEALTHY
    assert "ended by SIGKILL" in deployment.reason
    put_pod(azure, deployment, "b", {"phase": "Pending"})
    steps.observe_target(deployment.compute_target_id)
    deployment.refresh_from_db()
    assert deployment.reason == ""


def test_what_a_failed_change_left_to_say_stays_while_the_old_revision_is_well(
    azure: Azure, deployment: Deployment
) -> None:
    said = "The change to revision 2 failed: It broke."
    Deployment.objects.update(state=DeploymentState.HEALTHY, wanted_replicas=1, reason=said)
    put_pod(azure, deployment, "a", READY)
    steps.observe_target(deployment.compute_target_id)
    deployment.refresh_from_db()
    assert deployment.reason == said


def test_a_log_that_a_lost_node_keeps_to_itself_hides_no_trouble(azure: Azure, deployment: Deployment) -> None:
    op = job(deployment)
    steps.apply_workload(op)
    put_pod(azure, deployment, "a", crash())
    azure.fail("log", (502, {"message": "dial tcp 10.224.0.5:10250: i/o timeout"}))
    with pytest.raises(steps.DeploymentFailed, match="init\\(\\) failed; it ended 4 times."):
        steps.await_replicas(op)


def test_what_a_missing_cluster_served_is_shown_as_lost_until_it_comes_back(
    azure: Azure, deployment: Deployment
) -> None:
    Deployment.objects.update(state=DeploymentState.HEALTHY, ready_replicas=2)
    put_pod(azure, deployment, "a", READY)
    ComputeTarget.objects.update(state="Missing", reason="The cluster aks was deleted outside the portal.")
    steps.observe_target(deployment.compute_target_id)
    deployment.refresh_from_db()
    assert (deployment.state, deployment.ready_replicas) == (DeploymentState.UNHEALTHY, 0)
    assert deployment.reason.startswith("Lost: aks is Missing. The cluster aks was deleted outside the portal.")
    ComputeTarget.objects.update(state="Succeeded", reason="")
    steps.observe_target(deployment.compute_target_id)
    deployment.refresh_from_db()
    assert (deployment.state, deployment.ready_replicas, deployment.reason) == (DeploymentState.HEALTHY, 1, "")


def test_an_environment_is_built_by_the_registry_once_and_keeps_its_log(
    azure: Azure, home: Any, author: Any, django_capture_on_commit_callbacks: Any
) -> None:
    azure.blobs["/blob/log"] = b"Resolved 30 packages\nInstalled 30 packages\n"
    row = actions.environment_register(workspace=home, name="np", actor=author, pip=["numpy"])
    op = actions.environment_build(environment=row, actor=author)
    for _ in range(8):
        Operation.objects.filter(pk=op.pk).update(due_at=timezone.now())
        operations.advance(str(op.pk))
    op.refresh_from_db()
    row.refresh_from_db()
    assert (op.state, op.error) == (OperationState.SUCCEEDED, None)
    assert (row.state, row.image) == (
        EnvironmentState.SUCCEEDED, "slipwaysandbox.azurecr.io/slipway/environments@sha256:abc"
    )  # fmt: skip
    assert "Installed 30" in row.log
    assert "Installed 30 packages" in list(op.log.values_list("text", flat=True))
    assert len(azure.runs) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"entry_script": "other.py"}, "no file other.py. It has: score.py"),
        ({"entry_script": "../score.py"}, "'..'"),
        ({"code": None}, "no code with the entry script"),
        ({"config": {"gpuCores": 1}}, "Standard_D3_v2 has 0 GPUs"),
        ({"config": {"containerResourceRequirements": {"cpu": 5}}}, "cpu is 5, but one Standard_D3_v2 of aks has 4"),
        ({"config": {"numReplicas": 0}}, "numReplicas is 0"),
    ],
)
def test_what_can_be_known_early_is_refused_early(
    home: Any, target: Any, spec: DeploymentSpec, author: Any, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(Invalid) as caught:
        actions.deployment_create(workspace=home, target=target, name="x", spec=replace(spec, **change), actor=author)
    assert words in caught.value.detail
    assert not Deployment.objects.exists()


def gpu_pool(target: Any, name: str = "gpu1", **more: Any) -> NodePool:
    facts = {"vm_size": "Standard_NC4as_T4_v3", "vcpus": 4, "memory_gb": 28, "gpus": 1, "count": 1, **more}
    facts = {"state": "Succeeded", "observed": {"count": 1, "power_state": "Running"}, **facts}
    return NodePool.objects.create(target=target, name=name, **facts)


def pod_of(azure: Azure, row: Deployment) -> dict[str, Any]:
    found = azure.objects[place(row, "deployments", group="/apis/apps/v1")]
    return dict(found["spec"]["template"]["spec"])


@pytest.mark.parametrize("config", [{"nodePool": "gpu1"}, {"gpuCores": 1}])
def test_a_deployment_goes_to_the_pool_that_it_names_or_that_has_its_gpus(
    azure: Azure, home: Any, target: Any, spec: DeploymentSpec, author: Any, config: dict[str, Any]
) -> None:
    gpu_pool(target, taints=["sku=gpu:NoSchedule"])
    wanted = replace(spec, config=config)
    row = actions.deployment_create(workspace=home, target=target, name="iris", spec=wanted, actor=author)
    steps.apply_workload(job(row))
    pod = pod_of(azure, row)
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "kubernetes.azure.com/agentpool": "gpu1"}
    usual = ["nvidia.com/gpu"] if "gpuCores" in config else []
    assert [each["key"] for each in pod["tolerations"]] == ["sku", *usual]


def test_a_revision_whose_pool_is_gone_cannot_come_back_and_says_why(
    azure: Azure, home: Any, target: Any, spec: DeploymentSpec, author: Any
) -> None:
    pool = gpu_pool(target)
    wanted = replace(spec, config={"nodePool": "gpu1"})
    row = actions.deployment_create(workspace=home, target=target, name="iris", spec=wanted, actor=author)
    actions.deployment_revise(deployment=row, spec=spec, actor=author)
    pool.delete()
    with pytest.raises(Invalid, match="aks has no node pool gpu1 to deploy to. It has: nodepool1"):
        actions.deployment_rollback(deployment=row, number=1, actor=author)


def test_restoring_what_served_in_a_pool_that_is_gone_still_names_the_pool(
    azure: Azure, home: Any, target: Any, spec: DeploymentSpec, author: Any
) -> None:
    pool = gpu_pool(target)
    wanted = replace(spec, config={"nodePool": "gpu1"})
    row = actions.deployment_create(workspace=home, target=target, name="iris", spec=wanted, actor=author)
    pool.delete()
    steps.apply_workload(job(row))
    assert pod_of(azure, row)["nodeSelector"]["kubernetes.azure.com/agentpool"] == "gpu1"


def test_what_fits_is_counted_on_the_nodes_of_the_pool_only(
    azure: Azure, home: Any, target: Any, spec: DeploymentSpec, author: Any
) -> None:
    azure.clusters["aks"]["properties"]["agentPoolProfiles"].append({"name": "gpu1", "vmSize": "x", "count": 1})
    gpu_pool(target)
    wanted = replace(spec, config={"nodePool": "gpu1"})
    row = actions.deployment_create(workspace=home, target=target, name="iris", spec=wanted, actor=author)
    op = job(row)
    steps.apply_workload(op)
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/4 nodes"}
    put_pod(azure, row, "a", {"phase": "Pending", "conditions": [condition]})
    steps.await_replicas(op)
    pass_time(op, 60)
    with pytest.raises(steps.DeploymentFailed) as caught:
        steps.await_replicas(op)
    assert "It goes to the node pool gpu1." in caught.value.detail
    assert caught.value.detail.endswith("CPU 3.86 (gpu1-0), memory in GiB 12 (gpu1-0).")


def test_a_pool_that_grows_by_itself_is_waited_for(
    azure: Azure, home: Any, target: Any, spec: DeploymentSpec, author: Any
) -> None:
    gpu_pool(target, min_count=0, max_count=2)
    wanted = replace(spec, config={"nodePool": "gpu1"})
    row = actions.deployment_create(workspace=home, target=target, name="iris", spec=wanted, actor=author)
    op = job(row)
    steps.apply_workload(op)
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/4 nodes"}
    put_pod(azure, row, "a", {"phase": "Pending", "conditions": [condition]})
    for seconds in (60, 600):
        assert steps.await_replicas(op) is not None
        pass_time(op, seconds)
    with pytest.raises(steps.DeploymentFailed):
        steps.await_replicas(op)


def test_a_deployment_stays_in_the_pool_that_it_was_bound_to_when_another_would_do_too(
    azure: Azure, home: Any, target: Any, spec: DeploymentSpec, author: Any
) -> None:
    gpu_pool(target, "gpu2", taints=["sku=gpu:NoSchedule"])
    wanted = replace(spec, config={"gpuCores": 1})
    row = actions.deployment_create(workspace=home, target=target, name="iris", spec=wanted, actor=author)
    steps.apply_workload(job(row))
    before = pod_of(azure, row)
    gpu_pool(target, "gpu1")
    assert placed.on_pools(target=target) == {"gpu2": ["iris"]}
    Deployment.objects.update(serving_revision=1)
    row.refresh_from_db()
    actions.deployment_revise(deployment=row, spec=wanted, actor=author)
    assert placed.on_pools(target=target) == {"gpu1": ["iris"], "gpu2": ["iris"]}
    steps.restore_workload(job(row, 2))
    assert pod_of(azure, row) == before
    NodePool.objects.filter(name="gpu2").update(state="Missing")
    Deployment.objects.update(revision=2)
    steps.restore_workload(job(row, 2))
    assert pod_of(azure, row) == before


def test_what_was_deployed_before_pools_were_stored_goes_where_its_gpus_are(
    azure: Azure, home: Any, target: Any, spec: DeploymentSpec, author: Any
) -> None:
    gpu_pool(target)
    wanted = replace(spec, config={"gpuCores": 1})
    row = actions.deployment_create(workspace=home, target=target, name="iris", spec=wanted, actor=author)
    row.revisions.update(node_pool=None)
    assert placed.on_pools(target=target) == {"gpu1": ["iris"]}
    steps.apply_workload(job(row))
    assert pod_of(azure, row)["nodeSelector"]["kubernetes.azure.com/agentpool"] == "gpu1"


@pytest.mark.parametrize(
    ("more", "own", "pool", "grows"),
    [
        ({}, {}, "", False),
        ({"max_count": 2}, {}, "", True),
        ({"max_count": 2, "taints": ["a=b:NoSchedule"]}, {}, "", False),
        ({"max_count": 2, "taints": ["a=b:NoSchedule"]}, {}, "gpu1", True),
        ({"max_count": 2, "state": "Missing"}, {}, "", False),
        ({"max_count": 2}, {}, "nodepool1", False),
        ({}, {"observed": {"min_count": 1, "max_count": 3}}, "", True),
        ({}, {"config": {"autoscaler": {"min_count": 1, "max_count": 3}}}, "nodepool1", True),
        ({}, {"config": {"autoscaler": {"min_count": 1, "max_count": 3}}}, "gpu1", False),
    ],
)
def test_room_may_come_where_an_autoscaler_adds_nodes_that_take_the_pods(
    target: Any, more: dict[str, Any], own: dict[str, Any], pool: str, grows: bool
) -> None:
    gpu_pool(target, **more)
    for name, value in own.items():
        setattr(target, name, value)
    assert placed.grows(target=target, pool=pool) == grows


@pytest.mark.parametrize("more", [{"observed": {"os_type": "Windows"}}, {"vm_size": "Standard_D4ps_v5"}])
def test_windows_and_arm_pools_are_no_place_to_deploy_to(target: Any, more: dict[str, Any]) -> None:
    gpu_pool(target)
    gpu_pool(target, "other", **more)
    assert [each.name for each in placed.choices(target=target)] == ["nodepool1", "gpu1"]
