"""What Azure would refuse is found before it is asked: all findings at once, with numbers and a fix."""

from __future__ import annotations

import threading

import pytest

from compute import preflight, rights, sizes
from compute.models import ComputeTarget
from compute.steps import preflight as steps
from compute.types import Finding, Offer, Subnet, Usage, VmSize
from portal import operations
from portal.models import Operation
from portal.problems import Problem
from tests.compute.azure import sku, usage
from tests.compute.conftest import step_once

D3, D2 = VmSize("Standard_D3_v2", 4, 14, 0, "Dv2"), VmSize("Standard_D2s_v3", 2, 8, 0, "DSv3")
BODY = {"name": "prod-1", "node_count": 3}
SUBNET = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/net/subnets/nodes"


def codes(findings, level="error"):
    return [each.code for each in findings if each.level == level]


# --- pure rules


def test_a_size_that_the_region_does_not_have_is_named_with_others_that_it_has():
    (found,) = preflight.size([Offer(D2, ("1",))], "Standard_D3_v2", "westeurope")
    assert (found.code, found.level) == ("size_not_offered", "error")
    assert "Standard_D2s_v3" in found.fix


def test_a_size_that_the_subscription_may_not_use_is_refused():
    (found,) = preflight.size([Offer(D3, ("1",), is_barred=True)], "standard_d3_V2", "westeurope")
    assert (found.code, "may not use Standard" in found.message or "may not use standard" in found.message) == (
        "size_restricted", True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (VmSize("Standard_F1s", 1, 2, 0, "F"), ["size_too_small"]),
        (VmSize("Standard_X2", 2, 3.5, 0, "X"), ["size_too_small"]),
        (VmSize("Standard_F1s_v9", 1, 8, 0, "F"), ["size_too_small"]),
        (VmSize("Standard_B2s", 2, 4, 0, "B"), []),
        (VmSize("Standard_untold", 0, 0, 0, ""), []),
        (sizes.find(sizes.DEFAULT_SIZE), []),
    ],
)
def test_the_first_pool_needs_nodes_of_2_vcpus_and_4_gb(size, expected):
    found = preflight.system_size(size, [Offer(size), Offer(D2)])
    assert codes(found) == expected
    assert all("e.g. Standard_D2s_v3." in each.fix for each in found)


def test_a_zone_that_is_barred_or_absent_is_refused_with_those_that_are_left():
    offers = [Offer(D3, ("1", "2"), barred_zones=("2",))]
    (found,) = preflight.size(offers, "Standard_D3_v2", "westeurope", ["1", "2", "3"])
    assert (found.code, found.facts) == ("zone_not_offered", {"zones": ["1"]})
    assert "zones 2, 3" in found.message
    assert preflight.size(offers, "Standard_D3_v2", "westeurope", ["1"])[0].level == "ok"


def test_regional_and_family_quota_are_told_together_with_what_is_left_and_needed():
    usages = [Usage("cores", 96, 100), Usage("dv2", 8, 10)]
    found = preflight.quota(usages, vcpus=4, family="Dv2", count=3, name="Standard_D3_v2", region="westeurope")
    assert codes(found) == ["quota_region", "quota_family"]
    assert [(each.facts["left"], each.facts["needed"]) for each in found] == [(4, 12), (2, 12)]
    assert "8 more would do" in found[0].fix
    enough = preflight.quota(usages, vcpus=2, family="dv2", count=1, name="S", region="r")
    assert codes(enough, "ok") == ["quota_region", "quota_family"]


def test_an_autoscaler_that_would_outgrow_the_quota_is_warned_about():
    fits = preflight.quota([Usage("cores", 0, 20)], vcpus=4, family="", count=3, name="S", region="r")
    (found,) = preflight.grown(fits, 6, 3)
    assert (found.level, found.facts) == ("warning", {"left": 20, "needed": 24})
    assert preflight.grown(fits, 5, 3) == []


def test_a_kubernetes_version_that_is_not_offered_comes_with_the_list():
    (found,) = preflight.version(["1.33", "1.34"], "1.30.2", "westeurope")
    assert (found.code, found.facts["offered"], "1.33, 1.34" in found.fix) == (
        "version_not_offered", ["1.33", "1.34"], True,
    )  # fmt: skip
    assert preflight.version(["1.33"], "1.33.6", "westeurope")[0].level == "ok"
    assert preflight.version(["1.33"], "", "westeurope") == []


@pytest.mark.parametrize(
    ("rows", "action", "expected"),
    [
        ([{"actions": ["*"]}], "A.B/c/write", True),
        ([{"actions": ["*/read"]}], "A.B/c/write", False),
        ([{"actions": ["a.b/*"]}], "A.B/c/join/action", True),
        ([{"actions": ["*"], "notActions": ["A.B/*/write"]}], "A.B/c/write", False),
        ([{"actions": ["*"], "notActions": ["A.B/*"]}, {"actions": ["A.B/c/*"]}], "A.B/c/write", True),
        ([], "A.B/c/read", False),
    ],
)
def test_permissions_follow_wildcards_and_what_is_taken_back(rows, action, expected):
    assert preflight.allows(rows, action) is expected


def test_a_missing_permission_names_the_action_the_role_and_the_scope():
    rows = [{"actions": ["*/read"]}]
    (found,) = preflight.permitted(rows, rights.CREATE_ACTIONS, "/subscriptions/s", rights.CLUSTER_ROLE)
    assert "managedClusters/write" in found.message
    assert "managedClusters/read" not in found.message
    assert 'az role assignment create --assignee APP_ID --role "Azure Kubernetes' in found.fix


@pytest.mark.parametrize(("count", "expected"), [(247, "error"), (222, "ok"), (228, "ok"), (229, "error")])
def test_a_subnet_has_room_for_nodes_and_a_tenth_more_and_azure_keeps_5_addresses(count, expected):
    found = preflight.subnet(Subnet("x", ("10.1.0.0/24",)), SUBNET, region="r", count=count, is_flat=False)
    assert found[-1].level == expected, found


def test_in_a_flat_network_each_pod_has_an_address_of_the_subnet_too():
    (found,) = preflight.subnet(Subnet("x", ("10.1.0.0/25",), used=3), SUBNET, region="r", count=3, is_flat=True)
    assert (found.code, found.facts["needed"], found.facts["left"]) == ("subnet_full", 124, 120)
    assert "at least /24" in found.fix


def test_a_subnet_elsewhere_delegated_or_missing_is_refused():
    there = Subnet("x", ("10.1.0.0/16",), delegations=("Microsoft.Sql/managedInstances",), region="eastus")
    found = preflight.subnet(there, SUBNET, region="westeurope", count=1, is_flat=False)
    assert codes(found) == ["subnet_region", "subnet_delegated"]
    assert codes(preflight.subnet(None, SUBNET, region="r", count=1, is_flat=False)) == ["subnet_missing"]


def test_ranges_of_services_pods_and_subnet_may_not_overlap_and_hold_the_dns_address():
    there = Subnet("x", ("10.1.0.0/16",))
    assert codes(preflight.ranges("10.1.0.0/20", "", there)) == ["service_cidr_overlaps"]
    assert codes(preflight.ranges("", "", Subnet("x", ("10.244.8.0/24",)), "10.244.0.0/16")) == ["pod_cidr_overlaps"]
    assert codes(preflight.ranges("10.9.0.0/16", "10.8.0.10", there)) == ["dns_outside"]
    assert preflight.ranges("10.9.0.0/30", "", there, "10.244.0.0/16") == []


# --- the operation


def test_a_create_that_azure_would_refuse_fails_before_the_put_with_all_findings(call, azure, run_all):
    azure.usages = [usage("cores", 346, 350), usage("f", 0, 8)]
    azure.rights["rg"] = [{"actions": ["*/read"], "notActions": []}]
    call("operator", "post", "compute-targets/", BODY)
    run_all()
    op = Operation.objects.get()
    assert (op.state, op.error["code"], op.error["step"]) == ("Failed", "preflight_failed", "check_create")
    found = {each["code"]: each for each in op.error["findings"] if each["level"] == "error"}
    assert set(found) == {"quota_region", "quota_family", "permission_missing"}
    assert found["quota_region"]["facts"] == {"left": 4, "needed": 12, "limit": 350, "used": 346}
    assert azure.changes == []
    assert call("reader", "get", f"operations/{op.pk}/").data["findings"] == op.error["findings"]
    assert ComputeTarget.objects.get().state == "Failed"


def test_a_retry_looks_again_and_passes_when_the_quota_was_raised(call, azure, run_all, people):
    azure.usages = [usage("cores", 346, 350)]
    call("operator", "post", "compute-targets/", BODY)
    run_all()
    azure.usages = [usage("cores", 0, 350)]
    steps.cache.clear()
    operations.retry(op=Operation.objects.get(), actor=people["operator"])
    run_all()
    op = Operation.objects.get()
    assert (op.state, {each["level"] for each in op.findings}) == ("Succeeded", {"ok"})


def test_a_preflight_that_may_not_ask_for_quotas_warns_and_goes_on(call, azure, run_all):
    azure.fail("usages", (403, {"error": {"code": "AuthorizationFailed", "message": "no usages/read"}}))
    call("operator", "post", "compute-targets/", BODY)
    run_all()
    op = Operation.objects.get()
    assert op.state == "Succeeded"
    (warning,) = [each for each in op.findings if each["level"] == "warning"]
    assert (warning["code"], "no usages/read" in warning["message"]) == ("quota_unknown", True)


def test_trouble_that_may_pass_is_waited_for_and_then_a_warning(call, azure, run_all):
    azure.fail("usages", *[(503, b"<html>")] * 9)
    call("operator", "post", "compute-targets/", BODY)
    run_all()
    assert len(azure.faults["usages"]) == 9 - steps.TRIES
    assert [each["code"] for each in Operation.objects.get().findings if each["level"] == "warning"] == [
        "quota_unknown"
    ]


def test_many_creates_together_ask_azure_once(call, azure):
    for number in range(6):
        call("operator", "post", "compute-targets/", {**BODY, "name": f"prod-{number}"})
    for op in Operation.objects.all():
        step_once(op)
    assert {(op.step, len(op.findings)) for op in Operation.objects.all()} == {(1, 5)}
    asked = [path for path in azure.reads if path.endswith(("/skus", "/usages", "/permissions"))]
    assert len(asked) == 3, asked


# --- the preflight call


def test_the_preflight_call_tells_all_findings_and_creates_nothing(call, azure):
    azure.usages = [usage("cores", 346, 350), usage("f", 0, 4)]
    body = {"name": "x", "node_count": 2, "kubernetes_version": "1.20", "resource_group": "nowhere"}
    answer = call("operator", "post", "compute-targets/preflight/", body)
    assert (answer.status_code, answer.data["passes"]) == (200, False)
    found = [each["code"] for each in answer.data["findings"] if each["level"] == "error"]
    assert found == [
        "bad_compute_name", "too_few_vcpus", "resource_group_missing", "quota_region", "quota_family",
        "version_not_offered",
    ]  # fmt: skip
    assert not ComputeTarget.objects.exists()
    assert not Operation.objects.exists()
    assert azure.changes == []


def test_a_wish_that_azure_would_take_passes_with_its_numbers(call, azure):
    answer = call("operator", "post", "compute-targets/preflight/", {**BODY, "kubernetes_version": "1.33"})
    assert (answer.data["passes"], {each["level"] for each in answer.data["findings"]}) == (True, {"ok"})


def test_the_default_of_devtest_passes_and_a_size_below_azures_least_does_not(call, azure):
    azure.skus.append(sku("Standard_F1s", 1, 2))
    body = {"name": "trial", "purpose": "DevTest"}
    assert call("operator", "post", "compute-targets/preflight/", body).data["passes"] is True
    answer = call("operator", "post", "compute-targets/preflight/", {**body, "vm_size": "Standard_F1s"})
    (found,) = [each for each in answer.data["findings"] if each["level"] == "error"]
    assert (found["code"], found["facts"]) == ("size_too_small", {"vcpus": 1, "memory_gb": 2.0})
    assert "Standard_F1s has 1 vCPU and 2 GB." in found["message"]


def test_a_subnet_is_looked_at_with_the_right_to_join_it(call, azure):
    azure.subnets["nodes"] = {"addressPrefix": "10.1.0.0/29", "delegations": [{"properties": {"serviceName": "A.B/c"}}]}
    azure.network_region = "eastus"
    azure.rights["nodes"] = [{"actions": ["*/read"]}]
    answer = call("operator", "post", "compute-targets/preflight/", {**BODY, "subnet_id": SUBNET})
    found = [each["code"] for each in answer.data["findings"] if each["level"] == "error"]
    assert found == ["subnet_region", "subnet_delegated", "subnet_full", "permission_missing"]


def test_a_user_assigned_identity_needs_the_right_to_assign_it(call, azure):
    identity = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mine"
    azure.rights["mine"] = [{"actions": ["*/read"]}]
    answer = call("operator", "post", "compute-targets/preflight/", {**BODY, "identity": identity})
    (found,) = [each for each in answer.data["findings"] if each["level"] == "error"]
    assert found["facts"]["role"] == "Managed Identity Operator"


def test_a_credential_that_azure_does_not_take_is_one_error(call, azure, home):
    home.arm_credential = '{"kind": "static", "token": "wrong"}'
    home.save()
    answer = call("operator", "post", "compute-targets/preflight/", BODY)
    assert [each["code"] for each in answer.data["findings"]] == ["azure_denied"]


PAGE = {"name": "prod-1", "purpose": "FastProd", "vm_size": "Standard_D3_v2", "node_count": "3"}


def test_the_create_page_shows_all_findings_and_keeps_what_was_typed(client, azure, home, people):
    azure.usages = [usage("cores", 346, 350), usage("f", 0, 4)]
    client.force_login(people["operator"])
    answer = client.post("/w/lab/new/compute/", {**PAGE, "name": "prod-9", "check": "on"})
    text = answer.content.decode()
    assert answer.status_code == 200
    assert "need 12 regional vCPUs in westeurope; 4 are left" in text
    assert "need 12 vCPUs of the family f" in text
    assert 'value="prod-9"' in text
    assert not ComputeTarget.objects.exists()


def test_a_refused_create_shows_every_rule_that_it_breaks(client, azure, home, people):
    client.force_login(people["operator"])
    answer = client.post("/w/lab/new/compute/", {**PAGE, "name": "1x", "node_count": "2"})
    assert answer.status_code == 422
    assert "has 2 characters" in answer.content.decode()
    assert "needs at least 12" in answer.content.decode()


def test_the_operations_page_lists_the_findings(client, call, azure, run_all, people):
    azure.usages = [usage("cores", 346, 350)]
    call("operator", "post", "compute-targets/", BODY)
    run_all()
    client.force_login(people["reader"])
    text = client.get(f"/w/lab/operations/{Operation.objects.get().pk}/").content.decode()
    assert "This would be refused" in text
    assert "8 more would do" in text


def test_an_azure_that_is_silent_does_not_hold_the_call():
    stop = threading.Event()
    answers = steps.gather({"slow": lambda: stop.wait(20), "quick": lambda: 1}, seconds=0.2)
    stop.set()
    assert answers["quick"] == 1
    assert (isinstance(answers["slow"], Problem), "within 0.2 s" in answers["slow"].detail) == (True, True)


def test_errors_are_told_in_one_text_and_warnings_do_not_fail():
    rows = [Finding("a", "error", "One.", "Do this."), Finding("b", "warning", "Two.")]
    assert preflight.told(rows) == "One. Do this."
    assert preflight.passes(rows[1:])
