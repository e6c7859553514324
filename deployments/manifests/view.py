"""What the objects of a deployment are built from, and the names that others know them by. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

from compute.names import MANAGED, clean, named
from deployments.config import DeploymentConfig
from deployments.manifests.collect import Collect
from deployments.outgoing import Outgoing

PRE_STOP_SECONDS = 2
SPARE_SECONDS = 5
REPLICA = "slipway-replica"
FILES = "files-"  # keys in the Secret


class Named(Protocol):
    """What names are made of; a Deployment row is one."""

    @property
    def name(self) -> Any: ...

    @property
    def pk(self) -> Any: ...


@dataclass(frozen=True)
class DeploymentView:
    """All that decides the objects. `models` are (name, version); `fetch_url` is where the pod asks for its files.

    `node_pool` is the pool that replicas are bound to, with its taints; empty: any that takes them. `insights` is the
    connection string for telemetry; empty: none is sent. `collect`: how its requests are collected, if they are.
    `size` is how many bytes of code and models are fetched; `scratch_gib` how much a replica may write beside them.
    `storage_urls` are further places that files come from.
    `login` is what its images are pulled with (`registries.docker_config`), `quota` what its namespace may ask for.
    `files` are lists of signed addresses (JSON) by revision.
    """

    pk: int
    name: str
    workspace: str
    namespace: str
    revision: int
    config: DeploymentConfig
    image: str
    fetch_image: str
    entry_script: str
    fetch_url: str
    fetch_token: str = field(repr=False)
    models: tuple[tuple[str, int], ...] = ()
    ca: str = ""
    node_pool: str = ""
    taints: tuple[str, ...] = ()
    insights: str = field(repr=False, default="")
    size: int = 0
    scratch_gib: int = 5
    storage_urls: tuple[str, ...] = ()
    outgoing: Outgoing = Outgoing()
    login: str = field(repr=False, default='{"auths": {}}')
    quota: tuple[tuple[str, str], ...] = ()
    team: str = ""
    collect: Collect | None = None
    files: tuple[tuple[int, str], ...] = field(repr=False, default=())


def files_key(revision: int) -> str:
    """Under which name the Secret has the addresses of a revision: pods of two may start at the same time."""
    return f"{FILES}{revision}"


def workload_name(deployment: Named) -> str:
    """The name of the Kubernetes Deployment and of what belongs to it; at most 63 characters."""
    return f"{clean(deployment.name, 40)}-{deployment.pk}"


def service_name(deployment: Named) -> str:
    """The name of the headless Service whose EndpointSlices list the ready replicas."""
    return workload_name(deployment)


def selector(pk: int) -> str:
    """Meets all pods of a deployment, of any revision."""
    return f"slipway.dev/deployment={pk}"


def login_name(deployment: Named) -> str:
    """The name of the Secret that its images are pulled with."""
    return f"{workload_name(deployment)}-login"


def quota_name(workspace: str) -> str:
    """The name of a workspace's quota in a namespace."""
    return f"slipway-{clean(workspace, 50)}"


def match(view: DeploymentView) -> dict[str, str]:
    return {**MANAGED, "slipway.dev/deployment": str(view.pk)}


def pod_labels(view: DeploymentView) -> dict[str, str]:
    return {
        **MANAGED, **named(REPLICA, view.name, "inference"), "slipway.dev/workspace": view.workspace,
        "slipway.dev/deployment": str(view.pk), **({"slipway.dev/team": view.team} if view.team else {}),
    }  # fmt: skip


def grace_seconds(config: DeploymentConfig) -> int:
    """How long a replica may take to end: the wait before it, a whole score, and a little more."""
    return PRE_STOP_SECONDS + math.ceil(config.scoring_timeout_ms / 1000) + SPARE_SECONDS


def models_path(models: tuple[tuple[str, int], ...]) -> str:
    """What AZUREML_MODEL_DIR names, seen from the app's folder: one model's own folder, else that of all."""
    if len(models) == 1:
        (name, version) = models[0]
        return f"azureml-models/{name}/{version}"
    return "azureml-models"
