"""The pretend clusters: system objects, nodes, tokens and kubeconfigs."""

import base64
import hmac
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Literal, Protocol

import yaml

from compute.sandbox.kube import nodes, system, tokens
from compute.sandbox.kube.errors import ApiError
from compute.sandbox.kube.nodes import NodeSpec
from compute.sandbox.kube.store import Database, Store
from compute.sandbox.kube.times import stamp
from compute.sandbox.kube.users import User

__all__ = ["Clusters", "NodeSpec", "User"]

Json = dict[str, Any]
TABLE = "kube_clusters"
UserKind = Literal["clusterUser", "clusterAdmin"]
Drainer = Callable[[str, str, bool], Awaitable[None]]


class Paths(Protocol):
    """What clusters need of the settings."""

    @property
    def ca_file(self) -> Any: ...


class Clusters:
    """All clusters by id. Their objects are in the store; what only the pretend cloud knows is kept here."""

    def __init__(self, store: Store, settings: Paths, db: Database) -> None:
        self.store = store
        self.drainer: Drainer | None = None
        """Set by the controllers: `await drainer(cluster, node, ignore_budgets)` returns when the node has no pods."""
        self.entra: Callable[[str, str], User | None] = lambda cluster, token: None
        """Set by the app: whom a token of the directory speaks for in a cluster."""
        self._settings = settings
        self._db = db
        self._docs: dict[str, Json] = db.all(TABLE)

    # --- life

    def ensure(
        self, cluster_id: str, *, name: str, resource_group: str, region: str, version: str,
        local: list[str] | None = None,
    ) -> None:  # fmt: skip
        """Make the cluster with its system objects, or bring name, version and local accounts up to date.

        `local`: which of clusterUser and clusterAdmin may come with their tokens (None: both). Safe to repeat.
        """
        doc = self._docs.get(cluster_id) or {
            "running": True,
            "nodes": [],
            "tokens": {kind: secrets.token_hex(32) for kind in ("clusterUser", "clusterAdmin")},
            "key": tokens.new_key(),
        }
        doc |= {"name": name, "resource_group": resource_group, "region": region, "version": version}
        doc["local"] = list(doc["tokens"]) if local is None else local
        self._save(cluster_id, doc)
        system.install(self.store, cluster_id, self.ca_pem())

    def ids(self) -> list[str]:
        """The ids of all clusters."""
        return sorted(self._docs)

    def exists(self, cluster_id: str) -> bool:
        """Whether there is such a cluster."""
        return cluster_id in self._docs

    def is_running(self, cluster_id: str) -> bool:
        """Whether the cluster exists and is not stopped; a stopped one has no API server."""
        return bool(self._docs.get(cluster_id, {}).get("running"))

    def version(self, cluster_id: str) -> str:
        """The Kubernetes version, as `1.33.5`."""
        return str(self._docs[cluster_id]["version"])

    def stop(self, cluster_id: str) -> None:
        """Take nodes and pods away and close the API; deployments and the rest stay."""
        doc = self._docs[cluster_id]
        self._save(cluster_id, {**doc, "running": False})
        for pod in self.store.list(cluster_id, "pods"):
            self.store.remove(cluster_id, "pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
        for node in self.store.list(cluster_id, "nodes"):
            self.store.remove(cluster_id, "nodes", None, node["metadata"]["name"])

    def start(self, cluster_id: str) -> None:
        """Bring the nodes of a stopped cluster back and open its API."""
        self._save(cluster_id, {**self._docs[cluster_id], "running": True})
        for spec in self.node_specs(cluster_id):
            self._add_node(cluster_id, spec)

    def delete(self, cluster_id: str) -> None:
        """Forget the cluster: objects (listeners see them go), tokens, everything. Twice does no harm."""
        if self._docs.pop(cluster_id, None) is not None:
            self._db.delete(TABLE, cluster_id)
        self.store.forget_cluster(cluster_id)

    # --- nodes

    def node_specs(self, cluster_id: str) -> list[NodeSpec]:
        """The machines the cluster should have."""
        return [NodeSpec(**doc) for doc in self._docs[cluster_id]["nodes"]]

    async def set_nodes(self, cluster_id: str, specs: list[NodeSpec], *, ignore_budgets: bool = False) -> None:
        """Make the nodes those of `specs`. New ones are ready at once; missing ones are cordoned, drained, deleted.

        Returns when the last old node is gone; with `ignore_budgets` no disruption budget holds it up. Safe to repeat
        after a crash; an error of the drainer passes through.
        """
        self._save(cluster_id, {**self._docs[cluster_id], "nodes": [spec.to_json() for spec in specs]})
        if not self.is_running(cluster_id):
            return
        for spec in specs:
            self._add_node(cluster_id, spec)
        kept = {spec.name for spec in specs}
        here = [node["metadata"]["name"] for node in self.store.list(cluster_id, "nodes")]
        gone = [name for name in here if name not in kept]
        for name in gone:
            self.store.mutate(cluster_id, "nodes", None, name, system.cordon)
        for name in gone:
            await self._remove_node(cluster_id, name, ignore_budgets)

    def set_node_ready(self, cluster_id: str, node: str, ready: bool) -> None:
        """Mark a node lost or back; 404 when there is none. What happens to its pods is the controllers' work."""
        moment = stamp(self.store.clock.now())

        def edit(obj: Json) -> None:
            obj["status"]["conditions"] = nodes.conditions(moment, ready=ready, old=obj["status"]["conditions"])

        if self.store.mutate(cluster_id, "nodes", None, node, edit, subresource="status") is None:
            raise ApiError(404, "NotFound", f'nodes "{node}" not found')

    def provision_namespace(self, cluster_id: str, namespace: str) -> None:
        """Give a namespace its `default` service account and the `kube-root-ca.crt` config map, if they are missing."""
        system.provision_namespace(self.store, cluster_id, namespace, self.ca_pem())

    # --- who

    def token_user(self, cluster_id: str, token: str) -> User | None:
        """Who a bearer token speaks for in this cluster, or None."""
        doc = self._docs.get(cluster_id)
        if doc is None:
            return None
        for kind, known in doc["tokens"].items():
            if hmac.compare_digest(token.encode(), known.encode()) and kind in doc.get("local", list(doc["tokens"])):
                return User("masterclient" if kind == "clusterAdmin" else "clusterUser", MASTERS)
        return tokens.read(self.store, cluster_id, doc["key"], token) or self.entra(cluster_id, token)

    def issue_token(
        self,
        cluster_id: str,
        namespace: str,
        service_account: str,
        *,
        seconds: int = tokens.PROJECTED_SECONDS,
        audiences: list[str] | None = None,
        pod: str | None = None,
    ) -> tuple[str, datetime]:
        """A service account token, bound to a pod if named, and when it ends. 404 for no such account."""
        account = (namespace, service_account)
        key = self._docs[cluster_id]["key"]
        return tokens.issue(self.store, cluster_id, key, account, seconds=seconds, audiences=audiences, pod=pod)

    def kubeconfig(self, cluster_id: str, user: UserKind, base_url: str) -> bytes:
        """A kubeconfig (YAML) for `base_url` + `/clusters/ID`, laid out like AKS's; it holds a token."""
        doc = self._docs[cluster_id]
        name, person = doc["name"], f"{user}_{doc['resource_group']}_{doc['name']}"
        context = f"{name}-admin" if user == "clusterAdmin" else name
        ca = base64.b64encode(self.ca_pem().encode()).decode()
        server = f"{base_url.rstrip('/')}/clusters/{cluster_id}"
        config: Json = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"certificate-authority-data": ca, "server": server}}],
            "contexts": [{"name": context, "context": {"cluster": name, "user": person}}],
            "current-context": context,
            "preferences": {},
            "users": [{"name": person, "user": {"token": doc["tokens"][user]}}],
        }
        return yaml.safe_dump(config, sort_keys=False).encode()

    def ca_pem(self) -> str:
        """The certificate that verifies the API's listener."""
        with open(self._settings.ca_file, encoding="ascii") as file:
            return file.read()

    # --- inside

    def _save(self, cluster_id: str, doc: Json) -> None:
        self._docs[cluster_id] = doc
        self._db.put(TABLE, cluster_id, doc)

    def _add_node(self, cluster_id: str, spec: NodeSpec) -> None:
        doc, moment = self._docs[cluster_id], stamp(self.store.clock.now())
        if self.store.get(cluster_id, "nodes", None, spec.name) is None:
            where = f"{cluster_id}/resourceGroups/{doc['resource_group']}"
            node = nodes.node_object(
                spec, version=doc["version"], region=doc["region"], subscription_group=where, moment=moment
            )
            self.store.create(cluster_id, "nodes", node)

    async def _remove_node(self, cluster_id: str, name: str, ignore_budgets: bool) -> None:
        if self.drainer is not None:
            await self.drainer(cluster_id, name, ignore_budgets)
        on_node = self.store.list(cluster_id, "pods", where=lambda pod: bool(pod["spec"].get("nodeName") == name))
        for pod in on_node:
            self.store.remove(cluster_id, "pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
        self.store.remove(cluster_id, "nodes", None, name)


MASTERS = ("system:masters", "system:authenticated")
