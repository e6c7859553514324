"""Real scoring requests: sent over kept-open connections, counted by version, each answer compared."""

from __future__ import annotations

import http.client
import json
import math
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

HEADER = "azureml-model-deployment"
Z_99 = 2.5758  # the normal distribution's two-sided 99 % point
THREADS = 4


@dataclass
class Count:
    """What a batch of requests got."""

    versions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    wrong: int = 0

    @property
    def total(self) -> int:
        """Requests that were answered with 200."""
        return sum(self.versions.values())


def send(
    uri: str, key: str, bodies: list[bytes], is_right: Callable[[str, int, Any], bool], ca_file: str = ""
) -> Count:
    """Send every body once; `is_right(version, index, answer)` judges each answer."""
    count, lock, todo = Count(), threading.Lock(), iter(list(enumerate(bodies)))

    def work() -> None:
        link = connect(uri, ca_file)
        while True:
            with lock:
                item = next(todo, None)
            if item is None:
                link.close()
                return
            version, problem, answer = ask(link, uri, key, item[1])
            with lock:
                if problem:
                    count.failures.append(problem)
                else:
                    count.versions[version] += 1
                    count.wrong += not is_right(version, item[0], answer)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count


def connect(uri: str, ca_file: str = "") -> http.client.HTTPConnection:
    """A connection to the host of a scoring address, kept open between requests."""
    parts = urlsplit(uri)
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=ca_file or None)
        return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=60, context=context)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)


def ask(link: http.client.HTTPConnection, uri: str, key: str, body: bytes) -> tuple[str, str, Any]:
    """One request: the version that answered, what went wrong ("" if nothing), and the answer."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        link.request("POST", urlsplit(uri).path, body=body, headers=headers)
        answer = link.getresponse()
        text = answer.read()
        if answer.status != 200:
            return "", f"{answer.status} {text[:200].decode(errors='replace')}", None
        return answer.headers.get(HEADER, ""), "", json.loads(text)
    except (OSError, http.client.HTTPException, ValueError) as error:
        link.close()
        return "", f"{type(error).__name__}: {error}", None


def interval(share: float, total: int) -> tuple[int, int]:
    """Between which counts 99 % of fair draws lie, when `share` (0 to 100) of `total` requests is wanted."""
    p = share / 100
    spread = Z_99 * math.sqrt(total * p * (1 - p))
    return math.ceil(total * p - spread - 1e-9), math.floor(total * p + spread + 1e-9)
