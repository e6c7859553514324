"""`./slipway bench [NAME…]`: all benchmarks or those named, on a portal of their own; 1 when a limit is missed.

`--seed N` and `--operations N` are for chaos.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
from pathlib import Path

from benchmarks import chaos, collection, gapless, lists, overhead, stack, thousand, together, traffic
from benchmarks.base import Portal, Result

ALL = {
    "stack": stack.run,
    "traffic": traffic.run,
    "rollout": traffic.run_rollout,
    "overhead": overhead.run,
    "collection": collection.run,
    "lists": lists.run,
    "together": together.run,
    "thousand": thousand.run,
    "chaos": chaos.run,
    "gapless": gapless.run,
}


def main(words: list[str]) -> int:
    """Run the named benchmarks in order."""
    options = _parser().parse_args(words)
    names: list[str] = options.names
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"bench: there is no {unknown[0]}; there are {', '.join(ALL)}", file=sys.stderr)
        return 1
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="slipway-bench-", dir="/tmp") as folder:
        portal = Portal(Path(folder) / "home", seed=options.seed, operations=options.operations)
        try:
            for name in names or list(ALL):
                results += _one(name, portal)
        finally:
            portal.down()
    print(f"\n{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}. Times are in ms unless they say otherwise.")
    for result in results:
        print(result.line())
    return 0 if all(result.is_good for result in results) else 1


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="./slipway bench")
    made.add_argument("names", nargs="*")
    made.add_argument("--seed", type=int, default=chaos.SEED)
    made.add_argument("--operations", type=int, default=chaos.OPERATIONS)
    return made


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
