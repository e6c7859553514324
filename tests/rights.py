"""What a request to an API server needs, and whether the portal says that it needs it: for the servers of the tests."""

from __future__ import annotations

import re

from compute import inside_rights

PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/v\d\w*(?:/namespaces/(?P<ns>[^/]+)(?=/))?/(?P<kind>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>log|scale|proxy)(?:/.*)?)?$"
)
VERBS = {"PATCH": "patch", "DELETE": "delete", "PUT": "update", "POST": "create"}
EVERYBODY = "selfsubjectaccessreviews"  # what every account may, by Kubernetes' own system:basic-user


def needed(method: str, path: str) -> inside_rights.Ask | None:
    """Verb, group and resource of a request; None for what every account may."""
    found = PATH.match(path)
    if found is None or found["kind"] == EVERYBODY:
        return None
    resource = found["kind"] + (f"/{found['sub']}" if found["sub"] else "")
    reading = "get" if found["name"] else "list"
    return VERBS.get(method, reading), found["group"] or "", resource


def lacking(method: str, path: str) -> str:
    """Why a request is refused to who has the portal's rights and no more; empty when it is not."""
    ask = needed(method, path)
    if ask is None or ask in set(inside_rights.asks()):
        return ""
    return f"{ask[0]} {ask[2]} in {ask[1] or 'the core group'} is not in compute/inside_rights.py"
