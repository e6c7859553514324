"""`./slipway bench [NAME…]`: all benchmarks or those named, on a portal of their own; 1 when a limit is missed."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path

from benchmarks import lists, overhead, stack, together, traffic
from benchmarks.base import Portal, Result

ALL = {
    "stack": stack.run,
    "traffic": traffic.run,
    "rollout": traffic.run_rollout,
    "overhead": overhead.run,
    "lists": lists.run,
    "together": together.run,
}


def main(names: list[str]) -> int:
    """Run the named benchmarks in order."""
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"bench: there is no {unknown[0]}; there are {', '.join(ALL)}", file=sys.stderr)
        return 1
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="slipway-bench-", dir="/tmp") as folder:
        portal = Portal(Path(folder) / "home")
        try:
            for name in names or list(ALL):
                results += _one(name, portal)
        finally:
            portal.down()
    print(f"\n{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}. Times are in ms unless they say otherwise.")
    for result in results:
        print(result.line())
    return 0 if all(result.is_good for result in results) else 1


def _one(name: str, portal: Portal) -> list[Result]:
    print(f"== {name}", flush=True)
    try:
        found = ALL[name](portal)
    except Exception as error:  # noqa: BLE001  (one broken benchmark must not hide the others)
        traceback.print_exc()
        found = [Result(name, f"broke: {type(error).__name__}: {error}", is_good=False)]
    for result in found:
        print(result.line(), flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
