"""What nodes can hold."""

from __future__ import annotations

import pytest

from compute import fit


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", 0.5),
        ("1Gi", 2**30),
        ("2", 2),
        ("1k", 1000),
        ("1500Mi", 1500 * 2**20),
        ("", 0),
        ("x", 0),
        ("100u", 0.0001),
    ],
)
def test_quantities_are_read_as_kubernetes_means_them(text, number):
    assert fit.amount(text) == pytest.approx(number)


def _node(name):
    conditions = [{"type": "Ready", "status": "True"}]
    status = {"allocatable": {"cpu": "4", "memory": "8Gi"}, "conditions": conditions}
    return {"metadata": {"name": name, "labels": {"agentpool": "p"}}, "status": status}


def _pod(node, cpu, phase="Running", init="0"):
    def box(amount):
        return {"resources": {"requests": {"cpu": amount, "memory": "1Gi"}}}

    return {
        "spec": {"nodeName": node, "containers": [box(cpu)], "initContainers": [box(init)]},
        "status": {"phase": phase},
    }


def test_what_is_free_is_what_nodes_can_allocate_less_what_pods_ask():
    rows = fit.nodes([_node("b"), _node("a")], [_pod("a", "1500m"), _pod("a", "1", "Succeeded"), _pod(None, "1")])
    assert [(row["name"], row["cpu_free"], row["memory_free"] // 2**30, row["ready"]) for row in rows] == [
        ("a", 2.5, 7, True), ("b", 4.0, 8, True),
    ]  # fmt: skip


def test_an_init_container_counts_where_it_asks_for_more():
    assert fit.requests_of(_pod("a", "1", init="2"))[0] == 2


def test_a_sidecar_counts_with_the_containers_and_before_later_init_containers():
    pod = _pod("a", "1", init="2")
    first = pod["spec"]["initContainers"][0]
    side = {**first, "restartPolicy": "Always"}
    assert fit.requests_of({"spec": {**pod["spec"], "initContainers": [side]}})[0] == 3
    assert fit.requests_of({"spec": {**pod["spec"], "initContainers": [side, first]}})[0] == 4
    assert fit.requests_of({"spec": {**pod["spec"], "initContainers": [first, side]}})[0] == 3


def test_scaling_that_cannot_hold_what_is_deployed_is_warned_about_with_numbers():
    rows = fit.nodes([_node("a"), _node("b"), _node("c")], [_pod("a", "3"), _pod("b", "3")])
    (warning,) = fit.scale_warnings(rows, 1)
    assert "6.0 cores" in warning
    assert "1 of 3 nodes have 4.0" in warning
    assert fit.scale_warnings(rows, 2) == []
    assert fit.scale_warnings(rows, 5) == []


def test_the_most_room_is_named_per_resource():
    rows = fit.nodes([_node("a"), _node("b")], [_pod("a", "3")])
    assert fit.room(rows).startswith("The most that one node has free: CPU 4 (b), memory in GiB ")
    assert fit.room([]) == ""
