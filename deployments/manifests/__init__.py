"""A deployment -> its Kubernetes objects: plain dicts. Pure.

Seen from outside it is one module: `from deployments import manifests`.
"""

from deployments.manifests.collect import KEY as COLLECT_KEY
from deployments.manifests.collect import Collect
from deployments.manifests.objects import build
from deployments.manifests.view import (
    DeploymentView,
    grace_seconds,
    models_path,
    selector,
    service_name,
    workload_name,
)

__all__ = [
    "COLLECT_KEY",
    "Collect",
    "DeploymentView",
    "build",
    "grace_seconds",
    "models_path",
    "selector",
    "service_name",
    "workload_name",
]
