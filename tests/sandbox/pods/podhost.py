"""A sandbox in a process of its own: `python podhost.py STATE BLOCK`. A line on its input asks for its pods."""

import asyncio
import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[3])]

from podworld import CLUSTER, PORTS, READY, SERVER, World, container, deployment  # noqa: E402

# A program that leaves its parent's session, as daemons do.
DETACHED = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"], start_new_session=True)
"""


async def main(state: Path, block: str) -> None:
    world = await World(state, block).start()
    if world.get("deployments", "web") is None:
        main = container(DETACHED + SERVER, ports=PORTS, readinessProbe=READY)
        world.make("deployments", deployment("web", 2, main))
        ports = [{"name": "http", "port": 18090, "targetPort": "http"}]
        spec = {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": ports}
        world.make("services", {"metadata": {"name": "web"}, "spec": spec})
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        pods = [
            {
                "uid": pod["metadata"]["uid"], "ready": pod in world.ready(), "ip": pod["status"].get("podIP"),
                "row": (pod["status"].get("containerStatuses") or [{}])[0], "pids": world.pids(pod["metadata"]["name"]),
            }
            for pod in world.store.list(CLUSTER, "pods", "default")
        ]  # fmt: skip
        print(json.dumps(pods), flush=True)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
