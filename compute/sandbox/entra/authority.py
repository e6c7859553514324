"""The token authority: what azure-identity asks of login.microsoftonline.com, on the sandbox's own https port."""

import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from compute.sandbox.clock import Clock
from compute.sandbox.entra import assertions
from compute.sandbox.entra.errors import EntraError, client_error, request_error
from compute.sandbox.entra.principals import Principals
from compute.sandbox.entra.tokens import KUBERNETES, STORAGE, Tokens
from compute.sandbox.faults import Faults

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.Response]]
_ARM = ("https://management.azure.com", "https://management.core.windows.net")


class Authority:
    """Exchanges a secret, a certificate's signature or a trusted token for an access token. It does nothing else."""

    def __init__(
        self, principals: Principals, tokens: Tokens, clock: Clock, faults: Faults, seconds: float, own: frozenset[str]
    ) -> None:
        self._principals, self._tokens, self._clock, self._faults = principals, tokens, clock, faults
        self._seconds = seconds
        self.arm_audiences = frozenset(_ARM) | own
        """Resources that stand for ARM: Azure's names and the sandbox's own addresses."""

    def routes(self) -> list[web.RouteDef]:
        """The paths at the root of the host, and the same below /entra."""
        found: list[web.RouteDef] = []
        for base in ("", "/entra"):
            tenant = base + "/{tenant:[A-Za-z0-9.-]+}"
            found += [
                web.route("*", tenant + "/oauth2/v2.0/token", self._guarded(self.token)),
                web.get(tenant + "/v2.0/.well-known/openid-configuration", self._guarded(self.configuration)),
                web.get(tenant + "/discovery/v2.0/keys", self._guarded(self.keys)),
                web.get(base + "/common/discovery/instance", self._guarded(self.instance)),
            ]
        found.append(web.get("/metadata/endpoints", self._guarded(self.endpoints)))
        return [*found, web.get("/entra/msi/token", self._guarded(self.managed_identity))]

    def _guarded(self, handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            given = request.headers.get("client-request-id", "")
            correlation = given if re.fullmatch(r"[\w-]{1,64}", given) else str(uuid.uuid4())
            if self._faults.take("entra.unavailable", path=request.path):
                return web.Response(status=503, text="Service unavailable")
            try:
                return await handler(request)
            except EntraError as refusal:
                return refusal.response(self._clock.now(), correlation)

        return answer

    # --- what is public

    async def configuration(self, request: web.Request) -> web.Response:
        """Where the endpoints of the tenant are."""
        base, tenant = _base(request), self._tenant(request)
        return web.json_response({
            "token_endpoint": f"{base}/{tenant}/oauth2/v2.0/token", "issuer": f"{base}/{tenant}/v2.0",
            "authorization_endpoint": f"{base}/{tenant}/oauth2/v2.0/authorize",
            "jwks_uri": f"{base}/{tenant}/discovery/v2.0/keys", "tenant_region_scope": "EU",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "response_types_supported": ["code"], "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })  # fmt: skip

    async def keys(self, request: web.Request) -> web.Response:
        """The public key of tokens."""
        self._tenant(request)
        return web.json_response(self._tokens.keys())

    async def instance(self, request: web.Request) -> web.Response:
        """That this host is its own cloud."""
        host, tenant = request.host, self._principals.tenant
        return web.json_response({
            "tenant_discovery_endpoint": f"{_base(request)}/{tenant}/v2.0/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        })  # fmt: skip

    async def endpoints(self, request: web.Request) -> web.Response:
        """Where the services of this cloud are, as ARM says it to who sets up a client."""
        base = _base(request)
        return web.json_response({
            "name": "SlipwaySandbox", "resourceManager": base, "portal": base, "graph": base, "graphAudience": base,
            "authentication": {"loginEndpoint": base, "audiences": [base], "tenant": self._principals.tenant,
                               "identityProvider": "AAD"},
            "suffixes": {"acrLoginServer": ".azurecr.io"},
        })  # fmt: skip

    # --- tokens

    async def token(self, request: web.Request) -> web.Response:
        """Client credentials for an access token."""
        if request.method != "POST":
            words = f"The endpoint only accepts POST requests. Received a {request.method} request."
            raise request_error(900561, words)
        tenant, form = self._tenant(request), await request.post()
        text = {key: value for key, value in form.items() if isinstance(value, str)}
        if text.get("grant_type") != "client_credentials":
            words = f"The app requested an unsupported grant type '{text.get('grant_type', '')}'."
            raise request_error(70003, words, "unsupported_grant_type")
        principal = self._principal(text.get("client_id", ""))
        proof = self._prove(principal, text, {
            f"{_base(request)}/{tenant}{tail}".lower() for tail in ("/oauth2/v2.0/token", "/v2.0", "")
        })  # fmt: skip
        return self._answer(principal, self._audience(text.get("scope", "")), proof)

    async def managed_identity(self, request: web.Request) -> web.Response:
        """A token for who shows the key of a managed identity, as machines of App Service get it."""
        principal = self._principals.of_identity_key(request.headers.get("X-IDENTITY-HEADER", ""))
        if principal is None:
            raise client_error(7000215, "The identity header is missing or wrong.")
        audience = self._audience(request.query.get("resource", "").rstrip("/") + "/.default")
        return self._answer(principal, audience, "2", absolute=True)

    def _tenant(self, request: web.Request) -> str:
        name = request.match_info["tenant"]
        if name.lower() != self._principals.tenant:
            words = f"Tenant '{name}' not found. Check to make sure you have the correct tenant ID and are signing"
            raise request_error(90002, f"{words} into the correct cloud.")
        return name.lower()

    def _principal(self, client_id: str) -> Json:
        if not client_id:
            raise request_error(900144, "The request body must contain the following parameter: 'client_id'.")
        found = self._principals.find(client_id)
        if found is None:
            words = f"Application with identifier '{client_id}' was not found in the directory"
            more = "This can happen if the application has not been installed by the administrator of the tenant."
            raise request_error(700016, f"{words} '{self._principals.tenant}'. {more}", "unauthorized_client")
        return found

    def _prove(self, principal: Json, form: dict[str, str], audiences: set[str]) -> str:
        name = principal["client_id"]
        if self._faults.take("entra.secret_expired", user=name):
            raise client_error(7000222, f"The provided client secret keys for app '{name}' are expired.")
        if "client_assertion" in form:
            if form.get("client_assertion_type") != assertions.KIND:
                raise request_error(900145, "The client_assertion_type is not known.")
            assertions.check(principal, form["client_assertion"], audiences)
            return "2"
        if not form.get("client_secret"):
            words = "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials'"
            raise client_error(7000216, f"{words} grant type.")
        if not self._principals.has_secret(principal, form["client_secret"]):
            words = "Invalid client secret provided. Ensure the secret being sent in the request is the client secret"
            raise client_error(7000215, f"{words} value, not the client secret ID, for a secret added to app '{name}'.")
        return "1"

    def _audience(self, scope: str) -> str:
        resource, _, tail = scope.strip().rpartition("/")
        if tail != ".default" or not resource:
            words = f"The provided value for scope {scope} is not valid. Client credential flows must have a scope"
            more = "value with /.default suffixed to the resource identifier (application ID URI)."
            raise request_error(1002012, f"{words} {more}", "invalid_scope")
        plain = resource.rstrip("/").lower()
        if plain not in self.arm_audiences and plain not in (KUBERNETES, STORAGE):
            words = f"The resource principal named {resource} was not found in the tenant named sandbox."
            raise request_error(500011, words, "invalid_resource")
        return resource

    def _answer(self, principal: Json, audience: str, proof: str, absolute: bool = False) -> web.Response:
        short = self._faults.take("entra.short_tokens", user=principal["client_id"])
        seconds = int(float(short.get("seconds", 5)) if short else self._seconds)
        body: Json = {
            "token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds,
            "access_token": self._tokens.issue(principal, audience, seconds, proof),
        }  # fmt: skip
        if absolute:
            body = {**body, "expires_on": str(int(self._clock.time()) + seconds), "resource": audience}
        return web.json_response(body, headers={"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"})


def _base(request: web.Request) -> str:
    return f"https://{request.host}"
