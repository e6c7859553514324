"""`./slipway check`: what a machine can say about the code without running it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from portal.launcher.processes import BIN, ROOT

APPS = ("portal", "compute", "deployments", "endpoints")
CHECKS: dict[str, tuple[str, ...]] = {
    "style": ("ruff", "check", "."),
    "format": ("ruff", "format", "--check", "."),
    "types": ("mypy", *APPS),
    "import contracts": ("lint-imports", "--no-cache"),
    "missing migrations": ("python", "manage.py", "makemigrations", "--check", "--dry-run"),
    "system checks": ("python", "manage.py", "check"),
}
AUDIT = ("pip-audit", "--strict", "--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json")


def run() -> int:
    """Run every check, also after one failed; 0 when all are good."""
    failed = [name for name, command in CHECKS.items() if not _passes(name, command)]
    if not _audit():
        failed.append("dependency audit")
    print(f"check: {', '.join(failed)} failed" if failed else "check: all good")
    return 1 if failed else 0


def _run(command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    program = sys.executable if command[0] == "python" else str(BIN / command[0])
    env = {**os.environ, "SLIPWAY_DEBUG": "1", "SLIPWAY_TOOLS": "1"}
    return subprocess.run([program, *command[1:]], cwd=ROOT, env=env, capture_output=True, text=True)


def _passes(name: str, command: tuple[str, ...]) -> bool:
    done = _run(command)
    print(f"{'ok    ' if done.returncode == 0 else 'FAILED'} {name}", flush=True)
    if done.returncode:
        print((done.stdout + done.stderr)[-8000:])
    return done.returncode == 0


def _audit() -> bool:
    """Known holes in what we ship. An audit that nobody answered is no pass: it is said, and not held against us."""
    done = _run((*AUDIT, "-r", str(Path(ROOT) / "requirements.lock")))
    found = vulnerable(done.stdout)
    if found is None:
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"NOT RUN dependency audit: the vulnerability index cannot be asked from here ({last[:160]})")
        return True
    print(f"{'FAILED' if found else 'ok    '} dependency audit{''.join(f' {line}' for line in found)}")
    return not found


def vulnerable(report: str) -> list[str] | None:
    """The packages with known holes in pip-audit's JSON; None when it holds no complete audit."""
    try:
        rows = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    if not rows or any("skip_reason" in row for row in rows):
        return None
    return [
        f"{row['name']} {row['version']}: {', '.join(hole['id'] for hole in row['vulns'])}"
        for row in rows
        if row["vulns"]
    ]
