"""What an address says by its text alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from portal.addresses import is_loopback

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:9", True), ("https://127.9.8.7/x", True), ("http://[::1]:80", True),
        ("https://localhost", True), ("https://LOCALHOST:1", True), ("https://127.0.0.1.evil.example", False),
        ("https://localhost.evil.example", False), ("https://10.0.0.1", False), ("https://2130706433", False),
        ("https://127.0.0.1@evil.example", False), ("https://[::1", False), ("127.0.0.1", False), ("", False),
    ],
)  # fmt: skip
def test_only_localhost_and_loopback_addresses_are_this_machine(url, expected):
    assert is_loopback(url) is expected


def test_the_launcher_needs_no_settings_for_it():
    code = "import sys, portal.launcher.processes; sys.exit('portal.settings' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={}, timeout=60).returncode == 0
