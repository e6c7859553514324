"""One worker holds 1,000 running operations of Azure: memory, and polls against what Azure asked for.

The pretend cloud of a home is no place for 1,000 clusters in the making, and at Azure's own rates (25 reads and 10
writes a second for a subscription) asking for them alone would take minutes. So the operations are put into the
database at the step that follows Azure, each with a signed address of real length, and a small server here is the
Azure that they poll. Worker, engine, budget and HTTP client are the real ones.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.base import Portal, Result, percentile
from benchmarks.stack import memory
from portal.launcher.processes import ROOT, portal_env
from portal.launcher.supervisor import descendants

OPERATIONS = 1000
FEW = 20  # the first, after which each process of the worker has loaded Azure's libraries
RETRY_AFTER = 30  # seconds; as long as Azure's own clients wait
READS_A_SECOND = 25  # what Azure takes of a subscription
WATCHED_SECONDS = 150
GROWTH_MB, CREEP_MB = 80, 15
# A round of all takes at least that long by the budget; then as long again for a machine that does other things too.
LATEST = 2 * max(RETRY_AFTER, OPERATIONS / READS_A_SECOND)


class Azure(BaseHTTPRequestHandler):
    """Says of every operation that it runs, and when to ask again."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    polls: defaultdict[str, list[float]]

    def do_GET(self) -> None:  # noqa: N802  (the name is the base class's)
        """One look."""
        self.polls[self.path.partition("?")[0]].append(time.monotonic())
        content = json.dumps({"name": "1", "status": "InProgress"}).encode()
        self.send_response(200)
        for name, value in {"Retry-After": RETRY_AFTER, "Content-Length": len(content)}.items():
            self.send_header(name, str(value))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Not into the benchmark's output."""


@contextmanager
def azure() -> Iterator[tuple[str, defaultdict[str, list[float]]]]:
    """The small server's address, and when each operation was looked at."""
    polls: defaultdict[str, list[float]] = defaultdict(list)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Azure,), {"polls": polls}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", polls
    finally:
        server.shutdown()
        server.server_close()


def run(portal: Portal) -> list[Result]:
    """A portal of its own; memory with few and with all operations running, then the polls."""
    portal.forget()
    portal.up()
    time.sleep(15)
    worker, env = portal.pids()["worker"], portal_env(portal.home, portal.home.facts["ports"])
    with azure() as (url, polls):
        command = [sys.executable, "-m", "benchmarks.thousand_rows", url]
        subprocess.run([*command, "0", str(FEW)], cwd=ROOT, env=env, check=True)
        time.sleep(RETRY_AFTER)
        before, before_rss = memory(worker), resident(worker)
        subprocess.run([*command, str(FEW), str(OPERATIONS)], cwd=ROOT, env=env, check=True)
        halves = [_most(worker, WATCHED_SECONDS / 2) for _ in range(2)]
        after_rss, over = resident(worker), time.monotonic()
        gaps = [b - a for times in polls.values() for a, b in zip(times, times[1:], strict=False)]
        oldest = max(over - times[-1] for times in polls.values()) if polls else 0.0
        looked_at = len(polls)
    portal.forget()
    return [_memory(before, halves, before_rss, after_rss), _polls(gaps, oldest, looked_at)]


def _most(worker: int, seconds: float) -> float:
    """The most memory in so many seconds."""
    most, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(5)
        most = max(most, memory(worker))
    return most


def _memory(before: float, halves: list[float], before_rss: float, after_rss: float) -> Result:
    half = WATCHED_SECONDS / 2
    figures = (
        f"PSS {before:.0f} MB with {FEW}, then at most {halves[0]:.0f} MB and, {half:.0f} s later, {halves[1]:.0f} MB; "
        f"RSS {before_rss:.0f} and {after_rss:.0f} MB"
    )
    is_good = halves[1] - before <= GROWTH_MB and halves[1] - halves[0] <= CREEP_MB
    how = f"one worker with all its processes; limits {GROWTH_MB} MB more, {CREEP_MB} MB from half to half"
    return Result(f"worker with {OPERATIONS} running operations", figures, how, is_good=is_good)


def _polls(gaps: list[float], oldest: float, looked_at: int) -> Result:
    if not gaps:
        return Result("polls", f"{looked_at} operations were looked at, none twice", is_good=False)
    longest = max(*gaps, oldest)
    is_good = looked_at == OPERATIONS and min(gaps) >= RETRY_AFTER and longest <= LATEST
    figures = (
        f"{looked_at} operations, {len(gaps)} pauses: shortest {min(gaps):.1f} s, median {percentile(gaps, 50):.1f} s, "
        f"longest {longest:.1f} s"
    )
    how = f"Azure asks for {RETRY_AFTER} s and takes {READS_A_SECOND} reads a second; limit {LATEST:.0f} s"
    return Result("polls of each operation", figures, how, is_good=is_good)


def resident(pid: int) -> float:
    """Resident memory of a process and of everything below it, in MB; what they share counts for each."""
    total = 0
    for one in {pid} | descendants(pid, deep=True):
        try:
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
    return total / 1024
