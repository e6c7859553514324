"""Callers of a scoring address who never try again: each request that is not answered rightly is a loss."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.base import percentile

SECONDS = 30  # that a request may take


@dataclass
class Where:
    """The gateway's address and what callers need; `key` may change while they call."""

    address: str
    http_port: int
    https_port: int
    host: str
    authority: str
    path: str
    key: str = ""


@dataclass
class Phase:
    """What was asked while something happened."""

    name: str
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def asked(self) -> int:
        """Requests that were sent in it."""
        return len(self.times) + len(self.failures)

    def line(self) -> str:
        """For people."""
        p50, p95, worst = (percentile(self.times or [0.0], share) for share in (50, 95, 100))
        rate = self.asked / max(self.seconds, 0.001)
        return (
            f"{self.name:<34} {self.asked:>7} {len(self.failures):>7} {self.seconds:>7.0f} {rate:>6.0f}"
            f" {p50:>7.1f} {p95:>7.1f} {worst:>8.1f}"
        )


HEAD = f"{'phase':<34} {'asked':>7} {'failed':>7} {'s':>7} {'per s':>6} {'p50 ms':>7} {'p95 ms':>7} {'max ms':>8}"


class Link(http.client.HTTPConnection):
    """A connection to the gateway's address; over TLS under the name that its certificate is for."""

    def __init__(self, where: Where, *, tls: bool) -> None:
        super().__init__(where.address, where.https_port if tls else where.http_port, timeout=SECONDS)
        self._name = where.host
        self._context = ssl.create_default_context(cadata=where.authority) if tls else None

    def connect(self) -> None:
        """As usual, then the handshake."""
        self.sock = socket.create_connection((self.host, self.port), self.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self._name)


class Callers:
    """Several callers at once, each at its own pace: over kept connections, over new ones, plain and with TLS."""

    KINDS = (
        *(("kept", False, True, 10.0),) * 4, *(("new", False, False, 8.0),) * 2, ("kept tls", True, True, 10.0),
        ("new tls", True, False, 6.0), ("seldom", False, True, 0.25), ("seldom tls", True, True, 0.25),
    )  # fmt: skip

    def __init__(self, where: Where) -> None:
        self._where, self._lock, self._over = where, threading.Lock(), threading.Event()
        self.phases = [Phase("beginning")]
        self._threads = [threading.Thread(target=self._work, args=kind) for kind in self.KINDS]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._end()

    @property
    def asked(self) -> int:
        """Requests in all."""
        return sum(phase.asked for phase in self.phases)

    @property
    def failures(self) -> list[str]:
        """What was lost."""
        return [failure for phase in self.phases for failure in phase.failures]

    def table(self) -> list[str]:
        """For people: each phase, those of a name as one."""
        told: dict[str, Phase] = {}
        for phase in self.phases:
            line = told.setdefault(phase.name, Phase(phase.name))
            line.seconds += phase.seconds
            line.times += phase.times
            line.failures += phase.failures
        return [HEAD, *(phase.line() for phase in told.values())]

    @contextmanager
    def phase(self, name: str, rest: float = 2.0) -> Iterator[None]:
        """Count what is asked from now until a little after it under this name."""
        with self._lock:
            self._end()
            self.phases.append(Phase(name))
        yield
        time.sleep(rest)

    def _end(self) -> None:
        self.phases[-1].seconds = time.monotonic() - self.phases[-1].began

    def _work(self, kind: str, tls: bool, kept: bool, rate: float) -> None:
        link, due, number = Link(self._where, tls=tls), time.monotonic(), 0
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due, number = max(due + 1 / rate, time.monotonic() - 1), number + 1
            began, phase = time.monotonic(), self.phases[-1]
            problem = self._ask(link, number)
            with self._lock:
                if problem:
                    phase.failures.append(f"{kind} in {phase.name} after {time.monotonic() - began:.2f} s: {problem}")
                    print(f"    LOST {phase.failures[-1]}", flush=True)
                else:
                    phase.times.append((time.monotonic() - began) * 1000)
            if problem or not kept:
                link.close()
        link.close()

    def _ask(self, link: Link, number: int) -> str:
        """One request; what is wrong with its answer."""
        headers = {"Authorization": f"Bearer {self._where.key}", "Content-Type": "application/json"}
        try:
            link.request("POST", self._where.path, json.dumps({"number": number}), headers)
            answer = link.getresponse()
            text = answer.read()
            told = json.loads(text)["number"] if answer.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            return f"{type(error).__name__}: {error}"
        return "" if told == number else f"{answer.status} {text[:300].decode(errors='replace')} {dict(answer.headers)}"
