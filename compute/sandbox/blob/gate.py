"""Whether a request to the Blob service may do what it asks: Shared Key, SAS, or a token of the directory."""

import hmac
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from aiohttp import web

from compute.sandbox.blob import signing
from compute.sandbox.blob.errors import BlobError
from compute.sandbox.clock import Clock
from compute.sandbox.entra.principals import Principals
from compute.sandbox.entra.rights import Caller
from compute.sandbox.entra.tokens import STORAGE, BadToken, Tokens

_CLOCKS_SECONDS = 900
_KEY_SECONDS = 7 * 86_400
_DATA = "Microsoft.Storage/storageAccounts/blobServices"
_ACTIONS = {
    "r": f"{_DATA}/containers/blobs/read", "w": f"{_DATA}/containers/blobs/write",
    "d": f"{_DATA}/containers/blobs/delete", "l": f"{_DATA}/containers/blobs/read",
}  # fmt: skip
_KEY_ACTION = f"{_DATA}/generateUserDelegationKey/action"
_MAKE_ACTION = f"{_DATA}/containers/write"


@dataclass(frozen=True)
class Asked:
    """What a request wants: `right` is r, w, d, l (list), m (make the container) or k (a user delegation key)."""

    right: str
    container: str = ""
    blob: str = ""


class BlobGate:
    """Lets requests in, or raises BlobError."""

    def __init__(
        self, account: str, key: str, scope: str, tokens: Tokens, principals: Principals, clock: Clock
    ) -> None:
        self._account, self._key, self._scope = account, key, scope
        self._tokens, self._principals, self._clock = tokens, principals, clock

    def check(self, request: web.Request, asked: Asked) -> Caller | None:
        """Who asks by a token; None for a key or a SAS. Raises BlobError."""
        header = request.headers.get("Authorization", "")
        if "sig" in request.query:
            if header:
                raise BlobError(403, "AuthenticationFailed", "A SAS and an Authorization header exclude each other.")
            self._check_sas(request, asked)
            return None
        scheme, _, rest = header.partition(" ")
        if scheme == "SharedKey":
            self._check_times(request)
            self._check_key(request, rest)
            return None
        if scheme == "Bearer":
            self._check_times(request)
            return self._check_token(request, rest.strip(), asked)
        ask = f"Bearer authorization_uri=https://login.microsoftonline.com/{self._principals.tenant}/oauth2/authorize"
        if not header:
            more = {"WWW-Authenticate": f"{ask} resource_id={STORAGE}"}
            raise BlobError(401, "NoAuthenticationInformation", "", **more)
        raise BlobError(400, "InvalidAuthenticationInfo", f"The scheme {scheme} is not known.")

    @staticmethod
    def _check_times(request: web.Request) -> None:
        version = request.headers.get("x-ms-version", "")
        if not re.fullmatch(r"20\d\d-\d\d-\d\d", version):
            raise BlobError(400, "InvalidHeaderValue" if version else "MissingRequiredHeader")
        text = request.headers.get("x-ms-date") or request.headers.get("Date") or ""
        try:
            given = parsedate_to_datetime(text).timestamp()
        except ValueError:
            raise BlobError(403, "AuthenticationFailed", "The Date header in the request is incorrect.") from None
        if abs(time.time() - given) > _CLOCKS_SECONDS:  # the client's clock is this machine's, whatever ours shows
            raise BlobError(403, "AuthenticationFailed", f"Request date header too old: '{text}'")

    def _check_key(self, request: web.Request, given: str) -> None:
        account, _, signature = given.partition(":")
        raw = request.raw_path.partition("?")[0]
        text = signing.shared_key(self._account, request.method, raw, request.query.items(), request.headers)
        right = signing.sign(self._key, text)
        if account != self._account or not hmac.compare_digest(right.encode(), signature.encode()):
            words = f"The MAC signature found in the HTTP request '{signature[:4]}…' is not the same as any computed"
            more = f"{words} signature. Server used following string to sign: {text!r}."
            raise BlobError(403, "AuthenticationFailed", more)

    def _check_token(self, request: web.Request, token: str, asked: Asked) -> Caller:
        if not request.secure:
            raise BlobError(403, "AuthenticationFailed", "A token is taken over https only.")
        try:
            caller = self._tokens.read(token, frozenset({STORAGE}))
        except BadToken as error:
            raise BlobError(401, "InvalidAuthenticationInfo", f"The token is not taken: {error}") from None
        self._permit(caller, asked)
        return caller

    def _permit(self, caller: Caller, asked: Asked) -> None:
        inside = f"{self._scope}/blobServices/default/containers/{asked.container}"
        if asked.right == "k":
            allowed = caller.may(_KEY_ACTION, self._scope)
        elif asked.right == "m":
            allowed = caller.may(_MAKE_ACTION, inside)
        else:
            allowed = caller.may(_ACTIONS[asked.right], inside, data=True)
        if not allowed:
            raise BlobError(403, "AuthorizationPermissionMismatch")

    def _check_sas(self, request: web.Request, asked: Asked) -> None:
        given = dict(request.query)
        if given.get("sv", "") < signing.FIRST_SAS or given.get("sr") not in ("b", "c") or "si" in given:
            words = f"This account takes SAS of versions from {signing.FIRST_SAS} on, for b or c."
            raise BlobError(403, "AuthenticationFailed", words)
        path = f"/{asked.container}/{asked.blob}" if given["sr"] == "b" else f"/{asked.container}"
        delegated = "skoid" in given
        text = (signing.delegated_sas if delegated else signing.service_sas)(self._account, path, given)
        key = signing.delegation_key(self._key, _key_parts(given)) if delegated else self._key
        if not hmac.compare_digest(signing.sign(key, text).encode(), given["sig"].encode()):
            raise BlobError(403, "AuthenticationFailed", f"Signature did not match. String to sign used was {text!r}.")
        self._check_window(given, "st", "se")
        if given.get("spr", "https,http") == "https" and not request.secure:
            raise BlobError(403, "AuthorizationProtocolMismatch")
        permits = {"w": "wc", "r": "r", "d": "d", "l": "l"}.get(asked.right, "")
        if not set(permits) & set(given.get("sp", "")):
            raise BlobError(403, "AuthorizationPermissionMismatch")
        if delegated:
            self._check_window(given, "skt", "ske")
            self._permit(self._holder(given["skoid"]), asked)

    def _holder(self, object_id: str) -> Caller:
        found = self._principals.by_object(object_id)
        if found is None:
            raise BlobError(403, "AuthenticationFailed", "The principal of the user delegation key is gone.")
        return self._principals.caller(found)

    def _check_window(self, given: dict[str, str], first: str, last: str) -> None:
        now = self._clock.time()
        start = moment(given[first]) if given.get(first) else now
        end = moment(given.get(last, ""))
        if not start <= now < end:
            words = f"Signature not valid in the specified time frame: Start [{given.get(first, '')}] - Expiry"
            shown = datetime.fromtimestamp(now, UTC).isoformat()
            raise BlobError(403, "AuthenticationFailed", f"{words} [{given.get(last)}] - Current [{shown}]")

    def delegate(self, caller: Caller, start: str, expiry: str, version: str) -> dict[str, str]:
        """A user delegation key for the caller; at most 7 days. Raises BlobError."""
        now, first, last = self._clock.time(), moment(start) if start else self._clock.time(), moment(expiry)
        if last <= now or last <= first or last - now > _KEY_SECONDS or first - now > _KEY_SECONDS:
            raise BlobError(400, "InvalidInput")
        found = {
            "skoid": caller.object_id, "sktid": self._principals.tenant, "skt": start, "ske": expiry, "sks": "b",
            "skv": version,
        }  # fmt: skip
        return {**found, "value": signing.delegation_key(self._key, _key_parts(found))}


def _key_parts(given: dict[str, str]) -> list[str]:
    return [given.get(name, "") for name in ("skoid", "sktid", "skt", "ske", "sks", "skv")]


def moment(text: str) -> float:
    """Seconds since 1970 of an ISO time in UTC. BlobError when it is none."""
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise BlobError(403, "AuthenticationFailed", f"{text!r} is no time.") from None
    return found.replace(tzinfo=found.tzinfo or UTC).timestamp()
