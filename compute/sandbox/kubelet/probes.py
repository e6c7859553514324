"""Probes of containers: http, tcp and exec, with a kubelet's counting and words."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

Doc = dict[str, Any]
Exec = Callable[[list[str], float], Awaitable[tuple[int, str]]]
"""(command, seconds) -> (exit code, output), run inside the container. TimeoutError when it takes longer."""


@dataclass(frozen=True)
class Target:
    """Where probes of one container go."""

    ip: str
    ports: dict[str, int]
    run: Exec
    session: aiohttp.ClientSession

    def port(self, value: int | str) -> int:
        """A port number from a number or the name of a container port."""
        return self.ports[value] if isinstance(value, str) and value in self.ports else int(value)


async def check(probe: Doc, target: Target) -> str | None:
    """None when the probe passes, else the kubelet's sentence about why it did not."""
    seconds = float(probe.get("timeoutSeconds") or 1)
    if "httpGet" in probe:
        return await _http(probe["httpGet"], target, seconds)
    if "tcpSocket" in probe:
        return await _tcp(probe["tcpSocket"], target, seconds)
    return await _exec(probe["exec"].get("command") or [], target, seconds)


def http_address(action: Doc, target: Target) -> str:
    """The address that an httpGet action asks."""
    scheme, host = action.get("scheme", "HTTP").lower(), action.get("host") or target.ip
    path = action.get("path") or "/"
    return f"{scheme}://{host}:{target.port(action['port'])}{path if path.startswith('/') else '/' + path}"


async def _http(action: Doc, target: Target, seconds: float) -> str | None:
    url = http_address(action, target)
    headers = {"User-Agent": "kube-probe/1.33", "Accept": "*/*", "Connection": "close"}
    headers |= {item["name"]: item["value"] for item in action.get("httpHeaders") or []}
    limit = aiohttp.ClientTimeout(total=seconds)
    try:
        async with target.session.get(url, headers=headers, timeout=limit, allow_redirects=False, ssl=False) as answer:
            if 200 <= answer.status < 400:
                return None
            return f"HTTP probe failed with statuscode: {answer.status}"
    except TimeoutError:
        return f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    except aiohttp.ClientConnectorError:
        return f'Get "{url}": dial tcp {target.ip}:{target.port(action["port"])}: connect: connection refused'
    except (aiohttp.ClientError, OSError) as error:
        return f'Get "{url}": {error}'


async def _tcp(action: Doc, target: Target, seconds: float) -> str | None:
    host, port = action.get("host") or target.ip, target.port(action["port"])
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), seconds)
    except TimeoutError:
        return f"dial tcp {host}:{port}: i/o timeout"
    except OSError:
        return f"dial tcp {host}:{port}: connect: connection refused"
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return None


async def _exec(command: list[str], target: Target, seconds: float) -> str | None:
    try:
        code, output = await target.run(command, seconds)
    except TimeoutError:
        return f'command "{" ".join(command)}" timed out'
    return None if code == 0 else output.strip() or f"command terminated with exit code {code}"


class Counter:
    """Turns single results into a verdict by the probe's thresholds."""

    def __init__(self, probe: Doc) -> None:
        self._needed = {True: int(probe.get("successThreshold") or 1), False: int(probe.get("failureThreshold") or 3)}
        self._last: bool | None = None
        self._run = 0

    def add(self, passed: bool) -> bool | None:
        """The verdict once enough results in a row say so, else None."""
        self._run = self._run + 1 if passed == self._last else 1
        self._last = passed
        return passed if self._run >= self._needed[passed] else None


async def repeat(
    probe: Doc,
    target: Target,
    verdict: Callable[[bool, str], None],
    failed: Callable[[str], None],
    asked: Callable[[], str | None] = lambda: None,
) -> None:
    """Probe for ever: `failed` for each failure, `verdict` each time that the thresholds are met.

    `asked`: what a fault lets it fail with now.
    """
    await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
    counter = Counter(probe)
    while True:
        problem = asked() or await check(probe, target)
        if problem is not None:
            failed(problem)
        decided = counter.add(problem is None)
        if decided is not None:
            verdict(decided, problem or "")
        await asyncio.sleep(float(probe.get("periodSeconds") or 10))
