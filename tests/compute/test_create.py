"""Create over REST against Azure at the socket."""

from __future__ import annotations

import pytest
from django.utils import timezone

from compute.models import ComputeTarget
from portal import operations
from portal.models import AuditEvent, Operation
from tests.compute.azure import READ_ONLY
from tests.compute.conftest import step_once

BODY = {"name": "prod-1", "node_count": 3}
SUBNET = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/net/subnets/nodes"
IDENTITY = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/cluster"


def puts(azure):
    return [name for verb, name in azure.changes if verb == "PUT"]


def submit(op):
    """The preflight, then the PUT."""
    step_once(op)
    step_once(op)


def test_create_makes_the_cluster_with_the_defaults_and_ends_succeeded(call, azure, run_all):
    answer = call("operator", "post", "compute-targets/", {"name": "prod-1"})
    assert answer.status_code == 202
    assert answer["Location"].endswith(f"/operations/{answer.data['operation']}/")
    run_all()
    shown = call("reader", "get", "compute-targets/prod-1/").data
    assert (shown["state"], shown["vm_size"], shown["node_count"]) == ("Succeeded", "Standard_D3_v2", 3)
    assert (shown["purpose"], shown["region"], shown["total_vcpus"]) == ("FastProd", "westeurope", 12)
    assert shown["observed"]["nodes_ready"] == 3
    assert shown["usd_hour"] == pytest.approx(0.816)
    assert puts(azure) == [shown["cluster_name"]]
    (cluster,) = azure.clusters.values()
    (pool,) = cluster["properties"]["agentPoolProfiles"]
    assert {name: value for name, value in pool.items() if name not in READ_ONLY} == {
        "name": "nodepool1", "mode": "System", "type": "VirtualMachineScaleSets", "osType": "Linux",
        "vmSize": "Standard_D3_v2", "count": 3,
    }  # fmt: skip


def test_the_finished_cluster_carries_a_note_of_whose_it_is(call, azure, run_all):
    call("operator", "post", "compute-targets/", BODY)
    run_all()
    notes = [value for path, value in azure.objects.items() if "/configmaps/" in path]
    assert [note["data"]["compute_target"] for note in notes] == ["prod-1"]
    assert notes[0]["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "slipway"


def test_devtest_without_a_count_has_1_node_and_warns(call, run_all):
    answer = call("operator", "post", "compute-targets/", {"name": "dev", "purpose": "DevTest"})
    assert answer.status_code == 202
    assert "not fit for production" in answer.data["warnings"][0]
    assert call("reader", "get", "compute-targets/dev/").data["node_count"] == 1


def test_every_customisation_reaches_azure(call, azure, run_all):
    extra = {
        "kubernetes_version": "1.33", "tags": {"a": "b"}, "autoscaler": {"min_count": 3, "max_count": 5},
        "authorized_ip_ranges": ["203.0.113.0/24"], "service_cidr": "10.1.0.0/16", "dns_service_ip": "10.1.0.10",
        "load_balancer": {"sku": "basic"}, "zones": ["1", "2"], "os_disk_gb": 256,
        "identity": IDENTITY, "subnet_id": SUBNET, "network_mode": "flat", "docker_bridge_cidr": "172.17.0.1/16",
    }  # fmt: skip
    answer = call("operator", "post", "compute-targets/", {**BODY, **extra})
    for words in ("standard one", "docker_bridge_cidr"):
        assert any(words in text for text in answer.data["warnings"])
    run_all()
    (cluster,) = azure.clusters.values()
    properties, pool = cluster["properties"], cluster["properties"]["agentPoolProfiles"][0]
    assert (cluster["tags"]["a"], properties["kubernetesVersion"]) == ("b", "1.33")
    assert (pool["enableAutoScaling"], pool["minCount"], pool["maxCount"]) == (True, 3, 5)
    assert properties["apiServerAccessProfile"] == {"authorizedIPRanges": ["203.0.113.0/24"]}
    assert properties["networkProfile"]["serviceCidr"] == "10.1.0.0/16"
    assert properties["networkProfile"]["loadBalancerSku"] == "standard"
    assert "networkPluginMode" not in properties["networkProfile"]
    assert (pool["availabilityZones"], pool["osDiskSizeGB"], pool["vnetSubnetID"]) == (["1", "2"], 256, SUBNET)
    assert cluster["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"name": "ab"}, 422, "3 to 24"),
        ({"name": "prod-1", "node_count": 2}, 422, "passes is 3"),
        ({"name": "prod-1", "vm_size": "Standard_Q1"}, 422, "no VM size"),
        ({"name": "prod-1", "vm_size": "Standard_NP10s"}, 422, "FPGA sizes are gone"),
        ({"name": "prod-1", "node_count": 1001}, 422, "1 to 1000"),
        ({"name": "prod-1", "kubernetes_version": "1.20"}, 422, "offers 1.32"),
        ({"name": "prod-1", "service_cidr": "x"}, 422, "IPv4 range"),
        ({"name": "prod-1", "autoscaler": {"min_count": 1, "max_count": 5}, "node_count": 3}, 422, "passes is 3"),
        ({"name": "prod-1", "purpose": "Fun"}, 400, "purpose"),
        ({"name": "prod-1", "colour": "red"}, 400, "Unknown: colour"),
        ({"node_count": 3}, 400, "name"),
    ],
)
def test_what_is_against_a_rule_is_refused_and_nothing_changes(call, azure, body, status, words):
    answer = call("operator", "post", "compute-targets/", body)
    assert (answer.status_code, words in answer.data["detail"]) == (status, True), answer.data
    assert not ComputeTarget.objects.exists()
    assert not Operation.objects.exists()
    assert azure.changes == []


def test_a_name_is_unique_in_the_workspace_and_the_clash_is_said_at_once(call, azure):
    call("operator", "post", "compute-targets/", BODY)
    answer = call("operator", "post", "compute-targets/", {"name": "PROD-1"})
    assert answer.status_code == 409
    assert "lab has a compute target prod-1 already" in answer.data["detail"]


def test_another_teams_name_is_only_called_taken_in_this_region(call, elsewhere):
    call("other", "post", "compute-targets/", BODY, slug="rivals")
    answer = call("operator", "post", "compute-targets/", BODY)
    assert answer.status_code == 409
    assert "taken in this region" in answer.data["detail"]
    assert "rivals" not in str(answer.data).lower()
    other_region = call("operator", "post", "compute-targets/", {**BODY, "region": "East US"})
    assert other_region.status_code == 202


@pytest.mark.parametrize(("who", "status"), [("reader", 403), ("contributor", 403), ("stranger", 404)])
def test_only_operators_create(call, who, status):
    assert call(who, "post", "compute-targets/", BODY).status_code == status
    assert not ComputeTarget.objects.exists()


def test_create_is_written_to_history_with_its_operation(call):
    answer = call("operator", "post", "compute-targets/", BODY)
    event = AuditEvent.objects.get(action="compute_target.created")
    assert (event.actor_name, event.operation_id_text) == ("operator", answer.data["operation"])
    assert event.after["node_count"] == 3


def test_quota_refused_at_once_fails_with_azures_words_and_a_retry_puts_again(call, azure, run_all, people):
    refusal = {
        "code": "ErrCode_InsufficientVCPUQuota",
        "message": "left regional vcpu quota 4, requested quota 12",
        "details": None,
    }
    azure.fail("PUT", (400, refusal))
    call("operator", "post", "compute-targets/", BODY)
    run_all()
    op = Operation.objects.get()
    assert (op.state, "left regional vcpu quota 4" in op.error["detail"]) == ("Failed", True)
    target = ComputeTarget.objects.get()
    assert (target.state, "requested quota 12" in target.reason) == ("Failed", True)
    operations.retry(op=op, actor=people["operator"])
    run_all()
    assert ComputeTarget.objects.get().state == "Succeeded"


def test_a_late_failure_shows_the_inner_cause_and_a_retry_puts_the_same_body_again(call, azure, run_all, people):
    inner = {"code": "QuotaExceeded", "message": "node 3 did not start"}
    azure.fail("late", {"code": "CreateVMSSAgentPoolFailed", "message": "pool failed", "details": [inner]})
    call("operator", "post", "compute-targets/", BODY)
    run_all()
    target = ComputeTarget.objects.get()
    assert target.state == "Failed"
    assert target.reason == "pool failed: node 3 did not start (QuotaExceeded)"
    operations.retry(op=Operation.objects.get(), actor=people["operator"])
    run_all()
    assert ComputeTarget.objects.get().state == "Succeeded"
    assert len(puts(azure)) == 2


def test_a_put_whose_answer_is_lost_is_not_repeated(call, azure, run_all):
    azure.fail("PUT", "lost")
    call("operator", "post", "compute-targets/", BODY)
    run_all()
    assert ComputeTarget.objects.get().state == "Succeeded"
    assert len(puts(azure)) == 1


def test_a_worker_killed_after_the_put_finds_the_cluster_and_does_not_put_again(call, azure, run_all, monkeypatch):
    call("operator", "post", "compute-targets/", BODY)
    op = Operation.objects.get()
    step_once(op)
    Operation.objects.update(due_at=timezone.now())
    real = operations.remember

    def die(*args, **kw):
        raise KeyboardInterrupt

    monkeypatch.setattr(operations, "remember", die)
    with pytest.raises(KeyboardInterrupt):
        operations.advance(str(op.pk))
    monkeypatch.setattr(operations, "remember", real)
    Operation.objects.update(leased_until=None)
    for job in azure.operations.values():  # Azure goes on by itself
        job["phases"].clear()
    azure.clusters[next(iter(azure.clusters))]["properties"]["provisioningState"] = "Succeeded"
    run_all()
    assert ComputeTarget.objects.get().state == "Succeeded"
    assert len(puts(azure)) == 1


def test_a_step_that_runs_twice_puts_once(call, azure):
    call("operator", "post", "compute-targets/", BODY)
    op = Operation.objects.get()
    submit(op)
    Operation.objects.update(step=1)
    step_once(op)
    assert len(puts(azure)) == 1


def test_an_operation_url_that_azure_forgot_leads_to_the_resource(call, azure, run_all):
    call("operator", "post", "compute-targets/", BODY)
    submit(Operation.objects.get())
    azure.operations.clear()
    azure.clusters[next(iter(azure.clusters))]["properties"]["provisioningState"] = "Succeeded"
    run_all()
    assert ComputeTarget.objects.get().state == "Succeeded"


def test_the_stored_url_is_polled_verbatim_and_unknown_states_mean_busy(call, azure, run_all):
    call("operator", "post", "compute-targets/", BODY)
    submit(Operation.objects.get())
    next(iter(azure.operations.values()))["phases"] = ["ReconcilingDNS", "CreatingAgentPool: 0/1 nodes completed"]
    run_all()
    assert len(azure.polls) == 3
    assert all("t=a%2Bb&s=Z" in url for url in azure.polls)
    texts = Operation.objects.get().log.values_list("text", flat=True)
    assert "Azure: CreatingAgentPool: 0/1 nodes completed" in texts


def test_a_url_of_another_host_gets_no_token(call, azure):
    call("operator", "post", "compute-targets/", BODY)
    op = Operation.objects.get()
    submit(op)
    Operation.objects.update(memo={"accepted": True, "operation_url": "http://127.0.0.2:1/steal"})
    step_once(op)
    assert op.state == "Failed"
    assert "token does not go there" in op.error["detail"]


def test_retry_after_is_obeyed_and_else_the_pause_grows_from_5_to_30_seconds(call, azure):
    azure.retry_after = "7"
    call("operator", "post", "compute-targets/", BODY)
    op = Operation.objects.get()
    submit(op)
    assert step_once(op) == pytest.approx(7, abs=0.5)
    azure.retry_after = None
    next(iter(azure.operations.values()))["phases"] = ["InProgress"] * 9
    Operation.objects.update(memo={**op.memo, "polls": 0})
    pauses = [step_once(op) for _ in range(7)]
    assert pauses[0] == pytest.approx(5, abs=0.5)
    assert [round(pause) for pause in pauses] == sorted(round(pause) for pause in pauses)
    assert pauses[-1] == pytest.approx(30, abs=0.5)


@pytest.mark.parametrize(
    "fault", [(429, {"error": {"code": "TooManyRequests", "message": "slow"}}, {"Retry-After": "9"}), (503, b"<html>")]
)
def test_throttling_and_server_trouble_while_polling_are_waited_out(call, azure, run_all, fault):
    call("operator", "post", "compute-targets/", BODY)
    op = Operation.objects.get()
    submit(op)
    azure.fail("poll", *[fault] * 8)
    pause = step_once(op)
    if fault[0] == 429:
        assert pause == pytest.approx(9, abs=0.5)
    run_all()
    assert ComputeTarget.objects.get().state == "Succeeded"


def test_a_cluster_of_that_name_that_is_not_ours_is_left_alone(call, azure, run_all):
    call("operator", "post", "compute-targets/", BODY)
    azure.cluster(ComputeTarget.objects.get().cluster_name)
    run_all()
    assert "did not make" in ComputeTarget.objects.get().reason
    assert azure.changes == []


def test_a_resource_group_that_is_missing_is_named(call, azure, run_all):
    call("operator", "post", "compute-targets/", {**BODY, "resource_group": "nowhere"})
    run_all()
    assert "no resource group nowhere" in ComputeTarget.objects.get().reason


def test_no_secret_is_in_operation_log_or_history(call, azure, run_all):
    call("operator", "post", "compute-targets/", BODY)
    run_all()
    op = Operation.objects.get()
    text = f"{op.input}{op.memo}{op.error}{list(op.log.values())}{list(AuditEvent.objects.values())}"
    assert azure.kube_token not in text
    assert "arm-token" not in text
