"""What a request wants to run, as the deployment actions take it."""

from __future__ import annotations

from typing import Any

from deployments import actions as deployments_actions
from deployments import queries as deployments
from deployments.config import DeploymentConfig
from deployments.types import DeploymentSpec
from endpoints import actions
from endpoints.types import AuthMode
from portal.problems import Invalid, InvalidShape
from portal.types import Role

PARTS = ("models", "environment", "entry_script", "code", "deployment_config")
ACCESS = ("keys", "authEnabled", "tokenAuthEnabled")
TOLD = ("description", "tags", "properties")


def has_deployment(data: dict[str, Any]) -> bool:
    """Whether a change concerns what runs, not only how it is described or reached."""
    config = data.get("deployment_config")
    elsewhere = isinstance(config, dict) and config and set(config) <= {*ACCESS, *TOLD}
    return any(name in data for name in PARTS if not (name == "deployment_config" and elsewhere))


def told(data: dict[str, Any]) -> dict[str, Any]:
    """Description, tags and properties: the request's own, else those of its deployment configuration."""
    config = data.get("deployment_config")
    inner = {name: config[name] for name in TOLD if config.get(name) is not None} if isinstance(config, dict) else {}
    checked = DeploymentConfig.parse(inner)
    return {
        name: data[name] if data.get(name) or name not in inner else getattr(checked, name)
        for name in TOLD
        if name in data or name in inner
    }


def auth_of(config: Any) -> AuthMode | None:
    """The auth mode that a deployment configuration asks for; None when it says nothing."""
    if not isinstance(config, dict) or not {"authEnabled", "tokenAuthEnabled"} & set(config):
        return None
    for name in ("authEnabled", "tokenAuthEnabled"):
        if not isinstance(config.get(name), bool | None):
            raise Invalid(f"{name} is {config[name]!r}: give true or false.")
    if config.get("tokenAuthEnabled"):
        if config.get("authEnabled"):
            raise Invalid(
                "authEnabled and tokenAuthEnabled are both true: callers sign in with keys or with tokens, not both."
            )
        return AuthMode.TOKEN
    return AuthMode.NONE if config.get("authEnabled") is False else AuthMode.KEY


def _keys_of(config: Any) -> tuple[str, str] | None:
    given = config.get("keys") if isinstance(config, dict) else None
    if not given:
        return None
    if not isinstance(given, dict) or not all(
        isinstance(given.get(name), str) for name in ("primaryKey", "secondaryKey")
    ):
        raise Invalid("keys needs primaryKey and secondaryKey, both texts; leave it out to have them made.")
    return given["primaryKey"], given["secondaryKey"]


def change(endpoint: Any, data: dict[str, Any], actor: Any) -> actions.Change:
    """All that a request wants to change of a service or endpoint."""
    config = data.get("deployment_config")
    auth = AuthMode(data["auth"]) if "auth" in data else auth_of(config)
    wanted = changed(endpoint, next(iter(endpoint.versions.all())), data, actor) if has_deployment(data) else None
    return actions.Change(spec=wanted, auth=auth, keys=_keys_of(config), told=told(data))


def refuse_access(endpoint: Any, config: Any) -> None:
    """How callers sign in is the endpoint's, not a version's: refused unless it is what the endpoint has."""
    if _keys_of(config) or auth_of(config) not in (None, endpoint.auth):
        raise Invalid(
            f"authEnabled, tokenAuthEnabled and keys belong to the endpoint {endpoint.name} (auth: {endpoint.auth}), "
            "not to a version. Leave them out here, and change the endpoint."
        )


def draft(workspace: Any, data: dict[str, Any], actor: Any) -> actions.Draft:
    """A new service or endpoint as its action takes it."""
    config = data.get("deployment_config")
    auth, keys = auth_of(config) or AuthMode.KEY, _keys_of(config)
    if keys and auth != AuthMode.KEY:
        raise Invalid("keys are given but authEnabled is off: keys belong to key authentication.")
    return actions.Draft(name=data["name"], spec=whole(workspace, data, actor), auth=auth, keys=keys, **told(data))


def whole(workspace: Any, data: dict[str, Any], actor: Any) -> DeploymentSpec:
    """A deployment from nothing: environment and entry script are needed."""
    missing = [name for name in ("environment", "entry_script") if not data.get(name)]
    if missing:
        raise InvalidShape(" ".join(f"{name}: This field is required." for name in missing))
    return DeploymentSpec(
        models=_models(workspace, data.get("models", []), actor),
        environment=_environment(workspace, data["environment"], actor),
        entry_script=data["entry_script"],
        code=_code(workspace, data.get("code"), actor),
        config=_config(data.get("deployment_config")),
        comment=data.get("comment", ""),
    )


def changed(endpoint: Any, version: Any, data: dict[str, Any], actor: Any) -> DeploymentSpec:
    """A deployment from what runs now with some parts changed."""
    now = deployments.revision_of(deployment=version.deployment)
    home = endpoint.workspace
    return DeploymentSpec(
        models=_models(home, data["models"], actor) if "models" in data else list(now.models.all()),
        environment=_environment(home, data["environment"], actor) if "environment" in data else now.environment,
        entry_script=data.get("entry_script", now.entry_script),
        code=_code(home, data["code"], actor) if "code" in data else now.code,
        config=_config(data["deployment_config"]) if "deployment_config" in data else now.config,
        comment=data.get("comment", ""),
    )


def _config(given: Any) -> dict[str, Any]:
    """The configuration without what is about callers: keys are secrets and never part of a revision."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidShape("deployment_config: give a JSON object.")
    return {name: value for name, value in given.items() if name not in ACCESS}


def _named(text: str, what: str) -> tuple[str, int]:
    name, _, version = text.partition(":")
    if not name or not version.isdigit():
        raise InvalidShape(f"{text!r} names no {what}: write name:version, e.g. iris:1.")
    return name, int(version)


def _models(workspace: Any, names: list[str], actor: Any) -> list[Any]:
    found = []
    for text in names:
        name, version = _named(text, "model")
        found.append(
            deployments.model(actor=actor, workspace=workspace.slug, name=name, version=version, needs=Role.READER)
        )
    return found


def _environment(workspace: Any, text: str, actor: Any) -> Any:
    name, version = _named(text, "environment")
    return deployments.environment(actor=actor, workspace=workspace.slug, name=name, version=version, needs=Role.READER)


def _code(workspace: Any, given: dict[str, Any] | None, actor: Any) -> Any:
    if not given:
        return None
    if "files" in given:
        return deployments_actions.code_upload(workspace=workspace, files=given["files"], actor=actor)
    if "digest" not in given:
        raise InvalidShape("code: give files or digest.")
    return deployments.code(actor=actor, workspace=workspace.slug, digest=given["digest"], needs=Role.READER)
