"""The deployment configuration: JSON with camelCase keys in, a checked dataclass out. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compute.pools import NAME as POOL
from portal.problems import Invalid

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
RESERVED = ("kube-", "slipway-gw-")
KEY_LENGTH = 16
MOST_REPLICAS = 1000
RESOURCES = ("cpu", "cpuLimit", "memoryInGB", "memoryInGBLimit", "gpu")
SCALER = ("autoscaleEnabled", "minReplicas", "maxReplicas", "refreshPeriodInSeconds", "targetUtilization")
PROBE = ("periodSeconds", "initialDelaySeconds", "timeoutSeconds", "successThreshold", "failureThreshold")
KNOWN = (
    "containerResourceRequirements", "gpuCores", "numReplicas", "autoScaler", "maxConcurrentRequestsPerContainer",
    "maxQueueWaitMs", "scoringTimeoutMs", "livenessProbeRequirements", "authEnabled", "tokenAuthEnabled", "keys",
    "appInsightsEnabled", "dataCollection", "namespace", "nodePool", "tags", "properties", "description",
    "computeType",
)  # fmt: skip
COLLECTION = ("storageEnabled", "eventHubEnabled", "samplePercent", "maxBodyKiB")
MOST_BODY_KIB = 1024
MOST_LABELS = 50
NO_INSIGHTS = (
    "appInsightsEnabled is on, but this workspace has no Application Insights: nothing is sent. An Owner gives the "
    "connection string under Settings: Azure; then update the deployment."
)


NO_EVENT_HUB = (
    "dataCollection.eventHubEnabled is on, but nothing is sent to an Event Hub from here: storageEnabled keeps inputs "
    "and outputs in files."
)


class InvalidConfig(Invalid):
    code, title = "invalid_deployment_config", "The deployment configuration does not fit the rules"


@dataclass(frozen=True)
class Probe:
    """The liveness probe; seconds and counts."""

    period_seconds: int = 10
    initial_delay_seconds: int = 310
    timeout_seconds: int = 2
    success_threshold: int = 1
    failure_threshold: int = 3


@dataclass(frozen=True)
class Collection:
    """How much is kept of scored requests: the percent of them, and of each body the first KiB."""

    percent: float = 100
    body_kib: int = 64


@dataclass(frozen=True)
class DeploymentConfig:
    """A checked deployment configuration with its defaults. `num_replicas` is None while autoscaling is on."""

    cpu: float = 0.1
    cpu_limit: float | None = None
    memory_gb: float = 0.5
    memory_gb_limit: float | None = None
    gpu_cores: int = 0
    num_replicas: int | None = None
    min_replicas: int = 1
    max_replicas: int = 10
    refresh_period_seconds: int = 1
    target_utilization: int = 70
    max_concurrent_requests: int = 1
    max_queue_wait_ms: int = 500
    scoring_timeout_ms: int = 60000
    probe: Probe = Probe()
    auth_enabled: bool = True
    token_auth_enabled: bool = False
    keys: tuple[str, str] | None = None
    namespace: str = ""
    node_pool: str = ""
    app_insights: bool = False
    collection: Collection | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def autoscale_enabled(self) -> bool:
        """Whether the portal follows the load."""
        return self.num_replicas is None

    def warnings_in(self, *, has_insights: bool) -> tuple[str, ...]:
        """What is accepted and not done, in a workspace with or without a connection to Application Insights."""
        return (NO_INSIGHTS, *self.warnings) if self.app_insights and not has_insights else self.warnings

    @property
    def first_replicas(self) -> int:
        """How many replicas a new deployment starts with."""
        return self.min_replicas if self.num_replicas is None else self.num_replicas

    @classmethod
    def parse(cls, given: Mapping[str, Any] | None) -> DeploymentConfig:
        """Check all rules. Raises InvalidConfig (422) that names the key, the value and what would pass."""
        config = _object(given, "The deployment configuration", KNOWN)
        auth, token = _auth(config)
        _compute_type(config)
        return cls(
            **_resources(config),
            **_replicas(config),
            max_concurrent_requests=_whole(config, "maxConcurrentRequestsPerContainer", 1, low=1),
            max_queue_wait_ms=_whole(config, "maxQueueWaitMs", 500, low=0),
            scoring_timeout_ms=_whole(config, "scoringTimeoutMs", 60000, low=1),
            probe=_probe(config),
            auth_enabled=auth,
            token_auth_enabled=token,
            keys=_keys(config, auth),
            namespace=_namespace(config),
            node_pool=_node_pool(config),
            app_insights=_flag(config, "appInsightsEnabled", False),
            collection=_collection(config),
            tags=labels(config.get("tags"), "tags"),
            properties=labels(config.get("properties"), "properties"),
            description=_description(config),
            warnings=_warnings(config),
        )


def _object(given: Any, name: str, known: tuple[str, ...]) -> dict[str, Any]:
    """The members that are not null; unknown ones are refused by name."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidConfig(f"{name} must be a JSON object.")
    unknown = sorted(str(key) for key in set(given) - set(known))
    if unknown:
        raise InvalidConfig(f"{name} has no {', '.join(unknown)}. It may have: {', '.join(known)}.")
    return {key: value for key, value in given.items() if value is not None}


def _number(config: Mapping[str, Any], key: str, default: float, name: str) -> float:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise InvalidConfig(f"{name} is {value!r}: give a number above 0, e.g. {default}.")
    return float(value)


def _whole(
    config: Mapping[str, Any], key: str, default: int, *, low: int, high: int = 2**31 - 1, name: str = ""
) -> int:
    value = config.get(key, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        what = f"from {low} to {high}" if high < 2**31 - 1 else f"of at least {low}"
        raise InvalidConfig(f"{name or key} is {value!r}: give a whole number {what}.")
    return value


def _flag(config: Mapping[str, Any], key: str, default: bool, name: str = "") -> bool:
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise InvalidConfig(f"{name or key} is {value!r}: give true or false.")
    return value


def _resources(config: Mapping[str, Any]) -> dict[str, Any]:
    where = "containerResourceRequirements"
    wish = _object(config.get(where), where, RESOURCES)
    found: dict[str, Any] = {}
    for key, name, default in (("cpu", "cpu", 0.1), ("memoryInGB", "memory_gb", 0.5)):
        found[name] = _number(wish, key, default, f"{where}.{key}")
        limit = f"{key}Limit"
        if limit in wish:
            found[f"{name}_limit"] = _number(wish, limit, default, f"{where}.{limit}")
            if found[f"{name}_limit"] < found[name]:
                raise InvalidConfig(
                    f"{where}.{limit} is {wish[limit]} and {key} is {found[name]:g}: a limit is at least the request."
                )
    found["gpu_cores"] = _gpus(config, wish)
    return found


def _gpus(config: Mapping[str, Any], wish: Mapping[str, Any]) -> int:
    inner = _whole(wish, "gpu", 0, low=0, high=64, name="containerResourceRequirements.gpu")
    outer = _whole(config, "gpuCores", inner, low=0, high=64)
    if inner and outer != inner:
        raise InvalidConfig(f"gpuCores is {outer} and containerResourceRequirements.gpu is {inner}: give one of them.")
    return outer


def _replicas(config: Mapping[str, Any]) -> dict[str, Any]:
    scaler = _object(config.get("autoScaler"), "autoScaler", SCALER)
    enabled = _flag(scaler, "autoscaleEnabled", "numReplicas" not in config, "autoScaler.autoscaleEnabled")
    low = _whole(scaler, "minReplicas", 1, low=1, high=MOST_REPLICAS, name="autoScaler.minReplicas")
    high = _whole(scaler, "maxReplicas", max(10, low), low=1, high=MOST_REPLICAS, name="autoScaler.maxReplicas")
    if low > high:
        raise InvalidConfig(f"autoScaler.minReplicas is {low} and maxReplicas is {high}: min may not exceed max.")
    number = None
    if "numReplicas" in config:
        number = _whole(config, "numReplicas", 1, low=1, high=MOST_REPLICAS)
        if enabled or set(scaler) - {"autoscaleEnabled"}:
            raise InvalidConfig(
                f"numReplicas is {number} and autoScaler is given too: give numReplicas for a fixed count, "
                "or autoScaler to follow the load."
            )
    return {
        "num_replicas": None if enabled else number or 1,
        "min_replicas": low,
        "max_replicas": high,
        "refresh_period_seconds": _whole(
            scaler, "refreshPeriodInSeconds", 1, low=1, name="autoScaler.refreshPeriodInSeconds"
        ),
        "target_utilization": _whole(
            scaler, "targetUtilization", 70, low=1, high=100, name="autoScaler.targetUtilization"
        ),
    }


def _probe(config: Mapping[str, Any]) -> Probe:
    where = "livenessProbeRequirements"
    wish, usual = _object(config.get(where), where, PROBE), Probe()
    defaults = (
        usual.period_seconds, usual.initial_delay_seconds, usual.timeout_seconds, usual.success_threshold,
        usual.failure_threshold,
    )  # fmt: skip
    numbers = [
        _whole(wish, key, default, low=1, name=f"{where}.{key}") for key, default in zip(PROBE, defaults, strict=True)
    ]
    if numbers[3] != 1:
        raise InvalidConfig(f"{where}.successThreshold is {numbers[3]}: Kubernetes allows only 1 for a liveness probe.")
    return Probe(*numbers)


def _auth(config: Mapping[str, Any]) -> tuple[bool, bool]:
    token = _flag(config, "tokenAuthEnabled", False)
    keys = _flag(config, "authEnabled", not token)
    if keys and token:
        raise InvalidConfig("authEnabled and tokenAuthEnabled are both true: callers use keys or tokens, not both.")
    return keys, token


def _keys(config: Mapping[str, Any], auth: bool) -> tuple[str, str] | None:
    if "keys" not in config:
        return None
    wish = _object(config["keys"], "keys", ("primaryKey", "secondaryKey"))
    if not auth:
        raise InvalidConfig("keys are given but authEnabled is off: keys belong to key authentication.")
    pair = [wish.get("primaryKey"), wish.get("secondaryKey")]
    for name, value in zip(("primaryKey", "secondaryKey"), pair, strict=True):
        if not isinstance(value, str) or len(value) < KEY_LENGTH:
            had = f"has {len(value)} characters" if isinstance(value, str) else "is missing"
            raise InvalidConfig(f"keys.{name} {had}: give at least {KEY_LENGTH} characters.")
    if pair[0] == pair[1]:
        raise InvalidConfig("keys.primaryKey and keys.secondaryKey are equal: give two different keys.")
    return str(pair[0]), str(pair[1])


def _namespace(config: Mapping[str, Any]) -> str:
    value = config.get("namespace", "")
    if value == "":
        return ""
    if not isinstance(value, str) or not LABEL.fullmatch(value):
        raise InvalidConfig(
            f"namespace is {value!r}: give at most 63 lower-case letters, digits and -, "
            "with a letter or digit at both ends."
        )
    if value.startswith(RESERVED):
        raise InvalidConfig(
            f"namespace {value} is reserved: give one that does not start with {RESERVED[0]} or {RESERVED[1]}."
        )
    return value


def _node_pool(config: Mapping[str, Any]) -> str:
    value = config.get("nodePool", "")
    if value == "" or (isinstance(value, str) and POOL.fullmatch(value)):
        return str(value)
    raise InvalidConfig(f"nodePool is {value!r}: give the name of a node pool of the compute target, e.g. gpu1.")


def labels(given: Any, name: str) -> dict[str, str]:
    """Tags or properties: at most 50 texts by name. Raises InvalidConfig."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(value, str) for value in given.values()):
        raise InvalidConfig(f'{name}: give a JSON object of texts, e.g. {{"stage": "test"}}.')
    if len(given) > MOST_LABELS:
        raise InvalidConfig(f"{name} has {len(given)} members: at most {MOST_LABELS} are taken.")
    return {str(key): value for key, value in given.items()}


def _description(config: Mapping[str, Any]) -> str:
    value = config.get("description", "")
    if not isinstance(value, str):
        raise InvalidConfig(f"description is {value!r}: give a text.")
    return value


def _compute_type(config: Mapping[str, Any]) -> None:
    """Files written for CLI v1 say where they deploy to; here that is always AKS."""
    value = config.get("computeType", "AKS")
    if not isinstance(value, str) or value.lower() != "aks":
        raise InvalidConfig(f"computeType is {value!r}: only AKS is deployed to here.")


def _collection(config: Mapping[str, Any]) -> Collection | None:
    """None while it is off; what is given beside is checked all the same."""
    where = "dataCollection"
    wish = _object(config.get(where), where, COLLECTION)
    percent = _number(wish, "samplePercent", 100, f"{where}.samplePercent")
    if percent > 100:
        raise InvalidConfig(f"{where}.samplePercent is {percent:g}: give a number above 0, at most 100.")
    kib = _whole(wish, "maxBodyKiB", 64, low=1, high=MOST_BODY_KIB, name=f"{where}.maxBodyKiB")
    return Collection(percent, kib) if _flag(wish, "storageEnabled", False, f"{where}.storageEnabled") else None


def _warnings(config: Mapping[str, Any]) -> tuple[str, ...]:
    collection = _object(config.get("dataCollection"), "dataCollection", COLLECTION)
    return (NO_EVENT_HUB,) if _flag(collection, "eventHubEnabled", False, "dataCollection.eventHubEnabled") else ()
