"""A deployment -> its Kubernetes objects: plain dicts. Pure.

Seen from outside it is one module: `from deployments import manifests`.
"""

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
    "DeploymentView",
    "build",
    "grace_seconds",
    "models_path",
    "selector",
    "service_name",
    "workload_name",
]
