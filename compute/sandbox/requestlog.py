"""Which requests changed something: one JSON line each, without bodies, queries or credentials."""

import json
import os
from pathlib import Path

from compute.sandbox.clock import Clock

_CHANGING = frozenset({"PUT", "POST", "PATCH", "DELETE"})


class RequestLog:
    """A file `requests-KIND.jsonl` in the state folder that only grows."""

    def __init__(self, state: Path, kind: str, clock: Clock) -> None:
        self._clock = clock
        self._fd = os.open(state / f"requests-{kind}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, method: str, path: str, status: int, *, effective: bool, user: str) -> None:
        """Note a request. Reads and refusals are left out. `effective`: the state is another than before."""
        if method not in _CHANGING or not 200 <= status < 300:
            return
        line = {
            "ts": self._clock.now().isoformat(),
            "method": method,
            "path": path,
            "status": status,
            "effective": effective,
            "user": user,
        }
        os.write(self._fd, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
