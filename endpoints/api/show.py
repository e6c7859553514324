"""Rows as REST shows them."""

from __future__ import annotations

from typing import Any

from deployments import queries as deployments
from endpoints import queries, traffic


def detail(endpoint: Any) -> dict[str, Any]:
    """A service or endpoint with its versions and shares."""
    state, reason = queries.state_of(endpoint)
    rows = queries.version_rows(endpoint=endpoint)
    split = [row.version.traffic() for row in rows]
    default = next((row.version.name for row in rows if row.version.is_default), None)
    return {
        "name": endpoint.name,
        "kind": endpoint.kind,
        "compute_target": endpoint.compute_target.name,
        "state": state,
        "reason": reason,
        "auth": endpoint.auth,
        "generation": endpoint.generation,
        "scoring_uri": endpoint.scoring_uri,
        "swagger_uri": endpoint.scoring_uri.removesuffix("score") + "swagger.json" if endpoint.scoring_uri else "",
        "description": endpoint.description,
        "tags": endpoint.tags,
        "properties": endpoint.properties,
        "created_at": endpoint.created_at,
        "updated_at": endpoint.updated_at,
        "drift": [{"version": row.version.name, **each} for row in rows for each in row.version.deployment.drift],
        "versions": {row.version.name: _version(row) for row in rows},
        "default_version": default,
        "successors": {v.name: traffic.successor(split, v.name) for v in split} if len(split) > 1 else {},
    }


def version(row: queries.VersionRow) -> dict[str, Any]:
    """One version of an endpoint."""
    return {"version": row.version.name, **_version(row)}


def _version(row: queries.VersionRow) -> dict[str, Any]:
    deployment = row.version.deployment
    return {
        "traffic_percentile": float(row.version.traffic_percentile),
        "is_default": row.version.is_default,
        "is_control": row.version.is_control,
        "type": "control" if row.version.is_control else "treatment",
        "configured_share": float(row.configured),
        "effective_share": float(round(row.effective, 2)),
        "observed_share": float(row.observed.share),
        "observed_requests": row.observed.requests,
        "observed_failed": row.observed.failed,
        "p50_ms": row.observed.p50_ms,
        "p95_ms": row.observed.p95_ms,
        "state": deployment.state,
        "reason": deployment.reason,
        "evidence": deployment.evidence,
        "fix": deployment.fix,
        "note": row.note,
        "revision": deployment.revision,
        "scaler": deployment.scaler or None,
        "scaler_note": deployment.scaler_note,
        "wanted_replicas": deployment.wanted_replicas,
        "ready_replicas": deployment.ready_replicas,
        "data_collection": deployments.collection(deployment=deployment),
    }


def line(endpoint: Any) -> dict[str, Any]:
    """A service or endpoint in a list."""
    state, reason = queries.state_of(endpoint)
    split = queries.split(endpoint=endpoint)
    return {
        "name": endpoint.name,
        "kind": endpoint.kind,
        "compute_target": endpoint.compute_target.name,
        "state": state,
        "reason": reason,
        "auth": endpoint.auth,
        "scoring_uri": endpoint.scoring_uri,
        "generation": endpoint.generation,
        "versions": {name: part["effective_share"] for name, part in split.items()},
        "created_at": endpoint.created_at,
    }
