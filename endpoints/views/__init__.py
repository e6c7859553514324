"""Pages of services and endpoints."""

from endpoints.views.access import keys, regenerate, token
from endpoints.views.changing import delete, rollback, score, split, version_delete
from endpoints.views.deploying import create, update, version_create
from endpoints.views.export import exported, gateway_exported
from endpoints.views.gateway import certificate, entrance, gateway
from endpoints.views.reading import detail, inside, line, listing, live, version
from endpoints.views.upkeep import gateway_put_back, put_back

__all__ = [
    "certificate", "create", "delete", "detail", "entrance", "exported", "gateway", "gateway_exported",
    "gateway_put_back", "inside", "keys", "line", "listing", "live", "put_back", "regenerate", "rollback", "score",
    "split", "token", "update", "version", "version_create", "version_delete",
]  # fmt: skip
