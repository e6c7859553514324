from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from portal.launcher import commands
from portal.launcher import home as homes
from portal.launcher.errors import Stop
from portal.launcher.home import Home
from portal.launcher.processes import ROOT


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.lstat().st_mode) & 0o077 for path in [folder, *folder.rglob("*")]}


def test_nothing_in_a_home_can_be_read_by_others_even_with_umask_000(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "deep" / "home"))
    before = os.umask(0)
    try:
        made = homes.make()
    finally:
        os.umask(before)
    assert modes(made.path) == {0}
    assert stat.S_IMODE(made.sockets.stat().st_mode) == 0o700
    made.sockets.rmdir()


def test_an_open_home_is_closed(home: Home) -> None:
    home.path.chmod(0o755)
    homes.make()
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700


def test_a_home_keeps_its_secrets_block_and_subscription(home: Home) -> None:
    names = ("secret_key", "secret_keys", "arm_token", "sandbox_admin_token", "blob_key")
    before = [home.file(name).read_text() for name in names]
    again = homes.make()
    assert [again.file(name).read_text() for name in names] == before
    assert (again.block, again.facts["subscription_id"]) == (home.block, home.facts["subscription_id"])


def test_the_block_is_a_loopback_network_that_nobody_uses_by_habit() -> None:
    first, second, third = (int(word) for word in homes.draw_block().split("."))
    assert first == 127
    assert 64 <= second <= 253
    assert 0 <= third <= 255


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"block": ', "cannot be read"), ("[1]", r"cannot be read \(it holds no JSON object\)"),
        ("3", "no JSON object"), ('{"block": "127.70.1"}', "lacks subscription_id, sockets"),
    ],
)  # fmt: skip
def test_a_broken_state_file_is_one_sentence_that_names_it(home: Home, content: str, sentence: str) -> None:
    home.file("home.json").write_text(content)
    for function in (homes.make, homes.find):
        with pytest.raises(Stop, match=rf"home\.json .*{sentence}"):
            function()


@pytest.mark.parametrize("command", [["up", "--detach"], ["down"], ["status", "--json"], ["token", "create"], ["demo"]])
def test_no_command_answers_a_broken_state_file_with_a_traceback(home: Home, command: list[str]) -> None:
    home.file("home.json").write_text("{}x")
    said = subprocess.run([sys.executable, "-m", "portal.launcher", *command], cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 1
    assert said.stderr.startswith("slipway: ")
    assert said.stderr.count("\n") == 1


def test_a_home_that_never_got_its_ports_has_no_portal_yet(home: Home) -> None:
    with pytest.raises(Stop, match="there is no portal in"):
        commands.existing_home()


def test_a_home_that_is_a_file_is_refused_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "file"))
    with pytest.raises(Stop, match="file cannot be used as SLIPWAY_HOME"):
        homes.make()


def test_a_deep_home_has_a_short_socket_folder(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 8)
    folder = homes.socket_folder(deep)
    assert len(str(folder)) < homes.SOCKET_PATH_LIMIT
    assert folder != homes.socket_folder(deep / "other")
    folder.rmdir()
    homes.socket_folder(deep / "other").rmdir()


def test_a_link_in_place_of_the_socket_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    runtime.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    expected = homes.socket_folder(tmp_path / "home")
    expected.rmdir()
    expected.symlink_to(elsewhere)
    used = homes.socket_folder(tmp_path / "home")
    used.rmdir()
    assert used != expected


def test_only_one_supervisor_gets_a_home(home: Home) -> None:
    first = homes.take_lock(home)
    assert first is not None
    assert homes.take_lock(home) is None
    assert homes.is_running(home)
    first.close()
    assert not homes.is_running(home)
