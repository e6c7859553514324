"""Refusals of the API: one exception, and the sentences a real server uses for the common ones."""

from typing import Any

from compute.sandbox.kube.kinds import Kind

Json = dict[str, Any]


class ApiError(Exception):
    """A refusal, rendered as a metav1 `Status` with this HTTP status, reason, message and details."""

    def __init__(self, status: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details

    def body(self) -> Json:
        """The `Status` object that clients parse."""
        doc: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        doc |= {"message": self.message, "reason": self.reason}
        if self.details is not None:
            doc["details"] = self.details
        doc["code"] = self.status
        return {key: value for key, value in doc.items() if value != ""}


def _details(kind: Kind, name: str, **more: Any) -> Json:
    doc: Json = {"name": name} if name else {}
    if kind.group:
        doc["group"] = kind.group
    return {**doc, "kind": kind.resource, **more}


def not_found(kind: Kind, name: str) -> ApiError:
    """404, as `deployments.apps "x" not found`."""
    return ApiError(404, "NotFound", f'{kind.qualified} "{name}" not found', _details(kind, name))


def already_exists(kind: Kind, name: str) -> ApiError:
    """409 for a create of a name that is taken."""
    return ApiError(409, "AlreadyExists", f'{kind.qualified} "{name}" already exists', _details(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> ApiError:
    """409 for a stale resourceVersion, or another `why`."""
    why = why or ("the object has been modified; please apply your changes to the latest version and try again")
    text = f'Operation cannot be fulfilled on {kind.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", text, _details(kind, name))


def forbidden(kind: Kind, name: str, why: str) -> ApiError:
    """403 of an admission rule (quota, terminating namespace, service account)."""
    return ApiError(403, "Forbidden", f'{kind.qualified} "{name}" is forbidden: {why}', _details(kind, name))


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def expired(oldest: int, asked: int) -> ApiError:
    """410: the asked resourceVersion is no longer in the ring of changes."""
    return ApiError(410, "Expired", f"too old resource version: {asked} ({oldest})")
