"""The route table and the table of clusters. Routes are tried in order: forced version, unknown version, split."""

from __future__ import annotations

from typing import Any

from endpoints.gateway.filters import CLIENT_HEADER, VERSION_HEADER, Json, from_file, set_header, typed
from endpoints.gateway.view import EndpointView, VersionView
from endpoints.types import AuthMode

PATHS = ("score", "swagger.json")
NOTHING = "There is nothing here."
NO_VERSION = "There is no such version."


def cluster_name(endpoint: str, version: str) -> str:
    """Envoy's name for the replicas of one version; neither part has a slash."""
    return f"{endpoint}/{version}"


def route_table(endpoints: tuple[EndpointView, ...]) -> Json:
    """All routes of a gateway; whatever matches none is a 404 that tells nothing."""
    routes = [route for endpoint in endpoints for path in PATHS for route in _routes(endpoint, path)]
    unknown = {"match": {"prefix": "/"}, **_say(404, NOTHING)}
    # What most routes share stands once: a table must fit into a ConfigMap.
    host = {
        "name": "scoring",
        "domains": ["*"],
        "routes": [*routes, unknown],
        "typed_per_filter_config": {"keys": _off(), "jwt": _off()},
        "retry_policy": _retries(),
    }
    return typed("config.route.v3.RouteConfiguration", name="scoring", validate_clusters=True, virtual_hosts=[host])


def _routes(endpoint: EndpointView, path: str) -> list[Json]:
    routed = [version for version in endpoint.versions if version.is_routed]
    if not routed:
        return []
    forced = [_forced(endpoint, version, path) for version in routed]
    unknown = _route(endpoint, path, {"present_match": True}) | _say(404, NO_VERSION)
    return [*forced, unknown, _route(endpoint, path, None) | _split(endpoint, routed, path)]


def _route(endpoint: EndpointView, path: str, version: Json | None) -> Json:
    match: Json = {"path": f"/api/v1/service/{endpoint.name}/{path}"}
    if version is not None:
        match["headers"] = [{"name": VERSION_HEADER, **version}]
    return {
        "name": endpoint.name,
        "match": match,
        "metadata": {"filter_metadata": {"scoring": {"endpoint": endpoint.name}}},
        **_auth(endpoint),
    }


def _forced(endpoint: EndpointView, version: VersionView, path: str) -> Json:
    action = {"cluster": cluster_name(endpoint.name, version.name), **_action(version, path)}
    route = _route(endpoint, path, {"string_match": {"exact": version.name}})
    return {**route, "route": action, "response_headers_to_add": [set_header(VERSION_HEADER, version.name)]}


def _split(endpoint: EndpointView, routed: list[VersionView], path: str) -> Json:
    taking = [version for version in routed if version.weight]
    clusters = [
        {
            "name": cluster_name(endpoint.name, version.name),
            "weight": version.weight,
            "response_headers_to_add": [set_header(VERSION_HEADER, version.name)],
        }
        for version in taking
    ]
    longest = max(taking, key=lambda version: version.timeout_ms)
    return {"route": {"weighted_clusters": {"clusters": clusters}, **_action(longest, path)}}


def _action(version: VersionView, path: str) -> Json:
    return {"prefix_rewrite": f"/{path}", "timeout": seconds(version.timeout_ms)}


def _retries() -> Json:
    """Only what surely reached no model is sent again."""
    elsewhere = typed("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate")
    return {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": 2,
        "host_selection_retry_max_attempts": 3,
        "retry_host_predicate": [{"name": "previous", "typed_config": elsewhere}],
    }


def seconds(milliseconds: int) -> str:
    """Milliseconds as Envoy writes a duration."""
    return f"{milliseconds / 1000:.3f}s"


def _say(status: int, text: str) -> Json:
    return {"direct_response": {"status": status, "body": {"inline_string": text}}}


def _off() -> Json:
    return typed("config.route.v3.FilterConfig", disabled=True)


def _auth(endpoint: EndpointView) -> Json:
    """Which filters look at the caller; none does unless a route says so."""
    if endpoint.auth == AuthMode.NONE:
        return {}
    if endpoint.auth == AuthMode.TOKEN:
        kind = "extensions.filters.http.jwt_authn.v3.PerRouteConfig"
        return {"typed_per_filter_config": {"jwt": typed(kind, requirement_name=endpoint.name)}}
    clients = [client_name(endpoint.name, slot) for slot, _ in endpoint.keys]
    # `forwarding` is repeated: a route's entry replaces it as a whole, and the model would see the key.
    per_route = typed(
        "extensions.filters.http.api_key_auth.v3.ApiKeyAuthPerRoute", allowed_clients=clients, forwarding=forwarding()
    )
    return {"typed_per_filter_config": {"keys": per_route}}


def client_name(endpoint: str, slot: str) -> str:
    """What a key is called in Envoy's log."""
    return f"{endpoint}/{slot}"


def forwarding() -> Json:
    """The model sees who called, never the key."""
    return {"header": CLIENT_HEADER, "hide_credentials": True}


def clusters(endpoints: tuple[EndpointView, ...]) -> list[Json]:
    """One cluster per version, routed or only loaded."""
    return [_cluster(endpoint.name, version) for endpoint in endpoints for version in endpoint.versions]


def _cluster(endpoint: str, version: VersionView) -> Json:
    least = typed("extensions.load_balancing_policies.least_request.v3.LeastRequest", selection_method="FULL_SCAN")
    eds = {
        "service_name": version.service,
        "eds_config": from_file("eds", f"{version.service.replace('/', '.')}.json"),
    }
    return typed(
        "config.cluster.v3.Cluster",
        name=cluster_name(endpoint, version.name),
        type="EDS",
        eds_cluster_config=eds,
        connect_timeout="1s",
        load_balancing_policy={
            "policies": [{"typed_extension_config": {"name": "least_request", "typed_config": least}}]
        },
        circuit_breakers=_breakers(version),
        outlier_detection=_outliers(),
        common_lb_config={"healthy_panic_threshold": {"value": 0}},
        ignore_health_on_host_removal=True,
        typed_extension_protocol_options=_upstream(),
    )


def _breakers(version: VersionView) -> Json:
    """A connection carries one request (HTTP/1.1), so connections per host are requests per replica."""
    whole = {"max_connections": 1024, "max_requests": 4096, "max_pending_requests": version.queue, "max_retries": 100}
    return {"per_host_thresholds": [{"max_connections": version.concurrency}], "thresholds": [whole]}


def _outliers() -> Json:
    """Only connection trouble puts a replica aside: by 5xx, a model that fails would lose all of them."""
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 3,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": "2s",
        "max_ejection_time": "10s",
        "max_ejection_percent": 100,
    }


def _upstream() -> dict[str, Any]:
    name = "extensions.upstreams.http.v3.HttpProtocolOptions"
    # Below the 2 s after which gunicorn closes an idle connection, else now and then a request meets a closed one.
    idle = {"idle_timeout": "1s"}
    options = typed(name, common_http_protocol_options=idle, explicit_http_config={"http_protocol_options": {}})
    return {f"envoy.{name}": options}
