"""Runs all controllers on one stream of changes."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

from compute.sandbox.clock import Clock
from compute.sandbox.controllers import machines
from compute.sandbox.controllers.base import Context, Controller
from compute.sandbox.controllers.cleanup import Garbage, Namespaces
from compute.sandbox.controllers.deployments import Deployments
from compute.sandbox.controllers.disruption import Budgets
from compute.sandbox.controllers.endpoints import EndpointSlices
from compute.sandbox.controllers.loadbalancer import LoadBalancers
from compute.sandbox.controllers.machines import Machines
from compute.sandbox.controllers.quotas import Quotas
from compute.sandbox.controllers.replicasets import ReplicaSets
from compute.sandbox.controllers.scheduler import Scheduler
from compute.sandbox.faults import Faults
from compute.sandbox.kube.clusters import Clusters
from compute.sandbox.kube.store import Store
from compute.sandbox.kubelet.authority import Authority
from compute.sandbox.settings import Settings

_log = logging.getLogger(__name__)


class ControllerManager:
    """The control loops of all pretend clusters."""

    def __init__(self, store: Store, clock: Clock, settings: Settings, faults: Faults, clusters: Clusters) -> None:
        self._context = Context(store, clock, settings, faults, clusters)
        self._balancers = LoadBalancers(self._context)
        authority = Authority(Path(settings.state) / "authority")
        self._controllers: list[Controller] = [
            Namespaces(self._context, authority.pem), Garbage(self._context), Deployments(self._context),
            ReplicaSets(self._context), Scheduler(self._context), EndpointSlices(self._context),
            Machines(self._context), Budgets(self._context), Quotas(self._context), self._balancers,
        ]  # fmt: skip
        self._tasks: list[asyncio.Task[None]] = []
        clusters.drainer = self.drain

    async def start(self) -> None:
        """Look at everything once, then follow what changes."""
        changes = self._context.store.subscribe(None, None)
        for cluster in self._context.clusters.ids():
            self._look_at_all(cluster)
        loops = [controller.run() for controller in self._controllers]
        for loop in (*loops, self._balancers.serve(), self._follow(changes)):
            task = asyncio.ensure_future(loop)
            task.add_done_callback(_log_failure)
            self._tasks.append(task)

    async def stop(self) -> None:
        """Stop looking."""
        for task in self._tasks:
            task.cancel()
        for controller in self._controllers:
            controller.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def balancer_pid(self) -> int | None:
        """The process of the load balancers' Envoy, when it runs."""
        return self._balancers.pid()

    async def drain(self, cluster: str, node: str, ignore_budgets: bool) -> None:
        """Evict a node's pods and wait until they are gone; machines.DrainRefused when they stay."""
        await machines.drain(self._context, cluster, node, ignore_budgets)

    async def _follow(self, changes: Any) -> None:
        async for type_, cluster, resource, obj in changes:
            if resource == "nodes" and type_ == "ADDED":
                # A cluster that was stopped is looked at as a whole when its machines come back.
                self._look_at_all(cluster)
            if resource == "events":
                continue
            for controller in self._controllers:
                controller.enqueue(controller.keys(type_, cluster, resource, obj))

    def _look_at_all(self, cluster: str) -> None:
        for controller in self._controllers:
            controller.enqueue(controller.everything(cluster))


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("a control loop ended by an error", exc_info=task.exception())
