"""Access tokens: signed by the directory, for one resource, ending by the sandbox's clock."""

import uuid
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from compute.sandbox.clock import Clock
from compute.sandbox.db import Db
from compute.sandbox.entra.principals import Principals
from compute.sandbox.entra.rights import Caller

Json = dict[str, Any]
KUBERNETES = "6dae42f8-4368-4678-94ff-3960e28e3630"
STORAGE = "https://storage.azure.com"
_TABLE = "entra_key"
_KID = "slipway-sandbox-1"


class BadToken(Exception):
    """The token is not ours, or its holder is gone."""


class Expired(BadToken):
    """The token was good; `ended` is when it stopped, in seconds since 1970."""

    def __init__(self, ended: int) -> None:
        super().__init__("The token is over.")
        self.ended = ended


class WrongAudience(BadToken):
    """The token is for another resource; `audience` is which."""

    def __init__(self, audience: str) -> None:
        super().__init__("The token is for another resource.")
        self.audience = audience


class Tokens:
    """Gives and reads tokens; the key is made once per state folder."""

    def __init__(self, db: Db, clock: Clock, principals: Principals) -> None:
        self._clock, self._principals = clock, principals
        doc = db.all(_TABLE).get("key")
        if doc is None:
            doc = {"pem": _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))}
            db.put(_TABLE, "key", doc)
        found = serialization.load_pem_private_key(doc["pem"].encode(), password=None)
        assert isinstance(found, RSAPrivateKey)  # noqa: S101 - we wrote it
        self._key = found

    def keys(self) -> Json:
        """The public key, as a key set."""
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**key, "use": "sig", "kid": _KID, "alg": "RS256"}]}

    def issue(self, principal: Json, audience: str, seconds: int, proof: str) -> str:
        """A token of the principal for the audience. `proof`: "1" by secret, "2" by certificate."""
        now, tenant = int(self._clock.time()), self._principals.tenant
        claims = {
            "aud": audience, "iss": f"https://sts.windows.net/{tenant}/", "iat": now, "nbf": now, "exp": now + seconds,
            "appid": principal["client_id"], "appidacr": proof, "idtyp": "app", "oid": principal["object_id"],
            "sub": principal["object_id"], "tid": tenant, "uti": uuid.uuid4().hex, "ver": "1.0",
        }  # fmt: skip
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": _KID})

    def read(self, token: str, audiences: frozenset[str]) -> Caller:
        """Who the token speaks for. Raises BadToken, Expired or WrongAudience."""
        options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
        try:
            claims = jwt.decode(token, self._key.public_key(), algorithms=["RS256"], options=options)
        except jwt.InvalidTokenError as error:
            raise BadToken("The token is not of this directory.") from error
        if claims["exp"] <= self._clock.time():
            raise Expired(int(claims["exp"]))
        if str(claims["aud"]).rstrip("/").lower() not in audiences:
            raise WrongAudience(str(claims["aud"]))
        principal = self._principals.find(claims["appid"])
        if principal is None:
            raise BadToken("The token's principal is gone.")
        return self._principals.caller(principal)


def _pem(key: RSAPrivateKey) -> str:
    kind = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()).decode()
