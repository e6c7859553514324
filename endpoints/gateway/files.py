"""The files that Envoy follows, each with a version `<counter>-<hash>`; an unchanged file keeps its version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compute.names import gateway_namespace
from endpoints.gateway import routes
from endpoints.gateway.filters import Json, typed
from endpoints.gateway.view import GatewayView

PROBE_HEADER, METRICS_PATH = "x-slipway-probe", "/metrics"
# What a scraper without the secret may know: how much there is to do and how long it takes in all, no names.
OPEN_NUMBERS = (
    "^(http[.]scoring[.]downstream_(cx_(total|active)|rq_(total|active|[1-5]xx|time))"
    "|server[.](uptime|memory_allocated|days_until_first_cert_expiring))$"
)
NUMBERS_PATH, NUMBERS_SERVICE = "/in-flight", "slipway-gateway-numbers"
# Which statistic tells the version of a file that Envoy has taken.
STATISTICS = {
    "cds.json": "cluster_manager.cds.version_text",
    "rds.json": "http.scoring.rds.scoring.version_text",
    "ecds.jwt.json": "extension_config_discovery.http_filter.jwt.version_text",
    "ecds.keys.json": "extension_config_discovery.http_filter.keys.version_text",
    "sds.json": "sds.edge.version_text",
}
IN_SECRET = {"ecds.keys.json", "sds.json"}  # the others are in the ConfigMap, "rest" is in both


FILES = (*STATISTICS, "rest")  # what has a version; "rest" stands for all other files


@dataclass(frozen=True)
class Files:
    """What goes into the gateway's ConfigMap and Secret, and the version of each of FILES."""

    config: dict[str, str]
    secret: dict[str, str] = field(repr=False)
    versions: dict[str, str]


def build(view: GatewayView, counter: int, before: Mapping[str, str]) -> Files:
    """All files of a gateway. `before` are the versions that are out now: an equal file keeps its own."""
    resources = {
        "cds.json": routes.clusters(view.endpoints),
        "rds.json": [routes.route_table(view.endpoints)],
        "ecds.jwt.json": [_tokens(view)],
        "ecds.keys.json": [_keys(view)],
        "sds.json": [_certificate(view)],
    }
    versions = {name: _version(content, counter, before.get(name, "")) for name, content in resources.items()}
    texts = {name: _text({"version_info": versions[name], "resources": content}) for name, content in resources.items()}
    secret = {
        "ecds.keys.json": texts.pop("ecds.keys.json"),
        "rds.probe.json": _text({"version_info": "1", "resources": [_probe(view.probe_secret)]}),
        "sds.json": texts.pop("sds.json"),
    }
    home = {"namespace": gateway_namespace(view.target_id, view.workspace), "service": NUMBERS_SERVICE}
    config = {**texts, "companion.json": _text({"namespaces": sorted(view.namespaces), "home": home})}
    versions["rest"] = _version(_rest(config, secret), counter, before.get("rest", ""))
    return Files(config, secret, versions)


def held(config: Mapping[str, str], secret: Mapping[str, str]) -> dict[str, str]:
    """The versions of the files that a cluster holds; a file whose content is not that of its version has none."""
    versions = {name: _held(({**config, **secret}).get(name, "")) for name in STATISTICS}
    return {**versions, "rest": f"0-{_digest(_rest(config, secret))}"}


def _held(text: str) -> str:
    try:
        document = json.loads(text or "{}")
    except ValueError:
        return ""
    version = str(document.get("version_info", ""))
    return version if version.partition("-")[2] == _digest(document.get("resources")) else ""


def _rest(config: Mapping[str, str], secret: Mapping[str, str]) -> list[str]:
    return [secret.get("rds.probe.json", ""), config.get("companion.json", "")]


def expected(versions: Mapping[str, str], seen: Mapping[str, Any]) -> list[str]:
    """The files that Envoy, by its statistics, has not taken yet in this version or a later one."""
    return [
        name
        for name, statistic in STATISTICS.items()
        if _counter(str(seen.get(statistic, ""))) < _counter(versions.get(name, ""))
    ]


def _counter(version: str) -> int:
    head = version.split("-", 1)[0]
    return int(head) if head.isdigit() else 0


def _version(content: Any, counter: int, before: str) -> str:
    digest = _digest(content)
    return before if before.partition("-")[2] == digest else f"{counter}-{digest}"


def _digest(content: Any) -> str:
    return hashlib.sha256(_text(content).encode()).hexdigest()[:12]


def _text(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _keys(view: GatewayView) -> Json:
    credentials = [
        {"client": routes.client_name(endpoint.name, slot), "key": key}
        for endpoint in view.endpoints
        for slot, key in endpoint.keys
    ]
    config = typed(
        "extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
        key_sources=[{"header": "Authorization"}],
        forwarding=routes.forwarding(),
        credentials=credentials,
    )
    return typed("config.core.v3.TypedExtensionConfig", name="keys", typed_config=config)


def _tokens(view: GatewayView) -> Json:
    provider = {
        "issuer": view.issuer,
        "local_jwks": {"inline_string": view.jwks},
        "require_expiration": True,
        "forward": False,
        "claim_to_headers": [{"header_name": "x-auth-client", "claim_name": "sub"}],
        "jwt_cache_config": {"jwt_cache_size": 1000},
    }
    needs = {
        endpoint.name: {"provider_and_audiences": {"provider_name": "portal", "audiences": [endpoint.audience]}}
        for endpoint in view.endpoints
    }
    # Envoy refuses a provider without a key; without a provider every token is refused, which is what it should be.
    known = bool(json.loads(view.jwks)["keys"])
    config = typed(
        "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        strip_failure_response=True,
        providers={"portal": provider} if known else {},
        requirement_map=needs if known else {},
    )
    return typed("config.core.v3.TypedExtensionConfig", name="jwt", typed_config=config)


def _probe(secret: str) -> Json:
    """Readiness and all numbers, by GET and with the secret only; without it the numbers that name nothing.

    The companion sees the secret, as it asks the other gateway pods with it.
    """
    is_get = {"name": ":method", "string_match": {"exact": "GET"}}
    must = [{"name": PROBE_HEADER, "string_match": {"exact": secret}}, is_get]
    strip = {"request_headers_to_remove": [PROBE_HEADER]}
    matches = [{"path": "/ready"}, {"path": "/stats"}, {"path": "/stats/prometheus"}]
    let_in = [{"match": {**match, "headers": must}, "route": {"cluster": "admin"}, **strip} for match in matches]
    # The whole path, so that nobody adds a query of their own.
    bare = {"name": ":path", "string_match": {"exact": METRICS_PATH}}
    page = {"cluster": "admin", "prefix_rewrite": f"/stats/prometheus?usedonly&filter={OPEN_NUMBERS}"}
    scraped = {"match": {"path": METRICS_PATH, "headers": [bare, is_get]}, "route": page, **strip}
    numbers = {"match": {"path": NUMBERS_PATH, "headers": must}, "route": {"cluster": "numbers"}}
    refuse = {"match": {"prefix": "/"}, "direct_response": {"status": 404}}
    routes = [*let_in, scraped, numbers, refuse]
    host = {"name": "probe", "domains": ["*"], "routes": routes}
    return typed("config.route.v3.RouteConfiguration", name="probe", virtual_hosts=[host])


def _certificate(view: GatewayView) -> Json:
    """Certificate and key in one file, which changes at once and whose version Envoy tells; never half of a pair."""
    pair = {
        "certificate_chain": {"inline_string": view.tls_certificate},
        "private_key": {"inline_string": view.tls_key},
    }
    return typed("extensions.transport_sockets.tls.v3.Secret", name="edge", tls_certificate=pair)
