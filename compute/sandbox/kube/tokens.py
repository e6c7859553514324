"""Tokens of service accounts: signed, bound to the account (and a pod), and ending by the sandbox's clock."""

import secrets
import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import jwt

from compute.sandbox.kube.errors import not_found
from compute.sandbox.kube.kinds import KINDS
from compute.sandbox.kube.users import User, service_account_user

if TYPE_CHECKING:
    from compute.sandbox.kube.store import Store

Json = dict[str, Any]
ISSUER = "https://kubernetes.default.svc.cluster.local"
CLAIM = "kubernetes.io"
# A real server lets the 3607 s of a projected token pass for a year, since old clients never read the file again.
PROJECTED_SECONDS = 3607
EXTENDED_SECONDS = 365 * 86400


def new_key() -> str:
    """A signing key for one cluster."""
    return secrets.token_urlsafe(48)


def issue(
    store: "Store",
    cluster: str,
    key: str,
    account: tuple[str, str],
    *,
    seconds: int,
    audiences: list[str] | None = None,
    pod: str | None = None,
) -> tuple[str, datetime]:
    """A token for `account` (namespace, name) and the time it ends as its holder is told. 404 for no such account."""
    namespace, name = account
    found = store.get(cluster, "serviceaccounts", namespace, name)
    if found is None:
        raise not_found(KINDS["serviceaccounts"], name)
    now = store.clock.now()
    real = EXTENDED_SECONDS if seconds == PROJECTED_SECONDS else seconds
    about: Json = {"namespace": namespace, "serviceaccount": {"name": name, "uid": found["metadata"]["uid"]}}
    bound = store.get(cluster, "pods", namespace, pod) if pod else None
    if bound is not None:
        about["pod"] = {"name": pod, "uid": bound["metadata"]["uid"]}
    times = {"iat": int(now.timestamp()), "nbf": int(now.timestamp()), "exp": int(now.timestamp()) + real}
    claims = {"iss": ISSUER, "aud": audiences or [ISSUER], "jti": str(uuid.uuid4()), CLAIM: about, **times}
    claims["sub"] = f"system:serviceaccount:{namespace}:{name}"
    return jwt.encode(claims, key, algorithm="HS256"), now + timedelta(seconds=seconds)


def read(store: "Store", cluster: str, key: str, token: str) -> User | None:
    """Who the token speaks for, or None: not ours, too old, account or pod gone or made anew."""
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
    try:
        claims = jwt.decode(token, key, algorithms=["HS256"], issuer=ISSUER, options=options)
    except jwt.InvalidTokenError:
        return None
    about = claims.get(CLAIM, {})
    alive = claims["exp"] > store.clock.now().timestamp() and ISSUER in claims["aud"]
    if not (alive and _same(store, cluster, "serviceaccounts", about, "serviceaccount")):
        return None
    if "pod" in about and not _same(store, cluster, "pods", about, "pod"):
        return None
    return service_account_user(about["namespace"], about["serviceaccount"]["name"])


def _same(store: "Store", cluster: str, resource: str, about: Json, field: str) -> bool:
    found = store.get(cluster, resource, about["namespace"], about[field]["name"])
    return found is not None and found["metadata"]["uid"] == about[field]["uid"]
