"""Brings the replica's spool of scored requests to the portal: every closed file once, in order, whenever it answers.

Runs beside the inference server as a sidecar that outlives it, with plain Python 3.9 or later, in the folder that holds
program/, token/ and spool/. It never ends by itself: a container that does would take the replica out of service. While
the portal is away files wait in the spool; over its limit the oldest are dropped, and counted.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import ssl
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

SPOOL, TOKEN, AUTHORITY = "spool", "token/collect", "program/ca.crt"
SECONDS, LAST_SECONDS, REPORT_SECONDS = 30, 8.0, 60.0
LONGEST_PAUSE = 60.0
# Not now: the token may come, the portal be busy. Anything else below 500 stays so, however often it is asked.
LATER = (401, 403, 404, 408, 409, 425, 429)


class Refused(Exception):
    """The portal will never take this."""


class Spool:
    """The folder that the workers write to. A file of theirs becomes a part: it gets a number, for good, and a day."""

    def __init__(self, folder: str, most: int) -> None:
        self._folder, self._most = folder, most

    def adopt(self) -> None:
        """Make parts of what is closed, or open and left by a worker that died."""
        found = [name for name in os.listdir(self._folder) if name.endswith((".lines", ".open"))]
        for name in sorted(found, key=self._age):
            if name.endswith(".lines") or self._is_left(name):
                number = self._next()
                self._rename(name, f"{number:012d}.{name.partition('.')[0]}.part")

    def parts(self) -> list[str]:
        """The parts, oldest first."""
        return sorted(name for name in os.listdir(self._folder) if name.endswith(".part"))

    def read(self, part: str) -> tuple[bytes, int]:
        """The whole lines of a part, and how many broken ones it ends with: a worker died, or the disk was full."""
        with open(os.path.join(self._folder, part), "rb") as file:
            data = file.read()
        end = data.rfind(b"\n") + 1
        return data[:end], int(end < len(data))

    def remove(self, part: str) -> None:
        """It is kept, or given up."""
        os.remove(os.path.join(self._folder, part))

    def waiting(self) -> tuple[int, int, float]:
        """How many parts wait, their bytes, and how many seconds the oldest does."""
        rows = [os.stat(os.path.join(self._folder, part)) for part in self.parts()]
        oldest = time.time() - min((row.st_mtime for row in rows), default=time.time())
        return len(rows), sum(row.st_size for row in rows), max(0.0, oldest)

    def shrink(self) -> None:
        """Drop the oldest parts while all are over the limit."""
        while self.waiting()[1] > self._most:
            self.give_up(self.parts()[0])

    def give_up(self, part: str) -> None:
        """Drop a part and count its lines."""
        data, broken = self.read(part)
        self.lose(data.count(b"\n") + broken)
        self.remove(part)

    def lose(self, lines: int) -> None:
        """Count lines as dropped, for as long as the pod lives."""
        self._keep("dropped.collector", self._number("dropped.collector") + lines)

    def dropped(self) -> int:
        """Lines that were dropped in this pod, by workers and here."""
        names = [name for name in os.listdir(self._folder) if name.startswith("dropped.") and name[-4:] != ".new"]
        return sum(self._number(name) for name in names)

    def _next(self) -> int:
        self._keep("number", self._number("number") + 1)
        return self._number("number")

    def _number(self, name: str) -> int:
        try:
            with open(os.path.join(self._folder, name), encoding="ascii") as file:
                return int(file.read() or 0)
        except (OSError, ValueError):
            return 0

    def _keep(self, name: str, value: int) -> None:
        path = os.path.join(self._folder, name)
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(str(value))
        os.replace(path + ".new", path)

    def _age(self, name: str) -> float:
        try:
            return os.stat(os.path.join(self._folder, name)).st_mtime
        except OSError:
            return 0.0

    def _is_left(self, name: str) -> bool:
        """Whether the writer of an open file is gone: the system lets its lock go then."""
        try:
            file = os.open(os.path.join(self._folder, name), os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(file)
        return True

    def _rename(self, name: str, part: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # its writer closed it just now: it is the next one's turn
            os.rename(os.path.join(self._folder, name), os.path.join(self._folder, part))


class Collector:
    """Sends parts one by one, and a word when there are none."""

    def __init__(self, wish: dict[str, Any]) -> None:
        self._url, self._every = str(wish["url"]), float(wish["seconds"])
        self._spool = Spool(SPOOL, int(wish["spool_bytes"]))
        self._replica, self._token = os.environ.get("SLIPWAY_POD", ""), ""
        self._told_at, self._told, self._full_until, self._full_day = 0.0, -1, 0.0, ""

    def round(self) -> None:
        """Send all that is there. Raises OSError while the portal does not take it."""
        self._spool.adopt()
        self._spool.shrink()
        for part in self._spool.parts():
            self._send(part)
        dropped = self._spool.dropped()
        if dropped != self._told or time.monotonic() - self._told_at > REPORT_SECONDS:
            self._post(None, {})

    def _send(self, part: str) -> None:
        number, day, _ = part.split(".")
        data, broken = self._spool.read(part)
        lines = data.count(b"\n")
        if day == self._full_day and time.monotonic() < self._full_until:
            self._spool.give_up(part)
            return
        try:
            if lines:
                said = self._post(data, {"sequence": int(number), "day": day})
                if said.get("full"):  # the portal counted these; the next ones are not worth the way
                    self._full_day, self._full_until = day, time.monotonic() + float(said["full"])
        except Refused as error:
            say(f"{lines} lines were refused: {error}")
            self._spool.give_up(part)
            return
        self._spool.lose(broken) if broken else None
        self._spool.remove(part)

    def _post(self, data: bytes | None, about: dict[str, Any]) -> dict[str, Any]:
        dropped, (parts, size, oldest) = self._spool.dropped(), self._spool.waiting()
        facts = {
            "replica": self._replica, "dropped": dropped, "waiting_parts": parts, "waiting_bytes": size,
            "waiting_seconds": int(oldest), "full": int(time.monotonic() < self._full_until), **about,
        }  # fmt: skip
        headers = {"Authorization": f"Bearer {self._known_token()}", "Content-Type": "application/x-ndjson"}
        url = f"{self._url}?{urllib.parse.urlencode(facts)}"
        request = urllib.request.Request(url, data or b"", headers, method="POST")  # noqa: S310  (the portal gave it)
        try:
            with opener().open(request, timeout=SECONDS) as answer:
                said: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read(500).decode("utf-8", "replace")
            if error.code < 500 and error.code not in LATER:
                raise Refused(f"{error.code} {text}") from None
            raise OSError(f"status {error.code} {text}") from None
        except ValueError as error:
            raise OSError(f"no JSON: {error}") from None
        self._told, self._told_at = dropped, time.monotonic()
        return said

    def _known_token(self) -> str:
        """Read anew, as it may be changed; the last one goes on when the Secret is gone and the pod is ending."""
        try:
            with open(TOKEN, encoding="ascii") as file:
                self._token = file.read().strip()
        except OSError:
            pass
        return self._token

    def run(self, over: threading.Event) -> None:
        """Until `over`, then the rest. Whatever goes wrong is said and tried again."""
        failures = 0
        while not over.is_set():
            failures = 0 if self._tried() else failures + 1
            over.wait(min(2.0 ** min(failures, 10), LONGEST_PAUSE) if failures else self._every)
        until = time.monotonic() + LAST_SECONDS
        while not (self._tried() and not self._spool.waiting()[0]) and time.monotonic() < until:
            time.sleep(0.5)

    def _tried(self) -> bool:
        try:
            self.round()
            return True
        except Exception as error:  # noqa: BLE001  (it must live)
            say(f"{self._url}: {getattr(error, 'reason', error)}")
            return False


def opener() -> urllib.request.OpenerDirector:
    """Goes straight to the portal: no proxy from the environment; with the portal's own CA when there is one."""
    handlers: list[Any] = [urllib.request.ProxyHandler({})]
    if os.path.exists(AUTHORITY) and os.path.getsize(AUTHORITY):
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=AUTHORITY)))
    return urllib.request.build_opener(*handlers)


def say(text: str) -> None:
    """A line of the log."""
    print(text, flush=True)


def main() -> int:
    """Until the pod ends."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    Collector(json.loads(os.environ["SLIPWAY_COLLECT"])).run(over)
    return 0


if __name__ == "__main__":
    sys.exit(main())
