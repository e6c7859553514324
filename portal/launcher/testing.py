"""`./slipway test`: all tests on SQLite, what uses the database but the stories once more on PostgreSQL, coverage."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field

from portal.launcher import postgres
from portal.launcher.processes import ROOT, with_no_proxy

COUNTS = re.compile(r"(\d+) (passed|failed|errors?|skipped|deselected)")
NEVER_INHERITED = ("SLIPWAY_", "DATABASE_URL", "ARM_", "DJANGO_")
PYTEST = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"]
MEASURED = [sys.executable, "-m", "coverage", "run", *PYTEST[1:]]
STORIES = "journey or browser"
WITHOUT_DATABASE = ["--ignore", "tests/sandbox"]  # the sandbox has a store of its own
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


def run(words: list[str]) -> int:
    """Run everything, or what `words` name (passed to pytest). 0 when all is well."""
    required = [name for name in os.environ.get("SLIPWAY_REQUIRE", "").split(",") if name]
    result = Result()
    if words:
        _pytest(result, "", [*PYTEST, *words], {}, required)
        return 0 if result.is_good else 1
    result.complaints += [f"{name} is required and not installed" for name in required if _is_missing(name)]
    _everything(result, required)
    _coverage(result)
    for complaint in result.complaints:
        print(f"FAILED: {complaint}")
    failed = result.counts["failed"] or len(result.complaints)
    print(f"{result.counts['passed']} passed, {failed} failed, {result.counts['skipped']} skipped")
    return 0 if result.is_good else 1


def _everything(result: Result, required: list[str]) -> None:
    """The stories, which start whole portals, beside the rest on SQLite and then on PostgreSQL."""
    _coverage_tool("erase")
    stories = threading.Thread(target=_pytest, args=(result, "stories", [*MEASURED, "-m", STORIES], {}, required))
    stories.start()
    rest = [*MEASURED, "-m", f"not ({STORIES})"]
    _pytest(result, "SQLite", rest, {}, required)
    _on_postgres(result, [*rest, *WITHOUT_DATABASE], required)
    stories.join()


def _is_missing(name: str) -> bool:
    return name in PROGRAMS and not any(shutil.which(program) for program in PROGRAMS[name])


def _env(extra: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NEVER_INHERITED)}
    return with_no_proxy({**kept, "DJANGO_ALLOW_ASYNC_UNSAFE": "1", **extra})


def _pytest(result: Result, title: str, command: list[str], extra: dict[str, str], required: list[str]) -> None:
    """One run of pytest, shown as it goes; its counts and forbidden skips go to the result."""
    last = ""
    with subprocess.Popen(command, cwd=ROOT, env=_env(extra), stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(f"{title:<8} {line}" if title else line, end="", flush=True)
            last = line.strip() or last
            _note_skip(result, line, required)
    for number, word in COUNTS.findall(last):
        result.counts["failed" if word.startswith("error") else word] += int(number)
    if process.returncode and not result.counts["failed"]:
        result.complaints.append(f"pytest ({title}) ended with exit code {process.returncode}")


def _note_skip(result: Result, line: str, required: list[str]) -> None:
    if not line.startswith("SKIPPED"):
        return
    result.complaints += [
        f"skipped although {name} is required: {line.strip()}" for name in required if name in line.lower()
    ]


def _on_postgres(result: Result, words: list[str], required: list[str]) -> None:
    with postgres.server() as url:
        if url:
            _pytest(result, "PostgreSQL", words, {"DATABASE_URL": url}, required)
            return
    print("== Tests on PostgreSQL: skipped, because no initdb is installed (apt-get install postgresql)")
    if "postgres" in required:
        result.complaints.append("the tests did not run on PostgreSQL, which is required here")


def _coverage(result: Result) -> None:
    print("== Coverage of our code", flush=True)
    _coverage_tool("combine", "-q")
    done = _coverage_tool("report", "--skip-covered", "--sort=cover")
    print(done.stdout[-6000:] + done.stderr)
    if done.returncode:
        result.complaints.append("coverage is below the number in pyproject.toml")


def _coverage_tool(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "coverage", *words]
    return subprocess.run(command, cwd=ROOT, env=_env({}), capture_output=True, text=True)
