"""The cost estimate: all pools, a stopped cluster, a price that is not known."""

from __future__ import annotations

import pytest

from compute import cost, sizes
from compute.models import ComputeTarget


def test_all_pools_count_and_the_prices_have_their_date():
    one = sizes.price(size=sizes.find("Standard_D3_v2"), count=1, region="westeurope")
    pools = [("Standard_D3_v2", 3), ("Standard_D3_v2", 1)]
    told = cost.estimate(pools=pools, region="westeurope", is_stopped=False)
    assert told["usd_hour"] == pytest.approx(4 * one, abs=1e-4)
    assert told["usd_month"] == pytest.approx(4 * one * 730, abs=0.01)
    assert told["prices_from"] == sizes.PRICES_FROM


def test_the_nodes_of_a_stopped_cluster_cost_nothing_and_an_unknown_price_is_not_guessed():
    assert cost.estimate(pools=[("Standard_D3_v2", 3)], region="westeurope", is_stopped=True)["usd_hour"] == 0
    for pool, region in ((("Standard_D3_v2", 3), "nowhere"), (("Standard_No_Such", 1), "westeurope")):
        assert cost.estimate(pools=[pool], region=region, is_stopped=False)["usd_month"] is None


def test_rest_tells_the_cost_of_all_pools_that_azure_was_seen_to_have(call, azure, run_all):
    call("operator", "post", "compute-targets/", {"name": "prod-1"})
    run_all()
    target = ComputeTarget.objects.get()
    url = "compute-targets/prod-1/"
    one = call("reader", "get", url).data["cost"]["usd_hour"]
    pools = [["nodepool1", "Standard_D3_v2", 3], ["more", "Standard_D3_v2", 3]]
    ComputeTarget.objects.update(observed={**target.observed, "pools": pools})
    assert call("reader", "get", url).data["cost"]["usd_hour"] == pytest.approx(2 * one, abs=1e-3)
    ComputeTarget.objects.update(observed={**target.observed, "pools": pools, "power_state": "Stopped"})
    assert call("reader", "get", url).data["cost"]["usd_hour"] == 0
