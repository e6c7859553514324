"""Azure's failures as ours: refusals with the inner cause, and what may pass by itself."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from textwrap import shorten
from typing import Any

from portal.problems import Held, Problem, Retryable

TRANSIENT = (408, 429, 500, 502, 503, 504)
AKS = "Microsoft.ContainerService"
LOST_ANSWER = 15  # seconds before we look: a request whose answer was lost may still be on its way


class ArmRefused(Problem):
    """Azure said no; `detail` has its words, `azure_code` its code."""

    status, code, title = 422, "azure_refused", "Azure refused this"


class ArmNotFound(ArmRefused):
    status, code, title = 404, "azure_not_found", "Azure does not have this"


class ArmBusy(ArmRefused):
    status, code, title = 409, "azure_busy", "Azure is busy with the cluster"


class ArmUnregistered(ArmRefused):
    """`namespace` is the resource provider that the subscription has not registered."""

    status, code, title = 409, "azure_unregistered", "The subscription has not registered a resource provider"


class ArmChanged(ArmRefused):
    status, code, title = 412, "azure_changed", "It changed in Azure meanwhile"


class ArmDenied(ArmRefused):
    status, code, title = 502, "azure_denied", "Azure does not take the workspace's credential"


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the SDK raises into ArmRefused and its kinds, or Retryable."""
    from azure.core import exceptions as azure

    try:
        yield
    except azure.HttpResponseError as error:
        raise _failure(error) from None
    except azure.ServiceRequestError:
        raise Retryable("Azure cannot be reached.") from None
    except azure.ServiceResponseError:
        raise Retryable("Azure did not answer in time.", after=LOST_ANSWER) from None
    except azure.AzureError as error:
        raise Retryable(f"Azure cannot be reached ({type(error).__name__}).") from None


def _failure(error: Any) -> Exception:
    response = error.response
    status = error.status_code or 0
    if response is None and not status:
        if _is_silence(error):
            return Retryable("Microsoft Entra, which gives the tokens, cannot be reached.")
        first = str(error.message).strip().partition("\n")[0]  # what follows are trace ids, or each kind that was tried
        return ArmDenied(f"No token for Azure: {shorten(first, 300, placeholder='…')}")
    code, message = words(error.error)
    text = message or f"Azure answered {status} without a reason."
    if status in TRANSIENT:
        return passing(status, f"Azure answered {status}: {text}", response.headers if response else {})
    kind = _kind(status, code)
    return kind(f"{text} ({code})" if code else text, azure_code=code, azure_status=status, **request_ids(response))


def passing(status: int, text: str, headers: Any) -> Retryable:
    """An answer of TRANSIENT. After a 429 nothing was done: coming again when Azure wants it is no try of a step."""
    return (Held if status == 429 else Retryable)(text, after=retry_after(headers))


def _is_silence(error: BaseException) -> bool:
    """Whether azure-identity names a refusal what was none: no answer came, or one of a server in trouble."""
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError

    cause = error.__cause__
    if isinstance(cause, ServiceRequestError | ServiceResponseError | OSError):
        return True
    return type(cause).__name__ == "MsalServiceError" or getattr(cause, "status_code", 0) in TRANSIENT


def _kind(status: int, code: str) -> type[ArmRefused]:
    if status == 404:
        return ArmNotFound
    if status == 401:
        return ArmDenied
    if status == 412:
        return ArmChanged
    if status == 409 and code in ("OperationNotAllowed", "Conflict", "EtagMismatch", "AnotherOperationInProgress"):
        return ArmBusy
    return ArmRefused


def unregistered(response: Any) -> ArmUnregistered | None:
    """The refusal of a raw answer that misses a registration: the SDK would register and sleep until it is done."""
    if response.status_code != 409:
        return None
    code, message = said(response)
    if code != "MissingSubscriptionRegistration":
        return None
    named = re.search(r"[Nn]amespace '([A-Za-z.]+)'", message)
    return ArmUnregistered(message, azure_code=code, namespace=named[1] if named else AKS)


def said(response: Any) -> tuple[str, str]:
    """Code and message of a raw answer; empty without any."""
    try:
        return body_words(json.loads(response.body()))
    except ValueError:
        return "", ""


def request_ids(response: Any) -> dict[str, str]:
    """Azure's own request ids, for its support."""
    headers = response.headers if response is not None else {}
    names = ("x-ms-request-id", "x-ms-correlation-request-id")
    return {name.replace("-", "_"): headers[name] for name in names if headers.get(name)}


def words(error: Any) -> tuple[str, str]:
    """Code and message of an error of the SDK or a JSON error, wrapped or not, with the innermost cause."""
    if error is None:
        return "", ""
    code, message, details = (_get(error, name) for name in ("code", "message", "details"))
    inner = [words(detail) for detail in details] if isinstance(details, list) else []
    said = str(message or "").strip()
    causes = [text if sign in text else f"{text} ({sign})" for sign, text in inner if text and text not in said]
    return str(code or ""), ": ".join([said.rstrip(".") if causes else said, *causes[:2]]).strip(": ")


def _get(error: Any, name: str) -> Any:
    return error.get(name) if isinstance(error, dict) else getattr(error, name, None)


def body_words(body: Any) -> tuple[str, str]:
    """Code and message of an answer's body in either of Azure's two shapes."""
    if not isinstance(body, dict):
        return "", ""
    inner = body.get("error")
    return words(inner if isinstance(inner, dict) else body)


def retry_after(headers: Any) -> float | None:
    """The seconds of Retry-After, given as seconds or as a date; None without one that can be read."""
    text = str(headers.get("Retry-After") or "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?", text):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, when.replace(tzinfo=when.tzinfo or UTC).timestamp() - time.time())
