"""Further node pools: added, scaled, taken away, each once, and never what others set."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from compute import placed, queries, steps
from compute.actions import pools as pool_actions
from compute.arm.pools import Pools
from compute.models import ComputeTarget, NodePool
from compute.steps.pool_watch import mark_of
from portal import operations
from portal.models import AuditEvent, Operation
from portal.operations import engine
from portal.operations.plans import plan_of
from portal.problems import Problem
from portal.types import ACTIVE_STATES, OperationKind
from tests import kept, page_rows
from tests.compute.azure import sku, usage
from tests.compute.conftest import step_once

SMALL, BIG = "Standard_D2s_v3", "Standard_D3_v2"
GPU = "Standard_NC4as_T4_v3"


@pytest.fixture
def target(created, azure):
    azure.skus.append(sku(GPU, 4, 28, 1))
    return created("prod-1")


@pytest.fixture
def operator(people):
    return people["operator"]


def add(target, operator, name="extra", **more):
    return pool_actions.pool_add(target=target, actor=operator, **{"name": name, "vm_size": SMALL, "count": 2, **more})


@pytest.fixture
def pool(target, operator, run_all, azure):
    def make():
        add(target, operator)
        run_all()

    kept.once("a pool", make, azure)
    azure.changes.clear()
    return NodePool.objects.get()


def at_azure(azure, name="extra") -> dict[str, Any]:
    (cluster,) = azure.clusters.values()
    return next((each for each in cluster["properties"]["agentPoolProfiles"] if each["name"] == name), {})


def look(target):
    steps.watch_target(target.pk)
    target.refresh_from_db()
    return target


def again(row):
    row.refresh_from_db()
    row.target.refresh_from_db()
    return row


def test_a_pool_is_added_with_everything_that_was_asked_for_and_its_nodes_are_waited_for(
    target, operator, azure, run_all
):
    op = add(
        target, operator, zones=["1", "2"], labels={"team": "vision"}, taints=["sku=gpu:NoSchedule"], os_disk_gb=64,
        min_count=1, max_count=4,
    )  # fmt: skip
    run_all()
    op.refresh_from_db()
    assert op.state == "Succeeded", op.error
    there, row = at_azure(azure), NodePool.objects.get()
    asked = ("mode", "vmSize", "count", "availabilityZones", "nodeLabels", "nodeTaints", "osDiskSizeGB", "maxCount")
    assert [there[name] for name in asked] == [
        "User", SMALL, 2, ["1", "2"], {"team": "vision"}, ["sku=gpu:NoSchedule"], 64, 4,
    ]  # fmt: skip
    assert (row.state, row.vcpus, row.observed["count"]) == ("Succeeded", 2, 2)
    target.refresh_from_db()
    assert [node["pool"] for node in target.observed["nodes"]] == ["extra"] * 2 + ["nodepool1"] * 3
    assert (target.node_count, target.observed["pool"]) == (3, "nodepool1")
    event = AuditEvent.objects.get(action="node_pool.added")
    assert (event.target_name, event.after["pool"], event.after["vm_size"]) == ("prod-1", "extra", SMALL)


def test_a_pool_is_scaled_and_taken_away_and_azure_sees_one_change_for_each(pool, operator, azure, run_all):
    pool_actions.pool_scale(pool=again(pool), actor=operator, count=4)
    run_all()
    assert (again(pool).state, pool.count, at_azure(azure)["count"]) == ("Succeeded", 4, 4)
    pool_actions.pool_remove(pool=again(pool), actor=operator)
    run_all()
    assert not NodePool.objects.exists()
    assert at_azure(azure) == {}
    place = f"{ComputeTarget.objects.get().cluster_name}/agentpools/extra"
    assert azure.changes == [("PUT", place), ("DELETE", place)]
    assert all(node["pool"] == "nodepool1" for node in ComputeTarget.objects.get().observed["nodes"])


def test_an_autoscaler_is_switched_on_without_a_change_of_the_nodes_and_off_with_a_count(
    pool, operator, azure, run_all
):
    at_azure(azure)["count"] = 3
    pool_actions.pool_scale(pool=again(pool), actor=operator, min_count=1, max_count=5)
    run_all()
    there = at_azure(azure)
    assert [there[name] for name in ("enableAutoScaling", "minCount", "maxCount", "count")] == [True, 1, 5, 3]
    pool_actions.pool_scale(pool=again(pool), actor=operator, count=2)
    run_all()
    there = at_azure(azure)
    assert (there["enableAutoScaling"], there["count"], "minCount" in there) == (False, 2, False)


def test_a_pool_that_was_changed_in_azure_between_read_and_write_is_read_anew(
    pool, operator, azure, run_all, monkeypatch
):
    real = Pools._read

    def slow(*args):
        found = real(*args)
        if "team" not in at_azure(azure).get("nodeLabels", {}):
            at_azure(azure).update({"nodeLabels": {"team": "vision"}, "eTag": "other"})
        return found

    monkeypatch.setattr(Pools, "_read", slow)
    op = pool_actions.pool_scale(pool=again(pool), actor=operator, count=4)
    run_all()
    op.refresh_from_db()
    assert op.state == "Succeeded", op.error
    assert (at_azure(azure)["count"], at_azure(azure)["nodeLabels"]) == (4, {"team": "vision"})
    assert "It changed in Azure meanwhile: reading it anew" in op.log.values_list("text", flat=True)


def test_a_pool_that_is_gone_in_azure_is_removed_although_the_api_server_is_silent(pool, operator, azure, run_all):
    op = pool_actions.pool_remove(pool=again(pool), actor=operator)
    queries._open.clear()
    azure.fail("kube", *[(503, {"kind": "Status", "message": "no"})] * 50)
    run_all()
    azure.faults.clear()
    op.refresh_from_db()
    assert (op.state, op.error, NodePool.objects.count()) == ("Succeeded", None, 0)
    assert [name for name, _, _ in ComputeTarget.objects.get().observed["pools"]] == ["nodepool1"]


def test_machines_that_a_scale_deallocates_do_not_hold_it_up(pool, operator, azure, run_all, monkeypatch):
    real = azure.nodes

    def with_parked():
        parked = {"metadata": {"name": "parked", "labels": {"kubernetes.azure.com/agentpool": "extra"}}}
        return [*real(), {**parked, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}]

    monkeypatch.setattr(azure, "nodes", with_parked)
    op = pool_actions.pool_scale(pool=again(pool), actor=operator, count=3)
    run_all()
    op.refresh_from_db()
    assert op.state == "Succeeded", op.error


REFUSED = [
    ({"name": "GPU"}, "'GPU' has 3 characters. A node pool's name has 1 to 12 lower-case letters and digits"),
    ({"name": "pool-1"}, "has 6 characters"),
    ({"name": "1pool"}, "begins with a letter"),
    ({"name": "a" * 13}, "has 13 characters"),
    ({"name": "nodepool1"}, "prod-1 has a node pool nodepool1 already: it is its first one"),
    ({"mode": "System", "count": 0}, "0 nodes were asked for; a System pool has 1 to 1000"),
    ({"count": 1001}, "a User pool has 0 to 1000"),
    ({"min_count": 1}, "needs both min_count and max_count"),
    ({"min_count": 3, "max_count": 2}, "0 ≤ min_count ≤ max_count ≤ 1000"),
    ({"min_count": 3, "max_count": 4}, "count 2 has to lie between the autoscaler's 3 and 4"),
    ({"min_count": 0, "max_count": 3, "mode": "System"}, "1 ≤ min_count"),
    ({"vm_size": "Standard_B1ms", "mode": "System"}, "a node of a System pool needs at least 2 and 4"),
    ({"vm_size": "Standard_NP10s"}, "FPGA"),
    ({"vm_size": "Standard_Q1"}, "There is no VM size"),
    ({"labels": {"kubernetes.azure.com/x": "1"}}, "kubernetes.azure.com is reserved"),
    ({"labels": {"team": "a b"}}, "is not a label"),
    ({"taints": ["gpu"]}, "'gpu' is not a taint"),
    ({"taints": ["sku=gpu:Never"]}, "is not a taint"),
    ({"taints": ["sku=gpu:NoSchedule"], "mode": "System"}, "A System pool takes no taint sku=gpu:NoSchedule"),
    ({"zones": ["4"]}, "zones is ['4']"),
    ({"os_disk_gb": 8}, "30 to 2048"),
]


@pytest.mark.parametrize(("wish", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_a_pool_against_a_rule_is_refused_before_anything_begins(target, operator, azure, wish, words):
    queries.cache.clear()
    with pytest.raises(Problem) as refusal:
        add(target, operator, **wish)
    assert words in refusal.value.detail
    assert not NodePool.objects.exists()
    assert azure.changes == []


def test_a_name_is_taken_once(pool, operator):
    with pytest.raises(pool_actions.PoolTaken, match="has a node pool extra already; it is Succeeded"):
        add(again(pool).target, operator)


def test_one_change_of_a_cluster_runs_at_a_time(pool, operator, call, run_all):
    op = pool_actions.pool_scale(pool=again(pool), actor=operator, count=3)
    for act in (
        lambda: add(pool.target, operator, "other"),
        lambda: pool_actions.pool_remove(pool=again(pool), actor=operator),
        lambda: pool_actions.pool_scale(pool=again(pool), actor=operator, count=4),
        lambda: pool_actions.pool_adopt(pool=again(pool), actor=operator),
    ):
        with pytest.raises(operations.Busy) as busy:
            act()
        assert busy.value.extras["operation"] == str(op.pk)
    answer = call("operator", "post", "compute-targets/prod-1/scale/", {"node_count": 4})
    assert (answer.status_code, answer.data["operation"]) == (409, str(op.pk))


def test_a_scale_by_an_old_generation_is_stale_and_tells_the_present_count(pool, operator, run_all):
    pool_actions.pool_scale(pool=again(pool), actor=operator, count=3, generation=1)
    run_all()
    with pytest.raises(Problem, match="was changed meanwhile: it has 3 nodes now") as stale:
        pool_actions.pool_scale(pool=again(pool), actor=operator, count=5, generation=1)
    assert (stale.value.status, stale.value.extras) == (412, {"generation": 2, "count": 3})


def test_the_12_vcpus_of_fastprod_are_counted_over_all_pools(pool, operator, call, run_all):
    answer = call("operator", "post", "compute-targets/prod-1/scale/", {"node_count": 2})
    assert answer.status_code == 202  # 2 × 4 and 2 × 2
    run_all()
    for act in (
        lambda: pool_actions.pool_scale(pool=again(pool), actor=operator, count=1),
        lambda: pool_actions.pool_scale(pool=again(pool), actor=operator, min_count=0, max_count=9),
        lambda: pool_actions.pool_remove(pool=again(pool), actor=operator),
    ):
        with pytest.raises(Problem, match="vCPUs, and a FastProd cluster needs at least 12") as refusal:
            act()
        assert refusal.value.code == "too_few_vcpus"
    pool_actions.pool_scale(pool=again(pool), actor=operator, count=3)
    run_all()
    assert call("operator", "post", "compute-targets/prod-1/scale/", {"node_count": 1}).status_code == 422


def test_of_the_12_vcpus_the_own_pool_counts_with_what_its_autoscaler_keeps(pool, operator):
    ComputeTarget.objects.update(config={"autoscaler": {"min_count": 2, "max_count": 9}}, node_count=5)
    for act in (
        lambda: pool_actions.pool_remove(pool=again(pool), actor=operator),
        lambda: pool_actions.pool_scale(pool=again(pool), actor=operator, count=1),
    ):
        with pytest.raises(Problem, match="2 × Standard_D3_v2") as refusal:
            act()
        assert refusal.value.code == "too_few_vcpus"


def test_the_quota_size_and_zone_of_the_nodes_that_come_on_top_are_looked_at_first(target, operator, azure, run_all):
    azure.usages = [usage("cores", 345, 350), usage("f", 0, 350)]
    azure.skus[1]["locationInfo"][0]["zones"] = ["1"]
    queries.cache.clear()
    op = add(target, operator, count=3, zones=["1", "3"])
    run_all()
    op.refresh_from_db()
    assert (op.state, op.error["code"]) == ("Failed", "preflight_failed")
    assert "3 × Standard_D2s_v3 (2 vCPUs each) need 6 regional vCPUs in westeurope; 5 are left" in op.error["detail"]
    assert "is not available in zone 3 of westeurope" in op.error["detail"]
    assert {each["code"] for each in op.memo["findings"]} >= {"quota_region", "quota_family", "zone_not_offered"}
    row = NodePool.objects.get()
    assert (row.state, row.reason[:10]) == ("Failed", "Not added:")
    assert azure.changes == []


def test_only_the_nodes_that_a_scale_adds_count_against_the_quota(pool, operator, azure, run_all):
    azure.usages = [usage("cores", 346, 350), usage("f", 0, 350)]
    op = pool_actions.pool_scale(pool=again(pool), actor=operator, count=4)
    run_all()
    op.refresh_from_db()
    assert op.state == "Succeeded", op.error
    azure.usages = [usage("cores", 350, 350), usage("f", 0, 350)]
    queries.cache.clear()
    op = pool_actions.pool_scale(pool=again(pool), actor=operator, count=5)
    run_all()
    op.refresh_from_db()
    assert (op.state, op.error["code"]) == ("Failed", "preflight_failed")
    assert (again(pool).state, pool.count) == ("Succeeded", 4)
    assert pool.reason.startswith("Not scaled: 1 × Standard_D2s_v3")


@pytest.mark.parametrize(
    ("wish", "codes"),
    [
        ({"count": 3}, ["quota_region"]),
        ({"count": 1, "min_count": 1, "max_count": 9}, ["quota_region_later"]),
        ({"count": 0, "min_count": 0, "max_count": 9}, ["quota_region_later"]),
        ({"count": 0}, []),
        ({"count": 0, "zones": ["3"]}, ["zone_not_offered"]),
    ],
)
def test_the_check_and_the_operation_look_at_the_same_nodes_at_once_and_at_most(
    target, operator, azure, call, run_all, wish, codes
):
    azure.usages = [usage("cores", 346, 350), usage("f", 0, 350)]
    azure.skus[1]["locationInfo"][0]["zones"] = ["1"]
    queries.cache.clear()
    asked = {"compute_target": "prod-1", "name": "extra", "vm_size": SMALL, **wish}
    found = call("operator", "post", "compute-targets/preflight/", {"pool": asked}).data["findings"]
    op = add(target, operator, **wish)
    run_all()
    op.refresh_from_db()
    for rows in (found, op.memo["findings"]):
        assert [row["code"] for row in rows if row["level"] != "ok"] == codes
    assert [(row["code"], row["level"]) for row in found] == [
        (row["code"], row["level"]) for row in op.memo["findings"]
    ]


def test_raising_only_the_most_nodes_of_an_autoscaler_is_looked_at_too(pool, operator, azure, run_all):
    azure.usages = [usage("cores", 350, 350), usage("f", 0, 350)]
    queries.cache.clear()
    op = pool_actions.pool_scale(pool=again(pool), actor=operator, min_count=1, max_count=9)
    run_all()
    op.refresh_from_db()
    assert op.state == "Succeeded", op.error
    (late,) = [row for row in op.memo["findings"] if row["level"] == "warning"]
    assert (late["code"], "7 × Standard_D2s_v3" in late["message"]) == ("quota_region_later", True)


def test_the_permission_for_node_pools_is_looked_at_before_azure_is_asked_for_one(
    target, operator, azure, call, run_all
):
    may = "Microsoft.ContainerService/managedClusters/read"
    azure.rights[target.cluster_name] = [{"actions": [may], "notActions": []}]
    queries.cache.clear()
    wish = {"compute_target": "prod-1", "name": "extra", "vm_size": SMALL}
    found = call("operator", "post", "compute-targets/preflight/", {"pool": wish}).data["findings"]
    op = add(target, operator)
    run_all()
    op.refresh_from_db()
    for rows in (found, op.error["findings"]):
        (missing,) = [row for row in rows if row["level"] == "error"]
        assert missing["code"] == "permission_missing"
        assert "managedClusters/agentPools/write" in missing["message"]
    assert azure.changes == []


def test_the_check_says_when_pools_cannot_change_now(target, operator, call):
    op = add(target, operator)
    wish = {"compute_target": "prod-1", "name": "other", "vm_size": SMALL}
    found = call("operator", "post", "compute-targets/preflight/", {"pool": wish}).data["findings"]
    assert [row["code"] for row in found if row["level"] == "error"] == [operations.Busy.code]
    assert op.state == "NotStarted"


def test_a_pool_goes_into_the_subnet_of_the_others_which_needs_room(target, operator, azure, run_all):
    nodes = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/nodes"
    at_azure(azure, "nodepool1")["vnetSubnetID"] = nodes
    azure.subnets["nodes"] = {"addressPrefix": "10.224.0.0/28"}
    op = add(target, operator, count=20)
    run_all()
    op.refresh_from_db()
    assert (
        "20 nodes and 2 more during an upgrade need 22 addresses of the subnet nodes; 11 are left"
        in (op.error["detail"])
    )
    queries.cache.clear()
    add(target, operator, count=3)
    run_all()
    assert at_azure(azure)["vnetSubnetID"] == nodes


def test_a_pool_gives_its_pods_addresses_of_the_pod_subnet_of_the_first_one(target, operator, azure, run_all):
    place = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/"
    own = {"vnetSubnetID": f"{place}nodes", "podSubnetID": f"{place}pods", "maxPods": 60}
    at_azure(azure, "nodepool1").update(own)
    (cluster,) = azure.clusters.values()
    cluster["properties"]["networkProfile"] = {"networkPlugin": "azure"}
    azure.subnets["nodes"] = {"addressPrefix": "10.224.0.0/28"}
    op = add(target, operator, count=3)  # with pods in the nodes' subnet, 4 × 31 addresses
    run_all()
    op.refresh_from_db()
    assert op.state == "Succeeded", op.error
    assert {name: at_azure(azure)[name] for name in own} == own


def test_a_failed_add_is_tried_again_under_the_same_name(target, operator, azure, run_all):
    azure.fail("PUT", (400, {"code": "BadRequest", "message": "no such thing", "details": None}))
    first = add(target, operator)
    run_all()
    assert "no such thing" in NodePool.objects.get().reason
    operations.retry(op=first, actor=operator)
    run_all()
    assert NodePool.objects.get().state == "Succeeded"


def test_a_pool_that_was_never_made_gives_its_name_back(target, operator, azure, run_all):
    azure.fail("PUT", (400, {"code": "BadRequest", "message": "no such thing", "details": None}))
    add(target, operator)
    run_all()
    add(target, operator, vm_size=BIG)
    run_all()
    assert (NodePool.objects.get().vm_size, at_azure(azure)["vmSize"]) == (BIG, BIG)


def test_a_late_failure_is_the_pools_with_azures_words_and_a_retry_puts_it_again(target, operator, azure, run_all):
    azure.fail("late", {"code": "CreateVMSSAgentPoolFailed", "message": "no machines of that size"})
    op = add(target, operator)
    run_all()
    row = NodePool.objects.get()
    assert (row.state, "no machines of that size" in row.reason) == ("Failed", True)
    assert row.observed["provisioning_state"] == "Failed"
    azure_nodes = [node for node in ComputeTarget.objects.get().observed["nodes"] if node["pool"] == "extra"]
    assert (azure_nodes, [each.name for each in placed.choices(target=row.target)]) == ([], ["nodepool1"])
    target.refresh_from_db()
    assert target.state == "Succeeded"
    operations.retry(op=op, actor=operator)
    run_all()
    assert again(row).state == "Succeeded"


def test_a_scale_that_azure_refuses_leaves_the_pool_as_it_was_and_can_be_retried(pool, operator, azure, run_all):
    azure.fail("PUT", (400, {"code": "ErrCode_InsufficientVCPUQuota", "message": "family quota 12", "details": None}))
    op = pool_actions.pool_scale(pool=again(pool), actor=operator, count=9)
    run_all()
    assert (again(pool).state, pool.count) == ("Succeeded", 2)
    assert "family quota 12" in pool.reason
    operations.retry(op=op, actor=operator)
    run_all()
    assert (again(pool).count, at_azure(azure)["count"], pool.reason) == (9, 9, "")


def test_azure_busy_with_another_pool_is_waited_for(pool, operator, azure, run_all):
    at_azure(azure, "nodepool1")["provisioningState"] = "UpgradingNodeImageVersion"
    op = pool_actions.pool_scale(pool=again(pool), actor=operator, count=3)
    step_once(op)
    step_once(op)
    assert op.note == "Azure is busy with the cluster: UpgradingNodeImageVersion"
    at_azure(azure, "nodepool1")["provisioningState"] = "Succeeded"
    run_all()
    assert at_azure(azure)["count"] == 3


@pytest.mark.parametrize("deed", ["add", "scale", "remove"])
def test_a_lost_answer_never_leads_to_a_second_request(deed, target, operator, azure, run_all):
    if deed != "add":
        add(target, operator)
        run_all()
        azure.changes.clear()
    azure.fail("DELETE" if deed == "remove" else "PUT", "lost")
    row = NodePool.objects.first()
    op = {
        "add": lambda: add(target, operator),
        "scale": lambda: pool_actions.pool_scale(pool=row, actor=operator, count=3),
        "remove": lambda: pool_actions.pool_remove(pool=row, actor=operator),
    }[deed]()
    run_all()
    op.refresh_from_db()
    assert op.state == "Succeeded", op.error
    assert len([1 for verb, _ in azure.changes if verb in ("PUT", "DELETE")]) == 1


def test_a_worker_that_was_overtaken_while_it_read_asks_azure_for_nothing(
    target, operator, azure, run_all, monkeypatch
):
    op, real = add(target, operator), steps.pools.present_view
    step_once(op)

    def slow(*args):
        view = real(*args)
        patch.undo()
        Operation.objects.filter(pk=op.pk).update(leased_until=timezone.now() - timedelta(seconds=1))
        step_once(op)
        assert len(azure.changes) == 1
        return view

    with monkeypatch.context() as patch:
        patch.setattr(steps.pools, "present_view", slow)
        step_once(op)
    run_all()
    op.refresh_from_db()
    assert (op.state, [verb for verb, _ in azure.changes]) == ("Succeeded", ["PUT"])


class Killed(BaseException):
    """Nothing of ours catches this, as nothing catches SIGKILL."""


def begin(kind, target, operator, run_all, azure):
    if kind != OperationKind.POOL_ADD:
        add(target, operator)
        run_all()
        azure.changes.clear()
    row = NodePool.objects.first()
    if kind == OperationKind.POOL_ADD:
        return add(target, operator)
    if kind == OperationKind.POOL_SCALE:
        return pool_actions.pool_scale(pool=row, actor=operator, count=4)
    return pool_actions.pool_remove(pool=row, actor=operator)


@pytest.mark.parametrize("place", [(engine, "_run"), (engine, "_go_on"), (engine, "ring"), (operations, "remember")])
@pytest.mark.parametrize("kind", [OperationKind.POOL_ADD, OperationKind.POOL_SCALE, OperationKind.POOL_REMOVE])
def test_a_worker_killed_at_every_step_of_a_pools_change_ends_rightly_with_one_change(
    kind, place, target, operator, azure, run_all, monkeypatch
):
    op = begin(kind, target, operator, run_all, azure)
    module, name = place
    killed: set[int] = set()
    real = getattr(module, name)

    def deadly(*args, **kwargs):
        if args[0].step not in killed:
            killed.add(args[0].step)
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, deadly)
    for _ in range(100):
        if not Operation.objects.filter(pk=op.pk, state__in=ACTIVE_STATES).exists():
            break
        Operation.objects.filter(pk=op.pk).update(due_at=timezone.now(), leased_until=None)
        try:
            operations.advance(str(op.pk))
        except Killed:
            continue
    op.refresh_from_db()
    assert op.state == "Succeeded", op.error
    assert len(killed) >= (len(plan_of(kind).steps) - 1 if name != "remember" else 1)
    assert sum(Counter(verb for verb, _ in azure.changes if verb in ("PUT", "DELETE")).values()) == 1
    assert NodePool.objects.filter(state="Succeeded").exists() is (kind != OperationKind.POOL_REMOVE)


def test_a_pool_that_somebody_made_in_azure_appears_and_can_be_scaled_and_removed(target, operator, azure, run_all):
    (cluster,) = azure.clusters.values()
    theirs = {
        "name": "theirs", "vmSize": GPU, "count": 1, "mode": "User", "nodeTaints": ["sku=gpu:NoSchedule"],
        "nodeLabels": {"team": "vision"}, "availabilityZones": ["2"],
    }  # fmt: skip
    cluster["properties"]["agentPoolProfiles"].append(theirs)
    assert look(target).observed["drift"] == []
    row = NodePool.objects.get()
    assert (row.name, row.is_adopted, row.state, row.gpus, row.count) == ("theirs", True, "Succeeded", 1, 1)
    assert (row.taints, row.labels, row.zones) == (["sku=gpu:NoSchedule"], {"team": "vision"}, ["2"])
    assert AuditEvent.objects.get(action="node_pool.seen").actor_name == "portal"
    pool_actions.pool_scale(pool=row, actor=operator, count=2)
    run_all()
    assert (at_azure(azure, "theirs")["count"], at_azure(azure, "theirs")["nodeLabels"]) == (2, {"team": "vision"})
    pool_actions.pool_remove(pool=again(row), actor=operator)
    run_all()
    assert at_azure(azure, "theirs") == {}


def test_a_foreign_pool_of_the_wanted_name_is_neither_taken_over_nor_deleted(target, operator, azure, run_all):
    (cluster,) = azure.clusters.values()
    cluster["properties"]["agentPoolProfiles"].append({"name": "extra", "vmSize": BIG, "count": 1, "mode": "User"})
    op = add(target, operator)
    run_all()
    op.refresh_from_db()
    assert (op.error["code"], azure.changes) == ("azure_pool_taken", [])
    row = NodePool.objects.get()
    removal = pool_actions.pool_remove(pool=row, actor=operator)
    run_all()
    removal.refresh_from_db()
    assert (removal.state, at_azure(azure)["vmSize"], azure.changes) == ("Succeeded", BIG, [])
    look(target)
    assert (NodePool.objects.get().vm_size, NodePool.objects.get().is_adopted) == (BIG, True)


def test_a_foreign_pool_takes_the_place_of_a_row_that_was_never_made(target, operator, azure, run_all):
    (cluster,) = azure.clusters.values()
    cluster["properties"]["agentPoolProfiles"].append({"name": "extra", "vmSize": BIG, "count": 1, "mode": "User"})
    op = add(target, operator)
    run_all()
    look(target)
    row = NodePool.objects.get()
    assert (row.state, row.vm_size, row.is_adopted) == ("Succeeded", BIG, True)
    operations.retry(op=op, actor=operator)
    run_all()
    assert again(row).state == "Succeeded"


def test_a_pool_whose_add_was_stopped_is_found_again_by_its_mark(target, operator, azure, run_all):
    op = add(target, operator)
    for _ in range(2):
        step_once(op)
    operations.cancel(op=op, actor=operator)
    run_all()
    row = NodePool.objects.get()
    assert row.state == "Canceled"
    assert at_azure(azure)["tags"] == {"slipway-target": mark_of(row)}
    look(target)
    assert again(row).state == "Canceled"
    at_azure(azure)["provisioningState"] = "Succeeded"  # somebody let Azure finish it
    look(target)
    assert (again(row).state, row.is_adopted, row.observed["count"]) == ("Succeeded", False, 2)


def test_a_pool_that_was_rescaled_outside_is_told_and_never_overwritten_silently(pool, operator, azure, call, run_all):
    at_azure(azure)["count"] = 5
    look(pool.target)
    drift = call("reader", "get", "compute-targets/prod-1/").data["drift"]
    assert [(row["code"], row["pool"], row["configured"], row["azure"]) for row in drift] == [
        ("pool_count", "extra", "2", "5")
    ]
    assert (again(pool).count, at_azure(azure)["count"]) == (2, 5)
    words = "Azure has 5 nodes in the node pool extra; 2 are wanted."
    assert (pool.reason, pool.target.reason) == (words, words)
    since = drift[0]["since"]
    look(pool.target)
    assert pool.target.observed["drift"][0]["since"] == since
    pool_actions.pool_adopt(pool=again(pool), actor=operator)
    assert (again(pool).count, pool.reason, pool.target.reason, pool.target.observed["drift"]) == (5, "", "", [])
    event = AuditEvent.objects.get(action="node_pool.count_adopted")
    assert (event.before["count"], event.after["count"]) == (2, 5)
    with pytest.raises(pool_actions.NoPoolDrift):
        pool_actions.pool_adopt(pool=pool, actor=operator)
    look(pool.target)
    assert (again(pool).reason, azure.changes) == ("", [])


def test_taints_labels_and_mode_that_were_changed_in_azure_are_taken_up_and_audited(pool, azure):
    at_azure(azure).update({"nodeTaints": ["sku=gpu:NoSchedule"], "nodeLabels": {"team": "vision"}})
    look(pool.target)
    assert (again(pool).taints, pool.labels, pool.reason) == (["sku=gpu:NoSchedule"], {"team": "vision"}, "")
    assert placed.taints_of(target=pool.target, pool="extra") == ("sku=gpu:NoSchedule",)
    event = AuditEvent.objects.get(action="node_pool.changed_outside")
    assert (event.before["taints"], event.after["labels"], "mode" in event.after) == ([], {"team": "vision"}, False)
    look(pool.target)
    assert AuditEvent.objects.filter(action="node_pool.changed_outside").count() == 1


def test_a_pool_that_was_made_anew_outside_of_other_machines_is_told_and_not_removed_silently(
    pool, operator, azure, run_all
):
    at_azure(azure).update({"vmSize": BIG, "tags": {}})
    op = pool_actions.pool_remove(pool=again(pool), actor=operator)
    run_all()
    op.refresh_from_db()
    assert (op.error["code"], azure.changes, again(pool).state) == ("azure_pool_remade", [], "Succeeded")
    look(pool.target)
    words = "The node pool extra was made anew outside the portal, of Standard_D3_v2; it was of Standard_D2s_v3."
    assert (again(pool).vm_size, pool.vcpus, pool.is_adopted, pool.reason) == (BIG, 4, True, words)
    look(pool.target)
    assert (again(pool).reason, [row["code"] for row in pool.target.observed["drift"]]) == (words, ["pool_size"])
    with pytest.raises(pool_actions.PoolInUse, match="extra was made anew outside the portal"):
        pool_actions.pool_remove(pool=again(pool), actor=operator)
    pool_actions.pool_adopt(pool=again(pool), actor=operator)
    look(pool.target)
    assert (again(pool).reason, pool.target.observed["drift"]) == ("", [])


def test_where_the_first_pool_was_removed_outside_the_next_system_pool_is_the_target(target, operator, azure, run_all):
    add(target, operator, "second", mode="System", count=3, vm_size=SMALL)
    run_all()
    (cluster,) = azure.clusters.values()
    pools = cluster["properties"]["agentPoolProfiles"]
    cluster["properties"]["agentPoolProfiles"] = [each for each in pools if each["name"] != "nodepool1"]
    look(target)
    assert (target.vm_size, target.vcpus, target.node_count, target.observed["pool"]) == (SMALL, 2, 3, "second")
    assert not NodePool.objects.exists()
    event = AuditEvent.objects.get(action="compute_target.first_pool_changed_outside")
    assert (event.before["vm_size"], event.after["vm_size"], event.after["pool"]) == (BIG, SMALL, "second")
    look(target)
    assert (target.reason, AuditEvent.objects.filter(action=event.action).count()) == ("", 1)


def test_a_count_below_12_vcpus_in_all_is_not_taken_over(pool, operator, azure):
    ComputeTarget.objects.update(node_count=2)
    at_azure(azure)["count"] = 1
    look(pool.target)
    with pytest.raises(Problem) as refusal:
        pool_actions.pool_adopt(pool=again(pool), actor=operator)
    assert refusal.value.code == "too_few_vcpus"
    assert again(pool).count == 2


def test_bounds_of_an_autoscaler_that_others_set_are_drift_and_its_counts_are_none(pool, operator, azure):
    at_azure(azure).update({"enableAutoScaling": True, "minCount": 1, "maxCount": 9, "count": 7})
    look(pool.target)
    words = "Azure has an autoscaler from 1 to 9 for the node pool extra; no autoscaler is wanted."
    assert again(pool).reason == words
    pool_actions.pool_adopt(pool=pool, actor=operator)
    at_azure(azure)["count"] = 3
    look(pool.target)
    assert (again(pool).reason, pool.max_count) == ("", 9)
    at_azure(azure)["maxCount"] = 4
    look(pool.target)
    assert "from 1 to 4 for the node pool extra; an autoscaler from 1 to 9 is wanted" in again(pool).reason


def test_a_pool_that_was_removed_outside_is_missing_until_it_is_removed_here(pool, operator, azure, run_all):
    (cluster,) = azure.clusters.values()
    kept = cluster["properties"]["agentPoolProfiles"]
    cluster["properties"]["agentPoolProfiles"] = [each for each in kept if each["name"] != "extra"]
    look(pool.target)
    words = "The node pool extra was removed outside the portal."
    assert (again(pool).state, pool.reason, pool.target.reason) == ("Missing", words, words)
    with pytest.raises(pool_actions.PoolNotScalable, match="it can be scaled when it is Succeeded"):
        pool_actions.pool_scale(pool=pool, actor=operator, count=3)
    cluster["properties"]["agentPoolProfiles"] = kept
    look(pool.target)
    assert again(pool).state == "Succeeded"
    cluster["properties"]["agentPoolProfiles"] = [each for each in kept if each["name"] != "extra"]
    look(pool.target)
    pool_actions.pool_remove(pool=again(pool), actor=operator)
    run_all()
    assert not NodePool.objects.exists()
    assert look(ComputeTarget.objects.get()).reason == ""


def test_a_pool_that_failed_and_has_nodes_still_is_deployed_to(pool):
    target = again(pool).target
    NodePool.objects.update(state="Failed")
    assert [each.name for each in placed.choices(target=target)] == ["nodepool1", "extra"]


def test_a_stopped_pool_or_cluster_is_not_scaled(pool, operator, azure):
    at_azure(azure)["powerState"] = {"code": "Stopped"}
    at_azure(azure)["count"] = 0
    look(pool.target)
    assert again(pool).reason == "The node pool extra is stopped."
    with pytest.raises(pool_actions.PoolNotScalable, match="stopped in Azure"):
        pool_actions.pool_scale(pool=pool, actor=operator, count=3)
    (cluster,) = azure.clusters.values()
    cluster["properties"]["powerState"] = {"code": "Stopped"}
    look(pool.target)
    with pytest.raises(Problem, match="prod-1 is stopped"):
        add(again(pool).target, operator, "other")


def test_a_further_system_pool_does_not_take_the_targets_place_whatever_azures_order(target, operator, azure, run_all):
    add(target, operator, "aaa", mode="System", count=1)
    run_all()
    (cluster,) = azure.clusters.values()
    cluster["properties"]["agentPoolProfiles"].reverse()
    look(target)
    assert (target.observed["pool"], target.reason) == ("nodepool1", "")
    assert NodePool.objects.get().name == "aaa"


def test_what_a_watch_saw_is_dropped_when_an_operation_ended_meanwhile(pool, operator, azure, run_all, monkeypatch):
    target, real = pool.target, steps.drift.view_of

    def slow(*args):
        view = real(*args)
        pool_actions.pool_remove(pool=again(pool), actor=operator)
        run_all()
        return view

    with monkeypatch.context() as patch:
        patch.setattr(steps.drift, "view_of", slow)
        steps.watch_target(target.pk)
    assert not NodePool.objects.exists()


def test_what_asks_for_a_pool_keeps_it_unless_forced_and_both_times_it_is_named(pool, operator, azure, run_all):
    endpoint = page_rows.endpoint(again(pool).target, "iris")
    for name, config in (("v1", {"nodePool": "extra"}), ("v2", {"nodePool": "nodepool1"}), ("v3", {})):
        version = page_rows.version(endpoint, name)
        version.deployment.revisions.update(config=config)
    with pytest.raises(pool_actions.PoolInUse, match="iris-v1 needs the node pool extra") as refusal:
        pool_actions.pool_remove(pool=pool, actor=operator)
    assert refusal.value.extras == {"deployments": ["iris-v1"], "other_workspaces": 0}
    op = pool_actions.pool_remove(pool=pool, actor=operator, force=True)
    assert op.input["warnings"] == ["Without a node to run on: iris-v1."]
    run_all()
    assert AuditEvent.objects.get(action="node_pool.removed").before["deployments"] == ["iris-v1"]
    assert at_azure(azure) == {}


def test_a_pool_of_a_cluster_that_other_workspaces_have_is_removed_only_by_force_and_they_are_a_number(
    pool, operator, elsewhere
):
    target = again(pool).target
    page_rows.target(
        elsewhere, "theirs", subscription_id=target.subscription_id.upper(), resource_group=target.resource_group,
        cluster_name=target.cluster_name,
    )  # fmt: skip
    with pytest.raises(pool_actions.PoolInUse, match="Another workspace has the same cluster, and may run") as refusal:
        pool_actions.pool_remove(pool=pool, actor=operator)
    assert (refusal.value.extras["other_workspaces"], "rivals" in refusal.value.detail) == (1, False)
    op = pool_actions.pool_remove(pool=pool, actor=operator, force=True)
    assert op.input["warnings"][0].startswith("Another workspace has the same cluster")


def test_a_pool_that_others_made_in_an_attached_cluster_is_removed_only_by_force(pool, operator):
    ComputeTarget.objects.update(is_attached=True)
    NodePool.objects.update(is_adopted=True)
    with pytest.raises(pool_actions.PoolInUse, match="extra was made outside the portal, in a cluster that is only"):
        pool_actions.pool_remove(pool=again(pool), actor=operator)
    assert pool_actions.pool_remove(pool=pool, actor=operator, force=True).input["force"]


def test_what_was_seen_on_a_pool_is_named_when_it_has_to_move(pool, operator):
    target = again(pool).target
    version = page_rows.version(page_rows.endpoint(target, "iris"), "v1")
    nodes = [{**page_rows.node("n"), "pool": "extra", "runs": [f"lab/{version.deployment_id}", "lab/999"]}]
    ComputeTarget.objects.update(observed={**target.observed, "nodes": nodes})
    op = pool_actions.pool_remove(pool=again(pool), actor=operator)
    assert op.input["warnings"] == ["Replicas move to other nodes, as far as they fit: iris-v1."]


def test_fewer_nodes_of_a_pool_than_what_runs_there_needs_are_warned_about(pool, operator):
    target = again(pool).target
    nodes = [{**page_rows.node(str(n), cpu_free=0.1), "pool": "extra"} for n in range(2)]
    nodes += [{**page_rows.node(f"own-{n}", cpu_free=3.8), "pool": "nodepool1"} for n in range(3)]
    ComputeTarget.objects.update(observed={**target.observed, "nodes": nodes}, purpose="DevTest")
    op = pool_actions.pool_scale(pool=again(pool), actor=operator, count=1)
    assert "asks for 7.5 cores; 1 of 2 nodes have 3.9" in op.input["warnings"][0]


def test_a_gpu_pool_without_a_taint_is_warned_about(target, operator):
    assert "has GPUs and no taint" in add(target, operator, vm_size=GPU).input["warnings"][0]


def test_a_check_before_an_add_tells_every_rule_and_what_azure_says_in_one_list(target, operator, azure, call):
    azure.usages = [usage("cores", 349, 350), usage("f", 0, 350)]
    queries.cache.clear()
    wish = {"compute_target": "prod-1", "name": "GPU", "vm_size": SMALL, "count": 2, "taints": ["x"], "zones": ["9"]}
    found = call("operator", "post", "compute-targets/preflight/", {"pool": wish}).data
    assert not found["passes"]
    said = " ".join(each["message"] for each in found["findings"])
    for words in ("'GPU' has 3 characters", "'x' is not a taint", "zones is ['9']", "2 × Standard_D2s_v3"):
        assert words in said
    assert azure.changes == []
    good = {"compute_target": "prod-1", "name": "extra", "vm_size": BIG, "count": 1}
    azure.usages = [usage("cores", 0, 350), usage("f", 0, 350)]
    queries.cache.clear()
    assert call("operator", "post", "compute-targets/preflight/", {"pool": good}).data["passes"]
    azure.clusters.clear()
    found = call("operator", "post", "compute-targets/preflight/", {"pool": good}).data["findings"]
    assert "Azure has no cluster" in found[-1]["message"]


def test_a_name_that_azure_has_but_the_portal_has_not_seen_is_found_by_the_check(target, azure, call):
    (cluster,) = azure.clusters.values()
    cluster["properties"]["agentPoolProfiles"].append({"name": "extra", "vmSize": BIG, "count": 1, "mode": "User"})
    wish = {"compute_target": "prod-1", "name": "extra", "vm_size": BIG}
    found = call("operator", "post", "compute-targets/preflight/", {"pool": wish}).data
    assert (found["passes"], [row["code"] for row in found["findings"] if row["level"] == "error"]) == (
        False, ["pool_name_taken"],
    )  # fmt: skip


def test_the_forms_check_adds_nothing_and_shows_the_findings(client, people, target, azure):
    client.force_login(people["operator"])
    form = {"name": "extra", "mode": "User", "vm_size": SMALL, "count": "2", "check": "on"}
    text = client.post("/w/lab/new/pool/prod-1/", form).content.decode()
    assert ("westeurope offers Standard_D2s_v3" in text, 'value="extra"' in text) == (True, True)
    assert not NodePool.objects.exists()
