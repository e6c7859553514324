"""Waiting must cost nothing: 100 clusters created at once by one worker against one cluster alone."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.base import Portal, Result

CLUSTERS = 100
CREATE_SECONDS = "60"
LIMIT = 1.5


def run(portal: Portal) -> list[Result]:
    """A portal of its own with creation set to 60 s and a quota that holds them all."""
    portal.forget()
    portal.up(SANDBOX_CREATE_SECONDS=CREATE_SECONDS)
    alone = _create(portal, ["alone"])
    together = _create(portal, [f"many-{number}" for number in range(CLUSTERS)])
    portal.forget()
    ratio = together / alone
    return [
        Result(
            f"{CLUSTERS} clusters at once", f"{together:.0f} s against {alone:.0f} s for one, ratio {ratio:.2f}",
            f"creation set to {CREATE_SECONDS} s, one worker; limit {LIMIT}", is_good=ratio <= LIMIT,
        )
    ]  # fmt: skip


def _create(portal: Portal, names: list[str]) -> float:
    """Seconds from the first request to the end of the last creation."""
    began, api = time.monotonic(), portal.api
    bodies = [
        {"name": name, "vm_size": "Standard_D2s_v3", "node_count": 1, "purpose": "DevTest", "region": "westeurope",
         "resource_group": portal.credentials["resource_group"]}
        for name in names
    ]  # fmt: skip
    with ThreadPoolExecutor(4) as pool:
        urls = list(pool.map(lambda body: api.call("POST", "compute-targets/", body)["url"], bodies))
    for url in urls:
        api.follow(url)
    return time.monotonic() - began
