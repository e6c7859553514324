"""Service principals: who they are, how they prove it, and their roles. Secrets are on disk only as hashes."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from compute.sandbox.db import Db
from compute.sandbox.entra.rights import Caller, assignment
from compute.sandbox.ids import stable_uuid

Json = dict[str, Any]
Roles = list[Json]
_TABLE = "entra_principals"
_ID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
_KNOWN = {"client_id", "name", "secret", "certificate", "federated", "groups", "roles", "managed_identity_key"}


class Principals:
    """All principals by client id."""

    def __init__(self, db: Db, tenant: str) -> None:
        self.tenant, self._db = tenant, db
        self._docs: dict[str, Json] = db.all(_TABLE)

    def put(self, client_id: str, asked: Any) -> Json:
        """Register or change a principal: what is given replaces what was. ValueError with what is wrong."""
        key = client_id.lower()
        if not _ID.fullmatch(key):
            raise ValueError(f"the client id {client_id!r} is no UUID")
        if not isinstance(asked, dict) or set(asked) - _KNOWN:
            raise ValueError(f"a principal is an object with some of: {', '.join(sorted(_KNOWN))}")
        doc = self._docs.get(key) or {
            "client_id": key, "object_id": stable_uuid("principal", key), "name": key, "secret": None,
            "certificates": [], "federated": [], "groups": [], "roles": [], "msi": None,
        }  # fmt: skip
        doc = {**doc, **_given(asked)}
        self._docs[key] = doc
        self._db.put(_TABLE, key, doc)
        return self.public(doc)

    def delete(self, client_id: str) -> None:
        """Forget a principal; its tokens end with it."""
        if self._docs.pop(client_id.lower(), None) is not None:
            self._db.delete(_TABLE, client_id.lower())

    def all(self) -> list[Json]:
        """All of them, without anything secret."""
        return [self.public(doc) for doc in self._docs.values()]

    def docs(self) -> Iterable[Json]:
        """All of them, as they are stored."""
        return self._docs.values()

    def grant(self, object_id: str, role: Json) -> None:
        """Add a role to the principal with that object id, if it is known here."""
        self._change_roles(object_id, lambda roles: [*roles, role])

    def revoke(self, object_id: str, name: str) -> None:
        """Take the role of that assignment away again."""
        self._change_roles(object_id, lambda roles: [row for row in roles if row.get("name") != name])

    def by_object(self, object_id: str) -> Json | None:
        """The principal with that object id, or None."""
        return next((doc for doc in self._docs.values() if doc["object_id"] == object_id.lower()), None)

    def _change_roles(self, object_id: str, change: Callable[[Roles], Roles]) -> None:
        doc = self.by_object(object_id)
        if doc is not None:
            doc["roles"] = change(doc["roles"])
            self._db.put(_TABLE, doc["client_id"], doc)

    def public(self, doc: Json) -> Json:
        """What may be shown."""
        shown = {key: doc[key] for key in ("client_id", "object_id", "name", "groups", "roles")}
        return {**shown, "tenant_id": self.tenant, "has_secret": doc["secret"] is not None,
                "certificates": len(doc["certificates"])}  # fmt: skip

    def find(self, client_id: str) -> Json | None:
        """The principal, or None."""
        return self._docs.get(client_id.lower())

    def of_identity_key(self, key: str) -> Json | None:
        """The managed identity whose machine shows this key, or None."""
        return next((doc for doc in self._docs.values() if doc["msi"] and _is(doc["msi"], key)), None)

    @staticmethod
    def has_secret(doc: Json, secret: str) -> bool:
        """Whether the secret is the principal's."""
        return doc["secret"] is not None and _is(doc["secret"], secret)

    @staticmethod
    def caller(doc: Json) -> Caller:
        """The principal with its rights."""
        return Caller(doc["client_id"], doc["object_id"], tuple(doc["roles"]), tuple(doc["groups"]))


def _given(asked: Json) -> Json:
    found: Json = {}
    if "name" in asked:
        found["name"] = str(asked["name"])
    if "secret" in asked:
        found["secret"] = None if asked["secret"] is None else _hash(str(asked["secret"]))
    if "managed_identity_key" in asked:
        found["msi"] = _hash(str(asked["managed_identity_key"]))
    if "certificate" in asked:
        texts = asked["certificate"] if isinstance(asked["certificate"], list) else [asked["certificate"]]
        found["certificates"] = [_certificate(str(text)) for text in texts if text]
    if "federated" in asked:
        found["federated"] = [_federated(row) for row in asked["federated"]]
    if "groups" in asked:
        found["groups"] = [str(row) for row in asked["groups"]]
    if "roles" in asked:
        found["roles"] = [assignment(row) for row in asked["roles"]]
    return found


def _certificate(text: str) -> str:
    """The first certificate of a PEM; a private key beside it is dropped."""
    found = x509.load_pem_x509_certificates(text.encode())[0]
    if not isinstance(found.public_key(), RSAPublicKey):
        raise ValueError("the certificate must have an RSA key")
    return found.public_bytes(serialization.Encoding.PEM).decode()


def _federated(row: Any) -> Json:
    """Whose tokens are taken instead of a secret: issuer, subject, audience, and the issuer's public key (PEM)."""
    found = {key: str(row[key]) for key in ("issuer", "subject", "key")}
    serialization.load_pem_public_key(found["key"].encode())
    return {**found, "audience": str(row.get("audience", "api://AzureADTokenExchange"))}


def _hash(secret: str) -> Json:
    salt = secrets.token_bytes(16)
    return {"salt": salt.hex(), "hash": _digest(secret, salt)}


def _is(known: Json, secret: str) -> bool:
    return hmac.compare_digest(_digest(secret, bytes.fromhex(known["salt"])), known["hash"])


def _digest(secret: str, salt: bytes) -> str:
    return hashlib.scrypt(secret.encode(), salt=salt, n=2**12, r=8, p=1, dklen=32).hex()
