"""What `./slipway test` makes of its runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from portal.launcher import testing
from portal.launcher.testing import Result


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs start without plugins, which take most of a second."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("SLIPWAY_REQUIRE", raising=False)


def test_an_error_beside_the_main_run_ends_the_whole_and_is_not_lost() -> None:
    def broken() -> Result:
        raise FileNotFoundError("no such program")

    with pytest.raises(FileNotFoundError, match="no such program"):
        testing.together(broken, lambda: Result(Counter(passed=1)))


def test_runs_beside_each_other_add_up_and_one_bad_one_is_enough() -> None:
    good, bad = Result(Counter(passed=3, skipped=1)), Result(Counter(passed=2), ["pytest ended"])
    total = testing.together(lambda: good, lambda: bad)
    assert (total.counts, total.complaints) == (Counter(passed=5, skipped=1), ["pytest ended"])
    assert not total.is_good
    assert testing.together(lambda: good).is_good


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("import os, sys; assert not sys.dont_write_bytecode and 'SLIPWAY_HOME' not in os.environ", 0),
        ("assert False", 1),
        ("raise KeyboardInterrupt", 1),
        ("import pytest; pytest.skip('nothing else ran')", 1),
    ],
)
def test_the_exit_code_is_0_only_when_something_ran_and_all_of_it_passed(
    bare: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, code: int
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    file = tmp_path / "test_one.py"
    file.write_text(f"def test_one():\n    {body}\n")
    assert testing.run([str(file)]) == code


def test_a_skip_of_what_is_required_is_a_failure(bare: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "test_two.py"
    file.write_text(
        "import pytest\n\n\ndef test_good():\n    pass\n\n\n"
        "@pytest.mark.skipif(True, reason='kubectl is not installed')\ndef test_skipped():\n    pass\n"
    )
    assert testing.run([str(file)]) == 0
    monkeypatch.setenv("SLIPWAY_REQUIRE", "chromium,kubectl")
    assert testing.run([str(file)]) == 1
