"""`./slipway test`: all tests on SQLite, what asks the database but the stories once more on PostgreSQL, coverage.

Coverage is taken where it tells the most for its cost: on SQLite by slipcover, at a third of the cost of coverage.py,
and of the sandbox by coverage.py, which sees into the processes that are started. PostgreSQL runs the same lines as
SQLite; the stories run whole portals, which would take half as long again: what only they reach counts as missed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from portal.launcher import postgres
from portal.launcher.processes import ROOT, with_no_proxy

COUNTS = re.compile(r"(\d+) (passed|failed|errors?|skipped|deselected)")
NEVER_INHERITED = ("SLIPWAY_", "DATABASE_URL", "ARM_", "DJANGO_", "PYTHONDONTWRITEBYTECODE")
PYTEST = [sys.executable, "-m", "pytest", "-q", "-rs", "--durations=12", "-p", "no:cacheprovider"]
MEASURED = [sys.executable, "-m", "coverage", "run", *PYTEST[1:]]
LINES = ROOT / ".coverage-lines.json"
OURS = "portal,compute,deployments,endpoints"
LIGHT = [sys.executable, "-m", "slipcover", "--source", OURS, "--json", "--out", str(LINES), *PYTEST[1:]]
STORIES = "journey or browser"
# Stories in homes of their own: these, chaos with the tests of the sandbox, and the others take about as long.
OF_THEIR_OWN = [f"tests/journeys/{name}" for name in ("crash", "on_azure", "on_cluster")]
CHAOS = "tests/journeys/test_chaos.py"
SANDBOX = "tests/sandbox"  # has a store of its own, so no database matters to it
PROGRAMS = {"chromium": ("chromium", "chromium-browser", "google-chrome"), "kubectl": ("kubectl",)}


@dataclass
class Result:
    """What the runs added up to."""

    counts: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether something ran and nothing went wrong."""
        return self.counts["passed"] > 0 and not self.counts["failed"] and not self.complaints

    def add(self, other: Result) -> None:
        """Count another run in."""
        self.counts += other.counts
        self.complaints += other.complaints


def run(words: list[str]) -> int:
    """Run everything, or what `words` name (passed to pytest). 0 when all is well."""
    required = [name for name in os.environ.get("SLIPWAY_REQUIRE", "").split(",") if name]
    if words:
        return 0 if _pytest("", [*PYTEST, *words], {}, required).is_good else 1
    result = Result(complaints=[f"{name} is required and not installed" for name in required if _is_missing(name)])
    result.add(_everything(required))
    result.add(_coverage())
    for complaint in result.complaints:
        print(f"FAILED: {complaint}")
    failed = result.counts["failed"] or len(result.complaints)
    print(f"{result.counts['passed']} passed, {failed} failed, {result.counts['skipped']} skipped")
    return 0 if result.is_good else 1


def _everything(required: list[str]) -> Result:
    """Five runs at once, as each waits more than it computes: portals twice, the rest on each database, the sandbox."""
    _coverage_tool("erase")
    rest = ["-m", f"not ({STORIES})", f"--ignore={SANDBOX}"]
    others = [f"--ignore={each}" for each in (*OF_THEIR_OWN, CHAOS)]
    with tempfile.TemporaryDirectory(prefix="slipway-images-") as images:
        built = {"SANDBOX_IMAGES": images}  # each environment is built once, not once a home
        return together(
            lambda: _pytest("stories", [*PYTEST, "-m", STORIES, *others], built, required),
            lambda: _pytest("homes", [*PYTEST, "-m", STORIES, *OF_THEIR_OWN], built, required),
            lambda: _pytest("SQLite", [*LIGHT, *rest], {}, required),
            lambda: _on_postgres([*PYTEST, *rest], required),
            lambda: _sandbox(built, required),
        )


def _sandbox(built: dict[str, str], required: list[str]) -> Result:
    """The tests of the sandbox, then the storm, which would make another run the longest."""
    result = _pytest("sandbox", [*MEASURED, SANDBOX], {}, required)
    result.add(_pytest("chaos", [*PYTEST, "-m", STORIES, CHAOS], built, required))
    return result


def together(*jobs: Callable[[], Result]) -> Result:
    """What jobs that run beside each other add up to. Raises what one of them raised, once all have ended."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        running = [pool.submit(job) for job in jobs]
    total = Result()
    for each in running:
        total.add(each.result())
    return total


def _is_missing(name: str) -> bool:
    return name in PROGRAMS and not any(shutil.which(program) for program in PROGRAMS[name])


def _env(extra: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NEVER_INHERITED)}
    return with_no_proxy({**kept, "DJANGO_ALLOW_ASYNC_UNSAFE": "1", **extra})


def _pytest(title: str, command: list[str], extra: dict[str, str], required: list[str]) -> Result:
    """One run of pytest, shown as it goes: its counts and forbidden skips."""
    result, last = Result(), ""
    with subprocess.Popen(command, cwd=ROOT, env=_env(extra), stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(f"{title:<8} {line}" if title else line, end="", flush=True)
            last = line.strip() or last
            result.complaints += _forbidden_skip(line, required)
    for number, word in COUNTS.findall(last):
        result.counts["failed" if word.startswith("error") else word] += int(number)
    if process.returncode and not result.counts["failed"]:
        result.complaints.append(f"pytest ({title}) ended with exit code {process.returncode}")
    return result


def _forbidden_skip(line: str, required: list[str]) -> list[str]:
    if not line.startswith("SKIPPED"):
        return []
    return [f"skipped although {name} is required: {line.strip()}" for name in required if name in line.lower()]


def _on_postgres(words: list[str], required: list[str]) -> Result:
    with postgres.server() as url:
        if url:
            return _pytest("PostgreSQL", words, {"DATABASE_URL": url}, required)
    print("== Tests on PostgreSQL: skipped, because no initdb is installed (apt-get install postgresql)")
    return Result(
        complaints=["the tests did not run on PostgreSQL, which is required here"] if "postgres" in required else []
    )


def _coverage() -> Result:
    print("== Coverage of our code", flush=True)
    _keep_lines()
    _coverage_tool("combine", "-q")
    done = _coverage_tool("report", "--skip-covered", "--sort=cover")
    print(done.stdout[-6000:] + done.stderr)
    return Result(complaints=["coverage is below the number in pyproject.toml"] if done.returncode else [])


def _keep_lines() -> None:
    """Give coverage what slipcover saw."""
    from coverage import CoverageData

    if LINES.exists():
        data = CoverageData(basename=str(ROOT / ".coverage"), suffix="lines")
        seen = json.loads(LINES.read_text())["files"]
        data.add_lines({str(ROOT / name): each["executed_lines"] for name, each in seen.items()})
        data.write()
        LINES.unlink()


def _coverage_tool(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "coverage", *words]
    return subprocess.run(command, cwd=ROOT, env=_env({}), capture_output=True, text=True)
