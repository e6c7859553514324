"""Reading the gateway's counters."""

from __future__ import annotations

import pytest

from endpoints import counters
from endpoints.counters import Tally

PAGE = """
# TYPE envoy_scoring_requests counter
envoy_scoring_requests{code="200",ep="iris",ver="a"} 90
envoy_scoring_requests{code="503",ep="iris",ver="b"} 3
# TYPE envoy_scoring_duration histogram
envoy_scoring_duration_bucket{code="200",ep="iris",ver="a",le="1000"} 10
envoy_scoring_duration_bucket{code="200",ep="iris",ver="a",le="5000"} 90
envoy_scoring_duration_bucket{code="200",ep="iris",ver="a",le="+Inf"} 90
envoy_scoring_duration_sum{code="200",ep="iris",ver="a"} 270000
envoy_scoring_duration_count{code="200",ep="iris",ver="a"} 90
"""
A, B = ("iris", "a", "200"), ("iris", "b", "503")


def test_a_page_becomes_totals_per_endpoint_version_and_status() -> None:
    assert counters.parse(PAGE) == {A: Tally(90, 0.27, {"1000": 10, "5000": 90}), B: Tally(3)}


def test_a_reading_survives_storage() -> None:
    reading = counters.parse(PAGE)
    assert counters.unpack(counters.pack(reading)) == reading


def test_between_two_readings_only_the_difference_counts() -> None:
    assert counters.since({A: Tally(80, 0.2, {"1000": 4})}, {A: Tally(90, 0.25, {"1000": 10}), B: Tally(3)}) == {
        A: Tally(10, pytest.approx(0.05), {"1000": 6}), B: Tally(3),
    }  # fmt: skip


def test_a_lower_counter_means_that_envoy_started_anew() -> None:
    assert counters.since({A: Tally(80), B: Tally(5)}, {A: Tally(90), B: Tally(3)}) == {A: Tally(90), B: Tally(3)}
    assert counters.since({A: Tally(80)}, {B: Tally(3)}) == {B: Tally(3)}


def test_the_envoys_of_one_gateway_are_added() -> None:
    assert counters.total([{A: Tally(1, 0.5, {"1000": 1})}, {A: Tally(2, 0.5), B: Tally(1)}]) == {
        A: Tally(3, 1.0, {"1000": 1}), B: Tally(1),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [({}, 0.5, None), ({"1000": 0}, 0.5, None), ({"1000": 100}, 0.5, 0.5), ({"1000": 50, "2000": 100}, 0.75, 1.5),
     ({"1000": 50, "2000": 50, "3000": 100}, 0.5, 1.0)],
)  # fmt: skip
def test_quantiles_lie_between_the_bounds(buckets: dict[str, int], share: float, expected: float | None) -> None:
    assert counters.quantile(buckets, share) == expected


@pytest.mark.parametrize(
    ("wait", "expected", "replicas", "concurrency", "length"),
    [(500, 20, 1, 1, 32), (500, 1000, 1, 1, 1), (500, 20, 3, 2, 256), (500, 0, 1000, 10, 4096), (500, 20, 0, 1, 32)],
)
def test_the_queue_is_as_long_as_the_longest_wait_allows(
    wait: int, expected: int, replicas: int, concurrency: int, length: int
) -> None:
    assert counters.queue_length(wait, expected, replicas, concurrency) == length


def test_gauges_are_summed_per_version() -> None:
    page = (
        'envoy_cluster_upstream_rq_active{envoy_cluster_name="iris/a"} 3\n'
        'envoy_cluster_upstream_rq_pending_active{envoy_cluster_name="iris/a"} 4\n'
        'envoy_cluster_upstream_rq_active{envoy_cluster_name="admin"} 1\n'
        'envoy_cluster_membership_healthy{envoy_cluster_name="iris/a"} 2\n'
    )
    assert counters.gauges(page, counters.ACTIVE) == {("iris", "a"): 7}
    assert counters.gauges(page, counters.HOSTS) == {("iris", "a"): 2}


def test_the_mean_time_is_of_the_answers_whose_time_is_known() -> None:
    assert Tally(40, 0.3, {"5000": 10, "25000": 30}).mean_seconds == pytest.approx(0.01)
    assert Tally(40).mean_seconds is None
