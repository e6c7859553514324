"""The deploy form: what it sends, as the doors take it, and what it shows of a revision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from deployments.config import DeploymentConfig
from endpoints.types import AuthMode
from portal.problems import InvalidShape

SCRIPT = '''import json
import os

import joblib


def init():
    """Runs once when a replica starts."""
    global model
    folder = os.environ["AZUREML_MODEL_DIR"]
    model = joblib.load(os.path.join(folder, "model.pkl"))


def run(data):
    """Runs for each request."""
    rows = json.loads(data)["data"]
    return model.predict(rows).tolist()
'''
# What the form calls a number -> where it stands in the deployment configuration.
NUMBERS = {
    "cpu": ("containerResourceRequirements", "cpu"),
    "memory": ("containerResourceRequirements", "memoryInGB"),
    "cpu_limit": ("containerResourceRequirements", "cpuLimit"),
    "memory_limit": ("containerResourceRequirements", "memoryInGBLimit"),
    "gpus": ("", "gpuCores"),
    "concurrent": ("", "maxConcurrentRequestsPerContainer"),
    "queue_ms": ("", "maxQueueWaitMs"),
    "timeout_ms": ("", "scoringTimeoutMs"),
}
COLLECT = {"collect_percent": "samplePercent", "collect_kib": "maxBodyKiB"}
AUTOSCALE = {"min_replicas": "minReplicas", "max_replicas": "maxReplicas", "target": "targetUtilization"}
AUTH = {
    AuthMode.KEY: {"authEnabled": True},
    AuthMode.TOKEN: {"authEnabled": False, "tokenAuthEnabled": True},
    AuthMode.NONE: {"authEnabled": False},
}
BLANK: dict[str, Any] = {
    "version": "v1", "entry_script": "score.py", "code": SCRIPT, "scaling": "auto", "auth": AuthMode.KEY.value,
    "cpu": "0.1", "memory": "0.5", "min_replicas": "1", "max_replicas": "10",
    "target": "70", "replicas": "1", "concurrent": "1",
    "queue_ms": "500", "timeout_ms": "60000", "percentile": "0", "collect_percent": "100", "collect_kib": "64",
}  # fmt: skip


def deployment(posted: Any) -> dict[str, Any]:
    """Models, environment, entry script, code and configuration of a posted form; code left empty is left out."""
    data: dict[str, Any] = {
        "models": posted.getlist("models"), "environment": posted.get("environment", ""),
        "entry_script": posted.get("entry_script", "").strip(), "deployment_config": config(posted),
    }  # fmt: skip
    code = posted.get("code", "")
    if code.strip():
        data["code"] = {"files": {data["entry_script"] or "score.py": code.replace("\r\n", "\n")}}
    return data


def config(posted: Any) -> dict[str, Any]:
    """The deployment configuration: the pasted JSON if there is one, else what the fields say."""
    pasted = posted.get("deployment_config", "").strip()
    if pasted:
        return _pasted(pasted)
    found: dict[str, Any] = {}
    for field, (group, key) in NUMBERS.items():
        if posted.get(field, "").strip():
            (found.setdefault(group, {}) if group else found)[key] = _number(posted[field], key)
    if posted.get("node_pool", "").strip():
        found["nodePool"] = posted["node_pool"].strip()
    if posted.get("app_insights"):
        found["appInsightsEnabled"] = True
    if posted.get("collect"):
        found["dataCollection"] = {"storageEnabled": True} | {
            key: _number(posted[field], key) for field, key in COLLECT.items() if posted.get(field, "").strip()
        }
    if posted.get("scaling") == "fixed":
        found["numReplicas"] = _number(posted.get("replicas", ""), "numReplicas")
    else:
        given = {key: posted.get(field, "").strip() for field, key in AUTOSCALE.items()}
        found["autoScaler"] = {"autoscaleEnabled": True} | {
            key: _number(text, key) for key, text in given.items() if text
        }
    return found | auth(posted)


def kept(now: Mapping[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What a revision has and the form has no field for goes on: probes, namespace, how often the load is looked at."""
    fields = {group or key for group, key in NUMBERS.values()} | {
        "numReplicas",
        "autoScaler",
        "nodePool",
        "appInsightsEnabled",
        "dataCollection",
    }
    rest = {key: value for key, value in now.items() if key not in fields}
    every = (now.get("autoScaler") or {}).get("refreshPeriodInSeconds")
    if every is not None and "autoScaler" in found:
        found["autoScaler"] = {"refreshPeriodInSeconds": every} | found["autoScaler"]
    return rest | found


def auth(posted: Any) -> dict[str, bool]:
    """How callers sign in, as members of the configuration; nothing where the form does not ask."""
    wanted = posted.get("auth", "")
    return dict(AUTH[AuthMode(wanted)]) if wanted in AuthMode.values else {}


def _pasted(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidShape(f"deployment_config is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise InvalidShape("deployment_config: give a JSON object.")
    return found


def _number(text: str, name: str) -> float | int:
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        raise InvalidShape(f"{name} is {text!r}: give a number.") from None
    return int(value) if value.is_integer() else value


def typed(revision: Any) -> dict[str, Any]:
    """The form as a revision fills it."""
    given: Mapping[str, Any] = revision.config
    checked = DeploymentConfig.parse(given)
    return {
        "models": [f"{model.name}:{model.version}" for model in revision.models.all()],
        "environment": f"{revision.environment.name}:{revision.environment.version}",
        "entry_script": revision.entry_script, "cpu": f"{checked.cpu:g}", "memory": f"{checked.memory_gb:g}",
        "cpu_limit": _plain(checked.cpu_limit), "memory_limit": _plain(checked.memory_gb_limit),
        "gpus": _plain(checked.gpu_cores or None), "node_pool": checked.node_pool,
        "app_insights": checked.app_insights, **_collects(checked),
        "scaling": "auto" if checked.autoscale_enabled else "fixed",
        "replicas": checked.num_replicas or 1, "min_replicas": checked.min_replicas,
        "max_replicas": checked.max_replicas, "target": checked.target_utilization,
        "concurrent": checked.max_concurrent_requests,
        "queue_ms": checked.max_queue_wait_ms, "timeout_ms": checked.scoring_timeout_ms,
    }  # fmt: skip


def _collects(checked: DeploymentConfig) -> dict[str, Any]:
    if checked.collection is None:
        return {}
    found = checked.collection
    return {"collect": True, "collect_percent": f"{found.percent:g}", "collect_kib": found.body_kib}


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
