"""A deployment -> its Kubernetes objects: plain dicts. Pure.

Seen from outside it is one module: `from deployments import manifests`.
"""

from deployments.manifests.collect import KEY as COLLECT_KEY
from deployments.manifests.collect import Collect
from deployments.manifests.objects import around, build, within
from deployments.manifests.pod import PORT
from deployments.manifests.view import (
    FILES,
    DeploymentView,
    files_key,
    grace_seconds,
    login_name,
    models_path,
    quota_name,
    selector,
    service_name,
    workload_name,
)

__all__ = [
    "COLLECT_KEY",
    "FILES",
    "Collect",
    "PORT",
    "DeploymentView",
    "around",
    "build",
    "files_key",
    "grace_seconds",
    "login_name",
    "models_path",
    "quota_name",
    "selector",
    "service_name",
    "within",
    "workload_name",
]
