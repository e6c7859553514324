"""What chaos asks for: clusters that live through changes, with what must come of each."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from portal.launcher.demo.client import Api, Refused

ENDED = ("Succeeded", "Failed", "Cancelled", "TimedOut", "RolledBack")
CHANGES = ("scale", "pool", "pool", "attach", "scale")
CHANGES_PER_LIFE = 3
OPERATION_SECONDS = 420
SIZE = "Standard_D2s_v3"


@dataclass
class Done:
    """One intent: what was asked, and how its operation ended."""

    what: str
    target: str
    state: str
    seconds: float
    reason: str = ""


@dataclass
class Book:
    """What all lives asked for; shared by their threads."""

    api: Api
    limit: int
    asked: int = 0
    done: list[Done] = field(default_factory=list)
    expected: Counter[str] = field(default_factory=Counter)
    there: dict[str, int] = field(default_factory=dict)
    clusters: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def has_room(self) -> bool:
        """Take one of the operations that may still be asked for."""
        with self.lock:
            self.asked += 1
            return self.asked <= self.limit


class Life:
    """One compute target from its creation on. Everything is drawn from the seed, so a seed is a story."""

    def __init__(self, book: Book, name: str, seed: str) -> None:
        self._book, self._name, self._dice = book, name, random.Random(seed)
        self._cluster, self._count, self._is_lost = "", 1, False

    def run(self) -> None:
        """Live until the operations are used up or something ended wrong."""
        for what, method, path, body, change in self._story():
            if self._is_lost or not self._book.has_room():
                return
            self._ask(what, method, path, body, change)

    def _story(self) -> Iterator[tuple[str, str, str, Any, str]]:
        """Each step: its name, the request, and the one change that Azure has to see."""
        one, group = f"compute-targets/{self._name}/", "slipway"
        body = {"name": self._name, "vm_size": SIZE, "node_count": 1, "purpose": "DevTest", "resource_group": group}
        yield "create", "POST", "compute-targets/", body, "PUT {}"
        for change in self._dice.sample(CHANGES, CHANGES_PER_LIFE):
            if change == "scale":
                self._count = self._count % 3 + 1
                yield "scale", "POST", f"{one}scale/", {"node_count": self._count}, "PUT {}/agentpools/nodepool1"
            elif change == "pool":
                yield from self._pool(one)
            else:
                yield "detach", "POST", f"{one}detach/", {}, ""
                wish = {"name": self._name, "resource_group": group, "cluster_name": self._cluster}
                yield "attach", "POST", "compute-targets/attach/", {**wish, "purpose": "DevTest"}, ""
        if self._dice.random() < 0.75:
            yield "delete", "DELETE", f"{one}?force=true", None, "DELETE {}"

    def _pool(self, one: str) -> Iterator[tuple[str, str, str, Any, str]]:
        name = f"p{self._dice.randrange(10**6)}"
        path = f"{one}pools/{name}/"
        yield "add pool", "POST", f"{one}pools/", {"name": name, "vm_size": SIZE}, f"PUT {{}}/agentpools/{name}"
        yield "scale pool", "POST", f"{path}scale/", {"count": 2}, f"PUT {{}}/agentpools/{name}"
        yield "remove pool", "DELETE", path, None, f"DELETE {{}}/agentpools/{name}"

    def _ask(self, what: str, method: str, path: str, body: Any, change: str) -> None:
        began = time.monotonic()
        try:
            state, reason = self._end_of(self._accepted(method, path, body)["url"])
        except Exception as error:  # noqa: BLE001  (whatever it is, it is what chaos looks for)
            state, reason = "refused", f"{type(error).__name__}: {error}"
        self._note(Done(what, self._name, state, time.monotonic() - began, reason), change)

    def _accepted(self, method: str, path: str, body: Any) -> Any:
        """A request that met Azure's trouble was answered 502 and left nothing: ask again, as a person would."""
        for _ in range(20):
            try:
                return self._book.api.call(method, path, body)
            except Refused as refusal:
                if not str(refusal).startswith(("502", "503")):
                    raise
                time.sleep(1)
        raise TimeoutError(f"{method} {path} was answered 502 twenty times")

    def _end_of(self, url: str) -> tuple[str, str]:
        end = time.monotonic() + OPERATION_SECONDS
        while time.monotonic() < end:
            operation = self._book.api.get(url)
            if operation["state"] in ENDED:
                return operation["state"], str((operation["error"] or {}).get("detail", ""))
            time.sleep(1)
        return "still " + operation["state"], operation["note"]

    def _note(self, done: Done, change: str) -> None:
        self._is_lost = done.state != "Succeeded"
        if done.what in ("create", "attach") and not self._is_lost:
            shown = self._book.api.get(f"compute-targets/{self._name}/")
            self._cluster = shown["cluster_name"]
        book = self._book
        with book.lock:
            book.done.append(done)
            if change:
                book.expected[change.format(self._cluster or self._name).lower()] += 1
            if done.what in ("delete", "detach"):
                book.there.pop(self._name, None)
            else:
                book.there[self._name] = self._count
            (book.clusters.discard if done.what == "delete" else book.clusters.add)(self._cluster)
