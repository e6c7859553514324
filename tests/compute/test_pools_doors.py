"""Node pools at their doors: REST and pages."""

from __future__ import annotations

import html
from typing import Any

import pytest
from django.test import Client

from compute.models import ComputeTarget, NodePool
from portal.models import Operation, User, Workspace
from portal.types import OperationKind
from tests import factories, page_rows

REST = "/api/v1/workspaces/lab/compute-targets/prod-1/pools/"
PAGE = "/w/lab/compute/prod-1/"
ADD = {"name": "gpu1", "mode": "User", "vm_size": "Standard_NC4as_T4_v3", "count": "1"}
GPUS = {"name": "gpu1", "vm_size": "Standard_NC4as_T4_v3", "vcpus": 4, "memory_gb": 28, "gpus": 1}


@pytest.fixture
def visitor(client: Client, operator: User) -> Client:
    client.force_login(operator)
    return client


@pytest.fixture
def rest(operator: User) -> Any:
    return factories.client(operator)


@pytest.fixture
def target(workspace: Workspace) -> ComputeTarget:
    return page_rows.target(workspace)


def test_the_list_has_the_targets_own_pool_first_then_the_further_ones(rest: Any, target: ComputeTarget) -> None:
    page_rows.pool(target, **GPUS, min_count=0, max_count=2, count=1, observed={"count": 2})
    own, gpu = rest.get(REST).json()["items"]
    assert (own["name"], own["is_first"], own["count"], own["nodes_ready"]) == ("nodepool1", True, 3, 3)
    assert (gpu["name"], gpu["gpus"], gpu["max_count"], gpu["observed_count"]) == ("gpu1", 1, 2, 2)
    assert gpu["usd_hour"] == pytest.approx(2 * rest.get(f"{REST}gpu1/").json()["usd_hour"] / 2)
    assert rest.get(f"{REST}nodepool1/").json()["is_first"]


def test_a_pool_is_added_scaled_and_removed_over_rest(rest: Any, target: ComputeTarget) -> None:
    answer = rest.post(REST, {"name": "extra", "count": 2, "labels": {"team": "vision"}}, format="json")
    assert (answer.status_code, answer.json()["kind"]) == (202, "pool.add")
    assert NodePool.objects.get().vm_size == "Standard_D3_v2"
    Operation.objects.update(state="Succeeded")
    NodePool.objects.update(state="Succeeded", observed={"count": 2})
    answer = rest.post(f"{REST}extra/scale/", {"count": 4, "generation": 1}, format="json")
    assert (answer.status_code, answer.json()["kind"]) == (202, "pool.scale")
    Operation.objects.update(state="Succeeded")
    NodePool.objects.update(state="Succeeded")
    assert rest.post(f"{REST}extra/scale/", {"count": 5, "generation": 1}, format="json").status_code == 412
    answer = rest.delete(f"{REST}extra/")
    assert (answer.status_code, answer.json()["kind"]) == (202, "pool.remove")
    assert NodePool.objects.get().state == "Deleting"


@pytest.mark.parametrize(("method", "end"), [("delete", ""), ("post", "scale/"), ("post", "adopt/")])
def test_the_first_pool_is_scaled_as_the_compute_target_and_stays(
    rest: Any, target: ComputeTarget, method: str, end: str
) -> None:
    answer = getattr(rest, method)(f"{REST}nodepool1/{end}", {}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "pool_stays")
    assert "nodepool1 is the first system pool of prod-1: it stays" in answer.json()["detail"]


def test_a_pool_that_is_not_there_is_404_with_the_names_of_those_that_are(rest: Any, target: ComputeTarget) -> None:
    page_rows.pool(target)
    answer = rest.post(f"{REST}gpu9/scale/", {"count": 1}, format="json")
    assert (answer.status_code, "It has: nodepool1, extra." in answer.json()["detail"]) == (404, True)


def test_a_removal_names_what_asks_for_the_pool(rest: Any, target: ComputeTarget) -> None:
    page_rows.pool(target, **GPUS)
    version = page_rows.version(page_rows.endpoint(target), "v1")
    version.deployment.revisions.update(config={"gpuCores": 1})
    assert rest.get(f"{REST}gpu1/").json()["deployments"] == ["iris-v1"]
    answer = rest.delete(f"{REST}gpu1/")
    assert (answer.status_code, answer.json()["deployments"]) == (409, ["iris-v1"])
    assert rest.delete(f"{REST}gpu1/?force=true").json()["warnings"] == ["Without a node to run on: iris-v1."]


@pytest.mark.parametrize("force", ["maybe", "2"])
def test_force_is_true_or_false(rest: Any, target: ComputeTarget, force: str) -> None:
    page_rows.pool(target)
    assert rest.delete(f"{REST}extra/?force={force}").status_code == 400


@pytest.mark.parametrize("body", [{"name": "x", "size": "y"}, {"count": 1}, {"name": "x", "count": "many"}])
def test_a_wish_of_the_wrong_shape_is_400(rest: Any, target: ComputeTarget, body: dict[str, Any]) -> None:
    assert rest.post(REST, body, format="json").status_code == 400
    assert not NodePool.objects.exists()


def test_a_pool_is_added_from_the_form_with_all_that_it_offers(visitor: Client, target: ComputeTarget) -> None:
    assert b"Standard_NC4as_T4_v3" in visitor.get("/w/lab/new/pool/prod-1/").content
    more = {
        "min_count": "0", "max_count": "3", "zones": "1, 2", "taints": "sku=gpu:NoSchedule", "labels": "team=vision",
        "os_disk_gb": "64",
    }  # fmt: skip
    response = visitor.post("/w/lab/new/pool/prod-1/", ADD | more)
    assert response["Location"] == PAGE
    row = NodePool.objects.get()
    assert (row.vm_size, row.gpus, row.count, row.min_count, row.max_count) == ("Standard_NC4as_T4_v3", 1, 1, 0, 3)
    assert (row.zones, row.taints, row.labels, row.os_disk_gb) == (
        ["1", "2"], ["sku=gpu:NoSchedule"], {"team": "vision"}, 64,
    )  # fmt: skip
    assert Operation.objects.get().kind == OperationKind.POOL_ADD


REFUSED = [
    ({"name": "GPU"}, "A node pool's name has 1 to 12 lower-case letters and digits"),
    ({"count": "0", "mode": "System"}, "a System pool has 1 to 1000"),
    ({"vm_size": "Standard_Q1"}, "There is no VM size"),
    ({"name": "taken"}, "prod-1 has a node pool taken already; it is Succeeded"),
]


@pytest.mark.parametrize(("wish", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_a_pool_against_a_rule_is_refused_alike_on_page_and_in_rest_and_changes_nothing(
    visitor: Client, rest: Any, target: ComputeTarget, wish: dict[str, str], words: str
) -> None:
    page_rows.pool(target, "taken")
    answer = rest.post(REST, ADD | wish, format="json")
    assert (answer.status_code, words in answer.json()["detail"]) == (409 if "taken" in words else 422, True)
    page = visitor.post("/w/lab/new/pool/prod-1/", ADD | wish)
    assert page.status_code == answer.status_code
    text = html.unescape(page.content.decode())
    assert answer.json()["detail"] in text
    assert f'value="{(ADD | wish)["name"]}"' in text
    assert (NodePool.objects.count(), Operation.objects.count()) == (1, 0)


def test_the_page_of_a_cluster_shows_its_pools_wanted_beside_ready_and_what_can_be_done(
    visitor: Client, target: ComputeTarget
) -> None:
    page_rows.pool(target, **GPUS, min_count=0, max_count=2, taints=["sku=gpu:NoSchedule"], is_adopted=True)
    version = page_rows.version(page_rows.endpoint(target), "v1")
    version.deployment.revisions.update(config={"nodePool": "gpu1"})
    text = visitor.get(PAGE).content.decode()
    for words in ("0 to 2, by load", "3 wanted", "sku=gpu:NoSchedule", "made in Azure", "1 GPU",
                  "<b>iris-v1</b> asks for it", "/w/lab/new/pool/prod-1/", "Scale gpu1", "Remove gpu1"):  # fmt: skip
        assert words in text
    assert "Remove nodepool1" not in text


def test_the_part_that_moves_has_no_field_and_readers_see_it(
    client: Client, reader: User, target: ComputeTarget
) -> None:
    page_rows.pool(target)
    client.force_login(reader)
    text = client.get(f"{PAGE}pools/").content.decode()
    assert ("extra" in text, "<input" in text, "<form" in text) == (True, False, False)
    assert "Change extra" not in client.get(PAGE).content.decode()


@pytest.mark.parametrize(
    ("form", "wanted"),
    [({"count": "5"}, (5, None, None)), ({"count": "5", "min_count": "1", "max_count": "6"}, (2, 1, 6))],
)
def test_a_pool_is_scaled_from_the_page_by_count_or_by_the_autoscalers_bounds(
    visitor: Client, target: ComputeTarget, form: dict[str, str], wanted: tuple[Any, ...]
) -> None:
    page_rows.pool(target)
    sent = {"count": "", "min_count": "", "max_count": "", "generation": "1"} | form
    assert visitor.post(f"{PAGE}pools/extra/scale/", sent)["Location"] == PAGE
    row = NodePool.objects.get()
    assert (row.count, row.min_count, row.max_count, row.state) == (*wanted, "Scaling")


def test_a_refused_scale_opens_the_pool_again_with_what_was_typed(visitor: Client, target: ComputeTarget) -> None:
    page_rows.pool(target, mode="System")
    response = visitor.post(f"{PAGE}pools/extra/scale/", {"count": "0", "generation": "1"})
    text = response.content.decode()
    assert (response.status_code, "a System pool has 1 to 1000" in text) == (422, True)
    assert '<details class="more" open><summary>Change extra' in text
    assert 'name="count" min="1" max="1000" value="0"' in text


def test_a_pool_is_removed_after_its_name_was_typed_and_forced_by_a_tick(
    visitor: Client, target: ComputeTarget
) -> None:
    page_rows.pool(target)
    version = page_rows.version(page_rows.endpoint(target), "v1")
    version.deployment.revisions.update(config={"nodePool": "extra"})
    wrong = visitor.post(f"{PAGE}pools/extra/remove/", {"confirm": "prod-1"})
    assert (wrong.status_code, b"Type extra to confirm" in wrong.content) == (422, True)
    named = visitor.post(f"{PAGE}pools/extra/remove/", {"confirm": "extra"})
    assert (named.status_code, b"iris-v1 needs the node pool extra" in named.content) == (409, True)
    visitor.post(f"{PAGE}pools/extra/remove/", {"confirm": "extra", "force": "on"})
    assert Operation.objects.get().input["force"]


def test_drift_of_a_pool_is_shown_with_a_button_that_takes_azures_count_over(
    visitor: Client, target: ComputeTarget
) -> None:
    pool = page_rows.pool(target, observed={"count": 5, "min_count": None, "max_count": None})
    row = {
        "code": "pool_count", "configured": "2", "azure": "5", "message": "Azure has 5 nodes in the node pool extra.",
        "since": "2026-11-25T10:00:00+00:00", "pool": "extra",
    }  # fmt: skip
    ComputeTarget.objects.update(observed={**target.observed, "drift": [row]})
    text = visitor.get(PAGE).content.decode()
    assert ("Pool count of extra" in text, "Take over what Azure has for extra" in text) == (True, True)
    assert "Set extra back to 2" in text
    assert visitor.post(f"{PAGE}pools/extra/adopt/")["Location"] == PAGE
    pool.refresh_from_db()
    assert pool.count == 5


def test_the_page_of_a_cluster_takes_few_queries_however_many_pools_it_has(
    visitor: Client, target: ComputeTarget, django_assert_max_num_queries: Any
) -> None:
    endpoint = page_rows.endpoint(target)
    for number in range(8):
        page_rows.pool(target, f"p{number}")
        page_rows.version(endpoint, f"v{number}")
    with django_assert_max_num_queries(22):
        visitor.get(PAGE)
