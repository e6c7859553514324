"""Chaos: operations on many clusters while workers are killed and Azure answers 429, 503 or not at all.

At the end every operation has ended right, nothing is locked, and Azure's own log has exactly the changes that were
asked for. `./slipway bench chaos --seed N --operations 200` tells the same story for the same seed; moments differ.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from benchmarks.base import Portal, Result, percentile
from benchmarks.lives import Book, Done, Life
from portal.launcher.supervisor import descendants

OPERATIONS, SEED = 200, 1
AT_ONCE = 20
TIMES = {
    "SLIPWAY_OPERATION_LEASE_SECONDS": "6", "SANDBOX_CREATE_SECONDS": "3", "SANDBOX_SCALE_SECONDS": "1",
    "SANDBOX_DELETE_SECONDS": "1", "SANDBOX_RETRY_AFTER": "2",
}  # fmt: skip
FAULTS: dict[str, dict[str, Any]] = {
    "arm.throttle": {"rate": 0.04, "retry_after": 1},
    "arm.unavailable": {"rate": 0.03},
    "arm.drop": {"rate": 0.015, "when": "before"},
    "arm.drop+after": {"rate": 0.015, "when": "after"},
}
KILL_PAUSE = (2.0, 6.0)  # seconds between two kills
WHOLE = 0.1  # share of kills that meet the whole worker: the supervisor waits up to 10 s before it starts another


@dataclass
class Storm:
    """What happened, and what is wrong with it: nothing, if all is well."""

    seconds: float
    done: list[Done]
    kills: Counter[str]
    struck: dict[str, int]
    wrong: list[str] = field(default_factory=list)


def run(portal: Portal) -> list[Result]:
    """The whole storm in a home of its own; the table, and a line."""
    portal.forget()
    portal.up(**TIMES)
    storm = rage(portal, portal.seed, portal.operations)
    portal.forget()
    for line in table(storm):
        print(line)
    right = sum(done.state == "Succeeded" for done in storm.done)
    kills = ", ".join(f"{count} {name}" for name, count in sorted(storm.kills.items()))
    figures = f"{right} of {len(storm.done)} operations ended right in {storm.seconds:.0f} s; killed: {kills or 'none'}"
    return [Result(f"chaos, seed {portal.seed}", figures, "Azure refuses or drops 10 %", is_good=not storm.wrong)]


def rage(portal: Portal, seed: int, operations: int) -> Storm:
    """Run all lives under kills and faults on a running portal, then look at what is left."""
    cloud = Cloud(portal)
    for name, fault in FAULTS.items():
        cloud.ask("PUT", f"faults/{name}", {**fault, "seed": seed})
    book, began = Book(portal.api, operations), time.monotonic()
    killer = Killer(portal, seed)
    with killer, ThreadPoolExecutor(max(2, min(AT_ONCE, operations // 6))) as pool:
        lives = [Life(book, f"chaos-{number}", f"{seed}/{number}") for number in range(operations)]
        list(pool.map(Life.run, lives))
    struck = {name: int(fault.get("drawn", 0)) for name, fault in cloud.ask("GET", "faults").items()}
    cloud.ask("DELETE", "faults")
    storm = Storm(time.monotonic() - began, book.done, killer.killed, struck)
    storm.wrong += [f"{d.what} of {d.target}: {d.state} {d.reason}" for d in book.done if d.state != "Succeeded"]
    storm.wrong += _left_over(portal, book) + _ledger(cloud, book)
    if not killer.killed or len(book.done) != operations:
        storm.wrong.append(f"{len(book.done)} of {operations} operations, {killer.killed.total()} kills: not the story")
    return storm


def _left_over(portal: Portal, book: Book) -> list[str]:
    """What still runs, and targets or clusters that are not as they should be."""
    api, wrong = portal.api, []
    for state in ("NotStarted", "Running"):
        wrong += [f"{row['kind']} of {row['target']} is {state}" for row in _all(api, f"operations/?state={state}")]
    rows = {row["name"]: row for row in _all(api, "compute-targets/")}
    wrong += [f"{name} should be there" for name in book.there.keys() - rows.keys()]
    wrong += [f"{name} should be gone" for name in rows.keys() - book.there.keys()]
    for name in rows.keys() & book.there.keys():
        now, count = (rows[name]["state"], rows[name]["node_count"]), book.there[name]
        wrong += [f"{name} is {now}, not Succeeded with {count} nodes"] if now != ("Succeeded", count) else []
    found = {row["name"] for row in api.get("clusters/")["items"]}
    return wrong + [f"the cluster {name} is there or gone against the wish" for name in sorted(found ^ book.clusters)]


def _all(api: Any, path: str) -> list[Any]:
    page = api.get(path)
    rows = list(page["items"])
    while page["next"]:
        page = api.get(page["next"].removeprefix(api.root))
        rows += page["items"]
    return rows


def _ledger(cloud: Cloud, book: Book) -> list[str]:
    """Azure's own log against the intents: exactly one effective change each."""
    noted = Counter(cloud.changes())
    keys = sorted(noted.keys() | book.expected.keys())
    return [
        f"Azure changed {key} {noted[key]} times, asked for {book.expected[key]}"
        for key in keys
        if noted[key] != book.expected[key]
    ]


class Cloud:
    """The pretend cloud itself: its faults and its request log."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._seen = self._log().count(b"\n")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A request to its admin door."""
        home = self._portal.home
        data = json.dumps(body).encode() if body is not None else None
        url = f"http://127.0.0.1:{home.facts['ports']['arm']}/sandbox/{path}"
        token = home.file("sandbox_admin_token").read_text().strip()
        request = urllib.request.Request(url, data, {"Authorization": f"Bearer {token}"}, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return json.loads(answer.read())

    def changes(self) -> list[str]:
        """Effective changes of clusters and pools since the beginning, as "PUT name" or "PUT name/agentpools/x"."""
        lines = [json.loads(line) for line in self._log().split(b"\n")[self._seen :] if line]
        paths = [(line["method"], line["path"].lower()) for line in lines if line["effective"]]
        found = [(method, path.partition("/managedclusters/")[2]) for method, path in paths]
        return [f"{method.lower()} {rest}" for method, rest in found if rest and "/listcluster" not in rest]

    def _log(self) -> bytes:
        file = self._portal.path / "sandbox" / "requests-arm.jsonl"
        return file.read_bytes() if file.exists() else b""


class Killer:
    """SIGKILL of the worker, or of one of its processes, at moments that the seed draws."""

    def __init__(self, portal: Portal, seed: int) -> None:
        self._portal, self._dice, self.killed = portal, random.Random(seed), Counter[str]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.wait(self._dice.uniform(*KILL_PAUSE)):
            rows = json.loads((self._portal.path / "run" / "state.json").read_text())["processes"]
            pid = next((row["pid"] for row in rows if row["name"] == "worker" and row["state"] == "running"), None)
            if pid is None:
                continue
            below = sorted(descendants(pid, deep=True))
            whole = not below or self._dice.random() < WHOLE
            victim = pid if whole else below[self._dice.randrange(len(below))]
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            self.killed["whole workers" if whole else "worker processes"] += 1


def table(storm: Storm) -> list[str]:
    """For people: each kind of operation, what struck, and what is wrong."""
    lines = [f"{'operation':<12} {'asked':>6} {'right':>6} {'median s':>9} {'longest s':>10}"]
    for what in sorted({done.what for done in storm.done}):
        rows = [done for done in storm.done if done.what == what]
        right, times = sum(done.state == "Succeeded" for done in rows), [done.seconds for done in rows]
        lines.append(f"{what:<12} {len(rows):>6} {right:>6} {percentile(times, 50):>9.1f} {max(times):>10.1f}")
    rates = ", ".join(f"{name} {FAULTS[name]['rate']:.1%} of {met}" for name, met in sorted(storm.struck.items()))
    return [*lines, f"faults: {rates} requests", *(f"WRONG {line}" for line in storm.wrong)]
