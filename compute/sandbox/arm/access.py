"""How people get into a cluster: kubeconfigs, addresses that may come in, and tokens of the directory."""

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import yaml
from aiohttp import web

from compute.sandbox.arm.errors import ArmError, gateway
from compute.sandbox.arm.service import Service
from compute.sandbox.entra.tokens import KUBERNETES, BadToken, Tokens
from compute.sandbox.kube.users import User

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_AKS = "Microsoft.ContainerService/managedClusters"
# A data action that only those have who may do everything in a cluster.
_ADMIN = f"{_AKS}/rbac.authorization.k8s.io/clusterrolebindings/write"
_KUBELOGIN_APP = "80faf920-1908-4b52-b5ef-a8e7bedfc67a"
# A port that only root could open: connections are refused, as no route leads to a private cluster.
_NOWHERE = "https://127.0.0.1:1"


class Access:
    """Over the clusters of ARM."""

    def __init__(self, service: Service, tokens: Tokens) -> None:
        self._service, self._tokens = service, tokens
        self.border = self._border()
        """Middleware: hangs up on who may not come to a cluster's API from where they are."""

    def kubeconfig(self, record: Json, user: Literal["clusterUser", "clusterAdmin"]) -> bytes:
        """A kubeconfig; the provider's 400 when the cluster has no local accounts to give one."""
        kube, props = self._service.kube, record["body"]["properties"]
        if not kube.exists(record["uid"]):
            raise gateway(404, "ResourceNotFound", f"The cluster {record['name']} has no credentials yet.")
        directory = props.get("aadProfile")
        if props.get("disableLocalAccounts") and (user == "clusterAdmin" or not directory):
            words = "Getting static credential is not allowed because this cluster is set to disable local accounts."
            raise ArmError(400, "BadRequest", words)
        reachable = not _is_private(props) or self._service.settings.private_reachable
        base = f"https://127.0.0.1:{self._service.settings.https_port}" if reachable else _NOWHERE
        text = kube.kubeconfig(record["uid"], user, base)
        return _by_kubelogin(text, directory["tenantID"]) if directory and user == "clusterUser" else text

    def user(self, cluster: str, token: str) -> User | None:
        """Whom a token of the directory speaks for in a cluster that trusts the directory."""
        record = self._service.by_uid(cluster)
        directory = record["body"]["properties"].get("aadProfile") if record else None
        if record is None or not directory:
            return None
        try:
            caller = self._tokens.read(token, frozenset({KUBERNETES}))
        except BadToken:
            return None
        by_role = directory.get("enableAzureRBAC") and caller.may(_ADMIN, record["body"]["id"], data=True)
        by_group = set(directory.get("adminGroupObjectIDs") or []) & set(caller.groups)
        groups = ("system:masters",) if by_role or by_group else ()
        return User(caller.object_id, (*groups, *caller.groups, "system:authenticated"))

    def admits(self, cluster: str, address: str) -> bool:
        """Whether the cluster's API server talks to this address."""
        record = self._service.by_uid(cluster)
        if record is None:
            return True
        props = record["body"]["properties"]
        if _is_private(props):
            return self._service.settings.private_reachable
        ranges = (props.get("apiServerAccessProfile") or {}).get("authorizedIPRanges") or []
        here = ipaddress.ip_address(address)
        return not ranges or any(here in ipaddress.ip_network(str(text), strict=False) for text in ranges)

    def _border(self) -> Any:
        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            cluster = request.match_info.get("cluster") if request.path.startswith("/clusters/") else None
            if cluster is not None and not self.admits(cluster, request.remote or "127.0.0.1"):
                if request.transport is not None:
                    request.transport.abort()
                raise web.HTTPForbidden
            return await handler(request)

        return check


def _is_private(props: Json) -> bool:
    return bool((props.get("apiServerAccessProfile") or {}).get("enablePrivateCluster"))


def _by_kubelogin(text: bytes, tenant: str) -> bytes:
    """The kubeconfig with kubelogin instead of a token, as clusters with Entra sign-in give it."""
    config = yaml.safe_load(text)
    options = {
        "--environment": "AzurePublicCloud", "--server-id": KUBERNETES, "--client-id": _KUBELOGIN_APP,
        "--tenant-id": tenant, "--login": "devicecode",
    }  # fmt: skip
    arguments = [part for pair in options.items() for part in pair]
    config["users"][0]["user"] = {"exec": {
        "apiVersion": "client.authentication.k8s.io/v1beta1", "command": "kubelogin",
        "args": ["get-token", *arguments], "env": None, "provideClusterInfo": False,
        "installHint": "kubelogin is not installed; see https://aka.ms/aks/kubelogin",
    }}  # fmt: skip
    return yaml.safe_dump(config, sort_keys=False).encode()
