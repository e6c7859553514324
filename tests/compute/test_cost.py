"""The cost estimate: all pools, a stopped cluster, a price that is not known; one function for REST and pages."""

from __future__ import annotations

import pytest

from compute import cost, pool_table, sizes, steps
from compute.cost import Paid
from compute.models import ComputeTarget, NodePool

D3 = "Standard_D3_v2"
GPU = "Standard_NC4as_T4_v3"


def price(name: str) -> float:
    return sizes.price(size=sizes.find(name), count=1, region="westeurope")


@pytest.fixture
def target(created) -> ComputeTarget:
    return created("prod-1")


def add(target: ComputeTarget, **more) -> NodePool:
    facts = {"name": "gpu1", "vm_size": GPU, "vcpus": 4, "memory_gb": 28, "gpus": 1, "count": 2, "state": "Succeeded"}
    return NodePool.objects.create(target=target, **{**facts, **more})


def test_an_estimate_is_an_hour_and_730_of_them_a_month_with_the_date_of_its_prices():
    told = cost.estimate([Paid(D3, 3), Paid(D3, 1)], region="westeurope")
    assert told.usd_hour == pytest.approx(4 * price(D3), abs=1e-4)
    assert told.usd_month == pytest.approx(4 * price(D3) * 730, abs=0.1)
    assert (told.prices_from, told.is_stopped) == (sizes.PRICES_FROM, False)
    assert "Disks" in told.note


@pytest.mark.parametrize(("size", "region"), [(D3, "nowhere"), ("Standard_No_Such", "westeurope")])
def test_a_price_that_is_not_known_is_said_and_not_guessed(size, region):
    told = cost.estimate([Paid(D3, 0), Paid(size, 1)], region=region)
    assert (told.usd_hour, told.usd_month) == (None, None)
    assert told.note == f"No price is known here for {size} in {region}."


def test_a_pool_without_a_node_needs_no_price():
    assert cost.estimate([Paid(D3, 1), Paid("Standard_No_Such", 0)], region="westeurope").usd_hour == price(D3)


def test_gpu_pools_count_and_so_do_those_that_others_made(target):
    add(target)
    target.observed = {**target.observed, "pools": [["nodepool1", D3, 3], ["gpu1", GPU, 2], ["theirs", D3, 1]]}
    assert cost.of(target).usd_hour == pytest.approx(4 * price(D3) + 2 * price(GPU), abs=1e-3)


def test_a_cluster_whose_create_was_refused_costs_nothing(call, azure, run_all):
    azure.groups.clear()
    call("operator", "post", "compute-targets/", {"name": "prod-1"})
    run_all()
    refused = ComputeTarget.objects.get()
    assert (refused.state, azure.clusters) == ("Failed", {})
    assert (cost.of(refused).usd_hour, cost.of(refused).note) == (0, cost.NEVER_MADE)
    assert cost.total([refused]).usd_hour == 0


def test_a_cluster_that_azure_made_half_way_costs_once_it_was_seen(call, azure, run_all):
    azure.fail("late", {"code": "X", "message": "no room"})
    call("operator", "post", "compute-targets/", {"name": "prod-1"})
    run_all()
    steps.watch_target(ComputeTarget.objects.get().pk)
    half = ComputeTarget.objects.get()
    assert half.state == "Failed"
    assert cost.of(half).usd_hour == pytest.approx(3 * price(D3), abs=1e-3)


@pytest.mark.parametrize("state", ["Failed", "Canceled"])
def test_a_pool_that_was_never_made_costs_nothing(state, target):
    assert cost.of_pool(target, add(target, state=state, observed={})).usd_hour == 0
    assert cost.of_pool(target, add(target, name="gpu2", state=state, observed={"count": 2})).usd_hour > 0


def test_an_autoscaled_pool_costs_what_azure_has_and_a_stopped_one_nothing(target):
    pool = add(target, min_count=0, max_count=5, observed={"count": 4})
    assert cost.of_pool(target, pool).usd_hour == pytest.approx(4 * price(GPU), abs=1e-3)
    pool.observed = {"count": 4, "power_state": "Stopped"}
    assert cost.of_pool(target, pool).usd_hour == 0


def test_the_own_pool_of_an_attached_cluster_costs_what_its_autoscaler_has(target):
    target.is_attached = True
    target.observed = {**target.observed, "min_count": 1, "max_count": 9, "node_count": 7}
    assert cost.of(target).usd_hour == pytest.approx(7 * price(D3), abs=1e-3)
    own = pool_table.first(target)
    assert (own["min_count"], own["max_count"], pool_table.totals(target)) == (1, 9, (7, 28))


def test_a_stopped_cluster_costs_no_nodes_and_what_goes_on_costing_is_named(target):
    target.observed = {**target.observed, "power_state": "Stopped"}
    told = cost.of(target)
    assert (told.usd_hour, told.usd_month, told.is_stopped) == (0, 0, True)
    assert "disks" in told.note
    assert cost.of_first(target).usd_hour == 0


def test_a_cluster_whose_machines_were_never_seen_has_no_estimate(target):
    target.vm_size, target.node_count = "", 0
    assert cost.of(target).usd_hour is None


def test_the_sum_names_the_clusters_whose_price_is_not_known(target):
    other = ComputeTarget(name="far", vm_size=D3, node_count=3, region="nowhere", workspace=target.workspace)
    other.save()
    told = cost.total([target, other])
    assert told.usd_hour == pytest.approx(3 * price(D3), abs=1e-3)
    assert told.note.startswith("Without far: no price is known.")


def test_rest_list_page_and_overview_say_the_same(target, call, people, client):
    add(target)
    hour, month = cost.of(target).usd_hour, cost.of(target).usd_month
    shown = call("reader", "get", "compute-targets/prod-1/").data
    assert (shown["usd_hour"], shown["cost"]["usd_month"]) == (hour, month)
    assert shown["cost"]["note"] == cost.of(target).note
    client.force_login(people["reader"])
    for page in ("compute/", "compute/prod-1/", ""):
        text = client.get(f"/w/{target.workspace.slug}/{page}").content.decode()
        assert f"${hour:,.2f} an hour" in text, page
        assert f"${month:,.2f} a month" in text, page
        assert sizes.PRICES_FROM in text, page


def test_a_pool_that_azure_never_made_costs_nothing(target):
    pool = add(target, state="Failed", observed={})
    assert cost.of_pool(target, pool).usd_hour == 0
