"""Who asks: API tokens and the browser's session. Apart from `http`, since DRF imports these before its views."""

from __future__ import annotations

from typing import Any

from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.request import Request

from portal.models import User
from portal.queries import user_of_token


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <API token>`."""

    def authenticate(self, request: Request) -> tuple[User, Any] | None:
        """The token's user, or None when another scheme is used."""
        kind, _, secret = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return None
        user = user_of_token(secret.strip())
        if user is None:
            raise exceptions.AuthenticationFailed("The API token is unknown, revoked or expired.")
        return user, user.acting_token

    def authenticate_header(self, request: Request) -> str:
        """Makes DRF answer 401, not 403."""
        return 'Bearer realm="slipway"'


class PageSession(SessionAuthentication):
    """The browser's session, with CSRF protection."""
