"""Envoy's static part: the bootstrap, and listeners whose address each pod fills in. Never changes with traffic."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
ENVOY = "type.googleapis.com/envoy"
HTTP_PORT, HTTPS_PORT, PROBE_PORT = 8080, 8443, 9902
VERSION_HEADER, REASON_HEADER, CLIENT_HEADER = "azureml-model-deployment", "x-slipway-reason", "x-auth-client"
LARGEST_BODY = 100 * 1024 * 1024
BUCKETS = [
    500, 1000, 2000, 3000, 5000, 7000, 10000, 15000, 20000, 30000, 50000, 70000, 100000, 150000, 200000, 300000, 500000,
    1000000, 2000000, 5000000, 10000000, 30000000, 60000000,
]  # fmt: skip
FULL = "All replicas are busy and the queue is full. Try again after the seconds in Retry-After."
LATE = "The model did not answer within the scoring timeout."
NOBODY = "No replica of this version is ready."


def typed(kind: str, **members: Any) -> Json:
    """A message with its type."""
    return {"@type": f"{ENVOY}.{kind}", **members}


def from_file(folder: str, name: str) -> Json:
    """A configuration source that follows a file of a mounted volume; only the folder's swap is noticed there."""
    source = {"path": f"{folder}/{name}", "watched_directory": {"path": folder}}
    return {"path_config_source": source, "resource_api_version": "V3"}


def set_header(key: str, value: str) -> Json:
    """A header with exactly this value, whatever was there."""
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def bootstrap() -> Json:
    """The file that Envoy starts with."""
    limit = typed(
        "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=20000,
    )
    return {
        "node": {"id": "gateway", "cluster": "scoring"},
        "admin": {"address": {"pipe": {"path": "run/admin.sock", "mode": 0o600}}},
        "dynamic_resources": {"cds_config": from_file("config", "cds.json")},
        "static_resources": {"clusters": [_socket("admin"), _socket("numbers")]},
        "stats_flush_interval": "1s",
        "stats_config": {
            "histogram_bucket_settings": [{"match": {"contains": "scoring.duration"}, "buckets": BUCKETS}]
        },
        "overload_manager": {
            "resource_monitors": [
                {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": limit}
            ]
        },
    }


def listeners(address: str) -> list[Json]:
    """Plain and TLS scoring, and the reader's door to readiness and numbers."""
    plain = _listener("scoring", address, HTTP_PORT, {"filters": [_scoring_manager()]})
    tls = {"transport_socket": _tls(), "filters": [_scoring_manager()]}
    probe = _listener("probe", address, PROBE_PORT, {"filters": [_probe_manager()]})
    return [plain, _listener("scoring_tls", address, HTTPS_PORT, tls), probe]


def _listener(name: str, address: str, port: int, chain: Json) -> Json:
    where = {"socket_address": {"address": address, "port_value": port}}
    return {"name": name, "address": where, "filter_chains": [chain], "per_connection_buffer_limit_bytes": 1048576}


def _socket(name: str) -> Json:
    """A cluster that is a socket in the pod: Envoy's own admin, or the companion's numbers."""
    host = {"endpoint": {"address": {"pipe": {"path": f"run/{name}.sock"}}}}
    hosts = {"cluster_name": name, "endpoints": [{"lb_endpoints": [host]}]}
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": hosts}


def _tls() -> Json:
    context = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificate_sds_secret_configs": [{"name": "edge", "sds_config": from_file("secret", "sds.json")}],
    }
    kind = "extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    return {"name": "tls", "typed_config": typed(kind, common_tls_context=context)}


def _manager(prefix: str, **members: Any) -> Json:
    kind = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return {"name": "hcm", "typed_config": typed(kind, stat_prefix=prefix, **members)}


def _router() -> Json:
    # Callers learn nothing of how many tries there were or where a request went.
    router = typed("extensions.filters.http.router.v3.Router", suppress_envoy_headers=True)
    return {"name": "router", "typed_config": router}


def _probe_manager() -> Json:
    rds = {"route_config_name": "probe", "config_source": from_file("secret", "rds.probe.json")}
    return _manager("probe", rds=rds, http_filters=[_router()])


def _scoring_manager() -> Json:
    rds = {"route_config_name": "scoring", "config_source": from_file("config", "rds.json")}
    strip = typed(
        "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation", mutations=[{"remove": CLIENT_HEADER}]
    )
    return _manager(
        "scoring",
        rds=rds,
        use_remote_address=True,
        normalize_path=True,
        common_http_protocol_options={"idle_timeout": "1500s"},  # below the load balancer's, which tells nobody
        stream_idle_timeout="0s",  # a score may take longer than any idle limit; routes have their own timeout
        request_headers_timeout="30s",
        early_header_mutation_extensions=[{"name": "strip", "typed_config": strip}],
        local_reply_config=_local_replies(),
        access_log=[_failures_log(), _numbers()],
        http_filters=_http_filters(),
    )


def _http_filters() -> list[Json]:
    limit = typed("extensions.filters.http.body_size_limit.v3.BodySizeLimit", max_request_bytes=LARGEST_BODY)
    return [
        _discovered("keys", "secret", "ecds.keys.json", "extensions.filters.http.api_key_auth.v3.ApiKeyAuth"),
        _discovered("jwt", "config", "ecds.jwt.json", "extensions.filters.http.jwt_authn.v3.JwtAuthentication"),
        {"name": "body", "typed_config": limit},
        _router(),
    ]


def _discovered(name: str, folder: str, file: str, kind: str) -> Json:
    return {
        "name": name,
        "config_discovery": {"config_source": from_file(folder, file), "type_urls": [f"{ENVOY}.{kind}"]},
    }


def _local_replies() -> Json:
    return {
        "mappers": [
            _mapper(["UO"], 503, FULL, set_header("retry-after", "1"), set_header(REASON_HEADER, "overflow")),
            _mapper(["UT"], 504, LATE, set_header(REASON_HEADER, "timeout")),
            _mapper(
                ["UH", "UF", "UC", "NC"],
                503,
                NOBODY,
                set_header("retry-after", "1"),
                set_header(REASON_HEADER, "no-replica"),
            ),
        ],
        "body_format": _body("%LOCAL_REPLY_BODY%"),
    }


def _mapper(flags: list[str], status: int, message: str, *headers: Json) -> Json:
    is_status = {"comparison": {"op": "EQ", "value": {"default_value": status, "runtime_key": "unused"}}}
    both = [{"response_flag_filter": {"flags": flags}}, {"status_code_filter": is_status}]
    return {
        "filter": {"and_filter": {"filters": both}},
        "headers_to_add": list(headers),
        "body_format_override": _body(message),
    }


def _body(message: str) -> Json:
    error = {"code": "%RESPONSE_CODE%", "message": message, "requestId": "%REQ(x-request-id)%"}
    return {"content_type": "application/json", "json_format": {"error": error}}


def _failures_log() -> Json:
    """Lines for what went wrong; what went well is counted, not listed."""
    fields = {
        "ts": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
        "request_id": "%REQ(x-request-id)%",
        "client_request_id": "%REQ(x-ms-client-request-id)%",
        "endpoint": "%METADATA(ROUTE:scoring:endpoint)%",
        "version": f"%RESP({VERSION_HEADER})%",
        "replica": "%UPSTREAM_HOST%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "total_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    }
    failed = {"comparison": {"op": "GE", "value": {"default_value": 400, "runtime_key": "unused"}}}
    log = typed("extensions.access_loggers.stream.v3.StdoutAccessLog", log_format={"json_format": fields})
    return {"name": "failures", "filter": {"status_code_filter": failed}, "typed_config": log}


def _numbers() -> Json:
    """Counters and microsecond histograms by endpoint, version and status."""
    tags = [
        {"name": "ep", "value_format": "%METADATA(ROUTE:scoring:endpoint)%"},
        {"name": "ver", "value_format": f"%RESP({VERSION_HEADER})%"},
        {"name": "code", "value_format": "%RESPONSE_CODE%"},
    ]
    config = typed(
        "extensions.access_loggers.stats.v3.Config",
        stats_scope={"prefix": "scoring", "max_counters": 5000, "max_histograms": 5000},
        counters=[{"stat": {"name": "requests", "tags": tags}, "value_fixed": 1}],
        histograms=[
            {
                "stat": {"name": "duration", "tags": tags},
                "unit": "Microseconds",
                "value_format": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
            }
        ],
    )
    return {"name": "numbers", "typed_config": config}
