"""Who a request to ARM comes from: the home's own token, or a principal's."""

import hmac
from datetime import UTC, datetime

from compute.sandbox.arm.errors import ArmError, gateway
from compute.sandbox.clock import Clock
from compute.sandbox.entra.rights import Caller, assignment
from compute.sandbox.entra.tokens import BadToken, Expired, Tokens, WrongAudience

HOME = Caller("slipway-home", "slipway-home", (assignment({"scope": "/", "role": "Owner"}),))
"""The holder of the home's ARM token: it may do everything."""


class Gate:
    """Turns an Authorization header into a caller."""

    def __init__(self, token: str, tokens: Tokens, clock: Clock, audiences: frozenset[str], login: str) -> None:
        self._token, self._tokens, self._clock = token, tokens, clock
        self._audiences, self._login = audiences, login

    def caller(self, header: str) -> Caller:
        """The caller, or the front door's 401."""
        if not header:
            raise self._refuse("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
        scheme, _, token = header.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer":
            words = "The authentication scheme of the 'Authorization' header is not supported; it must be Bearer."
            raise self._refuse("AuthenticationFailed", words)
        if hmac.compare_digest(token.encode(), self._token.encode()):
            return HOME
        try:
            return self._tokens.read(token, self._audiences)
        except Expired as over:
            raise self.expired(over.ended) from None
        except WrongAudience as other:
            words = f"The access token has been obtained for wrong audience or resource '{other.audience}'. It should"
            names = ",".join(f"'{name}'" for name in sorted(self._audiences))
            more = f"exactly match with one of the allowed audiences {names}."
            raise self._refuse("InvalidAuthenticationTokenAudience", f"{words} {more}") from None
        except BadToken:
            raise self._refuse("InvalidAuthenticationToken", "The access token is invalid.") from None

    def expired(self, ended: float) -> ArmError:
        """401 for a token that ended at that second."""
        then, now = (datetime.fromtimestamp(moment, UTC).strftime("%m/%d/%Y %I:%M:%S %p")
                     for moment in (ended, self._clock.time()))  # fmt: skip
        words = f"The access token expiry UTC time '{then}' is earlier than current UTC time '{now}'."
        return self._refuse("ExpiredAuthenticationToken", words)

    def _refuse(self, code: str, words: str) -> ArmError:
        ask = f'Bearer authorization_uri="{self._login}", error="invalid_token", error_description="{words}"'
        return gateway(401, code, words, **{"WWW-Authenticate": ask})
