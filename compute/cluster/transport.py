"""One HTTPS connection pool to one API server, through the Kubernetes client, and its errors as ours."""

from __future__ import annotations

import json
import re
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from compute.cluster.kubeconfig import Access, BadKubeconfig
from portal import outbound
from portal.problems import Problem, Retryable

CONNECT_SECONDS = 3.05
NAMED = re.compile(r'conflict with "([^"]*)"')


class Refused(Problem):
    """The API server said no; `detail` has its words."""

    status, code, title = 422, "cluster_refused", "The cluster refused this"


class Unauthorized(Refused):
    status, code, title = 502, "cluster_unauthorized", "The cluster does not take the portal's credential"


class Gone(Refused):
    status, code, title = 404, "cluster_object_gone", "The cluster has no such object"


class FieldConflict(Refused):
    """Another manager owns fields that would change; `claims` in the extras are its name and each field."""

    status, code, title = 409, "field_conflict", "Somebody else has set this in the cluster"


class Transport:
    """Requests to one API server: to the checked address, no redirects, no retries, no proxy for loopback."""

    def __init__(
        self, access: Access, renew: Callable[[], Access] | None = None, entra: Callable[[], str] | None = None
    ) -> None:
        self._renew, self._entra = renew, entra
        self._use(access)

    def _use(self, access: Access) -> None:
        self._place = outbound.place(access.server)
        if self._place.scheme != "https":
            raise BadKubeconfig("The kubeconfig's server is not https.")
        if access.by_entra and self._entra is None:
            raise BadKubeconfig(
                "The kubeconfig wants Microsoft Entra sign-in, and there is no Azure credential for it."
            )
        self._by_entra = access.by_entra
        self._headers = {"Host": self._place.origin.partition("://")[2], "User-Agent": "slipway"}
        if access.token:
            self._headers["Authorization"] = f"Bearer {access.token}"
        self._api = _client(access, self._place)

    def close(self) -> None:
        """Give the connections back."""
        self._api.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: Any = None,
        content_type: str = "",
        headers: dict[str, str] | None = None,
        seconds: float = 15,
    ) -> bytes:
        """The answer's body. Raises Gone (404), Unauthorized (401), Refused (other 4xx) or Retryable.

        A 401 is tried once more with a fresh credential where there is a way to one.
        """
        call = (method, path, query, body, content_type, headers or {}, seconds)
        try:
            return self._once(*call)
        except Unauthorized:
            if self._renew is None:
                raise
        self.close()
        self._use(self._renew())
        return self._once(*call)

    def _once(
        self, method: str, path: str, query: dict[str, Any] | None, body: Any, content_type: str,
        headers: dict[str, str], seconds: float,
    ) -> bytes:  # fmt: skip
        sent = {**self._headers, "Accept": "application/json, */*", **headers}
        if self._by_entra and self._entra is not None:
            sent["Authorization"] = f"Bearer {self._entra()}"
        if body is not None:
            sent["Content-Type"] = content_type or "application/json"
        url = self._place.pinned_url + path + ("?" + urlencode(query) if query else "")
        status, answer, after = self._send(method, url, sent, body, seconds)
        if 200 <= status < 300:
            return answer
        raise failure(status, answer, after)

    def _send(
        self, method: str, url: str, headers: dict[str, str], body: Any, seconds: float
    ) -> tuple[int, bytes, str | None]:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            response = self._api.call_api(
                method, url, header_params=headers, body=body, _request_timeout=(CONNECT_SECONDS, seconds)
            )
            return response.status, response.read() or b"", response.headers.get("Retry-After")
        except (HTTPError, ApiException, OSError) as error:
            raise Retryable(f"The API server {self._place.host} {_why(error)}.") from None


def _why(error: Exception) -> str:
    """What went wrong with a connection, for people: a certificate that is not the server's is worth its own words."""
    cause: BaseException | None = error
    for _ in range(5):
        cause = getattr(cause, "reason", None) or (cause.args[0] if cause and cause.args else None)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"shows a certificate that the kubeconfig's CA and name do not fit ({cause.verify_message})"
        if not isinstance(cause, BaseException):
            break
    return f"does not answer ({type(error).__name__})"


def failure(status: int, answer: bytes, after: str | None = None) -> Exception:
    """What an answer other than 2xx means. A refused server-side apply comes as a 500 of its own."""
    text = words(answer) or f"HTTP {status}"
    if status == 500 and ("failed to create typed patch object" in text or "failed to create manager" in text):
        return Refused(text, cluster_status=status)
    if status >= 500 or status == 429:
        return Retryable(f"The API server answered {status}: {text}", after=_seconds(after))
    claims = claimed(answer) if status == 409 else []
    if claims:
        return FieldConflict(text, cluster_status=status, claims=claims)
    kinds: dict[int, type[Refused]] = {401: Unauthorized, 404: Gone}
    return kinds.get(status, Refused)(text, cluster_status=status)


def claimed(answer: bytes) -> list[dict[str, str]]:
    """Who claims which field, when an apply met other managers."""
    try:
        causes = (json.loads(answer).get("details") or {}).get("causes") or []
    except (ValueError, AttributeError):
        return []
    return [
        {"manager": (found[1] if (found := NAMED.search(str(each.get("message")))) else "?"),
         "field": str(each.get("field", "")).lstrip(".")}
        for each in causes if each.get("reason") == "FieldManagerConflict"
    ]  # fmt: skip


def words(answer: bytes) -> str:
    """The message of a Status body, or the start of any other text."""
    try:
        document = json.loads(answer)
    except ValueError:
        return answer[:300].decode("utf-8", "replace").strip()
    return str(document.get("message", ""))[:2000] if isinstance(document, dict) else ""


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdigit() else None


def _client(access: Access, place: outbound.Place) -> Any:
    from kubernetes.client import ApiClient, Configuration
    from urllib3 import Retry

    settings = Configuration(
        host=place.pinned_url,
        retries=Retry(total=0, redirect=0, raise_on_redirect=False),
        ca_cert_data=access.ca or None,
        tls_server_name=access.tls_name or place.host,
        connection_pool_maxsize=4,
        no_proxy="*" if place.is_loopback else None,
    )
    api = ApiClient(settings)
    api.rest_client.pool_manager.connection_pool_kw["ssl_context"] = _context(access)
    return api


def _context(access: Access) -> ssl.SSLContext:
    """A TLS context that trusts the CA alone, with the client certificate if there is one.

    From Python 3.13 on the default refuses CAs without key identifiers, as many clusters have made for themselves.
    """
    context = ssl.create_default_context(cadata=access.ca or None)
    if access.ca:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if access.certificate:
        _sign_in(context, access)
    return context


def _sign_in(context: ssl.SSLContext, access: Access) -> None:
    """Load the client certificate; OpenSSL reads files only, so they live for this call."""
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        certificate, key = Path(folder, "cert"), Path(folder, "key")
        certificate.write_bytes(access.certificate)
        key.write_bytes(access.key)
        try:
            context.load_cert_chain(certificate, key)
        except (ssl.SSLError, OSError):
            raise BadKubeconfig("The client certificate and key of the kubeconfig do not fit.") from None
