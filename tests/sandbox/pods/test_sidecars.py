"""Init containers that go on running beside the others: what counts for them, and that they end last."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from podworld import CLUSTER, World, container, is_ready, pod, until

from compute.sandbox.kube.columns import pod as cells
from compute.sandbox.kubelet import requests

MAIN = """
import signal, sys, time
def end(*_):
    time.sleep(0.4)
    open("shared/last", "w").write("the main container ended before")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
while True: time.sleep(60)
"""
BESIDE = """
import signal, sys, time
def end(*_):
    print(open("shared/last").read(), flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
while True: time.sleep(60)
"""


def beside(code: str, **more: Any) -> dict[str, Any]:
    return container(code) | {"name": "beside", "restartPolicy": "Always", **more}


async def test_a_sidecar_counts_as_ready_and_ends_after_the_containers_that_it_is_for(world: World) -> None:
    mount = [{"name": "v", "mountPath": "/srv/app/shared"}]
    side, main = beside(BESIDE, volumeMounts=mount), container(MAIN, volumeMounts=mount)
    world.make("pods", pod("both", main, volumes=[{"name": "v", "emptyDir": {}}], initContainers=[side]))
    found = await until(lambda: next((each for each in world.pods(app="both") if is_ready(each)), None))
    assert found["status"]["phase"] == "Running"
    assert found["status"]["initContainerStatuses"][0]["ready"] is True
    assert cells(found, datetime.now(UTC))[1] == "2/2"
    await asyncio.sleep(0.3)  # both have their handlers
    told = asyncio.ensure_future(world.log("both", "beside", follow=True))
    await asyncio.sleep(0.1)
    world.store.delete(CLUSTER, "pods", "default", "both", grace_seconds=5)
    assert await told == "the main container ended before\n"
    await until(lambda: world.get("pods", "both") is None)


async def test_a_pod_whose_sidecar_crashes_is_not_ready_and_goes_on_running(world: World) -> None:
    # It runs while the main container starts, then it ends again and again.
    side = beside("import time; time.sleep(0.5); raise SystemExit(1)")
    world.make("pods", pod("both", container(MAIN), initContainers=[side]))

    def crashed() -> bool:
        status = (world.get("pods", "both") or {}).get("status", {})
        conditions = {row["type"]: row["status"] for row in status.get("conditions", [])}
        again = status.get("initContainerStatuses", [{}])[0].get("restartCount", 0)
        return bool(again and status["phase"] == "Running" and conditions["Ready"] == "False")

    await until(crashed)
    assert world.get("pods", "both")["status"]["containerStatuses"][0]["restartCount"] == 0


async def test_a_pods_work_that_is_over_ends_its_sidecar(world: World) -> None:
    world.make("pods", pod("job", container("pass"), restartPolicy="Never", initContainers=[beside(MAIN)]))
    await until(lambda: world.get("pods", "job")["status"]["phase"] == "Succeeded")
    await until(lambda: not world.pids("job"))


def test_sidecars_are_asked_for_beside_the_containers_and_beside_later_init_containers() -> None:
    def asks(cpu: str, **more: Any) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    side, first, later = asks("1", restartPolicy="Always"), asks("5"), asks("5")
    assert requests.of_pod({"containers": [asks("2")], "initContainers": [side]}) == {"cpu": Decimal(3)}
    assert requests.of_pod({"containers": [asks("2")], "initContainers": [first, side]}) == {"cpu": Decimal(5)}
    assert requests.of_pod({"containers": [asks("2")], "initContainers": [side, later]}) == {"cpu": Decimal(6)}
