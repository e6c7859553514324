"""How we reach Azure: endpoint, credential and the SDK's clients, made to do nothing behind our back."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from compute.arm.errors import translated
from portal import outbound
from portal.problems import Invalid

if TYPE_CHECKING:
    from azure.mgmt.compute import ComputeManagementClient
    from azure.mgmt.containerregistrytasks import ContainerRegistryTasksMgmtClient
    from azure.mgmt.containerservice import ContainerServiceClient

PUBLIC = "https://management.azure.com"
CONNECT_SECONDS, READ_SECONDS = 5, 12  # together under an operation's lease of 20 s


class BadCredential(Invalid):
    code, title = "bad_credential", "The workspace's Azure credential cannot be used"


@dataclass(frozen=True)
class ArmAccess:
    """Where a workspace's Azure is. `credential` is JSON text: {"kind": "static", "token": …} and so on."""

    endpoint: str
    subscription_id: str
    credential: str = field(repr=False, default="")
    ca_file: str = ""


class StaticToken:
    """A token that somebody gave; Azure says when it is over."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """The token as the SDK wants it."""
        from azure.core.credentials import AccessToken

        return AccessToken(self._token, int(time.time()) + 3600)


def credential_of(text: str) -> Any:
    """The SDK's credential for a stored description. Raises BadCredential, never with a secret in it."""
    try:
        given = json.loads(text) if text else {"kind": "default"}
        return _credential(given["kind"], given)
    except (ValueError, KeyError, TypeError) as error:
        raise BadCredential(f"The stored Azure credential is incomplete ({type(error).__name__}).") from None


def _credential(kind: str, given: dict[str, str]) -> Any:
    if kind == "static":
        return StaticToken(given["token"])
    from azure import identity

    if kind == "client_secret":
        return identity.ClientSecretCredential(given["tenant_id"], given["client_id"], given["client_secret"])
    if kind == "workload_identity":
        names = ("tenant_id", "client_id", "token_file_path")
        return identity.WorkloadIdentityCredential(**{name: given[name] for name in names if name in given})
    if kind == "managed_identity":
        return identity.ManagedIdentityCredential(client_id=given.get("client_id"))
    if kind == "default":
        return identity.DefaultAzureCredential()
    raise BadCredential(f"The kind of Azure credential {kind!r} is unknown.")


class Session:
    """The SDK's clients for one access: no retries of theirs (a PUT must not be sent twice), no redirects."""

    def __init__(self, access: ArmAccess) -> None:
        self.access = access
        self.base_url = (access.endpoint or PUBLIC).rstrip("/")

    @cached_property
    def clusters(self) -> ContainerServiceClient:
        """Managed clusters."""
        from azure.mgmt.containerservice import ContainerServiceClient

        return ContainerServiceClient(**self._options())

    @cached_property
    def machines(self) -> ComputeManagementClient:
        """VM sizes and quotas."""
        from azure.mgmt.compute import ComputeManagementClient

        return ComputeManagementClient(**self._options())

    @cached_property
    def builds(self) -> ContainerRegistryTasksMgmtClient:
        """Builds of images in a registry."""
        from azure.mgmt.containerregistrytasks import ContainerRegistryTasksMgmtClient

        return ContainerRegistryTasksMgmtClient(**self._options())

    def get(self, url: str) -> Any:
        """GET a URL or path of this Azure; the raw answer, whatever its status. Never another host."""
        from azure.core.rest import HttpRequest

        if url.startswith("/"):
            url = self.base_url + url
        if not outbound.same_origin(url, self.base_url):
            raise BadCredential("Azure named an address of another host to poll. The token does not go there.")
        with translated():
            return self.clusters.send_request(HttpRequest("GET", url))

    def _options(self) -> dict[str, Any]:
        given = self.access
        credential, scope = credential_of(given.credential), self.base_url + "/.default"
        return {
            "credential": credential, "subscription_id": given.subscription_id, "base_url": self.base_url,
            "credential_scopes": [scope], "retry_total": 0, "permit_redirects": False,
            "connection_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS,
            "connection_verify": given.ca_file or True, "logging_enable": False,
            **(self._given_endpoint(credential, scope) if given.endpoint else {}),
        }  # fmt: skip

    def _given_endpoint(self, credential: Any, scope: str) -> dict[str, Any]:
        """For an endpoint that a person gave: checked address, and plain http only towards this machine."""
        place = outbound.place(self.base_url)
        from compute.arm.pinned import open_policy, transport

        options: dict[str, Any] = {"transport": transport(place, self.access.ca_file, CONNECT_SECONDS, READ_SECONDS)}
        if place.scheme == "http":
            options["authentication_policy"] = open_policy(credential, scope)
        return options
