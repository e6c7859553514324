"""Every write of endpoints: one transaction each, with audit; long work is started as an operation."""

from endpoints.actions.access import (
    auth_set,
    key_regenerate,
    key_set,
    keys_reveal,
    signing_key_ensure,
    signing_key_renew,
    signing_key_rotate,
    token_issue,
    try_credential,
)
from endpoints.actions.endpoints import (
    Change,
    Draft,
    endpoint_change,
    endpoint_create,
    endpoint_delete,
    endpoint_describe,
    service_create,
)
from endpoints.actions.entrance import entrance_set
from endpoints.actions.gateway import certificate_make, certificate_set, certificate_watch, certificates_watch
from endpoints.actions.upkeep import endpoint_put_back, export_revealed, gateway_put_back
from endpoints.actions.versions import (
    endpoint_set_traffic,
    version_create,
    version_delete,
    version_rollback,
    version_update,
)

__all__ = [
    "Change",
    "Draft",
    "auth_set",
    "certificate_make",
    "certificate_set",
    "certificate_watch",
    "certificates_watch",
    "endpoint_change",
    "endpoint_create",
    "endpoint_delete",
    "endpoint_describe",
    "endpoint_put_back",
    "endpoint_set_traffic",
    "entrance_set",
    "export_revealed",
    "gateway_put_back",
    "key_regenerate",
    "key_set",
    "keys_reveal",
    "service_create",
    "signing_key_ensure",
    "signing_key_renew",
    "signing_key_rotate",
    "token_issue",
    "try_credential",
    "version_create",
    "version_delete",
    "version_rollback",
    "version_update",
]
