"""Expected failures. One exception, three renderings: problem+json, a page's toast, and the SDK's envelope."""

from __future__ import annotations

from typing import Any


class Problem(Exception):  # noqa: N818  (a Problem is the field's word, RFC 9457)
    """Something a person can understand and act on. Subclasses stand beside the function that raises them.

    `detail` says what is wrong with numbers and names, and what would pass. `extras` are further members of the
    problem document; they must be JSON and free of secrets.
    """

    status = 400
    code = "bad_request"
    title = "The request cannot be carried out"

    def __init__(self, detail: str, **extras: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extras = extras

    def as_dict(self) -> dict[str, Any]:
        """The members of an RFC 9457 problem document."""
        return {
            "type": f"urn:slipway:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.extras,
        }


class NotFound(Problem):
    status, code, title = 404, "not_found", "Not found"


class Forbidden(Problem):
    status, code, title = 403, "forbidden", "Your role does not allow this"


class Conflict(Problem):
    status, code, title = 409, "conflict", "Something else is in the way"


class Stale(Problem):
    status, code, title = 412, "stale", "Somebody changed this meanwhile"


class Invalid(Problem):
    status, code, title = 422, "invalid", "The values do not fit the rules"


class InvalidShape(Problem):
    status, code, title = 400, "invalid_request", "The request has the wrong shape"


class Retryable(Exception):
    """A failure that may pass by itself (network, 5xx, throttling): the engine tries the step again.

    `after` (seconds) is what the other side asked for, e.g. by Retry-After; the engine never asks earlier.
    """

    def __init__(self, detail: str, *, after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.after = after


class Held(Retryable):
    """A call that had no effect, since its turn comes only `after` seconds from now: waiting for that is no try."""
