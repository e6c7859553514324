"""How we reach Azure: endpoint, credential and the SDK's clients, made to do nothing behind our back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from compute.arm.budget import Budget
from compute.arm.errors import ArmDenied, translated
from portal import credentials, outbound
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


def credential_of(text: str, ca_file: str = "") -> Any:
    """The SDK's credential for a stored description, one per process. Raises BadCredential, never with a secret."""
    return renewable(text, ca_file).inner


@lru_cache(maxsize=64)
def renewable(text: str, ca_file: str = "") -> Renewable:
    """The one credential of this process for a description; another text is another credential."""
    return Renewable(lambda: _made(text, ca_file))


class Renewable:
    """A credential whose cached tokens can be dropped. It keeps them until shortly before their end."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._lock = make, threading.Lock()
        self.inner = make()

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """A token, from the cache while it lasts."""
        return self.inner.get_token(*scopes, **options)

    def is_renewed(self, refused: str, *scopes: str) -> bool:
        """Whether there is another token than the one that was refused; a cached one is dropped, once."""
        with self._lock:
            if self.inner.get_token(*scopes).token == refused:
                self.inner = self._make()
            return bool(self.inner.get_token(*scopes).token != refused)


def _made(text: str, ca_file: str) -> Any:
    try:
        given = json.loads(text) if text else {"kind": "default"}
        return _credential(given["kind"], given, ca_file)
    except (ValueError, KeyError, TypeError) as error:
        raise BadCredential(f"The stored Azure credential is incomplete ({type(error).__name__}).") from None


def _credential(kind: str, given: dict[str, str], ca_file: str) -> Any:
    if kind == "static":
        return StaticToken(given["token"])
    from azure import identity

    if kind == "managed_identity":
        return identity.ManagedIdentityCredential(client_id=given.get("client_id"))
    if kind == "default":
        authority = given.get("authority_host")
        return identity.DefaultAzureCredential(**({"authority": authority} if authority else {}))
    options = _authority(given.get("authority_host", ""), ca_file)
    if kind == "client_secret":
        secret = given["client_secret"]
        return identity.ClientSecretCredential(given["tenant_id"], given["client_id"], secret, **options)
    if kind == "certificate":
        pem = given["certificate"].encode()
        return identity.CertificateCredential(given["tenant_id"], given["client_id"], certificate_data=pem, **options)
    if kind == "workload_identity":
        names = ("tenant_id", "client_id", "token_file_path")
        return identity.WorkloadIdentityCredential(**{name: given[name] for name in names if name in given}, **options)
    raise BadCredential(f"The kind of Azure credential {kind!r} is unknown.")


def _authority(url: str, ca_file: str) -> dict[str, Any]:
    """How a credential reaches its token authority: quickly, without repeats; another than Microsoft's as checked."""
    options: dict[str, Any] = {
        "retry_total": 0, "connection_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS, "logging_enable": False,
    }  # fmt: skip
    if not url:
        return options
    options["authority"] = url
    if url.rstrip("/").lower() in credentials.MICROSOFT:
        return options
    from compute.arm.pinned import transport

    credentials.check_https("authority_host", url)
    pinned = transport(outbound.place(url), ca_file, CONNECT_SECONDS, READ_SECONDS)
    return {**options, "disable_instance_discovery": True, "transport": pinned}


class Session:
    """The SDK's clients for one access: no retries of theirs (a PUT must not be sent twice), no redirects."""

    def __init__(self, access: ArmAccess) -> None:
        self.access = access
        self.base_url = (access.endpoint or PUBLIC).rstrip("/")
        self._budget = Budget(self.base_url, access.subscription_id, access.credential)

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
            response = self.clusters.send_request(HttpRequest("GET", url))
        if response.status_code == 401:
            raise ArmDenied("Azure does not take the token of the workspace's credential, nor a fresh one.")
        return response

    def token(self) -> None:
        """Get a token for this Azure anew, not from the cache, which stays.

        Raises ArmDenied with Entra's own sentence, Retryable, BadCredential.
        """
        with translated():
            _made(self.access.credential, self.access.ca_file).get_token(self._scope)

    @property
    def _scope(self) -> str:
        return self.base_url + "/.default"

    @property
    def _credential(self) -> Renewable:
        return renewable(self.access.credential, self.access.ca_file)

    def _options(self) -> dict[str, Any]:
        given = self.access
        from compute.arm.pinned import policy
        from compute.arm.spending import Spending

        place = outbound.place(self.base_url) if given.endpoint else None
        is_open = place is not None and place.scheme == "http"
        return {
            "credential": self._credential, "subscription_id": given.subscription_id, "base_url": self.base_url,
            "credential_scopes": [self._scope], "retry_total": 0, "permit_redirects": False,
            "connection_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS,
            "connection_verify": given.ca_file or True, "logging_enable": False,
            "authentication_policy": policy(self._credential, self._scope, is_open=is_open),
            "per_call_policies": [Spending(self._budget)],
            **(self._pinned(place) if place else {}),
        }  # fmt: skip

    def _pinned(self, place: outbound.Place) -> dict[str, Any]:
        """For an endpoint that a person gave: only the checked address."""
        from compute.arm.pinned import transport

        return {"transport": transport(place, self.access.ca_file, CONNECT_SECONDS, READ_SECONDS)}
