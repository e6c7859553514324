"""LoadBalancer services: real connections through the sandbox's Envoy."""

import asyncio
import os
import signal
from typing import Any

import aiohttp
from podworld import CLUSTER, PORTS, READY, World, container, deployment, until


def service(name: str, port: int) -> dict[str, Any]:
    ports = [{"name": "http", "port": port, "targetPort": "http", "protocol": "TCP"}]
    return {"metadata": {"name": name}, "spec": {"type": "LoadBalancer", "selector": {"app": name}, "ports": ports}}


def address(world: World, name: str) -> str | None:
    found = world.get("services", name) or {}
    rows = found.get("status", {}).get("loadBalancer", {}).get("ingress") or [{}]
    return rows[0].get("ip")


def serving() -> dict[str, Any]:
    stop = {"preStop": {"sleep": {"seconds": 1}}}
    return container(ports=PORTS, readinessProbe=READY, lifecycle=stop)


class Load:
    """Asks an address all the time, each request on a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url, self.good, self.bad = url, 0, []
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            while True:
                try:
                    async with session.get(self.url, timeout=aiohttp.ClientTimeout(total=5)) as answer:
                        if answer.status == 200:
                            self.good += 1
                        else:
                            self.bad.append(str(answer.status))
                except aiohttp.ClientError as error:
                    self.bad.append(repr(error))
                await asyncio.sleep(0.002)


async def reachable(url: str) -> bool:
    async with aiohttp.ClientSession() as session:
        for _ in range(200):
            try:
                async with session.get(url, timeout=aiohttp.ClientTimeout(total=2)) as answer:
                    if answer.status == 200:
                        return True
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
    return False


async def test_a_rolling_update_behind_a_load_balancer_loses_no_request(world: World) -> None:
    world.make("services", service("web", 18080))
    world.make("deployments", deployment("web", 1, serving()))
    ip = await until(lambda: address(world, "web"))
    assert ip.startswith(world.settings.block)
    assert await reachable(f"http://{ip}:18080/")
    load = Load(f"http://{ip}:18080/")
    for number in range(3):
        old = {p["metadata"]["uid"] for p in world.pods()}

        def edit(doc: dict[str, Any], number: int = number) -> None:
            doc["spec"]["template"]["metadata"]["annotations"] = {"roll": str(number)}

        world.store.mutate(CLUSTER, "deployments", "default", "web", edit)
        await until(lambda old=old: world.ready(app="web") and not {p["metadata"]["uid"] for p in world.pods()} & old)
    load.task.cancel()
    assert load.bad == []
    assert load.good > 300


async def test_the_address_stays_when_envoy_dies_and_nothing_listens_after_the_service_is_gone(world: World) -> None:
    world.make("services", service("web", 18081))
    world.make("deployments", deployment("web", 1, serving()))
    ip = await until(lambda: address(world, "web"))
    url = f"http://{ip}:18081/"
    assert await reachable(url)
    first = world.controllers.balancer_pid()
    os.kill(first, signal.SIGKILL)
    await until(lambda: world.controllers.balancer_pid() not in (first, None))
    assert await reachable(url)
    assert address(world, "web") == ip
    world.store.delete(CLUSTER, "services", "default", "web")
    await until(lambda: not _listens(ip, 18081))


def _listens(ip: str, port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex((ip, port)) == 0


async def test_a_fixed_address_is_given_when_it_is_free_in_the_subnet_and_public_ones_are_not_there(
    world: World,
) -> None:
    note = "service.beta.kubernetes.io/azure-"
    free = f"{world.settings.block}.77"
    wishes = {
        "inside": {f"{note}load-balancer-internal": "true", f"{note}load-balancer-ipv4": free},
        "taken": {f"{note}load-balancer-internal": "true", f"{note}load-balancer-ipv4": "10.0.0.1"},
        "by-ip": {f"{note}load-balancer-ipv4": "20.1.2.3"},
        "by-name": {f"{note}pip-name": "scores-ip", f"{note}load-balancer-resource-group": "network"},
    }
    for number, (name, annotations) in enumerate(wishes.items()):
        made = service(name, 18090 + number)
        world.make("services", {**made, "metadata": {"name": name, "annotations": annotations}})
    assert await until(lambda: address(world, "inside")) == free

    def told(name: str) -> str:
        rows = world.store.list(CLUSTER, "events", "default", lambda e: e["involvedObject"]["name"] == name)
        return next((row["message"] for row in rows if row["reason"] == "SyncLoadBalancerFailed"), "")

    assert "10.0.0.1" in await until(lambda: told("taken"))
    assert "cannot find public IP with IP address 20.1.2.3" in await until(lambda: told("by-ip"))
    assert "failed to find PIP scores-ip in resource group network" in await until(lambda: told("by-name"))
    assert not address(world, "taken")
