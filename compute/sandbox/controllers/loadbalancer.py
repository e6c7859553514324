"""Services of type LoadBalancer: an address of the home's block, and one Envoy that passes connections on."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compute.sandbox.controllers.base import Context, Controller, Doc, Key, is_deleting, is_over, is_ready, key_of
from compute.sandbox.controllers.endpoints import picks, target_port
from compute.sandbox.kubelet import confine
from compute.sandbox.kubelet.addresses import Addresses, NoAddress
from compute.sandbox.kubelet.process import Process

_log = logging.getLogger(__name__)
_TYPE = "type.googleapis.com/envoy."
_RESTART_SECONDS = 0.5
_AZURE = "service.beta.kubernetes.io/azure-"
Target = tuple[str, int]


class LoadBalancers(Controller):
    """Gives each such Service an address and keeps Envoy's files as the ready pods are."""

    resource = "services"
    component = "service-controller"
    always = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._addresses = Addresses(self.store, self.settings.block, downwards=True)
        self._proxy = Proxy(Path(self.settings.state) / "loadbalancer", str(self.settings.envoy))

    def keys(self, type_: str, cluster: str, resource: str, obj: Doc) -> Iterable[Key]:
        """The service itself, or those of this type that pick a changed pod."""
        if resource == "pods":

            def wanted(service: Doc) -> bool:
                return service["spec"].get("type") == "LoadBalancer" and picks(service, obj)

            namespace = obj["metadata"]["namespace"]
            return [key_of(cluster, item) for item in self.store.list(cluster, "services", namespace, wanted)]
        return super().keys(type_, cluster, resource, obj)

    def reconcile(self, key: Key) -> float | None:
        """Address, listeners and endpoints of one service."""
        service = self.store.get(key.cluster, "services", key.namespace, key.name)
        if service is None or service["spec"].get("type") != "LoadBalancer" or is_deleting(service):
            self._proxy.forget(key)
            if service is not None:
                self._withdraw(key, service)
            return None
        ip = self._address(key, service)
        if ip is None:
            return 5.0
        pods = self.store.list(key.cluster, "pods", key.namespace, lambda pod: picks(service, pod))
        ports = service["spec"].get("ports") or []
        self._proxy.set(key, ip, {int(row["port"]): _targets(row, pods) for row in ports})
        return None

    async def serve(self) -> None:
        """Keep Envoy running while there is something to balance."""
        await self._proxy.run()

    def pid(self) -> int | None:
        """Envoy's process, when it runs."""
        return self._proxy.pid()

    def _address(self, key: Key, service: Doc) -> str | None:
        known = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        if known and self._addresses.owns(known[0]["ip"]):
            return str(known[0]["ip"])
        ports = [int(row["port"]) for row in service["spec"].get("ports") or []]
        try:
            ip = self._asked(service) or self._addresses.take(ports)
            _check_allowed(ip, ports)
        except (NoAddress, PermissionError) as error:
            self.event(
                key.cluster, service, "Warning", "SyncLoadBalancerFailed", f"Error syncing load balancer: {error}"
            )
            return None
        self._publish(key, {"ingress": [{"ip": ip, "ipMode": "VIP"}]})
        self.event(key.cluster, service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer")
        return ip

    def _asked(self, service: Doc) -> str:
        """A fixed address that was asked for. There are no public ones here; an internal one has to be free."""
        notes = service["metadata"].get("annotations") or {}
        ip, name = notes.get(f"{_AZURE}load-balancer-ipv4", ""), notes.get(f"{_AZURE}pip-name", "")
        group = notes.get(f"{_AZURE}load-balancer-resource-group") or "MC_"
        if notes.get(f"{_AZURE}load-balancer-internal") == "true":
            if ip and not self._addresses.is_free(ip):
                words = "PrivateIPAddressNotInSubnet: Private static IP address"
                raise NoAddress(f"{words} {ip} does not belong to the range of the subnet, or is in use.")
        elif name:
            raise NoAddress(f"findMatchedPIPByName: failed to find PIP {name} in resource group {group}")
        elif ip:
            words = "findMatchedPIPByLoadBalancerIP: cannot find public IP with IP address"
            raise NoAddress(f"{words} {ip} in resource group {group}")
        return str(ip)

    def _withdraw(self, key: Key, service: Doc) -> None:
        if ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress"):
            self._publish(key, {})

    def _publish(self, key: Key, balancer: Doc) -> None:
        def edit(doc: Doc) -> None:
            doc.setdefault("status", {})["loadBalancer"] = balancer

        self.store.mutate(key.cluster, "services", key.namespace, key.name, edit, subresource="status")


def _targets(port: Doc, pods: list[Doc]) -> list[Target]:
    """Where connections go: ready pods, and when there is none, those that still serve while they end."""
    serving = [pod for pod in pods if is_ready(pod) and not is_over(pod) and (pod.get("status") or {}).get("podIP")]
    ready = [pod for pod in serving if not is_deleting(pod)]
    found = [(pod["status"]["podIP"], target_port(port, pod)) for pod in ready or serving]
    return sorted((ip, number) for ip, number in found if number is not None)


def _check_allowed(ip: str, ports: list[int]) -> None:
    for port in ports:
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            try:
                probe.bind((ip, port))
            except PermissionError as error:
                text = f"only root may listen on port {port} of this machine; use a port from 1024 on"
                raise PermissionError(text) from error


class Proxy:
    """One Envoy for all load balancers: its files, its process, started again when it dies."""

    def __init__(self, folder: Path, program: str) -> None:
        self._folder, self._program = folder, program
        self._services: dict[Key, tuple[str, dict[int, list[Target]]]] = {}
        self._written: dict[str, str] = {}
        self._wanted = asyncio.Event()
        self._process: Process | None = None

    def set(self, key: Key, ip: str, ports: dict[int, list[Target]]) -> None:
        """Balance these ports of `ip` among these targets."""
        if self._services.get(key) != (ip, ports):
            self._services[key] = (ip, ports)
            self._write()
            self._wanted.set()

    def forget(self, key: Key) -> None:
        """Stop listening for that service."""
        if self._services.pop(key, None) is not None:
            self._write()

    async def run(self) -> None:
        """Run Envoy for ever, from the first service on."""
        await self._wanted.wait()
        try:
            while True:
                self._process = Process.start(self._spec(), self._logged, None)
                code = await self._process.wait()
                _log.warning("the load balancer's Envoy ended with %s and is started again", code)
                await asyncio.sleep(_RESTART_SECONDS)
        finally:
            if self._process is not None:
                self._process.kill()

    def pid(self) -> int | None:
        """Envoy's process, when it runs."""
        return self._process.pid if self._process is not None and not self._process.ended else None

    def _logged(self, data: bytes) -> None:
        _log.warning("load balancer: %s", data.decode(errors="replace").strip()[:2000])

    def _spec(self) -> confine.Spec:
        self._file("bootstrap.json", self._bootstrap())
        argv = [self._program, "-c", str(self._folder / "bootstrap.json"), "--concurrency", "1",
                "--disable-hot-restart", "-l", "warning"]  # fmt: skip
        return {
            "argv": argv, "env": {"PATH": "/usr/bin:/bin"}, "cwd": str(self._folder),
            "read": [os.path.dirname(os.path.realpath(self._program))], "write": [str(self._folder)],
        }  # fmt: skip

    def _bootstrap(self) -> Doc:
        # No admin address: nobody asks, and whoever can reach one can stop Envoy.
        lists = {"lds_config": self._source("listeners.json"), "cds_config": self._source("clusters.json")}
        return {"node": {"id": "sandbox", "cluster": "sandbox"}, "dynamic_resources": lists}

    def _source(self, name: str) -> Doc:
        return {"path_config_source": {"path": str(self._folder / name)}, "resource_api_version": "V3"}

    def _write(self) -> None:
        """Endpoints before clusters before listeners, so that nothing names what is not there yet."""
        self._folder.mkdir(parents=True, exist_ok=True)
        rows = [
            (_name(key, port), ip, port, targets)
            for key, (ip, ports) in sorted(self._services.items())
            for port, targets in sorted(ports.items())
        ]
        for name, _, _, targets in rows:
            self._file(f"{name}.json", _resources([_assignment(name, targets)]))
        self._file("clusters.json", _resources([self._cluster(name) for name, *_ in rows]))
        self._file("listeners.json", _resources([_listener(name, ip, port) for name, ip, port, _ in rows]))
        known = {f"{name}.json" for name, *_ in rows}
        for old in [name for name in self._written if name.startswith("eds-") and name not in known]:
            (self._folder / old).unlink(missing_ok=True)
            del self._written[old]

    def _file(self, name: str, doc: Doc) -> None:
        text = json.dumps(doc)
        if self._written.get(name) != text:
            fresh = self._folder / f".{name}.new"
            fresh.write_text(text)
            fresh.rename(self._folder / name)
            self._written[name] = text

    def _cluster(self, name: str) -> Doc:
        most = {"max_connections": 1_000_000, "max_pending_requests": 1_000_000}
        return {
            "@type": f"{_TYPE}config.cluster.v3.Cluster", "name": name, "type": "EDS", "connect_timeout": "1s",
            "eds_cluster_config": {"eds_config": self._source(f"{name}.json")},
            "circuit_breakers": {"thresholds": [most]}, "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        }  # fmt: skip


def _name(key: Key, port: int) -> str:
    digest = hashlib.sha256(key.cluster.encode()).hexdigest()[:8]
    return f"eds-{key.namespace}.{key.name}.{port}.{digest}"


def _resources(rows: list[Doc]) -> Doc:
    return {"resources": rows}


def _assignment(name: str, targets: list[Target]) -> Doc:
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": ip, "port_value": port}}}} for ip, port in targets
    ]
    kind = f"{_TYPE}config.endpoint.v3.ClusterLoadAssignment"
    return {"@type": kind, "cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}] if endpoints else []}


def _listener(name: str, ip: str, port: int) -> Doc:
    proxy: dict[str, Any] = {
        "@type": f"{_TYPE}extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": name, "cluster": name,
        "max_connect_attempts": 5, "idle_timeout": "0s",
    }  # fmt: skip
    return {
        "@type": f"{_TYPE}config.listener.v3.Listener", "name": name, "enable_reuse_port": False,
        "address": {"socket_address": {"address": ip, "port_value": port}},
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}],
    }  # fmt: skip
