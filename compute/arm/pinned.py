"""The SDK's transport, held to a checked address. Imported lazily: it imports the SDK's core."""

from __future__ import annotations

from typing import Any

import requests
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.transport import RequestsTransport
from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy
from requests.adapters import HTTPAdapter

from compute.arm.errors import unregistered
from portal.outbound import Place


class Pinned(HTTPAdapter):
    """Connects to the address that was checked, whatever the name resolves to by now."""

    def __init__(self, place: Place) -> None:
        self._place = place
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Check the certificate against the name, not the address."""
        if self._place.scheme == "https":
            options["server_hostname"] = self._place.host
        super().init_poolmanager(*args, **options)

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Send to the checked address with the name as Host."""
        place = self._place
        if place.host != place.ip:
            netloc = place.pinned_url.partition("://")[2].removesuffix(place.path)
            rest = str(request.url).partition("://")[2].partition("/")[2]
            request.headers["Host"] = place.origin.partition("://")[2]
            request.url = f"{place.scheme}://{netloc}/{rest}"
        return super().send(request, *args, **options)


def session(place: Place) -> requests.Session:
    """A requests session that reaches only this place; proxies off for this machine."""
    made = requests.Session()
    made.trust_env = not place.is_loopback
    for port in (f":{place.port}", ""):
        made.mount(f"{place.origin.removesuffix(f':{place.port}')}{port}/", Pinned(place))
    return made


def transport(place: Place, ca_file: str, connect: float, read: float) -> RequestsTransport:
    """The SDK's transport on such a session."""
    return RequestsTransport(
        session=session(place), session_owner=True, use_env_settings=not place.is_loopback,
        connection_timeout=connect, read_timeout=read, connection_verify=ca_file or True,
    )  # fmt: skip


class Renewing(ARMChallengeAuthenticationPolicy):
    """When Azure refuses a token before its end, one more try with a fresh one."""

    def __init__(self, credential: Any, scope: str) -> None:
        super().__init__(credential, scope)
        self._renewable, self._scope = credential, scope

    def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        """Send; a refused request had no effect, so it may be sent once more. Raises ArmUnregistered."""
        response = super().send(request)
        if refusal := unregistered(response.http_response):
            raise refusal
        if response.http_response.status_code != 401:
            return response
        refused = request.http_request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not self._renewable.is_renewed(refused, self._scope):
            return response
        self._token = None
        self.on_request(request)
        return self.next.send(request)


class OpenPolicy(Renewing):
    """Sends the token over plain http; used for a checked loopback address only."""

    def on_request(self, request: PipelineRequest[Any]) -> None:
        """Allow http for this call."""
        request.context.options.setdefault("enforce_https", False)
        super().on_request(request)


def policy(credential: Any, scope: str, *, is_open: bool) -> Renewing:
    """The policy for one credential; `is_open` also over plain http."""
    return OpenPolicy(credential, scope) if is_open else Renewing(credential, scope)
