"""The v1 rule of replicas from load."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments import autoscale

QUIET, BUSY = 60.0, 0.0


def wanted(current: int, rps: float, quiet: float = BUSY, **more: int) -> int:
    limits = {"target_utilization": 70, "concurrency": 1, "min_replicas": 1, "max_replicas": 10, **more}
    return autoscale.wanted(current=current, rps=rps, seconds=0.1, quiet_seconds=quiet, **limits)


@pytest.mark.parametrize(
    ("rps", "more", "result"),
    [
        (0, {}, 1), (7, {}, 1), (7.1, {}, 2), (20, {}, 3), (1000, {}, 10), (20, {"concurrency": 2}, 2),
        (20, {"target_utilization": 100}, 2), (0, {"min_replicas": 3}, 3),
    ],
)  # fmt: skip
def test_wanted_is_load_over_target_over_concurrency_rounded_up_within_min_and_max(
    rps: float, more: dict[str, int], result: int
) -> None:
    assert wanted(1, rps, **more) == result


def test_scales_up_at_once_and_down_only_after_a_minute_of_quiet() -> None:
    assert wanted(1, 20) == 3
    assert wanted(5, 20, quiet=59) == 5
    assert wanted(5, 20, quiet=QUIET) == 3


@given(st.integers(0, 50), st.floats(0, 1e5), st.floats(0, 200), st.integers(1, 5), st.integers(5, 20))
def test_always_within_min_and_max(current: int, rps: float, quiet: float, low: int, high: int) -> None:
    assert low <= wanted(current, rps, quiet, min_replicas=low, max_replicas=high) <= high


@given(
    st.integers(0, 2000), st.integers(1, 5000), st.integers(1, 100), st.integers(1, 8), st.integers(1, 5),
    st.integers(5, 50),
)  # fmt: skip
def test_wanted_is_the_fewest_replicas_that_are_not_busier_than_the_target(
    rps: int, milliseconds: int, target: int, concurrency: int, low: int, high: int
) -> None:
    found = autoscale.wanted(
        current=low, rps=rps, seconds=milliseconds / 1000, target_utilization=target, concurrency=concurrency,
        min_replicas=low, max_replicas=high, quiet_seconds=QUIET,
    )  # fmt: skip
    load = rps * milliseconds * 100  # in thousandths of a busy replica, times 100 for percent
    each = target * concurrency * 1000
    assert found == high or found * each >= load
    assert found == low or (found - 1) * each < load


@given(st.integers(1, 10), st.floats(0, 500), st.floats(0, 59.9))
def test_before_a_minute_of_quiet_the_count_never_falls(current: int, rps: float, quiet: float) -> None:
    assert wanted(current, rps, quiet) >= current
