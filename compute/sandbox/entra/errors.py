"""Refusals of the authority, in Entra's shape."""

import uuid
from datetime import datetime
from typing import Any

from aiohttp import web

Json = dict[str, Any]


class EntraError(Exception):
    """A refusal with its AADSTS number."""

    def __init__(self, status: int, error: str, number: int, words: str) -> None:
        super().__init__(words)
        self.status, self.error, self.number, self.words = status, error, number, words

    def response(self, now: datetime, correlation: str) -> web.Response:
        """The HTTP answer."""
        trace, moment = str(uuid.uuid4()), now.strftime("%Y-%m-%d %H:%M:%SZ")
        about = f"Trace ID: {trace} Correlation ID: {correlation} Timestamp: {moment}"
        body = {
            "error": self.error, "error_description": f"AADSTS{self.number}: {self.words} {about}",
            "error_codes": [self.number], "timestamp": moment, "trace_id": trace, "correlation_id": correlation,
            "error_uri": f"https://login.microsoftonline.com/error?code={self.number}",
        }  # fmt: skip
        return web.json_response(body, status=self.status, headers={"Cache-Control": "no-store, no-cache"})


def client_error(number: int, words: str) -> EntraError:
    """401: the client did not prove who it is."""
    return EntraError(401, "invalid_client", number, words)


def request_error(number: int, words: str, error: str = "invalid_request") -> EntraError:
    """400: the request cannot be served."""
    return EntraError(400, error, number, words)
