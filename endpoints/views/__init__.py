"""Pages of services and endpoints."""

from endpoints.views.access import keys, regenerate, token
from endpoints.views.changing import delete, rollback, score, split, version_delete
from endpoints.views.deploying import create, update, version_create
from endpoints.views.gateway import certificate, entrance, gateway
from endpoints.views.reading import detail, inside, line, listing, live, version

__all__ = [
    "certificate", "create", "delete", "detail", "entrance", "gateway", "inside", "keys", "line", "listing", "live",
    "regenerate", "rollback", "score", "split", "token", "update", "version", "version_create", "version_delete",
]  # fmt: skip
