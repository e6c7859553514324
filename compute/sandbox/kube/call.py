"""One request: whom it is from, what it names, and the options in its query."""

from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from compute.sandbox.kube.clusters import Clusters
from compute.sandbox.kube.errors import bad_request
from compute.sandbox.kube.kinds import Kind, find
from compute.sandbox.kube.schema import Schema, schema_for
from compute.sandbox.kube.store import Store
from compute.sandbox.kube.users import User

Json = dict[str, Any]


class Host(Protocol):
    """What the API needs of the process around it."""

    @property
    def store(self) -> Store: ...
    @property
    def kube(self) -> Clusters: ...
    @property
    def kubelet(self) -> Any: ...


@dataclass(frozen=True)
class Target:
    """What a path names. `rest` is what follows a subresource (`/proxy/stats`)."""

    kind: Kind
    namespace: str | None = None
    name: str | None = None
    subresource: str = ""
    rest: str = ""
    port: str = ""


@dataclass
class Call:
    """A request to one cluster, with its user and target known."""

    host: Host
    request: web.Request
    cluster: str
    user: User
    target: Target
    warnings: list[str]
    effective: bool = False

    @property
    def store(self) -> Store:
        """The objects."""
        return self.host.store

    @property
    def kind(self) -> Kind:
        """The kind that the path names."""
        return self.target.kind

    @property
    def namespace(self) -> str | None:
        """The namespace in the path; None for cluster-wide paths."""
        return self.target.namespace

    @property
    def name(self) -> str:
        """The object's name in the path."""
        return self.target.name or ""

    @property
    def schema(self) -> Schema:
        """The schemas of the cluster's version."""
        return schema_for(self.host.kube.version(self.cluster))

    def query(self, name: str, default: str = "") -> str:
        """A query parameter, the first if repeated."""
        return str(self.request.query.get(name, default))

    def flag(self, name: str) -> bool:
        """A boolean query parameter; 400 for what is not one."""
        text = self.query(name)
        if text.lower() not in ("", "0", "1", "true", "false", "t", "f"):
            raise bad_request(f'strconv.ParseBool: parsing "{text}": invalid syntax')
        return text.lower() in ("1", "true", "t")

    def number(self, name: str) -> int | None:
        """A whole-number query parameter, or None; 400 for what is not one."""
        text = self.query(name)
        if not text:
            return None
        try:
            return int(text)
        except ValueError as error:
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be stored. 400 for another value than `All`."""
        text = self.query("dryRun")
        if text not in ("", "All"):
            raise bad_request(f'Invalid value: ["{text}"]: supported values: "All"')
        return text == "All"

    @property
    def manager(self) -> str:
        """The field manager: as asked, or the client's name before the slash of its user agent."""
        agent = self.request.headers.get("User-Agent", "unknown").split("/", 1)[0]
        return (self.query("fieldManager") or agent)[:128]


def parse_path(path: str) -> Target | None:
    """The target of `api/v1/…` or `apis/GROUP/VERSION/…`; None when nothing is served there."""
    parts = [part for part in path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    if rest and rest[0] == "watch":
        return None
    namespace = None
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    kind = find(group, version, rest[0])
    if kind is None or (namespace is not None and not kind.namespaced):
        return None
    return _target(kind, namespace, rest[1:])


def _target(kind: Kind, namespace: str | None, rest: list[str]) -> Target | None:
    if not rest:
        return Target(kind, namespace)
    if kind.namespaced and namespace is None:
        return None
    name, sub = rest[0], rest[1] if len(rest) > 1 else ""
    if sub and sub not in kind.subresources:
        return None
    if len(rest) > 2 and sub != "proxy":
        return None
    port = ""
    if sub == "proxy":
        name, _, port = name.partition(":")
    return Target(kind, namespace, name, sub, "/".join(rest[2:]), port)
