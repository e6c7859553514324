"""What `up` and every page say about the sandbox: that it is one, and whether users' code is confined."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

CONFINE = Path(__file__).resolve().parents[2] / "compute" / "sandbox" / "kubelet" / "confine.py"
SIMULATED = "Clusters are simulated on this machine: no Azure resource is touched and nothing costs money."


@cache
def confinement() -> str:
    """ "confined", or "not confined: " and why: what the sandbox's own wrapper says of this machine."""
    command = [sys.executable, "-I", "-S", str(CONFINE), "status"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return done.stdout.strip() or f"not confined: {CONFINE.name} ended with code {done.returncode}"


def at_start() -> str:
    """The one line of `up`."""
    said = confinement()
    if said == "confined":
        return "Sandbox: what you deploy here runs as your own user, confined."
    return f"Sandbox, {said}. What you deploy here runs as your own user and can read what you can read."


def on_pages() -> str:
    """The banner of every page."""
    said = confinement()
    if said == "confined":
        return f"Sandbox. {SIMULATED} Times are shortened. Code that you deploy runs as this machine's user, confined."
    return (
        f"Sandbox, {said}. Code that is deployed here runs as your user and is not confined: it can read what you can"
        f" read. {SIMULATED} Times are shortened."
    )
