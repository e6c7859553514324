"""Every rule of a split, by table and by property."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoints import traffic
from endpoints.traffic import InvalidTraffic
from endpoints.types import Version, VersionChange

D = Decimal


def v(name: str, percent: float | str = 0, **more: Any) -> Version:
    return Version(name, D(str(percent)), **more)


def ask(percent: str | None = None, **more: Any) -> VersionChange:
    return VersionChange(None if percent is None else D(percent), **more)


@st.composite
def splits(draw: Any) -> tuple[Version, ...]:
    count = draw(st.integers(1, 6))
    left, parts = 10_000, []
    for _ in range(count):
        part = draw(st.integers(0, left))
        parts.append(part)
        left -= part
    default = draw(st.integers(0, count - 1))
    serving = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return tuple(
        Version(f"v{i}", D(part) / 100, is_default=i == default, serves=serving[i], order=i)
        for i, part in enumerate(parts)
    )


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([v("a", 20, is_default=True)], {"a": 100}),
        ([v("a", 20, is_default=True), v("b", 10)], {"a": 90, "b": 10}),
        ([v("a", 20), v("b", 40, is_default=True)], {"a": 20, "b": 80}),
        ([v("a", 0, is_default=True), v("b", 100)], {"a": 0, "b": 100}),
    ],
)
def test_what_is_left_of_100_goes_to_the_default_version(versions: list[Version], expected: dict[str, int]) -> None:
    assert traffic.configured(versions) == expected
    assert traffic.shares(versions) == expected


@given(splits())
def test_effective_shares_add_to_100_whenever_one_version_serves(versions: tuple[Version, ...]) -> None:
    total = sum(traffic.shares(versions).values())
    assert abs(total - (100 if any(x.serves for x in versions) else 0)) < D("1e-20")


@given(splits())
def test_a_version_that_is_not_healthy_gets_no_traffic(versions: tuple[Version, ...]) -> None:
    shares = traffic.shares(versions)
    assert all(shares[x.name] == 0 for x in versions if not x.serves)


@given(splits())
def test_the_share_of_an_unhealthy_version_goes_to_the_default(versions: tuple[Version, ...]) -> None:
    default = next(x for x in versions if x.is_default)
    if default.serves:
        others = sum(x.percentile for x in versions if x.serves and not x.is_default)
        assert traffic.shares(versions)[default.name] == 100 - others


def test_if_the_default_is_not_healthy_the_healthy_ones_share_by_their_percentiles() -> None:
    versions = [v("a", 20, is_default=True, serves=False), v("b", 10), v("c", 30)]
    assert traffic.shares(versions) == {"a": 0, "b": 25, "c": 75}


def test_if_the_default_is_not_healthy_and_all_percentiles_are_0_the_oldest_healthy_one_takes_all() -> None:
    versions = [
        v("a", 100, is_default=True, serves=False),
        v("c", order=3),
        v("b", order=2),
        v("d", order=1, serves=False),
    ]
    assert traffic.shares(versions) == {"a": 0, "b": 100, "c": 0, "d": 0}


def test_if_none_is_healthy_nobody_gets_traffic() -> None:
    assert traffic.shares([v("a", 50, is_default=True, serves=False), v("b", 50, serves=False)]) == {"a": 0, "b": 0}


@given(splits())
def test_weights_are_whole_and_add_to_10000(versions: tuple[Version, ...]) -> None:
    shares = traffic.shares(versions)
    weights = traffic.weights(shares)
    assert sum(weights.values()) == (10_000 if any(x.serves for x in versions) else 0)
    assert all(abs(weights[name] - share * 100) <= 1 for name, share in shares.items())


def test_weights_are_exact_for_percentiles_with_two_decimals() -> None:
    assert traffic.weights({"a": D("99.99"), "b": D("0.01")}) == {"a": 9999, "b": 1}
    assert traffic.weights({"a": D(1), "b": D(1), "c": D(1)}) == {"a": 3334, "b": 3333, "c": 3333}


@pytest.mark.parametrize("percent", ["-0.01", "100.01", "NaN", "Infinity", "1e30"])
def test_percentiles_are_from_0_to_100(percent: str) -> None:
    with pytest.raises(InvalidTraffic, match="from 0 to 100"):
        traffic.change([v("a", is_default=True)], {"a": ask(percent)})


def test_percentiles_have_at_most_two_decimals() -> None:
    with pytest.raises(InvalidTraffic, match="two decimals"):
        traffic.change([v("a", is_default=True)], {"a": ask("33.333")})


def test_the_sum_of_percentiles_is_at_most_100_and_the_refusal_has_the_numbers() -> None:
    with pytest.raises(InvalidTraffic, match=r"add to 110, .* a 20, b 90") as refused:
        traffic.change([v("a", 20, is_default=True), v("b", 10)], {"b": ask("90")})
    assert refused.value.status == 422


def test_the_order_of_two_percentiles_in_one_call_does_not_matter() -> None:
    after = traffic.change([v("a", 90, is_default=True), v("b", 10)], {"b": ask("90"), "a": ask("10")})
    assert {x.name: x.percentile for x in after} == {"a": 10, "b": 90}


def test_the_first_version_becomes_the_default() -> None:
    (first,) = traffic.add([], "a", ask("20"))
    assert first.is_default
    assert not first.is_control


def test_a_version_added_without_flags_is_a_treatment_with_0_percent() -> None:
    *_, added = traffic.add([v("a", is_default=True, is_control=True)], "b", ask())
    assert (added.is_default, added.is_control, added.percentile) == (False, False, 0)


def test_at_most_six_versions() -> None:
    six = [v(f"v{i}", is_default=i == 0, order=i) for i in range(6)]
    with pytest.raises(InvalidTraffic, match="at most 6 versions"):
        traffic.add(six, "v7", ask())


def test_two_versions_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidTraffic, match="already"):
        traffic.add([v("a", is_default=True)], "a", ask())


def test_making_another_version_the_default_moves_the_flag_and_says_so() -> None:
    before = [v("a", 20, is_default=True), v("b", 10)]
    after = traffic.change(before, {"b": ask("40", is_default=True)})
    assert [x.is_default for x in after] == [False, True]
    assert traffic.shares(after) == {"a": 20, "b": 80}
    assert traffic.moved(before, after) == ["b is now the default; a was it before."]


def test_the_default_flag_cannot_be_taken_away_without_an_heir() -> None:
    with pytest.raises(InvalidTraffic, match="Make another version the default"):
        traffic.change([v("a", is_default=True), v("b")], {"a": ask(is_default=False)})


def test_two_defaults_in_one_call_are_refused() -> None:
    with pytest.raises(InvalidTraffic, match="Only one version can be the default"):
        traffic.change(
            [v("a", is_default=True), v("b"), v("c")], {"b": ask(is_default=True), "c": ask(is_default=True)}
        )


def test_making_a_version_control_while_another_is_moves_the_flag_and_says_so() -> None:
    before = [v("a", is_default=True, is_control=True), v("b")]
    after = traffic.change(before, {"b": ask(is_control=True)})
    assert [x.is_control for x in after] == [False, True]
    assert traffic.moved(before, after) == ["b is now the control; a was it before."]


def test_at_most_one_control_and_it_may_be_given_up() -> None:
    before = [v("a", is_default=True, is_control=True), v("b")]
    with pytest.raises(InvalidTraffic, match="Only one version can be the control"):
        traffic.change(before, {"a": ask(is_control=True), "b": ask(is_control=True)})
    assert not any(x.is_control for x in traffic.change(before, {"a": ask(is_control=False)}))


def test_an_unknown_version_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(InvalidTraffic, match="There are: a, b"):
        traffic.change([v("b"), v("a", is_default=True)], {"c": ask("1")})


def test_deleting_a_version_gives_its_share_back_to_the_default() -> None:
    after, heir = traffic.remove([v("a", 20, is_default=True), v("b", 30)], "b")
    assert (heir, traffic.configured(after)) == ("a", {"a": 100})


def test_deleting_the_default_makes_the_control_the_default() -> None:
    versions = [v("a", is_default=True), v("b", order=1), v("c", 10, is_control=True, order=2)]
    after, heir = traffic.remove(versions, "a")
    assert heir == "c"
    assert [x.name for x in after if x.is_default] == ["c"]


def test_deleting_the_default_without_another_control_makes_the_oldest_healthy_one_the_default() -> None:
    versions = [
        v("a", is_default=True, is_control=True),
        v("b", order=1, serves=False),
        v("d", order=3),
        v("c", order=2),
    ]
    assert traffic.successor(versions, "a") == "c"


def test_deleting_the_default_when_no_other_is_healthy_makes_the_oldest_the_default() -> None:
    versions = [v("a", is_default=True), v("c", order=2, serves=False), v("b", order=1, serves=False)]
    assert traffic.remove(versions, "a")[1] == "b"


def test_deleting_the_last_version_is_refused() -> None:
    with pytest.raises(InvalidTraffic, match="Delete the endpoint"):
        traffic.remove([v("a", is_default=True)], "a")


def test_deleting_an_unknown_version_is_refused() -> None:
    with pytest.raises(InvalidTraffic, match="no version x"):
        traffic.remove([v("a", is_default=True)], "x")


@given(splits(), st.data())
def test_exactly_one_default_after_any_allowed_change(versions: tuple[Version, ...], data: Any) -> None:
    names = [x.name for x in versions]
    wanted = {
        name: VersionChange(is_default=data.draw(st.sampled_from([None, True])), is_control=data.draw(st.booleans()))
        for name in data.draw(st.lists(st.sampled_from(names), unique=True))
    }
    try:
        after = traffic.change(versions, wanted)
    except InvalidTraffic:
        return
    assert sum(x.is_default for x in after) == 1
    assert sum(x.is_control for x in after) <= 1
    assert [x.percentile for x in after] == [x.percentile for x in versions]


@given(splits(), st.data())
def test_after_any_delete_one_default_is_left_and_the_others_keep_their_percentiles_and_shares_add_to_100(
    versions: tuple[Version, ...], data: Any
) -> None:
    name = data.draw(st.sampled_from([x.name for x in versions]))
    if len(versions) == 1:
        with pytest.raises(InvalidTraffic, match="Delete the endpoint"):
            traffic.remove(versions, name)
        return
    after, heir = traffic.remove(versions, name)
    assert [x.name for x in after if x.is_default] == [heir] == [traffic.successor(versions, name)]
    was = {x.name: x for x in versions}
    assert all(x.percentile == was[x.name].percentile for x in after)
    assert sum(traffic.configured(after).values()) == 100
    if not was[name].is_default:
        assert was[heir].is_default


@given(splits(), st.data())
def test_the_successor_of_the_default_is_the_control_else_the_oldest_healthy_one(
    versions: tuple[Version, ...], data: Any
) -> None:
    default = next(x for x in versions if x.is_default)
    control = data.draw(st.sampled_from([None, *(x.name for x in versions)]))
    marked = [replace(x, is_control=x.name == control) for x in versions]
    left = [x for x in marked if x.name != default.name]
    if not left:
        return
    healthy = [x.name for x in left if x.serves]
    wanted = control if control not in (None, default.name) else (healthy or [left[0].name])[0]
    assert traffic.successor(marked, default.name) == wanted


@given(splits(), st.integers(0, 10_000))
def test_a_change_is_taken_exactly_when_the_sum_is_at_most_100(versions: tuple[Version, ...], hundredths: int) -> None:
    name, share = versions[0].name, D(hundredths) / 100
    others = sum((x.percentile for x in versions[1:]), D(0))
    if others + share > 100:
        with pytest.raises(InvalidTraffic, match="too many"):
            traffic.change(versions, {name: VersionChange(share)})
    else:
        assert traffic.change(versions, {name: VersionChange(share)})[0].percentile == share
