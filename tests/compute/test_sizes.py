"""VM sizes and the vCPU floor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute import sizes
from compute.types import Purpose, VmSize


@pytest.mark.parametrize("name", ["Standard_D3_v2", "STANDARD_D3_V2", "standard_d3_v2", "D3_v2", "Standard D3 v2"])
def test_sizes_are_found_without_letter_case_and_in_old_spellings(name):
    assert sizes.find(name).name == "Standard_D3_v2"


def test_the_bundled_table_has_the_default_size_with_4_vcpus():
    size = sizes.find(sizes.DEFAULT_SIZE)
    assert (size.vcpus, size.memory_gb, size.gpus) == (4, 14, 0)
    assert len(sizes.bundled()) > 1000


def test_an_unknown_size_is_refused_with_close_names():
    with pytest.raises(sizes.UnknownSize, match=r"Standard_D99_v9.*Close ones: Standard_D"):
        sizes.find("Standard_D99_v9")


@pytest.mark.parametrize("name", ["Standard_PB6s", "standard_np10s"])
def test_fpga_sizes_are_gone_and_refused_by_that_sentence(name):
    with pytest.raises(sizes.FpgaSize, match="FPGA sizes are gone from Azure"):
        sizes.find(name)


def test_a_live_list_decides_where_there_is_one():
    with pytest.raises(sizes.UnknownSize):
        sizes.find("Standard_D3_v2", [VmSize("Standard_X1", 1, 1, 0, "x")])


def test_fastprod_needs_12_vcpus_and_the_error_names_size_vcpus_count_sum_and_smallest_count():
    with pytest.raises(sizes.TooFewCores) as refused:
        sizes.check_count(size=sizes.find("Standard_D3_v2"), count=2, purpose=Purpose.FAST_PROD)
    text = refused.value.detail
    for word in ("2 × Standard_D3_v2", "4 vCPUs each", "= 8 vCPUs", "at least 12", "passes is 3"):
        assert word in text


@given(st.integers(1, 64), st.integers(1, 40))
def test_fastprod_passes_exactly_from_12_vcpus_on(vcpus, count):
    size = VmSize("S", vcpus, 1, 0, "f")
    if vcpus * count >= 12:
        assert sizes.check_count(size=size, count=count, purpose=Purpose.FAST_PROD) == []
        assert count >= sizes.smallest_count(size)
    else:
        with pytest.raises(sizes.TooFewCores, match=f"passes is {sizes.smallest_count(size)}"):
            sizes.check_count(size=size, count=count, purpose=Purpose.FAST_PROD)


def test_devtest_has_no_floor_but_says_that_it_is_not_for_production():
    (warning,) = sizes.check_count(size=sizes.find("Standard_D2s_v3"), count=1, purpose=Purpose.DEV_TEST)
    assert "not fit for production traffic" in warning
    assert "no fault tolerance" in warning


def test_devtest_below_2_vcpus_warns():
    warnings = sizes.check_count(size=sizes.find("Standard_A1_v2"), count=1, purpose=Purpose.DEV_TEST)
    assert any("below 2" in text for text in warnings)


@pytest.mark.parametrize("count", [0, -1, 1001])
def test_a_node_count_outside_1_to_1000_is_refused(count):
    with pytest.raises(sizes.BadNodeCount, match="1 to 1000"):
        sizes.check_count(size=sizes.find("D3_v2"), count=count, purpose=Purpose.FAST_PROD)


def test_prices_are_per_region_and_unknown_where_the_table_has_none():
    size = sizes.find("D3_v2")
    assert sizes.price(size=size, count=3, region="West Europe") == pytest.approx(0.816)
    assert sizes.price(size=size, count=3, region="mars") is None
