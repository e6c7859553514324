"""What children get, and what is refused before anything starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from portal.launcher import processes
from portal.launcher.errors import Stop
from portal.launcher.home import Home
from portal.launcher.processes import ROOT

PORTS = {"http": 1, "https": 2, "arm": 3, "kube": 4}


def test_loopback_is_reached_without_a_proxy_in_both_spellings() -> None:
    env = processes.with_no_proxy({"no_proxy": "example.com"})
    assert env["no_proxy"] == env["NO_PROXY"] == "example.com,127.0.0.1,localhost,127.0.0.0/8"


def test_no_secret_is_in_the_arguments_of_any_process(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARM_ENDPOINT", "https://management.example.com")
    monkeypatch.setenv("ARM_TOKEN", "token-of-the-test")
    secrets = [
        home.file(name).read_text()
        for name in ("secret_key", "secret_keys", "arm_token", "broker_password", "metrics_token")
    ] + ["token-of-the-test"]
    words = [word for process in processes.all_of(home, PORTS) for word in process.argv]
    assert not [secret for secret in secrets if any(secret in word for word in words)]


def test_the_sandbox_gets_none_of_the_portals_settings(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_SECRET_KEY", "x")
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:password@host/name")
    env = processes.sandbox_env(home, PORTS)
    assert [name for name in env if name.startswith(("SLIPWAY_", "DATABASE_", "ARM_"))] == []


def test_an_arm_outside_this_machine_needs_no_sandbox(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARM_TOKEN", "t")
    for endpoint, expected in (("https://management.example.com", False), ("http://127.0.0.1:9999", True)):
        monkeypatch.setenv("ARM_ENDPOINT", endpoint)
        assert ("sandbox" in [process.name for process in processes.all_of(home, PORTS)]) is expected


@pytest.mark.parametrize(
    ("endpoint", "token", "sentence"),
    [
        ("http://example.com", "t", "give https, or http on 127.0.0.1"),
        ("http://127.0.0.1.example.com:8000", "t", "give https, or http on 127.0.0.1"),
        ("http://127.0.0.1@example.com", "t", "give https, or http on 127.0.0.1"),
        ("http://169.254.169.254", "t", "give https, or http on 127.0.0.1"),
        ("ftp://127.0.0.1", "t", "give https, or http on 127.0.0.1"),
        ("https://", "t", "give https, or http on 127.0.0.1"),
        ("http://127.0.0.1:99999", "t", "give https, or http on 127.0.0.1"),
        ("https://example.com:x", "t", "give https, or http on 127.0.0.1"),
        ("https://example.com", "", "give both or none"),
    ],
)
def test_an_arm_that_cannot_be_used_is_refused(
    endpoint: str, token: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARM_ENDPOINT", endpoint)
    monkeypatch.setenv("ARM_TOKEN", token)
    with pytest.raises(Stop, match=sentence):
        processes.outside_arm()


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:7", "http://127.9.9.9:7/", "http://localhost:7", "http://[::1]:7"]
)
def test_an_arm_on_this_machine_may_speak_plain_http_and_the_portal_may_connect_to_it(
    endpoint: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARM_ENDPOINT", endpoint)
    monkeypatch.setenv("ARM_TOKEN", "t")
    assert processes.outside_arm() == (endpoint.rstrip("/"), "t")
    assert processes.portal_env(home, PORTS)["SLIPWAY_OUTBOUND_ALLOW"].split(",") == ["127.0.0.0/8", "::1/128"]


def test_the_launcher_refuses_an_old_python_by_name(tmp_path: Path) -> None:
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        (tmp_path / name).write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
        (tmp_path / name).chmod(0o755)
    for name in ("sh", "dirname", "printf"):
        (tmp_path / name).symlink_to(f"/bin/{name}" if Path(f"/bin/{name}").exists() else f"/usr/bin/{name}")
    copy = tmp_path / "checkout"
    copy.mkdir()
    (copy / "slipway").write_text((ROOT / "slipway").read_text())
    done = subprocess.run(
        ["/bin/sh", str(copy / "slipway"), "up"], env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == (
        "slipway: found Python 3.9.2; Slipway runs on Python 3.11, 3.12 or 3.13. Install one of them and try again.\n"
    )


@pytest.mark.parametrize("word", ["up", "down", "status", "logs", "token", "demo", "test", "check", "bench"])
def test_every_command_has_help_without_an_environment(word: str) -> None:
    command = [sys.executable, "-S", "-m", "portal.launcher", word, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert f"./slipway {word}" in done.stdout


def test_the_compose_file_has_the_services_and_every_setting_of_it_is_known() -> None:
    told = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert set(told["services"]) >= {"web", "worker", "beat", "db", "redis"}
    example, settings = (ROOT / ".env.example").read_text(), (ROOT / "portal" / "settings.py").read_text()
    for name in told["services"]["web"]["environment"]:
        assert name in example
        assert name in settings


def test_every_setting_that_the_portal_reads_is_in_the_example() -> None:
    import re

    names = set(re.findall(r'env(?:_\w+)?\("([A-Z_]+)"', (ROOT / "portal" / "settings.py").read_text()))
    example = (ROOT / ".env.example").read_text()
    assert sorted(name for name in names - {"TMPDIR", "SLIPWAY_TOOLS"} if name not in example) == []
