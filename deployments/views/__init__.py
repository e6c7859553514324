"""Pages of models, environments and collected requests, and of what a workspace decides about all that runs."""

from deployments.views.registered import (
    collected_delete,
    collected_delete_all,
    collected_download,
    collected_list,
    environment,
    environment_build,
    environment_list,
    environment_log,
    environment_register,
    model,
    model_delete,
    model_list,
    model_register,
)
from deployments.views.rules import registry_remove, registry_set, rules

__all__ = [
    "collected_delete", "collected_delete_all", "collected_download", "collected_list",
    "environment", "environment_build", "environment_list", "environment_log", "environment_register", "model",
    "model_delete", "model_list", "model_register", "registry_remove", "registry_set", "rules",
]  # fmt: skip
